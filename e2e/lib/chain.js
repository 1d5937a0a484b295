// Talks to a chain through polkadot.js: connects, signs, waits, and reads the results.

import assert from 'node:assert/strict';
import { ApiPromise, HttpProvider, Keyring, WsProvider } from '@polkadot/api';
import { cryptoWaitReady, xxhashAsHex } from '@polkadot/util-crypto';

const PAGE_KEYS = 500;
const TRANSACTION_LIMIT_MS = 120_000;

const providers = new WeakMap();

/** One ASY in plancks. */
export const ASY = 1_000_000_000_000n;

/** Connects a polkadot.js client; fails instead of waiting for ever. */
export async function connect(url) {
  const provider = new WsProvider(url, 500);
  // The extensions that polkadot.js does not know carry no data, so it needs no definition of them.
  const api = await ApiPromise.create({ provider, noInitWarn: true, throwOnConnect: true });
  providers.set(api, provider);
  return api;
}

/** Calls one JSON-RPC method over HTTP, without a library in between. */
export async function rpc(url, method, ...parameters) {
  const provider = new HttpProvider(url.replace('ws://', 'http://'));
  return provider.send(method, parameters);
}

/** Returns the well-known accounts of development chains. */
export async function wellKnownAccounts() {
  await cryptoWaitReady();
  const keyring = new Keyring({ type: 'sr25519', ss58Format: 42 });
  const account = (uri) => keyring.addFromUri(uri);
  return {
    alice: account('//Alice'),
    aliceStash: account('//Alice//stash'),
    bob: account('//Bob'),
    charlie: account('//Charlie'),
    dave: account('//Dave'),
    eve: account('//Eve'),
    ferdie: account('//Ferdie'),
    /** Returns an account of its own, which owns nothing at genesis. */
    fresh: (name) => account(`//e2e//${name}`),
  };
}

/**
 * Signs and submits a call and waits until it is in a block, or in a finalized one.
 *
 * Returns the block's hash, number and parent, the call's own events, the fee that was paid (none for a
 * worker key's call that takes its machine's assignment a step further), and the dispatch error as
 * `Pallet.Error`, `Pallet.Error(Cause)` or `Kind.Reason` if the call failed.
 */
export async function submit(api, call, signer, { finalized = false, nonce = -1 } = {}) {
  let unsubscribe;
  let timer;
  try {
    const result = await new Promise((resolve, reject) => {
      timer = setTimeout(
        () => reject(new Error(`${describeCall(call)} was in no block after ${TRANSACTION_LIMIT_MS / 1_000} s`)),
        TRANSACTION_LIMIT_MS,
      );
      call.signAndSend(signer, { nonce }, (status) => {
        if (status.isError) reject(new Error(`${describeCall(call)} was dropped: ${status.status.type}`));
        if (finalized ? status.status.isFinalized : status.status.isInBlock) resolve(status);
      }).then((stop) => { unsubscribe = stop; }, reject);
    });
    const hash = finalized ? result.status.asFinalized : result.status.asInBlock;
    const header = await api.rpc.chain.getHeader(hash);
    const paid = result.events.find(({ event }) => api.events.transactionPayment.TransactionFeePaid.is(event));
    return {
      blockHash: hash.toHex(),
      parentHash: header.parentHash.toHex(),
      blockNumber: header.number.toNumber(),
      events: ownEvents(api, result.events.map(({ event }) => event), signer),
      fee: paid === undefined ? 0n : paid.event.data.actualFee.toBigInt() + paid.event.data.tip.toBigInt(),
      error: result.dispatchError && describeError(api, result.dispatchError),
    };
  } finally {
    clearTimeout(timer);
    unsubscribe?.();
  }
}

/**
 * Returns a transaction's own events. The chain attributes the events of hooks after a block's inherents to
 * the first transaction, so the own events begin with the fee. A free transaction only marks its end, so its
 * events may include others.
 */
function ownEvents(api, events, signer) {
  if (events.some((event) => api.events.skipFeelessPayment.FeeSkipped.is(event))) return events;
  const isFee = (event) => api.events.balances.Withdraw.is(event) && event.data.who.eq(signer.address);
  const first = events.findIndex(isFee);
  assert.ok(first >= 0, 'a transaction pays its fee first');
  return events.slice(first);
}

/** Submits a call that must succeed. */
export async function succeed(api, call, signer, options) {
  const included = await submit(api, call, signer, options);
  assert.equal(included.error, undefined, `${describeCall(call)} failed with ${included.error}`);
  return included;
}

