// The main story: a machine joins, a consumer's job runs on it, and money moves, exact to the planck.
//
// The tests act with the worker's key alone; the demo shows that containers really run.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { activeTimeAt, ASY, awaitEvent, balanceOf, eventOf, eventually, send, succeed } from '../lib/chain.js';
import { proveHardware } from '../lib/challenge.js';
import { checkPayment, ledger } from '../lib/ledger.js';
import {
  activeMachine, commitmentTo, cost, deploy, manifestBytes, minimumBond, orderFor, quorum, registerMachine,
  registrationOf, splitOf, untilClosed,
} from '../lib/market.js';
import { withNode } from '../lib/suite.js';
import { startProbeResponder } from '../lib/worker.js';

// The shortest epochs that the chain accepts: a job is paid two epochs after it ran.
const WORKERS = ['worker of the market', 'worker of replica 0', 'worker of replica 1'];
const responders = [];
const suite = withNode(async ({ api, accounts }) => {
  // The node's validator watches the machines, and an epoch in which it saw one down is not paid.
  for (const name of WORKERS) responders.push(await startProbeResponder(api, accounts.fresh(name)));
}, { epochMs: 24_000 });
after(() => Promise.all(responders.map((responder) => responder.stop())));
const price = 36n * ASY;

let machine;
let worker;

async function machineRecord() {
  return (await suite.api.query.providerRegistry.machines(machine)).unwrap();
}

async function jobRecord(job) {
  return (await suite.api.query.jobEscrow.jobs(job)).unwrap();
}

/** Returns the machine's assignment of a job. */
async function assignmentOf(job, of = machine) {
  return (await suite.api.query.jobEscrow.assignments(job, of)).unwrap();
}

test('a provider registers and pays a deposit', async () => {
  const { api, accounts } = suite;
  const included = await succeed(api, api.tx.providerRegistry.registerProvider('Bob\'s machines'), accounts.bob);
  assert.equal(eventOf(included, 'providerRegistry', 'ProviderRegistered').provider, accounts.bob.address);

  const record = (await api.query.providerRegistry.providers(accounts.bob.address)).unwrap();
  assert.equal(record.name.toUtf8(), 'Bob\'s machines');
  assert.equal(record.machines.toNumber(), 0);
  const { before, after } = await ledger(suite, included);
  const deposit = after.provider.held('providerRegistry', 'ProviderDeposit');
  assert.ok(deposit > 0n);
  assert.equal(record.deposit.toBigInt(), deposit);
  assert.equal(before.provider.free - after.provider.free, deposit + included.fee);
});

test('a machine is registered with its worker key\'s agreement, and is not active yet', async () => {
  const { api, accounts } = suite;
  worker = accounts.fresh(WORKERS[0]);
  const { endpoint } = responders[0];
  const included = await succeed(
    api,
    api.tx.utility.batchAll([
      registerMachine(api, worker, accounts.bob, { ask: price, endpoint }),
      api.tx.balances.transferKeepAlive(worker.address, 10n * ASY),
    ]),
    accounts.bob,
  );
  const event = eventOf(included, 'providerRegistry', 'MachineRegistered');
  machine = event.machine;
  responders[0].machine = machine;
  assert.equal(event.provider, accounts.bob.address);

  const record = await machineRecord();
  const wanted = registrationOf(worker, { endpoint });
  assert.equal(record.provider.toString(), accounts.bob.address);
  assert.equal(record.workerKey.toString(), worker.address);
  assert.equal(record.sealingKey.toHex(), wanted.sealingKey);
  assert.equal(record.ask.toBigInt(), price);
  assert.equal(record.region.toUtf8(), wanted.region);
  assert.equal(record.endpoint.toUtf8(), wanted.endpoint);
  assert.equal(record.location.latitudeMicrodegrees.toNumber(), wanted.location.latitudeMicrodegrees);
  assert.equal(record.freeSlots.toNumber(), wanted.slots);
  assert.ok(record.status.isUnproven);
  assert.equal((await api.query.providerRegistry.workerKeys(worker.address)).unwrap().toBigInt(), machine);
});

