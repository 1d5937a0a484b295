// A consumer's story in Python: the program of the readme on four machines of the class NVIDIA_H100, from the
// search to the last planck; and two hundred clients at once.
//
// The machines claim their class by name, as `assay.hardware_class` allows, and have no GPU: on the tests' chains
// every class's challenge is so small that a processor answers it in time. Nothing else about the workers, their
// containers or the chain is special.
//
// `scripts/test e2e` passes the package in `ASSAY_TEST_PYTHON_PACKAGE`, and a container engine and an image in
// `ASSAY_TEST_ENGINE_SOCKET` and `ASSAY_TEST_IMAGE`. What lacks them is left out.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';

import { workerBinary } from '../lib/binary.js';
import { ASY, balanceOf, connect, eventOf, eventually, succeed, wellKnownAccounts } from '../lib/chain.js';
import { Engine } from '../lib/engine.js';
import { FinalHistory } from '../lib/history.js';
import { CALM, startNode } from '../lib/node.js';
import { logIn, ownerPart } from '../lib/owner.js';
import { pythonPackage, startPython } from '../lib/python.js';
import { pushWithCommand } from '../lib/registry.js';
import { startWorker, withLog } from '../lib/worker.js';

const { ASSAY_TEST_ENGINE_SOCKET: engineSocket, ASSAY_TEST_IMAGE: smallImage } = process.env;
const hasEngine = Boolean(engineSocket && smallImage);
const withPackage = { skip: pythonPackage ? false : 'no Python package: set ASSAY_TEST_PYTHON_PACKAGE' };
const withMachines = {
  skip: withPackage.skip || (hasEngine ? false : 'no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE'),
};

const CLASS = 'NVIDIA_H100';
const REGION = 'us-east';
/** Prices of the machines in ASY, all below the consumer's 2.50. */
const ASKS = ['2.1', '2.2', '2.3', '2.4'];
const DATASET = 'https://data.example/set.tar';

/** Clients at once: so many processes with so many clients each, and so many accounts among them. */
const PROCESSES = 20;
const CLIENTS_PER_PROCESS = 10;
const ACCOUNTS = 20;
const CLIENTS = PROCESSES * CLIENTS_PER_PROCESS;

const JOIN_LIMIT_MS = 240_000;
const PROGRAM_LIMIT_MS = 240_000;
const CONNECT_LIMIT_MS = 240_000;
const CLIENTS_LIMIT_MS = 60_000;
const PAID_LIMIT_MS = 300_000;

// Two hundred clients have a connection each; a node takes a hundred by default.
const RPC_CONNECTIONS = CLIENTS + 100;
// Four workers in one processor's time take longer to prove than one.
const CHALLENGES = { ...CALM, newcomerIntervalMs: 9_000, commitWindowMs: 24_000, proveWindowMs: 30_000 };

let folder;
let node;
let api;
let accounts;
let image;
let digest;
let atFirst;
const workers = [];
const history = new FinalHistory();

before(async () => {
  if (withPackage.skip) return;
  folder = await mkdtemp(join(tmpdir(), 'assay-e2e-'));
  accounts = await wellKnownAccounts();
  // The shortest epochs: a job is paid two epochs after it ran.
  node = await startNode({
    epochMs: 24_000,
    challenges: CHALLENGES,
    extraArguments: ['--rpc-max-connections', String(RPC_CONNECTIONS)],
  });
  api = await connect(node.url);
  atFirst = await balanceOf(api, accounts.charlie.address);
  if (withMachines.skip) return;
  const command = ['/bin/sh', '-c', 'echo "training on $DATASET_URL"; sleep 60; echo done'];
  ({ image, digest } = await pushWithCommand(smallImage, 'v2.4', command));
});

