// The market's calls as a provider, a worker and a consumer make them.

import { bnToU8a, hexToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';
import { blake2AsHex, decodeAddress, encodeAddress } from '@polkadot/util-crypto';

import { ASY, eventOf, eventually, succeed } from './chain.js';
import { proveHardware } from './challenge.js';

const MILLIS_PER_HOUR = 3_600_000n;
const WORKER_KEY_CONTEXT = stringToU8a('assay/worker-key/v1');

/** The treasury's account: its pallet identity behind the SDK's prefix, padded with zeros. It has no key. */
export const TREASURY = encodeAddress(u8aConcat(stringToU8a('modlasy/trsy'), new Uint8Array(20)), 42);

/** Digest of an image that no engine ever sees: these tests act for the worker themselves. */
export const IMAGE_DIGEST = `0x${'ab'.repeat(32)}`;

/** Returns the registration of a machine, with `changes` to the defaults. */
export function registrationOf(worker, changes = {}) {
  return {
    workerKey: worker.address,
    sealingKey: `0x${'07'.repeat(32)}`,
    // Class of machines without GPUs.
    class: 0,
    slots: 2,
    cpuCores: 8,
    ramMib: 16_384,
    diskGib: 100,
    uploadMbps: 100,
    downloadMbps: 1_000,
    location: { latitudeMicrodegrees: 52_520_000, longitudeMicrodegrees: 13_405_000 },
    region: 'eu-central',
    endpoint: 'http://127.0.0.1:4001',
    ask: 36n * ASY,
    ...changes,
  };
}

/** Returns the worker key's agreement to serve this provider on this chain. */
export function workerSignature(api, worker, provider) {
  return worker.sign(u8aConcat(WORKER_KEY_CONTEXT, api.genesisHash, decodeAddress(provider.address)));
}

/** Returns the call that registers a machine. */
export function registerMachine(api, worker, provider, changes = {}) {
  const signature = workerSignature(api, worker, provider);
  return api.tx.providerRegistry.registerMachine(registrationOf(worker, changes), signature);
}

/**
 * Returns a machine's minimum bond: the sum over its slots, by class and score, and at least the base bond.
 */
export async function minimumBond(api, machine) {
  const { terms, slots } = (await api.query.providerRegistry.machines(machine)).unwrap();
  const bigger = (left, right) => (left > right ? left : right);
  const forScore = api.consts.providerRegistry.bondPerPoint.toBigInt() * terms.computeScore.toBigInt();
  const forSlots = bigger(terms.stakePerSlot.toBigInt(), forScore) * slots.toBigInt();
  return bigger(api.consts.providerStaking.baseBond.toBigInt(), forSlots);
}

/** Returns the call that gives a machine another worker key, which agrees, and another sealing key. */
export function rotateKeys(api, machine, worker, provider, sealingKey = `0x${'08'.repeat(32)}`) {
  const signature = workerSignature(api, worker, provider);
  return api.tx.providerRegistry.rotateKeys(machine, worker.address, sealingKey, signature);
}

/**
 * Registers a provider with one machine, bonds it, and returns its number: it only lacks a proof of its
 * hardware.
 */
export async function bondedMachine(api, provider, worker, changes = {}) {
  const registered = await succeed(
    api,
    api.tx.utility.batchAll([
      api.tx.providerRegistry.registerProvider(`provider ${provider.address.slice(0, 8)}`),
      registerMachine(api, worker, provider, changes),
      // The worker key pays for its own transactions.
      api.tx.balances.transferKeepAlive(worker.address, 10n * ASY),
    ]),
    provider,
  );
  const { machine } = eventOf(registered, 'providerRegistry', 'MachineRegistered');
  await succeed(api, api.tx.providerStaking.bond(machine, await minimumBond(api, machine)), provider);
  return machine;
}

/**
 * Registers a provider with one machine, bonds it, proves its hardware, and returns its number: it is active
 * then.
 */
export async function activeMachine(api, provider, worker, changes = {}) {
  const machine = await bondedMachine(api, provider, worker, changes);
  await proveHardware(api, machine, worker);
  return machine;
}

/** Encodes a consumer's manifest as hexadecimal. */
export function manifestBytes(text = 'hello') {
  const image = `localhost:5000/small@sha256:${IMAGE_DIGEST.slice(2)}`;
  const manifest = { image, command: ['/bin/echo', text], env: {}, network: false };
  return u8aToHex(stringToU8a(JSON.stringify(manifest)));
}

/** A task whose consumer has an hour to verify its result. */
export const TASK = { Task: { verification: { Consumer: { windowMs: 3_600_000n } } } };

/** Returns a task for which `threshold` of `replicas` machines must give the same result. */
export function quorum(replicas, threshold) {
  return { Task: { verification: { Quorum: { replicas, threshold } } } };
}

/** Returns an order for a task with this manifest, with `changes` to the defaults. */
export function orderFor(manifest, changes = {}) {
  return {
    kind: TASK,
    manifest: { Public: { hash: blake2AsHex(manifest), lengthBytes: (manifest.length - 2) / 2 } },
    imageDigest: IMAGE_DIGEST,
    requirements: {},
    slots: 1,
    maxDurationMs: 600_000n,
    maxPricePerSlotHour: 36n * ASY,
    ...changes,
  };
}

/** Returns the transaction that notes the manifest and deploys to one machine or several. */
export function deploy(api, machines, { manifest = manifestBytes(), ...changes } = {}) {
  return api.tx.utility.batchAll([
    api.tx.preimage.notePreimage(manifest),
    api.tx.jobEscrow.deploy(orderFor(manifest, changes), [machines].flat()),
  ]);
}

/** Returns a replica's commitment: its result and a salt, bound to the chain, the job and the machine. */
export function commitmentTo(api, job, machine, resultHash, salt) {
  return blake2AsHex(u8aConcat(
    stringToU8a('assay/result/v1'),
    api.genesisHash.toU8a(),
    bnToU8a(job, { bitLength: 64, isLe: true }),
    bnToU8a(machine, { bitLength: 64, isLe: true }),
    hexToU8a(resultHash),
    hexToU8a(salt),
  ));
}

/** Returns the price of slots for a duration, rounded down or up, as the escrow computes it. */
export function cost(pricePerSlotHour, slots, durationMs, { roundUp = false } = {}) {
  const product = pricePerSlotHour * BigInt(slots) * BigInt(durationMs);
  return (product + (roundUp ? MILLIS_PER_HOUR - 1n : 0n)) / MILLIS_PER_HOUR;
}

/**
 * Splits a payment: 5 % are the protocol's; half of that is burned, and half of the rest is the treasury's.
 */
export function splitOf(amount) {
  const fee = (amount * 50_000n) / 1_000_000n;
  const shared = fee / 2n;
  const author = shared / 2n;
  return { provider: amount - fee, fee, burned: fee - shared, treasury: shared - author, author };
}

/** Waits until the validators' view of the current epoch is final, so that the epoch can be paid. */
export async function untilClosed(api) {
  const epoch = async () => (await api.query.chainClock.currentEpoch()).toNumber();
  const until = (await epoch()) + 2;
  await eventually(`epoch ${until}`, 300_000, epoch, (now) => now >= until);
}
