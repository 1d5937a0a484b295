// Finality stalls while blocks go on: a real worker starts a job and answers a challenge by best blocks,
// because their deadlines go on too; and none of its acts is lost when finality is back.
//
// `scripts/test e2e` starts a container engine and passes it and an image in `ASSAY_TEST_ENGINE_SOCKET` and
// `ASSAY_TEST_IMAGE`. If they are unset, nothing is tested.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { stringToU8a, u8aToHex } from '@polkadot/util';

import { awaitEvent, connect, eventOf, eventually, fieldsOf, succeed, wellKnownAccounts } from '../lib/chain.js';
import { deploy } from '../lib/market.js';
import { startLocalValidator } from '../lib/node.js';
import { logIn, ownerPart } from '../lib/owner.js';
import { startWorker, withLog } from '../lib/worker.js';

const { ASSAY_TEST_ENGINE_SOCKET: engineSocket, ASSAY_TEST_IMAGE: image } = process.env;
const options = { skip: engineSocket && image ? false : 'no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE' };

const NAMES = ['alice', 'bob', 'charlie'];
const LIMIT_MS = 180_000;
// Two of three validators make two blocks in three slots. Rounds are so short that all open ones fit.
const CHANGES = {
  epochDurationMs: 60_000,
  newcomerIntervalMs: 9_000,
  commitWindowMs: 24_000,
  proveWindowMs: 30_000,
  meanAuditIntervalMs: 30_000,
  maxAuditIntervalMs: 60_000,
  reportWindowMs: 30_000,
  maxProofAgeMs: 3_600_000,
  items: 2 ** 14,
  lanesLog2: 11,
  steps: 32,
  deadlineMs: 24_000,
};

let folder;
let accounts;
let worker;
let machine;
let ordered;
const nodes = {};
let api;

async function start(name) {
  const peers = Object.values(nodes);
  nodes[name] = await startLocalValidator(name, { folder: join(folder, name), peers, changes: CHANGES });
}

before(async () => {
  if (options.skip) return;
  folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
  accounts = await wellKnownAccounts();
  for (const name of NAMES) await start(name);
  api = await connect(nodes.alice.url);
  worker = await startWorker({
    folder, nodeUrl: nodes.alice.url, engineSocket, provider: 'Bob', rewardAddress: accounts.bob.address,
  });
});

after(async () => {
  await worker?.stop();
  await api?.disconnect();
  for (const node of Object.values(nodes)) await node.stop({ keepFolder: true });
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function finalHeight() {
  const hash = await api.rpc.chain.getFinalizedHead();
  return (await api.rpc.chain.getHeader(hash)).number.toNumber();
}

async function bestHeight() {
  return (await api.rpc.chain.getHeader()).number.toNumber();
}

/** Waits for the next audit, and returns its round and the block in which it opened. */
function nextAudit() {
  return new Promise((resolve, reject) => {
    let unsubscribe;
    const timer = setTimeout(() => reject(new Error('no audit opened')), LIMIT_MS);
    api.query.system.events((records) => {
      const opened = records
        .map(({ event }) => event)
        .find((event) => api.events.hardwareChallenge.RoundOpened.is(event) && fieldsOf(event).kind === 'Audit');
      if (!opened) return;
      clearTimeout(timer);
      unsubscribe?.();
      resolve(fieldsOf(opened).round);
    }).then((stop) => { unsubscribe = stop; }, reject);
  });
}

test('a worker joins a chain whose blocks become final', options, async () => {
  await withLog(worker, 'joining', async () => {
    const serving = await eventually('a machine', LIMIT_MS, () => worker.status().catch(() => ({})),
      (status) => status.standing?.takes_jobs === true);
    machine = BigInt(serving.machine);
    await eventually('finality', LIMIT_MS, finalHeight, (height) => height >= 6);
  });
});

test('without finality a challenge is answered and a job is started', options, async () => {
  const round = await nextAudit();
  const from = await bestHeight();
  await nodes.charlie.kill();
  delete nodes.charlie;

  await withLog(worker, 'the challenge', async () => {
    // A fork at the kill can take the answer to the first audit with it: then a later one is answered.
    const isOurs = (fields) => fields.machine === machine && fields.round >= round;
    await awaitEvent(api, from, 'hardwareChallenge', 'MachineProven', isOurs, LIMIT_MS);
  });
  const stood = await finalHeight();

  await withLog(worker, 'the job', async () => {
    const text = JSON.stringify({
      image, command: ['/bin/sh', '-c', 'echo running; sleep 600'], delegates: [accounts.dave.address],
    });
    ordered = await succeed(api, deploy(api, machine, {
      manifest: u8aToHex(stringToU8a(text)),
      imageDigest: `0x${image.split('@sha256:')[1]}`,
      kind: 'Service',
    }), accounts.ferdie);
    const { job } = eventOf(ordered, 'jobEscrow', 'JobOrdered');
    await awaitEvent(api, ordered.blockNumber, 'jobEscrow', 'JobStarted', (fields) => fields.job === job, LIMIT_MS);
  });
  assert.ok((await finalHeight()) <= stood + 1, 'all of that was without finality');
  const { chain } = await worker.status();
  assert.ok(chain.best_block > chain.finalized_block + 3, JSON.stringify(chain));
});

test('the consumer and its delegate read the job at its worker, and nobody else does', options, async () => {
  const { job } = eventOf(ordered, 'jobEscrow', 'JobOrdered');
  await withLog(worker, 'the owner part', async () => {
    const record = (await api.query.providerRegistry.machines(machine)).unwrap();
    const part = await ownerPart(api, worker.url, machine, record.workerKey.toString());
    const open = await (await fetch(`${worker.url}/status`)).json();
    assert.equal(open.jobs.open, 1);
    assert.equal(open.owner_part.spki_sha256, part.spki_sha256);
    assert.equal((await fetch(`${worker.url}/jobs/${job}/logs`)).status, 404);

    for (const [pair, wrapped] of [[accounts.ferdie, false], [accounts.ferdie, true], [accounts.dave, true]]) {
      const owner = await logIn(api, part, job, pair, { wrapped });
      // The block that tells of the start is known here before the worker has looked at it.
      const status = await eventually('the running job', 30_000, () => owner.status(),
        ({ open }) => open.state === 'running');
      assert.equal(status.open.consumer, accounts.ferdie.address);
      const output = await eventually('the output', 30_000, () => owner.logs().catch(() => Buffer.alloc(0)),
        (bytes) => bytes.length > 0);
      assert.equal(output.toString(), 'running\n');
      await owner.logOut();
      await assert.rejects(owner.status(), { status: 401 });
    }
    await assert.rejects(logIn(api, part, job, accounts.eve), { status: 403 });
    const other = { ...part, spki_sha256: `0x${'11'.repeat(32)}` };
    await assert.rejects(logIn(api, other, job, accounts.ferdie), /the worker vouches for/);
  });
});

test('what the worker did stays when blocks become final again', options, async () => {
  const height = await bestHeight();
  await start('charlie');
  await eventually('finality', LIMIT_MS, finalHeight, (final) => final > height);
  const final = await api.at(await api.rpc.chain.getFinalizedHead());
  const jobs = await final.query.jobEscrow.machineJobs.keys(machine);
  assert.equal(jobs.length, 1);
  const [, job] = jobs[0].args;
  const { state } = (await final.query.jobEscrow.assignments(job, machine)).unwrap();
  assert.ok(state.isRunning, state.type);
  await eventually('the worker to see it', 30_000, () => worker.status(), ({ chain }) => chain.problem === null);
});