after(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  for (const { engine } of workers) await engine?.removeAll().catch(() => {});
  await api?.disconnect();
  await node?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Writes a program into a file, and returns the file's path. */
async function fileOf(name, text) {
  const path = join(folder, `${name}.py`);
  await writeFile(path, text);
  return path;
}

/** Starts a program with these arguments. */
async function program(name, text, ...words) {
  return startPython([await fileOf(name, text), ...words], node.url);
}

/** Does a part of a test, and adds the ends of all workers' logs to the message of its failure. */
function withLogs(part, work) {
  return workers.reduce((inner, worker) => () => withLog(worker, part, inner), work)();
}

test('four machines of one provider join and claim the class', withMachines, async () => {
  for (const [index, ask] of ASKS.entries()) {
    const home = join(folder, `machine-${index}`);
    await mkdir(home);
    const worker = await startWorker({
      folder: home, nodeUrl: node.url, engineSocket, provider: 'Bob', rewardAddress: accounts.bob.address,
      ask, region: REGION, hardwareClass: CLASS, registries: [image.split('/')[0]],
    });
    workers.push(worker);
    // One after the other: all of them register with the provider's key.
    await withLog(worker, `machine ${index} registers`, async () => {
      const { machine } = await eventually('its number', JOIN_LIMIT_MS, () => worker.status().catch(() => ({})),
        (status) => Number.isInteger(status.machine));
      worker.machine = machine;
      const record = (await api.query.providerRegistry.machines(machine)).unwrap();
      worker.key = record.workerKey.toString();
      worker.engine = new Engine(engineSocket, worker.key);
    });
  }
  for (const worker of workers) {
    await withLog(worker, 'joining', () => eventually('a machine that takes jobs', JOIN_LIMIT_MS,
      () => worker.status().catch(() => ({})), (status) => status.standing?.takes_jobs === true));
  }
});

// --- The program of the readme ----------------------------------------------------------------------------------

/** The program: names and keys are those that users are promised. */
const promised = () => `import depin_compute_lib as dcl
client = dcl.ComputeClient(private_key="//Charlie")
clusters = client.find_providers({"gpu_type": "NVIDIA_H100", "min_vram_gb": 80, "min_nodes": 4, "region": "us-east", \
"max_price_per_hour": 2.50})
deployment = client.deploy_container(provider_id=clusters[0].id, image="${image}", \
env_vars={"DATASET_URL": "${DATASET}"})
clusters[0].price; deployment.status_url
`;

/** What the test wants to know, after the program. */
const AFTERWARDS = `
import json

def tell(**values):
    print(json.dumps(values), flush=True)

tell(
    providers=len(clusters), provider=clusters[0].id, price=str(clusters[0].price), uptime=str(clusters[0].uptime),
    region=clusters[0].region, found=[machine.id for machine in clusters[0].machines],
    classes=[machine.gpu_type for machine in clusters[0].machines],
    job=deployment.job, machines=list(deployment.machines), image=deployment.image,
    escrow=str(deployment.escrow), status_url=deployment.status_url, status_urls=deployment.status_urls,
)
for machine in deployment.machines:
    for line in deployment.logs(follow=True, machine=machine):
        tell(machine=machine, stream=line.stream, text=line.text)
        break
try:
    deployment.close()
except dcl.JobError as error:
    tell(refused=str(error))
ends = deployment.wait(timeout=300)
results = [deployment.result(machine=machine) for machine in deployment.machines]
deployment.accept()
tell(ends=[end.end for end in ends], exits=[result.exit_code for result in results],
     checked=[result.is_checked for result in results])
`;

test('the program of the readme runs a container on each of the four', withMachines, () => withLogs('it', async () => {
  const running = await program('promised', promised() + AFTERWARDS);
  const told = await running.value('its deployment', PROGRAM_LIMIT_MS, (value) => value.job !== undefined);
  const machines = workers.map(({ machine }) => machine).sort();

  assert.equal(told.providers, 1);
  assert.equal(told.provider, accounts.bob.address);
  assert.deepEqual([...told.found].sort(), machines);
  assert.deepEqual(told.classes, machines.map(() => CLASS));
  assert.equal(told.region, REGION);
  assert.equal(Number(told.price), 2.4, 'the price of a cluster is that of its dearest machine');
  assert.ok(Number(told.uptime) > 0 && Number(told.uptime) <= 100, `an uptime of ${told.uptime} %`);
  assert.deepEqual([...told.machines].sort(), machines);
  assert.equal(told.image, `${image}@${digest}`, 'the tag has its digest');
  const order = (await api.query.jobEscrow.jobs(told.job)).unwrap();
  assert.equal(order.imageDigest.toHex(), `0x${digest.split(':')[1]}`);
  assert.equal(order.consumer.toString(), accounts.charlie.address);

  for (const worker of workers) {
    const part = await ownerPart(api, worker.url, worker.machine, worker.key);
    assert.equal(told.status_urls[worker.machine], `${part.url}/v1/jobs/${told.job}`);
    assert.match(told.status_urls[worker.machine], /^https:\/\//);
    // Over TLS with the key that the worker vouches for, and with a token of the consumer's.
    const owner = await logIn(api, part, told.job, accounts.charlie);
    // The block that tells of the start is known here before the worker has looked at it.
    await eventually(`the job on machine ${worker.machine}`, 30_000, () => owner.status(),
      ({ open }) => open.state === 'running');
    await owner.logOut();
    await assert.rejects(logIn(api, part, told.job, accounts.eve), { status: 403 });
    const containers = await worker.engine.containers();
    assert.deepEqual(containers.map(({ job, state }) => [Number(job), state]), [[told.job, 'running']]);
  }
  assert.ok(Object.values(told.status_urls).includes(told.status_url));

  const values = await running.succeed(PROGRAM_LIMIT_MS);
  const lines = values.filter((value) => value.text !== undefined);
  assert.deepEqual(lines.map(({ machine }) => machine), told.machines);
  for (const { stream, text } of lines) assert.deepEqual([stream, text], ['stdout', `training on ${DATASET}`]);
  const { refused } = values.find((value) => value.refused !== undefined) ?? {};
  assert.match(refused ?? '', /TaskRunning/, 'a task that runs is not stopped');
  const { ends, exits, checked } = values.at(-1);
  assert.deepEqual(ends, machines.map(() => 'result'));
  assert.deepEqual(exits, machines.map(() => 0));
  assert.deepEqual(checked, machines.map(() => true));
  await history.readOn(api);
}));

// --- What does not fit ------------------------------------------------------------------------------------------

const SEARCHES = `import json
import depin_compute_lib as dcl

client = dcl.ComputeClient(private_key="//Charlie")
near = {"gpu_type": "NVIDIA_H100", "min_nodes": 4, "region": "us-east", "max_price_per_hour": 2.35}
far = {"gpu_type": "NVIDIA_H100", "region": "eu-central"}
for wanted in (near, far):
    explanation = client.explain(wanted)
    print(json.dumps({
        "found": client.find_providers(wanted),
        "fitting": list(explanation.fitting),
        "reasons": {entry.machine: list(entry.reasons) for entry in explanation.passed_over},
        "text": str(explanation),
    }), flush=True)
try:
    client.deploy_container(image="${'127.0.0.1:9/none'}@sha256:${'ab'.repeat(32)}", requirements=far)
except dcl.NoProviderError as error:
    print(json.dumps({"refused": str(error)}), flush=True)
`;

test('a search that nothing fits is empty, and is explained', withMachines, () => withLogs('the searches', async () => {
  const [near, far, refused] = await (await program('searches', SEARCHES)).succeed(PROGRAM_LIMIT_MS);
  const dearest = workers.at(-1).machine;
  assert.deepEqual(near.found, []);
  assert.match(near.reasons[dearest].join('; '), /it asks 2\.4 ASY per slot-hour, at most 2\.35 ASY wanted/);
  assert.deepEqual([far.found, far.fitting], [[], []]);
  for (const { machine } of workers) {
    assert.match(far.reasons[machine].join('; '), /it stands in us-east, eu-central wanted/);
    assert.ok(far.text.includes(`machine ${machine} is passed over: `), far.text);
  }
  assert.match(refused.refused, /explain the requirements/);
}));

const WRONG = `import json
import depin_compute_lib as dcl

client = dcl.ComputeClient(private_key="//Charlie")

def client_of(secret):
    return lambda: dcl.ComputeClient(private_key=secret)

attempts = {
    "unknown name": lambda: client.find_providers({"gpu": "NVIDIA_H100"}),
    "number out of bounds": lambda: client.find_providers({"min_nodes": 0}),
    "unknown class": lambda: client.find_providers({"gpu_type": "NVIDIA_H1000"}),
    "price in dollars": lambda: client.find_providers({"max_price_per_hour": "2.50 USD"}),
    "kind": lambda: client.deploy_container(image="a", kind="daemon"),
    "address of Ethereum": client_of("0x52908400098527886E0F7030069857D2E4169EE7"),
    "key that is none": client_of("a secret of mine"),
    "no key": client_of(None),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(json.dumps({"name": name}), flush=True)
    except dcl.AssayError as error:
        print(json.dumps({"name": name, "kind": type(error).__name__, "text": str(error)}), flush=True)
`;

test('wrong names, values and keys are refused with what is allowed', withPackage, async () => {
  const refusals = await (await program('wrong', WRONG)).succeed(PROGRAM_LIMIT_MS);
  const expected = {
    'unknown name': ['InvalidOrderError', /gpu: this name is not known\..*Allowed: .*gpu_type/],
    'number out of bounds': ['InvalidOrderError', /min_nodes: .*whole numbers from 1 to 64/],
    'unknown class': ['InvalidOrderError', /NVIDIA_H1000/],
    'price in dollars': ['InvalidOrderError', /max_price_per_hour: .*in ASY/],
    kind: ['InvalidOrderError', /kind: allowed: "task", "service"/],
    'address of Ethereum': ['InvalidKeyError', /20 bytes|Ethereum/],
    'key that is none': ['InvalidKeyError', /./],
    'no key': ['InvalidKeyError', /private_key=/],
  };
  assert.deepEqual(refusals.map(({ name }) => name), Object.keys(expected));
  for (const { name, kind, text } of refusals) {
    const [kindOfIt, pattern] = expected[name];
    assert.equal(kind, kindOfIt, `${name}: ${text}`);
    assert.match(text, pattern, name);
    assert.ok(!text.includes('a secret of mine'), 'a secret is never shown');
  }
});

// --- A service, and one that is interrupted ---------------------------------------------------------------------

const service = () => `import json
import time
import depin_compute_lib as dcl

def state_on(machine):
    for _ in range(30):
        state = deployment.status(machine)["open"]["state"]
        if state != "starting":
            break
        time.sleep(1)
    return state

client = dcl.ComputeClient(private_key="//Charlie")
wanted = {"gpu_type": "NVIDIA_H100", "min_nodes": 4, "region": "us-east", "max_price_per_hour": 2.50}
estimate = client.estimate(requirements=wanted, kind="service")
deployment = client.deploy_container(
    image="${image}", requirements=wanted, kind="service", command=["/bin/sh", "-c", "echo serving; sleep 900"],
)
print(json.dumps({
    "job": deployment.job, "escrow": str(deployment.escrow), "estimate": str(estimate.escrow),
    "states": [state_on(machine) for machine in deployment.machines],
    "listed": [entry.job for entry in client.deployments()],
}), flush=True)
deployment.close()
print(json.dumps({"ends": len(deployment.wait(timeout=120))}), flush=True)
`;

test('a service on the four runs until it is closed', withMachines, () => withLogs('the service', async () => {
  const [told, { ends }] = await (await program('service', service())).succeed(PROGRAM_LIMIT_MS);
  assert.deepEqual(told.states, ASKS.map(() => 'running'));
  assert.ok(told.listed.includes(told.job), `${told.job} is among ${told.listed}`);
  assert.equal(told.escrow, told.estimate);
  assert.equal(ends, ASKS.length);
  await Promise.all(workers.map(({ engine, machine }) => eventually(`no container on machine ${machine}`, 60_000,
    () => engine.containers(), (containers) => containers.length === 0)));
  await history.readOn(api);
}));

const interrupted = () => `import json
import depin_compute_lib as dcl

def tell(step):
    print(json.dumps({"step": step["step"], "transaction": step.get("transaction")}), flush=True)

client = dcl.ComputeClient(private_key="//Charlie")
client.deploy_container(
    image="${image}", requirements={"gpu_type": "NVIDIA_H100"}, kind="service", max_duration="5m", progress=tell,
)
`;

const CLOSE = `import json
import sys
import depin_compute_lib as dcl

client = dcl.ComputeClient(private_key="//Charlie")
print(json.dumps({"jobs": [entry.job for entry in client.deployments()]}), flush=True)
client.deployment(int(sys.argv[1])).close()
`;

/** Returns the open jobs of an account as `assay job list` shows them. */
function listed(account) {
  const program = join(dirname(workerBinary()), 'assay');
  const words = ['--url', node.url, '--output', 'json', 'job', 'list', '--account', account];
  const { status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8', timeout: 60_000 });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
}

test('a deployment that Ctrl-C ends leaves a job that is found', withMachines, () => withLogs('Ctrl-C', async () => {
  const running = await program('interrupted', interrupted());
  const { transaction } = await running.value('its transaction', PROGRAM_LIMIT_MS, ({ step }) => step === 'submitted');
  // In the wait for the block, and not in the program's own function.
  await new Promise((resolve) => setTimeout(resolve, 300));
  running.interrupt();
  const { status, signal } = await running.end(30_000);
  assert.ok(signal === 'SIGINT' || status === 130, `it ended with ${signal ?? status}: ${running.errors}`);
  assert.ok(running.errors.includes('KeyboardInterrupt'), running.errors);
  assert.ok(running.errors.includes(transaction), `the transaction is named: ${running.errors}`);

  const book = await eventually('the order in a final block', 60_000, async () => {
    await history.readOn(api);
    return [...history.jobsOf(accounts.charlie.address).values()].find((one) => one.transaction === transaction);
  });
  const job = Number(book.job);
  assert.deepEqual(listed(accounts.charlie.address).map((entry) => entry.job).includes(job), true);
  const [{ jobs }] = await (await program('close', CLOSE, job)).succeed(PROGRAM_LIMIT_MS);
  assert.ok(jobs.includes(job), `${job} is among ${jobs}`);
}));

// --- Many clients -----------------------------------------------------------------------------------------------

/**
 * Clients of one account, all in one process. Each sends one transaction, which comes into a block and fails there,
 * because there is no such job.
 */
const MANY = `import json
import os
import sys
import threading
import time
import depin_compute_lib as dcl

key, count, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
clients = [dcl.ComputeClient(private_key=key) for _ in range(count)]
print(json.dumps({"ready": count}), flush=True)
sys.stdin.readline()
begun = time.monotonic()
done = []
failures = []

def close_nothing(client):
    try:
        client.deployment(2**63).close()
        failures.append("a job that does not exist was closed")
    except dcl.JobError as error:
        if "NoSuchJob" in str(error):
            done.append(time.monotonic() - begun)
        else:
            failures.append(str(error))
    except BaseException as error:
        failures.append(f"{type(error).__name__}: {error}")

threads = [threading.Thread(target=close_nothing, args=(client,), daemon=True) for client in clients]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(max(begun + limit - time.monotonic(), 0))
print(json.dumps({
    "done": len(done), "slowest": max(done, default=0), "failures": failures,
}), flush=True)
# Threads that wait for ever must not keep the program.
os._exit(0)
`;

test('two hundred clients at once use no nonce twice, and none waits for ever', withPackage, async () => {
  const names = Array.from({ length: ACCOUNTS }, (_, index) => `client ${index}`);
  const pairs = names.map((name) => accounts.fresh(name));
  const fund = (pair) => api.tx.balances.transferKeepAlive(pair.address, 100n * ASY);
  const funded = await succeed(api, api.tx.utility.batchAll(pairs.map(fund)), accounts.dave, { finalized: true });
  eventOf(funded, 'utility', 'BatchCompleted');

  // A process has an account of its own.
  const many = await fileOf('many', MANY);
  const running = Array.from({ length: PROCESSES }, (_, index) => startPython(
    [many, `//e2e//${names[index % ACCOUNTS]}`, CLIENTS_PER_PROCESS, CLIENTS_LIMIT_MS / 1_000], node.url,
  ));
  await Promise.all(running.map((one) => one.value('that it is connected', CONNECT_LIMIT_MS,
    ({ ready }) => ready === CLIENTS_PER_PROCESS)));
  for (const one of running) one.say('go');
  const told = (await Promise.all(running.map((one) => one.succeed(2 * CLIENTS_LIMIT_MS)))).map((all) => all.at(-1));

  assert.deepEqual(told.flatMap(({ failures }) => failures), []);
  assert.deepEqual(told.map(({ done }) => done), told.map(() => CLIENTS_PER_PROCESS));
  const slowest = Math.max(...told.map((one) => one.slowest));
  console.log(`${CLIENTS} clients: the last was done after ${slowest.toFixed(1)} s`);

  // Of every account as many transactions are final as it has clients: none took another's place.
  await history.readOn(api);
  for (const { address } of pairs) {
    const { nonce } = await api.query.system.account(address);
    assert.equal(nonce.toNumber(), CLIENTS / ACCOUNTS);
    const isOwn = ({ method, fields }) => method === 'TransactionFeePaid' && fields.who === address;
    const paid = history.events.filter(isOwn);
    assert.equal(paid.length, CLIENTS / ACCOUNTS);
    for (const { transaction } of paid) {
      const error = history.transactions.get(transaction);
      assert.ok(error, 'it failed in its block, as it should');
    }
  }
});

// --- Money ------------------------------------------------------------------------------------------------------

test('when all is closed every planck of the consumer is told of', withMachines, () => withLogs('the money', async () => {
  const { address } = accounts.charlie;
  const books = await eventually('the end of all jobs', PAID_LIMIT_MS, async () => {
    await history.readOn(api);
    return [...history.jobsOf(address).values()];
  }, (all) => all.every((book) => book.has('JobClosed')));
  assert.equal(books.length, 3, 'the task, the service, and the one that was interrupted');

  let lost = 0n;
  for (const book of books) {
    const sum = (name, field) => book.all(name).reduce((all, fields) => all + fields[field], 0n);
    const paid = sum('PaymentSettled', 'providerAmount') + sum('PaymentSettled', 'fee');
    assert.equal(paid, sum('AssignmentClosed', 'paid'), `job ${book.job}: payments are those of its machines`);
    assert.equal(paid, sum('JobClosed', 'paid'));
    assert.equal(book.all('PaymentDiverted').length, 0);
    const ofOthers = book.all('BountyPaid').filter(({ recipient }) => recipient !== address);
    const bounties = ofOthers.reduce((all, { amount }) => all + amount, 0n);
    const gone = paid + sum('EarningsForfeited', 'amount') + sum('BountyPaid', 'amount');
    assert.equal(
      book.order.escrowed + book.order.deposit,
      gone + sum('EscrowReturned', 'amount') + sum('JobClosed', 'depositReturned'),
      `job ${book.job}: what was held was paid or went back`,
    );
    lost += paid + sum('EarningsForfeited', 'amount') + bounties;
  }
  for (const book of books.slice(0, 2)) {
    assert.equal(book.all('JobStarted').length, ASKS.length);
    assert.equal(book.all('AssignmentClosed').length, ASKS.length);
    for (const { machine, paid } of book.all('AssignmentClosed')) {
      assert.ok(paid > 0n, `job ${book.job}: machine ${machine} was not paid`);
    }
  }
  const [task, closed] = books.map((book) => book.all('AssignmentClosed').map(({ outcome }) => outcome));
  assert.deepEqual(task, ASKS.map(() => 'Completed'));
  assert.deepEqual(closed, ASKS.map(() => 'ClosedByConsumer'));

  const atLast = await balanceOf(api, address, history.hash);
  assert.equal(atLast.held('jobEscrow', 'Job'), 0n);
  assert.equal(atLast.reserved, atFirst.reserved, 'nothing is held any more');
  assert.equal(atLast.free, atFirst.free - history.feesOf(address) - lost);
}));
