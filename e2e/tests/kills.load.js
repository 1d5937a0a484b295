// A hundred jobs, while worker, engine, containers and nodes are killed at random moments: no job runs twice at its
// consumer's cost, none is paid that did not run, and nothing of any is left.
//
// The plan follows from a seed, which is printed; `ASSAY_SEED` repeats it. `scripts/test load` starts a container
// engine and passes it and an image in `ASSAY_TEST_ENGINE_SOCKET` and `ASSAY_TEST_IMAGE`. If they are unset, nothing
// is tested. The engine that is killed is the test's own, by `ASSAY_TEST_ENGINE_COMMAND`; without that only the
// others are killed.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { stringToU8a, u8aToHex } from '@polkadot/util';
import { blake2AsHex } from '@polkadot/util-crypto';

import { balanceOf, connect, eventually, succeed, wellKnownAccounts } from '../lib/chain.js';
import { Engine, startOwnEngine } from '../lib/engine.js';
import { checkBook, FinalHistory } from '../lib/history.js';
import { orderFor } from '../lib/market.js';
import { startLocalValidator } from '../lib/node.js';
import { logIn, ownerPart } from '../lib/owner.js';
import { Random, seedOfRun } from '../lib/random.js';
import { resultHash } from '../lib/result.js';
import { Sender } from '../lib/sender.js';
import { startWorker, withLog } from '../lib/worker.js';

const { ASSAY_TEST_ENGINE_SOCKET: engineSocket, ASSAY_TEST_IMAGE: image } = process.env;
const options = {
  skip: engineSocket && image ? false : 'no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE',
};

const NAMES = ['alice', 'bob', 'charlie'];
const NODE_OF_WORKER = 'charlie';
const SLOTS = 32;
const START_LIMIT_MS = 180_000;
const JOBS_LIMIT_MS = 420_000;
const TIDY_LIMIT_MS = 60_000;
const VICTIM_LIMIT_MS = 6_000;
const TICK_MS = 1_500;

/** Jobs by kind, and how many of each. Services come among the first: they end last. */
const TASKS = { computing: 40, failing: 12, writing: 20, random: 12 };
const SERVICES = { closed: 8, lasting: 4, crashing: 4 };
const JOBS = 100;

/** Kills by victim. */
const KILLS = { worker: 8, engine: 6, process: 5, monitor: 2, node: 4 };