test('the bond and a proof of its hardware make the machine active', async () => {
  const { api, accounts } = suite;
  const amount = await minimumBond(api, machine);
  assert.ok(amount > 500n * ASY);
  const included = await succeed(api, api.tx.providerStaking.bond(machine, amount), accounts.bob);
  const bonded = eventOf(included, 'providerStaking', 'Bonded');
  assert.deepEqual([bonded.machine, bonded.amount, bonded.total], [machine, amount, amount]);
  assert.ok((await machineRecord()).status.isUnproven);
  const from = included.blockNumber;
  await proveHardware(api, machine, worker);
  const { fields } = await awaitEvent(api, from, 'providerRegistry', 'MachineStatusChanged');
  assert.deepEqual([fields.machine, fields.from, fields.to], [machine, 'Unproven', 'Active']);
  assert.ok((await machineRecord()).status.isActive);

  const { before, after } = await ledger(suite, included);
  assert.equal(after.provider.held('providerStaking', 'MachineBond'), amount);
  assert.equal(before.provider.free - after.provider.free, amount + included.fee);
  assert.equal(before.issuance, after.issuance);
});

test('a task is deployed, started, gives its result, is accepted and paid', async (context) => {
  const { api, accounts } = suite;
  const durationMs = 600_001n;
  const manifest = manifestBytes('the task');
  let job;
  let started;
  let endedAt;

  await context.test('deploying holds the price of the longest run', async () => {
    const order = deploy(api, machine, { manifest, slots: 2, maxDurationMs: durationMs });
    const included = await succeed(api, order, accounts.charlie);
    const event = eventOf(included, 'jobEscrow', 'JobOrdered');
    job = event.job;
    const escrow = cost(price, 2, durationMs, { roundUp: true });
    assert.equal(event.escrowed, escrow);
    assert.equal(eventOf(included, 'jobEscrow', 'MachineAssigned').pricePerSlotHour, price);
    const { before, after } = await ledger(suite, included);
    const held = after.consumer.held('jobEscrow', 'Job') - before.consumer.held('jobEscrow', 'Job');
    assert.equal(held, escrow + event.deposit, 'the price, and the deposit for bytes and bounties');
    assert.equal(before.issuance, after.issuance);
    assert.equal((await machineRecord()).freeSlots.toNumber(), 0);
    assert.ok((await assignmentOf(job)).state.isStarting);
    assert.equal((await jobRecord(job)).consumer.toString(), accounts.charlie.address);
  });

  await context.test('the manifest can be read back from the chain', async () => {
    const { manifest: { Public: reference } } = orderFor(manifest);
    const stored = await api.query.preimage.preimageFor([reference.hash, reference.lengthBytes]);
    assert.equal(stored.unwrap().toHex(), manifest);
  });

  await context.test('a dapp finds the job by its consumer and by its machine', async () => {
    const [byConsumer, byMachine] = await Promise.all([
      api.query.jobEscrow.consumerJobs.keys(accounts.charlie.address),
      api.query.jobEscrow.machineJobs.keys(machine),
    ]);
    assert.deepEqual(byConsumer.map(({ args }) => args[1].toBigInt()), [job]);
    assert.deepEqual(byMachine.map(({ args }) => args[1].toBigInt()), [job]);
  });

  await context.test('the worker key starts it', async () => {
    const included = await succeed(api, api.tx.jobEscrow.start(job), worker);
    started = eventOf(included, 'jobEscrow', 'JobStarted').startedAtMs;
    assert.ok((await assignmentOf(job)).state.isRunning);
  });

  await context.test('the worker key gives its result', async () => {
    const resultHash = `0x${'5a'.repeat(32)}`;
    const included = await succeed(api, api.tx.jobEscrow.submitResult(job, resultHash), worker);
    assert.equal(eventOf(included, 'jobEscrow', 'ResultSubmitted').resultHash, resultHash);
    const { state } = await assignmentOf(job);
    assert.ok(state.isVerifying);
    assert.equal(state.asVerifying.resultHash.toHex(), resultHash);
    assert.equal(state.asVerifying.startedAtMs.toBigInt(), started);
    endedAt = state.asVerifying.endedAtMs.toBigInt();
    assert.ok(endedAt > started);
    const { before, after } = await ledger(suite, included);
    assert.equal(after.consumer.held('jobEscrow', 'Job'), before.consumer.held('jobEscrow', 'Job'), 'unpaid yet');
  });

  await context.test('the consumer accepts it, and has back what was not used', async () => {
    const escrow = cost(price, 2, durationMs, { roundUp: true });
    const included = await succeed(api, api.tx.jobEscrow.accept(job, machine), accounts.charlie);
    const ended = eventOf(included, 'jobEscrow', 'AssignmentEnded');
    assert.equal(ended.outcome, 'Completed');
    const returned = eventOf(included, 'jobEscrow', 'EscrowReturned');
    assert.equal(returned.amount, escrow - cost(price, 2, endedAt - started));
    assert.equal((await machineRecord()).freeSlots.toNumber(), 2);
  });

  await context.test('when its epochs are closed, everybody gets their part', async () => {
    const amount = cost(price, 2, endedAt - started);
    await untilClosed(api);
    const included = await succeed(api, api.tx.jobEscrow.settle(job, machine), accounts.charlie);
    const split = await checkPayment(suite, included, { amount, released: 0n, payer: 'consumer' });

    const settled = eventOf(included, 'jobEscrow', 'PaymentSettled');
    assert.deepEqual(
      [settled.job, settled.machine, settled.providerAmount, settled.fee, settled.burned],
      [job, machine, split.provider, split.fee, split.burned],
    );
    const closed = eventOf(included, 'jobEscrow', 'AssignmentClosed');
    assert.deepEqual([closed.outcome, closed.paid], ['Completed', amount]);
    assert.equal(eventOf(included, 'jobEscrow', 'JobClosed').paid, amount);
  });

  await context.test('nothing of it is left', async () => {
    assert.ok((await api.query.jobEscrow.jobs(job)).isNone);
    assert.deepEqual(await api.query.jobEscrow.consumerJobs.keys(accounts.charlie.address), []);
    assert.deepEqual(await api.query.jobEscrow.machineJobs.keys(machine), []);
    const { held } = await balanceOf(api, accounts.charlie.address);
    assert.equal(held('jobEscrow', 'Job'), 0n);
  });
});

