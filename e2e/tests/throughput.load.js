// Forty jobs at once on one machine, and the time from an order to the start of its job.
//
// `scripts/test load` starts a container engine and passes it and an image in `ASSAY_TEST_ENGINE_SOCKET` and
// `ASSAY_TEST_IMAGE`. If they are unset, nothing is tested.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { stringToU8a, u8aToHex } from '@polkadot/util';

import { awaitEvent, connect, eventOf, eventually, succeed, wellKnownAccounts } from '../lib/chain.js';
import { Engine } from '../lib/engine.js';
import { checkBook, FinalHistory } from '../lib/history.js';
import { orderFor } from '../lib/market.js';
import { CALM, startNode } from '../lib/node.js';
import { startWorker, withLog } from '../lib/worker.js';

const { ASSAY_TEST_ENGINE_SOCKET: engineSocket, ASSAY_TEST_IMAGE: image } = process.env;
const options = {
  skip: engineSocket && image ? false : 'no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE',
};

const SLOTS = 40;
const RUNS = 10;
const MOST_BLOCKS = 2;
const LIMIT_MS = 180_000;
// Forty slots take longer to prove than one.
const WINDOW_MS = 24_000;

let folder;
let node;
let api;
let worker;
let accounts;
let engine;
let machine;

before(async () => {
  if (options.skip) return;
  folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
  accounts = await wellKnownAccounts();
  node = await startNode({ epochMs: 24_000, challenges: { ...CALM, commitWindowMs: WINDOW_MS } });
  api = await connect(node.url);
  worker = await startWorker({
    folder, nodeUrl: node.url, engineSocket, provider: 'Bob', rewardAddress: accounts.bob.address,
    ask: 36, slots: SLOTS, cpuCores: SLOTS / 10, ramGb: SLOTS / 10, storageGb: 1,
  });
});

after(async () => {
  await worker?.stop();
  await engine?.removeAll().catch(() => {});
  await api?.disconnect();
  await node?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Notes the manifest of a command, and returns what makes a call that orders it from the machine. */
async function noted(command, changes) {
  const manifest = u8aToHex(stringToU8a(JSON.stringify({ image, command: ['/bin/sh', '-c', command] })));
  await succeed(api, api.tx.preimage.notePreimage(manifest), accounts.ferdie);
  const order = orderFor(manifest, { imageDigest: `0x${image.split('@sha256:')[1]}`, ...changes });
  return () => api.tx.jobEscrow.deploy(order, [machine]);
}

/** Submits calls of the consumer at once, and returns what became of them. */
async function together(calls) {
  const first = (await api.rpc.system.accountNextIndex(accounts.ferdie.address)).toNumber();
  return Promise.all(calls.map((call, index) => succeed(api, call, accounts.ferdie, { nonce: first + index })));
}

async function freeSlots() {
  return (await api.query.providerRegistry.machines(machine)).unwrap().freeSlots.toNumber();
}

test('a machine joins with forty slots', options, async () => {
  await withLog(worker, 'joining', async () => {
    const serving = await eventually('a machine', LIMIT_MS, () => worker.status().catch(() => ({})),
      (status) => status.standing?.takes_jobs === true);
    machine = BigInt(serving.machine);
    engine = new Engine(engineSocket, serving.worker_key);
    assert.equal(await freeSlots(), SLOTS);
  });
});

test('forty jobs that are ordered at once run at once, end, and are paid', options, async (context) => {
  // The first process of a container ignores SIGTERM unless it says otherwise.
  const command = "trap 'exit 0' TERM; echo running; sleep 900 & wait $!";
  const order = await noted(command, { kind: 'Service', maxDurationMs: 900_000n });
  const began = Date.now();
  const ordered = await together(Array.from({ length: SLOTS }, order));
  const jobs = ordered.map((included) => eventOf(included, 'jobEscrow', 'JobOrdered').job);
  assert.equal(await freeSlots(), 0);

  await withLog(worker, 'starting', async () => {
    const states = async () => {
      const parts = await api.query.jobEscrow.assignments.multi(jobs.map((job) => [job, machine]));
      return parts.filter((part) => part.isSome && part.unwrap().state.isRunning).length;
    };
    await eventually('forty running jobs', LIMIT_MS, states, (count) => count === SLOTS);
    context.diagnostic(`${SLOTS} jobs run ${Math.round((Date.now() - began) / 1_000)} s after they were ordered`);
    const running = (await engine.containers()).filter(({ state }) => state === 'running');
    const inOrder = (numbers) => numbers.toSorted((one, other) => Number(one - other));
    assert.deepEqual(inOrder(running.map(({ job }) => job)), inOrder(jobs));
    const { jobs: counts } = await worker.status();
    assert.equal(counts.open, SLOTS);
    assert.equal(counts.halted, 0);
  });

  await together(jobs.map((job) => api.tx.jobEscrow.close(job)));
  assert.equal(await freeSlots(), SLOTS);
  const history = new FinalHistory();
  await withLog(worker, 'paying', async () => {
    const closed = async () => {
      await history.readOn(api);
      return [...history.jobsOf(accounts.ferdie.address).values()].filter((book) => book.has('JobClosed')).length;
    };
    await eventually('forty closed jobs', LIMIT_MS, closed, (count) => count === SLOTS);
    for (const book of history.jobsOf(accounts.ferdie.address).values()) {
      const { outcome, paid } = checkBook(book);
      assert.equal(outcome, 'ClosedByConsumer');
      assert.ok(paid > 0n, `job ${book.job} was not paid`);
    }
    const containers = () => engine.containers();
    await eventually('an engine without their containers', LIMIT_MS, containers, ({ length }) => length === 0);
  });
});

test('a job with a cached image starts within two blocks of its order', options, async (context) => {
  const order = await noted('sleep 1', { kind: { Task: { verification: { Consumer: { windowMs: 1_000n } } } } });
  const runs = [];
  await withLog(worker, 'starting', async () => {
    for (let run = 0; run < RUNS; run += 1) {
      const submitted = Date.now();
      const ordered = await succeed(api, order(), accounts.ferdie);
      const { job } = eventOf(ordered, 'jobEscrow', 'JobOrdered');
      const included = Date.now();
      const { blockHash } = await awaitEvent(
        api, ordered.blockNumber, 'jobEscrow', 'JobStarted', (fields) => fields.job === job, LIMIT_MS,
      );
      const seconds = (Date.now() - submitted) / 1_000;
      const blocks = (await api.rpc.chain.getHeader(blockHash)).number.toNumber() - ordered.blockNumber;
      runs.push({ blocks, seconds, ordering: (included - submitted) / 1_000 });
      await awaitEvent(
        api, ordered.blockNumber, 'jobEscrow', 'ResultSubmitted', (fields) => fields.job === job, LIMIT_MS,
      );
    }
  });
  const median = (values) => {
    const sorted = values.toSorted((one, other) => one - other);
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  };
  const blocks = median(runs.map((run) => run.blocks));
  context.diagnostic(
    `deploy to JobStarted: median ${blocks} blocks and ${median(runs.map((run) => run.seconds)).toFixed(1)} s from the `
      + `submission, of which ${median(runs.map((run) => run.ordering)).toFixed(1)} s to the order's block; all: `
      + runs.map((run) => `${run.blocks} (${run.seconds.toFixed(1)} s)`).join(', '),
  );
  assert.ok(blocks <= MOST_BLOCKS, `the median of ${RUNS} runs is ${blocks} blocks`);
});
