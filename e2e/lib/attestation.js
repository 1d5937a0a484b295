// Evidence of machines, as a worker collects it and as the chain identifies it.

import { bnToU8a, compactToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';
import { blake2AsHex, blake2AsU8a } from '@polkadot/util-crypto';

import { MEASUREMENT } from './vendor.js';

/**
 * Returns the data that a device signs into its report: one machine with its keys, on one chain, from one
 * block on.
 */
export function bindingDigest({ genesisHash, machine, workerKey, sealingKey, anchorHash }) {
  return blake2AsU8a(u8aConcat(
    stringToU8a('assay/evidence/v1'), genesisHash, bnToU8a(machine, { bitLength: 64, isLe: true }), workerKey, sealingKey,
    anchorHash,
  ));
}

/** Returns the binding of evidence of a machine, with this block as its anchor. */
async function bindingOf(api, machine, anchor) {
  const { workerKey, sealingKey } = (await api.query.providerRegistry.machines(machine)).unwrap();
  const anchorHash = await api.rpc.chain.getBlockHash(anchor);
  return { genesisHash: api.genesisHash, machine, workerKey, sealingKey, anchorHash };
}

/** Encodes certificates for the chain, the device's first. */
export function chainOf(certificates) {
  return { Chain: certificates.map((certificate) => u8aToHex(certificate)) };
}

/**
 * Collects evidence of a machine from a chip, with the best block as its anchor. `bound` overrides fields of
 * the binding, `report` fields of the report, and `key` the source of the chip's key, which is its
 * certificate chain by default.
 */
export async function collect(api, chip, machine, { anchor, bound = {}, report = {}, key = chainOf(chip.chain) } = {}) {
  const block = anchor ?? (await api.rpc.chain.getHeader()).number.toNumber();
  const digest = bindingDigest({ ...await bindingOf(api, machine, block), ...bound });
  const signed = chip.report(u8aConcat(digest, new Uint8Array(32)), report);
  return { anchor: block, evidence: { SnpReport: { report: u8aToHex(signed), key } } };
}

/** Returns the call that submits evidence of this machine. */
export function submitEvidence(api, machine, { anchor, evidence }) {
  return api.tx.attestation.submitEvidence(machine, anchor, evidence);
}

/** Returns the call that submits a root's list of revoked certificates. */
export function submitList(api, vendor, list) {
  return api.tx.attestation.submitCollateral({ RevocationList: { vendor, list: u8aToHex(list), issuer: null } });
}

/** Returns the chain's identifier of a chip's evidence. */
export function evidenceIdOf(chip) {
  return { device: blake2AsHex(u8aConcat(stringToU8a('assay/evidence/device/v1/amd/'), chip.id)), kind: 'SevSnp' };
}

/** Returns the chain's identifier of a chip's key, once it has verified its certificates. */
export function keyIdOf({ publicKey }) {
  const amd = 1;
  return blake2AsHex(u8aConcat(
    stringToU8a('assay/attestation/key/v1'), [amd], compactToU8a(publicKey.length), publicKey,
  ));
}

/** Returns the chain's digest of a guest with this measurement, without host data and without an owner. */
export function workloadOf(measurement = MEASUREMENT) {
  const sevSnp = 2;
  return blake2AsHex(u8aConcat(
    stringToU8a('assay/evidence/workload/v1'), [sevSnp], measurement, new Uint8Array(32), new Uint8Array(2 * 48),
  ));
}

/** Returns the chain's identifier of a root certificate. */
export function fingerprintOf(root) {
  return blake2AsHex(u8aConcat(stringToU8a('assay/evidence/root/v1'), root));
}