// The shortest epochs: a job is paid two epochs after it ran. No audit comes meanwhile.
const CHANGES = {
  // Only on such a chain do validators probe a worker on the loopback address; elsewhere it counts as down, unpaid.
  chainType: 'Development',
  epochDurationMs: 24_000,
  newcomerIntervalMs: 9_000,
  commitWindowMs: 24_000,
  proveWindowMs: 30_000,
  meanAuditIntervalMs: 1_000 * 3_600_000,
  maxAuditIntervalMs: 1_000 * 3_600_000,
  reportWindowMs: 30_000,
  maxProofAgeMs: 2_000 * 3_600_000,
  items: 2 ** 14,
  lanesLog2: 11,
  steps: 32,
  deadlineMs: 24_000,
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The validators; each that was killed can be started again with its files and at its ports. */
class Network {
  constructor(folder) {
    this.folder = folder;
    this.nodes = {};
    this.apis = {};
    this.ports = {};
  }

  async start(name) {
    const peers = Object.values(this.nodes);
    const folder = join(this.folder, name);
    const node = await startLocalValidator(name, { folder, peers, changes: CHANGES, ports: this.ports[name] });
    this.nodes[name] = node;
    this.ports[name] = node.ports;
    this.apis[name] = await connect(node.url);
  }

  async kill(name) {
    const { [name]: node } = this.nodes;
    const { [name]: api } = this.apis;
    delete this.nodes[name];
    delete this.apis[name];
    await api.disconnect();
    await node.kill();
  }

  /** Returns the client of a node that runs. */
  live() {
    const api = NAMES.map((name) => this.apis[name]).find((one) => one?.isConnected);
    if (api === undefined) throw new Error('no node runs');
    return api;
  }

  async stop() {
    for (const api of Object.values(this.apis)) await api.disconnect();
    for (const node of Object.values(this.nodes)) await node.stop({ keepFolder: true });
  }
}

let folder;
let accounts;
let network;
let engine;
let isOwnEngine = false;
let worker;
let machine;
let part;
let hasDisks;
let sender;
const seed = seedOfRun();
const random = new Random(seed);
const history = new FinalHistory();
const began = Date.now();
// What became of the plan, for the tests that judge it.
const ordered = new Map();
const killedJobs = new Set();
const made = { worker: 0, engine: 0, process: 0, monitor: 0, node: 0 };

before(async () => {
  if (options.skip) return;
  folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
  accounts = await wellKnownAccounts();
  network = new Network(folder);
  for (const name of NAMES) await network.start(name);
  engine = await startOwnEngine(folder);
  isOwnEngine = engine !== undefined;
  engine ??= new Engine(engineSocket);
  worker = await startWorker({
    folder,
    nodeUrl: network.nodes[NODE_OF_WORKER].url,
    engineSocket: engine.socket,
    provider: 'Bob',
    rewardAddress: accounts.bob.address,
    ask: 36,
    slots: SLOTS,
    cpuCores: 4,
    ramGb: 3,
    storageGb: 1,
  });
});

after(async () => {
  await worker?.stop();
  if (machine !== undefined) {
    await engine.removeAll().catch(() => {});
    await engine.removeControlGroups();
  }
  if (isOwnEngine) await engine.stop();
  await network?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

function say(text) {
  console.log(`${((Date.now() - began) / 1_000).toFixed(0).padStart(4)} s  ${text}`);
}

// --- Jobs -------------------------------------------------------------------------------------------------------

/** Text that `seq 1 2000 | sha256sum` writes. */
const SUM = (() => {
  const lines = Array.from({ length: 2_000 }, (_, index) => `${index + 1}\n`).join('');
  return `${createHash('sha256').update(lines).digest('hex')}  -\n`;
})();

// The first process of a container ignores SIGTERM unless it says otherwise.
const script = (...lines) => ["trap 'exit 9' TERM", 'echo begin', ...lines].join('; ');
const sleep = (seconds) => `sleep ${seconds} & wait $!`;

/** Manifest and undisturbed result of each kind of job; `seconds` is how long it runs. */
const SORTS = {
  computing: (seconds) => ({
    command: script(sleep(seconds), 'seq 1 2000 | sha256sum'), exitCode: 0, stdout: `begin\n${SUM}`,
  }),
  failing: (seconds) => ({
    command: script(sleep(seconds), 'echo end', 'exit 3'), exitCode: 3, stdout: 'begin\nend\n',
  }),
  writing: (seconds) => ({
    command: script('echo one >/work/a', sleep(seconds), 'seq 1 3 >/work/b', 'echo end'),
    manifest: { work_dir: '/work', output: '/work' },
    exitCode: 0,
    stdout: 'begin\nend\n',
    output: { a: 'one\n', b: '1\n2\n3\n' },
  }),
  // Each run writes something else, which is no part of the result.
  random: (seconds) => ({
    command: script('cat /proc/sys/kernel/random/uuid', sleep(seconds)),
    manifest: { capture_stdout: false },
    exitCode: 0,
  }),
  closed: () => ({ command: script(sleep(900)) }),
  lasting: () => ({ command: script(sleep(900)) }),
  crashing: () => ({ command: script(sleep(2), 'exit 1') }),
};

/** Returns a job of the plan. */
function jobOf(sort, seconds) {
  const { command, manifest, ...undisturbed } = SORTS[sort](seconds);
  const bytes = u8aToHex(stringToU8a(JSON.stringify({ image, command: ['/bin/sh', '-c', command], ...manifest })));
  const imageDigest = `0x${image.split('@sha256:')[1]}`;
  const isTask = sort in TASKS;
  return {
    sort,
    bytes,
    stdout: undisturbed.stdout,
    expected: isTask && resultHash({ ...undisturbed, imageDigest, manifestHash: blake2AsHex(bytes) }),
    closeAfterMs: sort === 'closed' ? random.integer(5_000, 25_000) : undefined,
    order: orderFor(bytes, {
      imageDigest,
      kind: isTask ? { Task: { verification: { Consumer: { windowMs: 3_000n } } } } : 'Service',
      maxDurationMs: isTask ? 120_000n : 60_000n,
    }),
  };
}

/** Draws the jobs in the order in which they are placed. */
function drawJobs() {
  const draw = (counts) => random.shuffled(
    Object.entries(counts).flatMap(([sort, count]) => Array.from({ length: count }, () => sort)),
  );
  const sorts = draw(TASKS);
  for (const sort of draw(SERVICES)) sorts.splice(random.integer(0, JOBS / 2), 0, sort);
  return sorts
    .map((sort) => (sort === 'writing' && !hasDisks ? 'computing' : sort))
    .map((sort) => jobOf(sort, random.integer(2, 10)));
}

/** Orders jobs in waves while the machine has room, and closes services, until all jobs are closed. */
async function placeAll(jobs) {
  const queue = [...jobs];
  const consumer = accounts.ferdie.address;
  let nextWaveAt = 0;
  let problem = 'none';
  for (const started = Date.now(); ;) {
    try {
      const api = network.live();
      await history.readOn(api);
      const waiting = await sender.push(api, history);
      for (const [hash, job] of ordered) {
        if (!history.transactions.get(hash)) continue;
        // Refused: the room was gone.
        ordered.delete(hash);
        queue.push(job);
      }
      const books = [...history.jobsOf(consumer).values()];
      for (const book of books) {
        const job = ordered.get(book.transaction);
        if (job?.closeAfterMs === undefined || !book.has('JobStarted') || book.has('AssignmentEnded')) continue;
        job.startSeenAt ??= Date.now();
        if (!job.isClosing && Date.now() - job.startSeenAt >= job.closeAfterMs) {
          job.isClosing = true;
          await sender.send(api, api.tx.jobEscrow.close(book.job));
        }
      }
      if (Date.now() >= nextWaveAt && queue.length > 0) {
        const { freeSlots } = (await api.query.providerRegistry.machines(machine)).unwrap();
        const room = Math.max(0, freeSlots.toNumber() - waiting);
        for (const job of queue.splice(0, Math.min(room, random.integer(3, 9)))) {
          const hash = await sender.send(api, api.tx.jobEscrow.deploy(job.order, [machine]));
          ordered.set(hash, job);
        }
        nextWaveAt = Date.now() + random.integer(2_000, 6_000);
      }
      await engine.containers().catch(() => {});
      const closed = books.filter((book) => book.has('JobClosed')).length;
      if (queue.length === 0 && closed === JOBS && sender.pending.size === 0) return;
      problem = `${queue.length} jobs to place, ${closed} closed, ${sender.pending.size} transactions not final`;
    } catch (error) {
      // A node was killed meanwhile; another one is asked.
      if (error instanceof assert.AssertionError) throw error;
      problem = error.message;
    }
    if (Date.now() - started > JOBS_LIMIT_MS) throw new Error(`not all jobs were closed in time: ${problem}`);
    await pause(TICK_MS);
  }
}

// --- Kills ------------------------------------------------------------------------------------------------------

/** Kills a container's first process or its monitor. A second kill in a row would be the program's own end. */
async function killContainer(victim) {
  const all = await engine.containers();
  const candidates = all.filter(({ state, job }) => state === 'running' && !killedJobs.has(job));
  const container = random.pick(candidates);
  if (container === undefined) return undefined;
  if (!(await engine.killOf(container.id, { monitor: victim === 'monitor' }))) return undefined;
  killedJobs.add(container.job);
  return `of job ${container.job}`;
}

/** Kills one victim after the other at the plan's moments; each is started again some seconds later. */
async function killAll() {
  const plan = random.shuffled(Object.entries(KILLS)
    .filter(([victim]) => isOwnEngine || victim !== 'engine')
    .flatMap(([victim, count]) => Array.from({ length: count }, () => victim)));
  const restored = { worker: undefined, engine: undefined, node: undefined };
  const failures = [];
  const restore = (victim, work) => {
    restored[victim] = pause(random.integer(500, 4_000)).then(work).catch((error) => failures.push(error));
  };
  for (const victim of plan) {
    await pause(random.integer(1_500, 5_500));
    // One that is down is awaited: an engine or a worker must be there to be killed.
    await restored[victim];
    let whom = '';
    if (victim === 'worker') {
      assert.ok(worker.runs(), 'the worker ended by itself');
      await worker.kill();
      restore(victim, () => worker.start());
    } else if (victim === 'engine') {
      await engine.kill();
      restore(victim, () => engine.start());
    } else if (victim === 'node') {
      whom = random.pick(NAMES);
      await network.kill(whom);
      restore(victim, () => network.start(whom));
    } else {
      await restored.engine;
      // No container may run at this moment.
      const kill = () => killContainer(victim).catch(() => undefined);
      whom = await eventually(`a ${victim} to kill`, VICTIM_LIMIT_MS, kill).catch(() => undefined);
      if (whom === undefined) continue;
    }
    made[victim] += 1;
    say(`killed ${victim} ${whom}`);
  }
  await Promise.all(Object.values(restored));
  assert.deepEqual(failures, [], 'what was killed started again');
}

// --- The story --------------------------------------------------------------------------------------------------

test('a machine joins a network of three validators', options, async (context) => {
  context.diagnostic(`ASSAY_SEED=${seed}`);
  say(`seed ${seed}; ${isOwnEngine ? 'an engine of its own' : 'no engine of its own: it is not killed'}`);
  await withLog(worker, `joining (ASSAY_SEED=${seed})`, async () => {
    const serving = await eventually('a machine', START_LIMIT_MS, () => worker.status().catch(() => ({})),
      (status) => status.standing?.takes_jobs === true);
    machine = BigInt(serving.machine);
    engine.ownedBy(serving.worker_key);
    hasDisks = !(await worker.tail(10_000)).includes('jobs get no disks');
    const api = network.live();
    const record = (await api.query.providerRegistry.machines(machine)).unwrap();
    assert.equal(record.freeSlots.toNumber(), SLOTS);
    part = async () => ownerPart(network.live(), worker.url, machine, record.workerKey.toString());
  });
});

test('a hundred jobs come to their ends while everything is killed', options, async (context) => {
  const jobs = drawJobs();
  assert.equal(jobs.length, JOBS);
  await withLog(worker, `the jobs (ASSAY_SEED=${seed})`, async () => {
    const api = network.live();
    const manifests = [...new Set(jobs.map(({ bytes }) => bytes))];
    const notes = api.tx.utility.batchAll(manifests.map((bytes) => api.tx.preimage.notePreimage(bytes)));
    await succeed(api, notes, accounts.ferdie, { finalized: true });
    const next = await api.rpc.system.accountNextIndex(accounts.ferdie.address);
    sender = new Sender(accounts.ferdie, next.toNumber());
    say('the first jobs are ordered');
    await Promise.all([placeAll(jobs), killAll()]);
    say('all jobs are closed');
  });
  const kills = Object.entries(made).map(([victim, count]) => `${victim} ${count}`).join(', ');
  context.diagnostic(`${JOBS} jobs, kills: ${kills}; ${Math.round((Date.now() - began) / 1_000)} s in all`);
});

test('each job was paid once at most, for no more than its time, and only if it ran', options, async (context) => {
  const outcomes = {};
  let completed = 0;
  let paidJobs = 0;
  for (const book of history.jobsOf(accounts.ferdie.address).values()) {
    const { outcome, paid, result, isTask } = checkBook(book);
    const job = ordered.get(book.transaction);
    outcomes[`${job.sort} ${outcome}`] = (outcomes[`${job.sort} ${outcome}`] ?? 0) + 1;
    if (paid > 0n) paidJobs += 1;
    if (!isTask || result === undefined) continue;
    completed += 1;
    const what = `the result of job ${book.job} (${job.sort}) is that of one whole run`;
    assert.equal(result.resultHash, job.expected, what);
  }
  context.diagnostic(`ASSAY_SEED=${seed}; paid: ${paidJobs}; ${JSON.stringify(outcomes)}`);
  const tasks = Object.values(TASKS).reduce((sum, count) => sum + count, 0);
  assert.ok(completed * 2 >= tasks, `only ${completed} of ${tasks} tasks gave a result`);
  assert.ok(paidJobs > 0);
});

test('the consumer lost what was paid and its fees, to the planck', options, async () => {
  const api = network.live();
  const { address } = accounts.ferdie;
  const balances = [api.genesisHash, history.hash].map((hash) => balanceOf(api, address, hash));
  const [atFirst, atLast] = await Promise.all(balances);
  const lost = [...history.jobsOf(address).values()].reduce((sum, book) => sum + checkBook(book).lost, 0n);
  assert.equal(atFirst.free + atFirst.reserved - atLast.free - atLast.reserved, lost + history.feesOf(address));
  assert.equal(atLast.held('jobEscrow', 'Job'), 0n, 'nothing is held for a job any more');
});

test('nothing of a job is left on the chain', options, async () => {
  const api = await network.live().at(history.hash);
  assert.deepEqual(await api.query.jobEscrow.jobs.keys(), []);
  assert.deepEqual(await api.query.jobEscrow.machineJobs.keys(machine), []);
  const record = (await api.query.providerRegistry.machines(machine)).unwrap();
  assert.equal(record.freeSlots.toNumber(), SLOTS);
  assert.ok(record.status.isActive, record.status.toString());
});

test('nothing of a job is left at the engine and on the host', options, async (context) => {
  await withLog(worker, `what is left (ASSAY_SEED=${seed})`, async () => {
    const isEmpty = ({ length }) => length === 0;
    await eventually('an engine without containers', TIDY_LIMIT_MS, () => engine.containers(), isEmpty);
    assert.deepEqual(await engine.networks(), []);
    await eventually('no mounted disk', TIDY_LIMIT_MS, async () => {
      const mounts = (await readFile('/proc/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1]);
      return mounts.filter((path) => path?.startsWith(`${folder}/`));
    }, isEmpty);
    await eventually('no loop device of a disk', TIDY_LIMIT_MS, async () => {
      const loops = (await readdir('/sys/block').catch(() => [])).filter((name) => name.startsWith('loop'));
      const files = await Promise.all(
        loops.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')),
      );
      return files.filter((file) => file.includes(folder));
    }, isEmpty);
    const groups = async () => (await engine.controlGroups()).filter(({ processes }) => processes.length > 0);
    await eventually('no process of a container', TIDY_LIMIT_MS, groups, isEmpty);
    // A killed engine or monitor may leave the group of a container to nobody; nothing runs in it.
    const forgotten = new Set((await engine.controlGroups()).map(({ id }) => id));
    context.diagnostic(`empty control groups that the engine left: ${forgotten.size}`);
    assert.ok(forgotten.size <= killedJobs.size + made.engine * SLOTS, 'no more than kills can leave');
    assert.ok(engine.seen.size > 0);
    const state = join(folder, 'assay-worker-state');
    const files = await readdir(state, { recursive: true });
    assert.deepEqual(files.filter((name) => name.includes('.broken-')), []);
    const disks = await readdir(join(state, 'disks')).catch(() => []);
    assert.deepEqual(disks.filter((name) => !name.startsWith('.') && name !== 'outputs'), []);
    // Outputs stay after their jobs, each in one whole file.
    const outputs = await readdir(join(state, 'disks', 'outputs')).catch(() => []);
    assert.deepEqual(outputs.filter((name) => name.startsWith('.')), [], 'no output is half written');
    assert.equal(outputs.length, hasDisks ? TASKS.writing : 0);
  });
});

test('the worker is whole, and its owners read each job as it ended', options, async () => {
  await withLog(worker, `the worker (ASSAY_SEED=${seed})`, async () => {
    const status = await eventually('a quiet worker', TIDY_LIMIT_MS, () => worker.status().catch(() => ({})),
      ({ jobs, phase, chain, standing }) => (
        phase === 'serving' && jobs.open === 0 && chain.problem === null && standing?.takes_jobs === true
      ));
    assert.deepEqual(status.broken_parts, {});
    assert.deepEqual(status.disk, { writable: true, problem: null, broken_files: [] });
    assert.equal(status.engine.reachable, true);
    assert.deepEqual(status.slots.filter(({ state }) => !['free', 'lent'].includes(state)), [], 'no slot is leased');
    const log = await worker.tail(1_000_000);
    assert.ok(!log.includes('panicked'), 'no part of the worker panicked');

    const tls = await part();
    const books = [...history.jobsOf(accounts.ferdie.address).values()];
    const outputOf = (book) => ordered.get(book.transaction).stdout;
    const withOutput = books.filter((book) => book.has('ResultSubmitted') && outputOf(book) !== undefined);
    // Those that were killed, and some others.
    const killed = withOutput.filter((book) => killedJobs.has(book.job));
    for (const book of [...killed, ...random.shuffled(withOutput).slice(0, 8)]) {
      const owner = await logIn(network.live(), tls, book.job, accounts.ferdie);
      assert.equal((await owner.logs()).toString(), outputOf(book), `the output of job ${book.job}`);
      await owner.logOut();
    }
  });
});