/** Makes governance, which has this key, submit calls: all of them or none. */
export async function govern(api, calls, sudoKey) {
  const included = await succeed(api, api.tx.sudo.sudo(api.tx.utility.batchAll(calls)), sudoKey);
  const { sudoResult } = included.events.find((event) => api.events.sudo.Sudid.is(event)).data;
  assert.ok(sudoResult.isOk, `governance failed with ${sudoResult.isErr && describeError(api, sudoResult.asErr)}`);
  return included;
}

/**
 * Returns the call with which governance sets a parameter, such as `('ProviderStaking', 'UnbondingEpochs',
 * 1)`.
 */
export function setParameter(api, pallet, parameter, value) {
  return api.tx.parameters.setParameter({ [pallet]: { [parameter]: [null, value] } });
}

/**
 * Submits calls that must each be refused with its error, and checks that they left no trace: every storage
 * entry of Assay's pallets and of the preimage store is unchanged, and the signers lost their fees and
 * nothing else.
 *
 * The calls go into the chain together, because each is refused independently of the others.
 */
export async function refuseAll(context, api, cases) {
  const nonces = new Map();
  const submitted = [];
  for (const [, call, signer] of cases) {
    const nonce = nonces.get(signer.address) ?? (await api.rpc.system.accountNextIndex(signer.address)).toNumber();
    nonces.set(signer.address, nonce + 1);
    submitted.push(submit(api, call, signer, { nonce }));
  }
  const included = await Promise.all(submitted);

  for (const [index, [name, call, , expected]] of cases.entries()) {
    await context.test(name, () => {
      const { error } = included[index];
      assert.equal(error, expected, `${describeCall(call)} gave ${error ?? 'no error'}`);
    });
  }

  const inOrder = included.toSorted((left, right) => left.blockNumber - right.blockNumber);
  const ends = [inOrder[0].parentHash, inOrder.at(-1).blockHash];
  await context.test('and the state is what it was', async () => {
    const [before, after] = await Promise.all(ends.map((hash) => marketState(api, hash)));
    assert.deepEqual(after, before);
  });
  await context.test('and the signers lost their fees and nothing else', async () => {
    for (const address of nonces.keys()) {
      const [before, after] = await Promise.all(ends.map((hash) => balanceOf(api, address, hash)));
      const own = included.filter((_, index) => cases[index][2].address === address);
      assert.equal(before.free - after.free, own.reduce((sum, { fee }) => sum + fee, 0n));
      assert.equal(before.reserved, after.reserved);
    }
  });
}

/** Reads the raw storage, key by key, of the pallets that a refused call of the market might have changed. */
async function marketState(api, hash) {
  const state = {};
  // The cursors of the slashes and of the ends of evidence move with time, whatever is called.
  const moving = [api.query.providerStaking.nextSlash, api.query.attestation.nextExpirySlot].map((entry) => entry.key());
  for (const pallet of ['ProviderRegistry', 'ProviderStaking', 'JobEscrow', 'Attestation', 'Preimage']) {
    const prefix = xxhashAsHex(pallet, 128);
    for (let start = null; ;) {
      const keys = await send(api, 'state_getKeysPaged', prefix, PAGE_KEYS, start, hash);
      if (keys.length > 0) {
        const [{ changes }] = await send(api, 'state_queryStorageAt', keys, hash);
        for (const [key, value] of changes) if (!moving.includes(key)) state[key] = value;
      }
      if (keys.length < PAGE_KEYS) break;
      start = keys.at(-1);
    }
  }
  return state;
}

/** Sends one request through a client's own connection and returns the raw response. */
export function send(api, method, ...parameters) {
  return providers.get(api).send(method, parameters);
}

/** Subscribes over JSON-RPC without decoding; returns the function that ends the subscription. */
export async function subscribe(api, group, parameters, callback) {
  const provider = providers.get(api);
  const notification = `${group}_followEvent`;
  const id = await provider.subscribe(notification, `${group}_follow`, parameters, (error, event) => {
    if (!error) callback(event);
  });
  return () => provider.unsubscribe(notification, `${group}_unfollow`, id);
}

/** Returns an account's balance at a block, in plancks. */
export async function balanceOf(api, address, hash) {
  const at = hash === undefined ? api : await api.at(hash);
  const [{ data }, holds] = await Promise.all([at.query.system.account(address), at.query.balances.holds(address)]);
  return {
    free: data.free.toBigInt(),
    reserved: data.reserved.toBigInt(),
    /** Returns the plancks held for one reason, such as `held('jobEscrow', 'Job')`. */
    held(pallet, reason) {
      const own = holds.filter(({ id }) => id.type.toLowerCase() === pallet.toLowerCase() && id.value.type === reason);
      return own.reduce((sum, { amount }) => sum + amount.toBigInt(), 0n);
    },
  };
}