test('a job that was not started is taken back for the price of the time for which its machine was reserved', async () => {
  const { api, accounts } = suite;
  const order = deploy(api, machine, { manifest: manifestBytes('taken back') });
  const deployed = await succeed(api, order, accounts.charlie);
  const { job, escrowed, deposit } = eventOf(deployed, 'jobEscrow', 'JobOrdered');
  const closed = await succeed(api, api.tx.jobEscrow.close(job), accounts.charlie);
  assert.equal(eventOf(closed, 'jobEscrow', 'AssignmentClosed').outcome, 'Cancelled');
  const event = eventOf(closed, 'jobEscrow', 'JobClosed');
  const reservedMs = (await activeTimeAt(api, closed.blockHash)) - (await activeTimeAt(api, deployed.blockHash));
  const reserved = cost(price, 1, reservedMs);
  assert.ok(reserved > 0n);
  assert.deepEqual([event.paid, event.depositReturned], [reserved, deposit]);
  const split = splitOf(reserved);
  const { before, after } = await ledger(suite, closed);
  assert.equal(after.consumer.free - before.consumer.free, escrowed + deposit - reserved - closed.fee);
  assert.equal(after.provider.free - before.provider.free, split.provider);
  assert.equal(before.issuance - after.issuance, split.burned);
});

test('a worker key that owns nothing speaks for its machine, and pays nothing for it', async () => {
  const { api, accounts } = suite;
  await succeed(api, api.tx.balances.transferAll(accounts.bob.address, false), worker);
  assert.equal((await balanceOf(api, worker.address)).free, 0n);
  const order = deploy(api, machine, { manifest: manifestBytes('for a poor worker') });
  const { job } = eventOf(await succeed(api, order, accounts.charlie), 'jobEscrow', 'JobOrdered');
  const declined = await succeed(api, api.tx.jobEscrow.decline(job, machine, 'CannotRun'), worker);
  assert.equal(eventOf(declined, 'jobEscrow', 'AssignmentClosed').outcome, 'Declined');
  assert.equal(declined.fee, 0n);
  // A call that would fail is not free, and the worker cannot pay for it.
  await assert.rejects(api.tx.jobEscrow.start(job).signAndSend(worker), /Inability to pay|Payment|1010/);
  await succeed(api, api.tx.balances.transferKeepAlive(worker.address, 10n * ASY), accounts.bob);
});

/** Orders a service by an auction; returns the transaction and the job. */
async function request(text, auction) {
  const { api, accounts } = suite;
  const manifest = manifestBytes(text);
  const requested = await succeed(api, api.tx.utility.batchAll([
    api.tx.preimage.notePreimage(manifest),
    api.tx.jobEscrow.request(orderFor(manifest, { kind: 'Service' }), 1, auction),
  ]), accounts.charlie);
  return { requested, ...eventOf(requested, 'jobEscrow', 'JobOrdered') };
}

/** Returns the open orders that the machine can take, as the node lists them. */
async function openOrders(...options) {
  return send(suite.api, 'assay_openOrders', Number(machine), ...options);
}

