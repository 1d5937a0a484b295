// Measures verification of evidence in WebAssembly, in Node's engine: the shortest of many runs, in
// milliseconds.
//
// Usage: node run.mjs FOLDER_OF_SAMPLES FILE.wasm

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [, , folder, program] = process.argv;
if (!program) {
    console.error('usage: node run.mjs FOLDER_OF_SAMPLES FILE.wasm');
    process.exit(2);
}

const file = (name) => readFileSync(join(folder, name));
const hexadecimal = (text) => Buffer.from(text.toString().trim(), 'hex');
const certificates = (pem) =>
    [...pem.toString().matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)].map(([, body]) =>
        Buffer.from(body, 'base64'),
    );

const { instance } = await WebAssembly.instantiate(readFileSync(program));
const wasm = instance.exports;

/** Hands byte strings over, each after its length, and has all that can be kept verified. */
function prepare(vendor, parts) {
    const bytes = Buffer.concat(
        parts.flatMap((part) => {
            const length = Buffer.alloc(4);
            length.writeUInt32LE(part.length);
            return [length, part];
        }),
    );
    const pointer = wasm.input(bytes.length);
    new Uint8Array(wasm.memory.buffer, pointer, bytes.length).set(bytes);
    if (!wasm.prepare(vendor, pointer, bytes.length)) {
        throw new Error(`the evidence of vendor ${vendor} was refused`);
    }
}

/** The shortest of the runs within a second. */
function measure(name, work) {
    const mark = wasm.mark();
    const begin = performance.now();
    let best = Infinity;
    while (performance.now() - begin < 1000) {
        const start = performance.now();
        const accepted = wasm.run(work);
        best = Math.min(best, performance.now() - start);
        wasm.reset(mark);
        if (!accepted) {
            throw new Error(`${name}: refused`);
        }
    }
    console.log(name.padEnd(44), best.toFixed(3).padStart(10));
}

function prepareIntel(name, nowSeconds) {
    const collateral = JSON.parse(file(`${name}_collateral.json`));
    const quote = file(name);
    const text = quote.toString('latin1');
    const [leaf, authority] = certificates(
        collateral.pck_certificate_chain ?? text.slice(text.indexOf('-----BEGIN')),
    );
    const [signer] = certificates(collateral.tcb_info_issuer_chain);
    const now = Buffer.alloc(8);
    now.writeBigUInt64LE(BigInt(nowSeconds));
    prepare(0, [
        now,
        quote,
        leaf,
        authority,
        hexadecimal(collateral.root_ca_crl),
        hexadecimal(collateral.pck_crl),
        Buffer.from(collateral.tcb_info),
        hexadecimal(collateral.tcb_info_signature),
        signer,
        Buffer.from(collateral.qe_identity),
        hexadecimal(collateral.qe_identity_signature),
    ]);
}

console.log(''.padEnd(44), 'ms'.padStart(10));
for (const [title, name, now] of [
    ['SGX, quote version 3', 'sgx_quote', 1_750_809_600],
    ['TDX, quote version 4', 'tdx_quote', 1_750_809_600],
    ['TDX 1.5, quote version 5', 'tdx_quote_td15ex', 1_792_022_400],
]) {
    prepareIntel(name, now);
    measure(`${title}: the first time`, 0);
    measure(`${title}: a renewal`, 1);
    measure(`${title}: TCB info`, 2);
    measure(`${title}: QE identity`, 3);
}
prepare(1, [hexadecimal(file('report_milan.hex')), file('vcek_milan.der'), ...certificates(file('cert_chain_milan.pem'))]);
measure('SEV-SNP, Milan: the first time', 4);
measure('SEV-SNP, Milan: a renewal', 5);
prepare(2, [hexadecimal(file('hopper_report.hex')), ...certificates(file('hopper_chain.pem'))]);
measure('NVIDIA, H100: the first time', 6);
measure('NVIDIA, H100: a renewal', 7);
