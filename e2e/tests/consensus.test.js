// Blocks come every three seconds, GRANDPA finalizes them, and a node that dies loses nothing.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { keptPath } from '../lib/binary.js';
import { ASY, balanceOf, connect, eventually, succeed, totalIssuance, wellKnownAccounts } from '../lib/chain.js';
import { startNode } from '../lib/node.js';

const SLOT_MS = 3_000;
const MAX_ADVANCE_MS = 4n * BigInt(SLOT_MS);

let folder;
let node;
let api;
let accounts;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
  node = await startNode({ folder });
  api = await connect(node.url);
  accounts = await wellKnownAccounts();
});

after(async () => {
  await api?.disconnect();
  await node?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Returns the heights of the best and of the newest finalized block. */
async function heights() {
  const [best, final] = await Promise.all([
    api.rpc.chain.getHeader(),
    api.rpc.chain.getFinalizedHead().then((hash) => api.rpc.chain.getHeader(hash)),
  ]);
  return { best: best.number.toNumber(), final: final.number.toNumber() };
}

/** Returns the timestamp and the active time at a block, in milliseconds. */
async function clockAt(number) {
  const at = await api.at(await api.rpc.chain.getBlockHash(number));
  const [timestamp, active] = await Promise.all([at.query.timestamp.now(), at.query.chainClock.activeTimeMs()]);
  return { timestampMs: timestamp.toBigInt(), activeMs: active.toBigInt() };
}

test('a block is made every three seconds', async () => {
  const last = 9;
  await eventually(`block ${last}`, 60_000, heights, ({ best }) => best >= last);
  const clocks = await Promise.all(Array.from({ length: last }, (_, index) => clockAt(index + 1)));
  const gaps = clocks.slice(1).map(({ timestampMs }, index) => Number(timestampMs - clocks[index].timestampMs));
  // A busy machine may skip a slot or start one late; most blocks are three seconds apart nevertheless.
  const median = gaps.toSorted((left, right) => left - right)[Math.floor(gaps.length / 2)];
  assert.ok(Math.abs(median - SLOT_MS) < 500, `gaps between blocks: ${gaps.join(', ')} ms`);
});

test('what the runtime compiled to is kept for the next start', async () => {
  const kept = await readdir(await keptPath('compiled-runtimes'), { recursive: true, withFileTypes: true });
  assert.ok(kept.some((entry) => entry.isFile()), 'a runtime is in the folder of compiled runtimes');
});

test('active time follows the timestamps', async () => {
  const [first, later] = await Promise.all([clockAt(1), clockAt(8)]);
  assert.equal(first.activeMs, 0n, 'the first block has nothing to measure from');
  assert.equal(later.activeMs, later.timestampMs - first.timestampMs);
});

test('GRANDPA finalizes blocks, a few behind the best', async () => {
  const { best, final } = await eventually('finality', 30_000, heights, (seen) => seen.final > 2);
  assert.ok(best - final <= 5, `best ${best}, final ${final}`);
  const justification = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no justification within 30 s')), 30_000);
    api.rpc.grandpa.subscribeJustifications((bytes) => {
      clearTimeout(timer);
      resolve(bytes);
    }).catch(reject);
  });
  assert.ok(justification.length > 0);
  const state = await api.rpc.grandpa.roundState();
  assert.equal(state.best.totalWeight.toNumber(), 1, 'one validator votes on a development chain');
});

test('a node that was killed continues its chain, and the time it stood still does not count', async () => {
  const saved = accounts.fresh('saved').address;
  const included = await succeed(api, api.tx.balances.transferKeepAlive(saved, 7n * ASY), accounts.eve, {
    finalized: true,
  });
  const identifier = await succeed(api, api.tx.providerRegistry.registerProvider('outlives its node'), accounts.eve, {
    finalized: true,
  });
  const before = { issuance: await totalIssuance(api), ...(await heights()) };

  await api.disconnect();
  await node.kill();
  const stoodStillMs = 16_000;
  await new Promise((resolve) => setTimeout(resolve, stoodStillMs));
  node = await startNode({ folder });
  api = await connect(node.url);

  const grew = ({ best, final }) => best > before.best + 2 && final > before.final + 2;
  const after = await eventually('new blocks', 60_000, heights, grew);
  assert.ok(after.final >= before.final);
  for (const { blockNumber, blockHash } of [included, identifier]) {
    assert.equal((await api.rpc.chain.getBlockHash(blockNumber)).toHex(), blockHash, 'final blocks are still there');
  }
  assert.equal((await balanceOf(api, saved)).free, 7n * ASY);
  assert.ok((await api.query.providerRegistry.providers(accounts.eve.address)).isSome);
  assert.equal(await totalIssuance(api), before.issuance);

  // One gap between two blocks is as long as the node was down; active time advanced by four slots in it.
  let gap;
  for (let number = before.final; number < after.best; number += 1) {
    const [left, right] = await Promise.all([clockAt(number), clockAt(number + 1)]);
    if (right.timestampMs - left.timestampMs >= BigInt(stoodStillMs)) gap = { left, right };
  }
  assert.ok(gap, 'the standstill is seen in the timestamps');
  assert.equal(gap.right.activeMs - gap.left.activeMs, MAX_ADVANCE_MS);
});