test('a price rises until a machine takes the order', async () => {
  const { api, accounts } = suite;
  const { requested, job, escrowed } = await request(
    'requested',
    { floorPricePerSlotHour: 0n, riseMs: 60_000n, openMs: 120_000n },
  );
  assert.equal(escrowed, cost(price, 1, 600_000n, { roundUp: true }));
  assert.deepEqual((await openOrders()).orders, [], 'what is offered is less than the machine asks for');
  const taken = await succeed(api, api.tx.jobEscrow.acceptRequest(job, machine), worker);
  const elapsedMs = (await activeTimeAt(api, taken.blockHash)) - (await activeTimeAt(api, requested.blockHash));
  const assigned = eventOf(taken, 'jobEscrow', 'MachineAssigned');
  assert.equal(assigned.pricePerSlotHour, (price * elapsedMs) / 60_000n);
  await succeed(api, api.tx.jobEscrow.start(job), worker);
  assert.equal((await assignmentOf(job)).escrowed.toBigInt(), cost(assigned.pricePerSlotHour, 1, 600_000n, { roundUp: true }));
  await succeed(api, api.tx.jobEscrow.close(job), accounts.charlie);
});

test('a node lists the open orders that pay what a machine asks for', async () => {
  const { api, accounts } = suite;
  const auction = { floorPricePerSlotHour: price, riseMs: 0n, openMs: 120_000n };
  const { requested, job, closesAtMs } = await request('listed', auction);
  const { orders, next } = await openOrders({ at: requested.blockHash });
  assert.deepEqual([orders, next], [[{
    job: Number(job),
    pricePerSlotHour: price.toString(),
    slots: 1,
    maxDurationMs: 600_000,
    closesAtMs: Number(closesAtMs),
    isSealed: false,
  }], null]);
  await assert.rejects(openOrders({ limit: 101 }), /limit: 1 to 100/);
  await succeed(api, api.tx.jobEscrow.close(job), accounts.charlie);
  assert.deepEqual((await openOrders()).orders, []);
});

test('a liar among three replicas is outvoted and not paid, and nobody is slashed', async () => {
  const { api, accounts } = suite;
  const others = [accounts.ferdie, accounts.eve].map((provider, index) => ({
    provider, worker: accounts.fresh(WORKERS[index + 1]), responder: responders[index + 1],
  }));
  const replicas = [{ machine, worker }];
  for (const other of others) {
    const { endpoint } = other.responder;
    const id = await activeMachine(api, other.provider, other.worker, { ask: price, endpoint });
    other.responder.machine = id;
    replicas.push({ machine: id, worker: other.worker });
  }
  const deployed = await succeed(
    api,
    deploy(api, replicas.map((replica) => replica.machine), {
      manifest: manifestBytes('the quorum'), kind: quorum(3, 2),
    }),
    accounts.charlie,
  );
  const { job } = eventOf(deployed, 'jobEscrow', 'JobOrdered');
  const salt = `0x${'07'.repeat(32)}`;
  const [truth, lie] = ['01', '02'].map((byte) => `0x${byte.repeat(32)}`);
  const results = [truth, lie, truth];
  for (const replica of replicas) await succeed(api, api.tx.jobEscrow.start(job), replica.worker);
  for (const [index, replica] of replicas.entries()) {
    const commitment = commitmentTo(api, job, replica.machine, results[index], salt);
    await succeed(api, api.tx.jobEscrow.commitResult(job, commitment), replica.worker);
  }
  for (const [index, replica] of replicas.entries()) {
    await succeed(api, api.tx.jobEscrow.revealResult(job, results[index], salt), replica.worker);
  }
  const resolved = await succeed(api, api.tx.jobEscrow.resolve(job), accounts.charlie);
  const { resultHash, votes } = eventOf(resolved, 'jobEscrow', 'QuorumResolved');
  assert.deepEqual([resultHash, votes], [truth, 2n]);
  const outvoted = eventOf(resolved, 'jobEscrow', 'AssignmentClosed');
  assert.deepEqual([outvoted.machine, outvoted.outcome, outvoted.paid], [replicas[1].machine, 'Outvoted', 0n]);
  const forfeited = eventOf(resolved, 'jobEscrow', 'EarningsForfeited');
  assert.equal(forfeited.machine, replicas[1].machine);
  assert.ok(forfeited.amount > 0n, 'its work is paid for, and not to it');
  assert.ok(!resolved.events.some((event) => event.method === 'SlashQueued'));
  await untilClosed(api);
  for (const replica of [replicas[0], replicas[2]]) {
    const settled = await succeed(api, api.tx.jobEscrow.settle(job, replica.machine), replica.worker);
    assert.equal(eventOf(settled, 'jobEscrow', 'AssignmentClosed').outcome, 'Completed');
  }
  assert.ok((await api.query.jobEscrow.jobs(job)).isNone);
});

