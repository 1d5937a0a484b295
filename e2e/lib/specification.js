// Specifications of the tests' chains. They contain the genesis state, so that a node that starts from one
// does not need the runtime's preset; making that state takes seconds, because the runtime is compiled for
// it.

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { keptFile, runNode } from './binary.js';

/**
 * Returns the path of the specification of the chain `dev` or `local`, with these fields of its preset
 * changed. The fields are numbers or texts whose names occur nowhere else with another meaning.
 */
export async function specification(chain, changes = {}) {
  const kind = createHash('sha256').update(JSON.stringify(changes)).digest('hex').slice(0, 16);
  const preset = await keptFile(`${chain}.json`, () => build(chain));
  return keptFile(`${chain}-${kind}.json`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
    try {
      const path = join(folder, 'chain.json');
      await writeFile(path, changed(await readFile(preset, 'utf8'), changes));
      return await build(path, '--raw');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function build(chain, ...options) {
  const { status, output, errors } = await runNode('build-spec', '--chain', chain, ...options);
  if (status !== 0) {
    throw new Error(`the specification of ${chain} could not be made:\n${errors}`);
  }
  return output;
}

/**
 * Changes fields in the text, without parsing it: JSON.parse would turn its amounts into floating-point
 * numbers.
 */
function changed(text, changes) {
  let result = text;
  for (const [key, value] of Object.entries(changes)) {
    const isText = typeof value === 'string';
    const field = `("${key}": *)${isText ? '"[^"]*"' : '\\d+'}`;
    if (!new RegExp(field).test(result)) {
      throw new Error(`the chain's specification has no ${isText ? 'text' : 'number'} ${key}`);
    }
    result = result.replace(new RegExp(field, 'g'), `$1${isText ? `"${value}"` : value}`);
  }
  return result;
}