/** Returns the total issuance at a block, in plancks. */
export async function totalIssuance(api, hash) {
  const at = hash === undefined ? api : await api.at(hash);
  return (await at.query.balances.totalIssuance()).toBigInt();
}

/** Returns the active time at a block, in milliseconds. */
export async function activeTimeAt(api, hash) {
  return (await (await api.at(hash)).query.chainClock.activeTimeMs()).toBigInt();
}

/** Returns the only event of this kind among a call's events, with its fields as plain values. */
export function eventOf(included, section, method) {
  const found = eventsOf(included, section, method);
  assert.equal(found.length, 1, `${found.length} events ${section}.${method} where one was expected`);
  return found[0];
}

/** Returns all events of this kind among a call's or a block's events, with their fields as plain values. */
export function eventsOf({ events }, section, method) {
  return events.filter((event) => event.section === section && event.method === method).map(fieldsOf);
}

/** Returns the results of a read before and after a block. */
export function around({ parentHash, blockHash }, read) {
  return Promise.all([parentHash, blockHash].map((hash) => read(hash)));
}

/**
 * Waits for the first block from a height on that has an event of this kind whose fields `accepts` holds for.
 *
 * Returns the fields, and the block's hash, parent and events.
 */
export async function awaitEvent(api, from, section, method, accepts = () => true, limitMs = 60_000) {
  const started = Date.now();
  const looked = new Map();
  for (let height = from; ;) {
    const left = limitMs - (Date.now() - started);
    const best = async () => (await api.rpc.chain.getHeader()).number.toNumber();
    await eventually(`an event ${section}.${method}`, left, best, (seen) => seen >= height);
    const blockHash = (await api.rpc.chain.getBlockHash(height)).toHex();
    const parentHash = (await api.rpc.chain.getHeader(blockHash)).parentHash.toHex();
    // Another fork replaced the block before, which may have had the event: look at it again.
    if (height > from && looked.get(height - 1) !== parentHash) {
      height -= 1;
      continue;
    }
    const records = await (await api.at(blockHash)).query.system.events();
    const events = records.map(({ event }) => event);
    const fields = eventsOf({ events }, section, method).find(accepts);
    if (fields !== undefined) return { fields, blockHash, parentHash, events };
    looked.set(height, blockHash);
    height += 1;
  }
}

/**
 * Converts an event's fields, by name: numbers to bigint, enumerations to their variant's name, the rest to
 * text.
 */
export function fieldsOf(event) {
  const names = event.meta.fields.map(({ name }) => camelCase(name.unwrap().toString()));
  return Object.fromEntries(event.data.map((value, index) => [names[index], plain(value)]));
}

function plain(value) {
  if (typeof value.toBigInt === 'function') return value.toBigInt();
  if (value.type !== undefined && value.defKeys !== undefined) {
    const inner = value.isBasic ? null : value.value.toJSON();
    return inner === null ? value.type : `${value.type}(${value.value.toString()})`;
  }
  return value.toJSON?.() ?? value.toString();
}

function camelCase(name) {
  return name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
}

/** Waits until a read returns a value that `accepts` holds for, and returns it. */
export async function eventually(what, limitMs, read, accepts = Boolean) {
  const started = Date.now();
  for (;;) {
    const value = await read();
    if (accepts(value)) return value;
    if (Date.now() - started > limitMs) {
      throw new Error(`${what} did not happen within ${limitMs / 1_000} s; last seen: ${JSON.stringify(value)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/**
 * Describes a dispatch error as `Pallet.Error`, or as `Kind.Reason` if it is none of a pallet's; a cause
 * inside the error is appended, as in `Pallet.Error(Cause)`.
 */
function describeError(api, error) {
  if (error.isModule) {
    const { section, name, fields: [field] } = api.registry.findMetaError(error.asModule);
    if (field === undefined) return `${section}.${name}`;
    // The first byte is the error's own number.
    const cause = api.registry.createType(api.registry.createLookupType(field.type), error.asModule.error.slice(1));
    return `${section}.${name}(${describeCause(cause)})`;
  }
  return error.isBasic || error.value.type === undefined ? error.type : `${error.type}.${error.value.type}`;
}

/** Describes a value of an error: an enumeration by its variant's name and content, the rest as text. */
function describeCause(value) {
  // Structs have keys too, but no type.
  if (value.type === undefined || value.defKeys === undefined) return value.toString();
  return value.isNone ? value.type : `${value.type}(${describeCause(value.value)})`;
}

function describeCall(call) {
  return `${call.method.section}.${call.method.method}`;
}