test('a dapp that subscribes to events sees each of them once', async () => {
  const { api, accounts } = suite;
  const seen = [];
  const blocks = [];
  // The first callback has the events of the newest block at the start of the subscription.
  const stop = await api.query.system.events((records) => {
    blocks.push(records);
    if (blocks.length === 1) return;
    for (const { event } of records) {
      if (event.section === 'providerRegistry') seen.push(event.method);
    }
  });
  await succeed(api, api.tx.providerRegistry.updateAsk(machine, price + 1n), accounts.bob);
  await succeed(api, api.tx.providerRegistry.suspendSelf(machine, 'Maintenance'), worker);
  await succeed(api, api.tx.providerRegistry.resume(machine), accounts.bob);
  await eventually('the last event', 10_000, () => seen.length >= 3);
  stop();
  assert.deepEqual(seen, ['AskUpdated', 'MachineStatusChanged', 'MachineStatusChanged']);
  // A raise is announced, and takes effect a minute later.
  const { ask, raise } = await machineRecord();
  assert.deepEqual([ask.toBigInt(), raise.unwrap().ask.toBigInt()], [price, price + 1n]);
});

test('a dapp lists all machines and a provider\'s own', async () => {
  const { api, accounts } = suite;
  const [all, own] = await Promise.all([
    api.query.providerRegistry.machines.entries(),
    api.query.providerRegistry.machinesByProvider.keys(accounts.bob.address),
  ]);
  const registered = responders.map((responder) => responder.machine);
  assert.deepEqual(all.map(([key]) => key.args[0].toBigInt()).sort(), registered.sort());
  assert.deepEqual(own.map(({ args }) => args[1].toBigInt()), [machine]);
});

test('a machine leaves: its bond unlocks, and its deposit stays until the bond is gone', async () => {
  const { api, accounts } = suite;
  const retired = await succeed(api, api.tx.providerRegistry.retire(machine), accounts.bob);
  assert.equal(eventOf(retired, 'providerRegistry', 'MachineStatusChanged').to, 'Retired');
  assert.ok((await api.query.providerRegistry.workerKeys(worker.address)).isNone, 'the worker key is free');

  const { bonded } = (await api.query.providerStaking.bonds(machine)).unwrap();
  const included = await succeed(api, api.tx.providerStaking.unbond(machine, bonded), accounts.bob);
  const event = eventOf(included, 'providerStaking', 'Unbonded');
  assert.deepEqual([event.machine, event.amount], [machine, bonded.toBigInt()]);
  const { after } = await ledger(suite, included);
  assert.equal(after.provider.held('providerStaking', 'MachineBond'), bonded.toBigInt(), 'unlocking stake is held');
  assert.equal(
    after.provider.held('providerRegistry', 'MachineDeposit'),
    (await machineRecord()).deposit.toBigInt(),
  );
});

test('a machine that was never bonded leaves at once, and nothing of it stays behind', async () => {
  const { api, accounts } = suite;
  const { dave } = accounts;
  const other = accounts.fresh('worker of the machine that leaves');
  const atFirst = await balanceOf(api, dave.address);
  const joined = await succeed(
    api,
    api.tx.utility.batchAll([
      api.tx.providerRegistry.registerProvider('Dave\'s machine'),
      registerMachine(api, other, dave),
    ]),
    dave,
  );
  const left = eventOf(joined, 'providerRegistry', 'MachineRegistered').machine;
  const gone = await succeed(
    api,
    api.tx.utility.batchAll([
      api.tx.providerRegistry.retire(left),
      api.tx.providerRegistry.deregisterProvider(),
    ]),
    dave,
  );
  assert.deepEqual(eventOf(gone, 'providerRegistry', 'MachineRemoved'), { machine: left, provider: dave.address });
  assert.ok((await api.query.providerRegistry.machines(left)).isNone);
  assert.ok((await api.query.providerRegistry.providers(dave.address)).isNone);
  const atLast = await balanceOf(api, dave.address);
  assert.equal(atLast.reserved, atFirst.reserved);
  assert.equal(atLast.free, atFirst.free - joined.fee - gone.fee);
});
