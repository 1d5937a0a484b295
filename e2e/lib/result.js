// Hashes of tasks' results, computed from what a command writes and returns. Written from the description
// (`assay_primitives::job::ResultDocument`, `worker/src/artifacts`), and not from the worker's results.

import { blake3 } from '@noble/hashes/blake3';
import { bnToU8a, hexToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';

const RESULT_CONTEXT = stringToU8a('assay/result/v2');
const OUTPUT_CONTEXT = stringToU8a('assay/output/v1');

const u32 = (number) => bnToU8a(number, { bitLength: 32, isLe: true });
const u64 = (number) => bnToU8a(number, { bitLength: 64, isLe: true });

/** Returns the root hash of an output folder with these files: text by name, all with mode 0644. */
function outputHash(files) {
  const names = Object.keys(files).sort();
  const entries = names.map((name) => {
    const [path, content] = [stringToU8a(name), stringToU8a(files[name])];
    return u8aConcat([0], u32(path.length), path, u32(0o644), u64(content.length), blake3(content));
  });
  return blake3(u8aConcat(OUTPUT_CONTEXT, u64(names.length), ...entries));
}

/**
 * Returns the hash of the result of a task that exits with `exitCode`, writes `stdout` (text; `undefined` where the
 * manifest leaves it out) and leaves `output` (files by name; `undefined` without an output folder).
 */
export function resultHash({ exitCode, imageDigest, manifestHash, stdout, output }) {
  return u8aToHex(blake3(u8aConcat(
    RESULT_CONTEXT,
    u32(exitCode),
    hexToU8a(imageDigest),
    hexToU8a(manifestHash),
    stdout === undefined ? [0] : u8aConcat([1], blake3(stringToU8a(stdout))),
    output === undefined ? [0] : u8aConcat([1], outputHash(output)),
  )));
}
