// Three validators on one machine: all make blocks, agree on the finalized chain, and lose nothing when one
// dies.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ASY, balanceOf, connect, eventually, succeed, wellKnownAccounts } from '../lib/chain.js';
import { startLocalValidator } from '../lib/node.js';

const NAMES = ['alice', 'bob', 'charlie'];

let folder;
let accounts;
const nodes = {};
const apis = {};

async function start(name) {
  const peers = Object.values(nodes);
  nodes[name] = await startLocalValidator(name, { folder: join(folder, name), peers });
  apis[name] = await connect(nodes[name].url);
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
  accounts = await wellKnownAccounts();
  for (const name of NAMES) await start(name);
});

after(async () => {
  for (const api of Object.values(apis)) await api.disconnect();
  for (const node of Object.values(nodes)) await node.stop({ keepFolder: true });
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Returns the height of a node's newest finalized block. */
async function finalHeight(name) {
  const hash = await apis[name].rpc.chain.getFinalizedHead();
  return (await apis[name].rpc.chain.getHeader(hash)).number.toNumber();
}

async function bestHeight(name) {
  return (await apis[name].rpc.chain.getHeader()).number.toNumber();
}

/** Returns the index of the validator that made a block: BABE's digest begins with a kind and this number. */
async function authorOf(name, height) {
  const hash = await apis[name].rpc.chain.getBlockHash(height);
  const header = await apis[name].rpc.chain.getHeader(hash);
  const { asPreRuntime: [, digest] } = header.digest.logs.find((log) => log.isPreRuntime);
  return Buffer.from(digest.toU8a(true)).readUInt32LE(1);
}

test('all three validators make blocks, and all agree on what is final', async () => {
  for (const name of NAMES) {
    await eventually(`${name}'s finality`, 180_000, () => finalHeight(name), (height) => height >= 12);
  }
  const height = Math.min(...(await Promise.all(NAMES.map(finalHeight))));
  const hashes = await Promise.all(
    NAMES.map(async (name) => (await apis[name].rpc.chain.getBlockHash(height)).toHex()),
  );
  assert.equal(new Set(hashes).size, 1, `block ${height} is ${hashes.join(', ')}`);

  // Authors are drawn by lot, so it may take some time until each has made a block.
  const authors = new Set();
  let seen = 0;
  await eventually('a block of every validator', 180_000, async () => {
    for (const end = await finalHeight('alice'); seen < end; seen += 1) authors.add(await authorOf('alice', seen + 1));
    return [...authors].sort().join();
  }, (all) => all === '0,1,2');
  const state = await apis.alice.rpc.grandpa.roundState();
  assert.equal(state.best.totalWeight.toNumber(), 3);
});

test('a transaction given to one node is final on the others', async () => {
  const receiver = accounts.fresh('on every node').address;
  await succeed(apis.bob, apis.bob.tx.balances.transferKeepAlive(receiver, 3n * ASY), accounts.ferdie, {
    finalized: true,
  });
  for (const name of NAMES) {
    await eventually(`the transfer on ${name}'s node`, 30_000, async () => {
      const final = await apis[name].rpc.chain.getFinalizedHead();
      return (await balanceOf(apis[name], receiver, final)).free === 3n * ASY;
    });
  }
});

test('without a third of the votes nothing becomes final, and it all does when they are back', async () => {
  await apis.charlie.disconnect();
  await nodes.charlie.kill();
  delete apis.charlie;
  delete nodes.charlie;

  // Votes under way still count; then finality stalls while blocks go on.
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  const stood = await finalHeight('alice');
  const hash = (await apis.alice.rpc.chain.getBlockHash(stood)).toHex();
  const best = await bestHeight('alice');
  await eventually('blocks of two validators', 90_000, () => bestHeight('alice'), (height) => height >= best + 3);
  assert.equal(await finalHeight('alice'), stood, 'two of three votes finalize nothing');
  // The chain itself shows it: each author states how far its parent is ahead of the finalized block.
  const { hash: head, number } = await apis.alice.rpc.chain.getHeader();
  const { lags } = await (await apis.alice.at(head)).query.finalityView.recent();
  assert.equal(lags.at(-1).toNumber(), number.toNumber() - 1 - stood);

  await start('charlie');
  for (const name of NAMES) {
    await eventually(`${name}'s finality`, 120_000, () => finalHeight(name), (height) => height > stood + 3);
    assert.equal((await apis[name].rpc.chain.getBlockHash(stood)).toHex(), hash, 'what was final stays');
  }
});
