// Evidence of machines, as a worker collects it from its processor and as the chain names it.

import { bnToU8a, compactToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';
import { blake2AsHex, blake2AsU8a } from '@polkadot/util-crypto';

import { MEASUREMENT } from './vendor.js';

/** The bytes that a device is asked to sign along: good for one machine, with its keys, on one chain, from one block on. */
export function bindingDigest({ genesisHash, machine, workerKey, sealingKey, anchorHash }) {
  return blake2AsU8a(u8aConcat(
    stringToU8a('assay/evidence/v1'), genesisHash, bnToU8a(machine, { bitLength: 64, isLe: true }), workerKey, sealingKey,
    anchorHash,
  ));
}

/** What evidence of a machine has to be bound to, with this block as its anchor. */
async function bindingOf(api, machine, anchor) {
  const { workerKey, sealingKey } = (await api.query.providerRegistry.machines(machine)).unwrap();
  const anchorHash = await api.rpc.chain.getBlockHash(anchor);
  return { genesisHash: api.genesisHash, machine, workerKey, sealingKey, anchorHash };
}

/** Certificates as the chain takes them, the device's first. */
export function chainOf(certificates) {
  return { Chain: certificates.map((certificate) => u8aToHex(certificate)) };
}

/**
 * Asks a chip for evidence of a machine, with the best block as its anchor. `bound` says what it is bound to that it should
 * not be, `report` what is wrong with the guest, `key` where the chip's key comes from, if not from its chain.
 */
export async function collect(api, chip, machine, { anchor, bound = {}, report = {}, key = chainOf(chip.chain) } = {}) {
  const block = anchor ?? (await api.rpc.chain.getHeader()).number.toNumber();
  const digest = bindingDigest({ ...await bindingOf(api, machine, block), ...bound });
  const signed = chip.report(u8aConcat(digest, new Uint8Array(32)), report);
  return { anchor: block, evidence: { SnpReport: { report: u8aToHex(signed), key } } };
}

/** The call that submits what was collected, for this machine. */
export function submitEvidence(api, machine, { anchor, evidence }) {
  return api.tx.attestation.submitEvidence(machine, anchor, evidence);
}

/** The call that brings a root's list of revoked certificates. */
export function submitList(api, vendor, list) {
  return api.tx.attestation.submitCollateral({ RevocationList: { vendor, list: u8aToHex(list), issuer: null } });
}

/** What the chain calls a chip's evidence. */
export function evidenceIdOf(chip) {
  return { device: blake2AsHex(u8aConcat(stringToU8a('assay/evidence/device/v1/amd/'), chip.id)), kind: 'SevSnp' };
}

/** What the chain calls a chip's key, once it has verified its chain. */
export function keyIdOf({ publicKey }) {
  const amd = 1;
  return blake2AsHex(u8aConcat(
    stringToU8a('assay/attestation/key/v1'), [amd], compactToU8a(publicKey.length), publicKey,
  ));
}

/** What the chain calls a guest that was started with this measurement, without data of its host and without an owner. */
export function workloadOf(measurement = MEASUREMENT) {
  const sevSnp = 2;
  return blake2AsHex(u8aConcat(
    stringToU8a('assay/evidence/workload/v1'), [sevSnp], measurement, new Uint8Array(32), new Uint8Array(2 * 48),
  ));
}

/** What the chain calls a root certificate. */
export function fingerprintOf(root) {
  return blake2AsHex(u8aConcat(stringToU8a('assay/evidence/root/v1'), root));
}
