// The main story: a machine joins, a consumer's job runs on it, and money moves, exact to the planck.
//
// The worker's part is played by its key alone; that containers really run is the demo's matter.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ASY, balanceOf, eventOf, eventually, succeed, totalIssuance } from '../lib/chain.js';
import {
  cost, deploy, manifestBytes, minimumBond, orderFor, registerMachine, registrationOf, splitOf, TREASURY,
} from '../lib/market.js';
import { withNode } from '../lib/suite.js';

const suite = withNode();
const price = 36n * ASY;

let machine;
let worker;

async function machineRecord() {
  return (await suite.api.query.providerRegistry.machines(machine)).unwrap();
}

async function jobRecord(job, hash) {
  const at = hash === undefined ? suite.api : await suite.api.at(hash);
  return (await at.query.jobEscrow.jobs(job)).unwrap();
}

/** Balances of everybody in the story, and everything that exists, before and after a transaction. */
async function ledger(included) {
  const { api, accounts } = suite;
  const read = async (hash) => {
    const [provider, consumer, vault, author, issuance] = await Promise.all([
      balanceOf(api, accounts.bob.address, hash),
      balanceOf(api, accounts.charlie.address, hash),
      balanceOf(api, TREASURY, hash),
      balanceOf(api, accounts.aliceStash.address, hash),
      totalIssuance(api, hash),
    ]);
    return { provider, consumer, treasury: vault, author, issuance };
  };
  const [before, after] = await Promise.all([read(included.parentHash), read(included.blockHash)]);
  return { before, after };
}

/** Checks that a payment of this amount, and nothing else, happened in a transaction that `payer` sent. */
async function checkPayment(included, { amount, released, payer }) {
  const split = splitOf(amount);
  const { before, after } = await ledger(included);
  const feeOf = (who) => (who === payer ? included.fee : 0n);
  assert.equal(after.provider.free - before.provider.free, split.provider - feeOf('provider'), 'the provider\'s part');
  assert.equal(after.treasury.free - before.treasury.free, split.treasury, 'the treasury\'s part');
  // The author of the block also gets the fee of the transaction itself.
  assert.equal(after.author.free - before.author.free, split.author + included.fee, 'the author\'s part');
  assert.equal(before.issuance - after.issuance, split.burned, 'what was burned, and nothing else, is gone');
  const held = (ledgerSide) => ledgerSide.consumer.held('jobEscrow', 'Escrow');
  assert.equal(held(before) - held(after), amount + released, 'what left the escrow');
  return split;
}

test('a provider registers and pays a deposit', async () => {
  const { api, accounts } = suite;
  const included = await succeed(api, api.tx.providerRegistry.registerProvider('Bob\'s machines'), accounts.bob);
  assert.equal(eventOf(included, 'providerRegistry', 'ProviderRegistered').provider, accounts.bob.address);

  const record = (await api.query.providerRegistry.providers(accounts.bob.address)).unwrap();
  assert.equal(record.name.toUtf8(), 'Bob\'s machines');
  assert.equal(record.machines.toNumber(), 0);
  const { before, after } = await ledger(included);
  const deposit = after.provider.held('providerRegistry', 'ProviderDeposit');
  assert.ok(deposit > 0n);
  assert.equal(record.deposit.toBigInt(), deposit);
  assert.equal(before.provider.free - after.provider.free, deposit + included.fee);
});

test('a machine is registered with its worker key\'s agreement, and is not active yet', async () => {
  const { api, accounts } = suite;
  worker = accounts.fresh('worker of the market');
  const included = await succeed(
    api,
    api.tx.utility.batchAll([
      registerMachine(api, worker, accounts.bob, { ask: price }),
      api.tx.balances.transferKeepAlive(worker.address, 10n * ASY),
    ]),
    accounts.bob,
  );
  const event = eventOf(included, 'providerRegistry', 'MachineRegistered');
  machine = event.machine;
  assert.equal(event.provider, accounts.bob.address);

  const record = await machineRecord();
  const wanted = registrationOf(worker);
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

test('the bond makes the machine active', async () => {
  const { api, accounts } = suite;
  const amount = await minimumBond(api, machine);
  assert.ok(amount > 500n * ASY);
  const included = await succeed(api, api.tx.providerStaking.bond(machine, amount), accounts.bob);
  const bonded = eventOf(included, 'providerStaking', 'Bonded');
  assert.deepEqual([bonded.machine, bonded.amount, bonded.total], [machine, amount, amount]);
  const changed = eventOf(included, 'providerRegistry', 'MachineStatusChanged');
  assert.deepEqual([changed.machine, changed.from, changed.to], [machine, 'Unproven', 'Active']);
  assert.ok((await machineRecord()).status.isActive);

  const { before, after } = await ledger(included);
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
  let ended;

  await context.test('deploying holds the price of the longest run', async () => {
    const order = deploy(api, machine, { manifest, slots: 2, maxDurationMs: durationMs });
    const included = await succeed(api, order, accounts.charlie);
    const event = eventOf(included, 'jobEscrow', 'JobDeployed');
    job = event.job;
    const escrow = cost(price, 2, durationMs, { roundUp: true });
    assert.equal(event.escrowed, escrow);
    assert.equal(event.pricePerSlotHour, price);
    assert.equal(event.kind, 'Task');
    const { before, after } = await ledger(included);
    assert.equal(after.consumer.held('jobEscrow', 'Escrow') - before.consumer.held('jobEscrow', 'Escrow'), escrow);
    assert.equal(before.issuance, after.issuance);
    assert.equal((await machineRecord()).freeSlots.toNumber(), 0);
    const record = await jobRecord(job);
    assert.ok(record.state.isStarting);
    assert.equal(record.consumer.toString(), accounts.charlie.address);
  });

  await context.test('the manifest can be read back from the chain', async () => {
    const { manifest: reference } = orderFor(machine, manifest);
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
    assert.ok((await jobRecord(job)).state.isRunning);
  });

  await context.test('the worker key gives its result', async () => {
    const resultHash = `0x${'5a'.repeat(32)}`;
    const included = await succeed(api, api.tx.jobEscrow.submitResult(job, resultHash), worker);
    assert.equal(eventOf(included, 'jobEscrow', 'ResultSubmitted').resultHash, resultHash);
    const { state } = await jobRecord(job);
    assert.ok(state.isVerifying);
    assert.equal(state.asVerifying.resultHash.toHex(), resultHash);
    assert.equal(state.asVerifying.startedAtMs.toBigInt(), started);
    ended = state.asVerifying.endedAtMs.toBigInt();
    assert.ok(ended > started);
    const { before, after } = await ledger(included);
    assert.equal(after.consumer.held('jobEscrow', 'Escrow'), before.consumer.held('jobEscrow', 'Escrow'), 'unpaid yet');
  });

  await context.test('the consumer accepts it, and everybody gets their part', async () => {
    const escrow = cost(price, 2, durationMs, { roundUp: true });
    const amount = cost(price, 2, ended - started);
    const included = await succeed(api, api.tx.jobEscrow.accept(job), accounts.charlie);
    const split = await checkPayment(included, { amount, released: escrow - amount, payer: 'consumer' });

    const settled = eventOf(included, 'jobEscrow', 'PaymentSettled');
    assert.deepEqual(
      [settled.job, settled.providerAmount, settled.fee, settled.burned],
      [job, split.provider, split.fee, split.burned],
    );
    const closed = eventOf(included, 'jobEscrow', 'JobClosed');
    assert.deepEqual([closed.outcome, closed.paid, closed.refunded], ['Completed', amount, escrow - amount]);
  });

  await context.test('nothing of it is left', async () => {
    assert.ok((await api.query.jobEscrow.jobs(job)).isNone);
    assert.deepEqual(await api.query.jobEscrow.consumerJobs.keys(accounts.charlie.address), []);
    assert.deepEqual(await api.query.jobEscrow.machineJobs.keys(machine), []);
    assert.equal((await machineRecord()).freeSlots.toNumber(), 2);
    assert.equal((await balanceOf(api, accounts.charlie.address)).held('jobEscrow', 'Escrow'), 0n);
  });
});

test('a service is paid as it runs, by anybody\'s settling, and to the planck when it is closed', async () => {
  const { api, accounts } = suite;
  const durationMs = 3_600_000n;
  const escrow = cost(price, 1, durationMs, { roundUp: true });
  const deployed = await succeed(
    api,
    deploy(api, machine, { manifest: manifestBytes('the service'), kind: 'Service', maxDurationMs: durationMs }),
    accounts.charlie,
  );
  const { job } = eventOf(deployed, 'jobEscrow', 'JobDeployed');
  const { startedAtMs } = eventOf(await succeed(api, api.tx.jobEscrow.start(job), worker), 'jobEscrow', 'JobStarted');
  const activeTime = async (hash) => (await (await api.at(hash)).query.chainClock.activeTimeMs()).toBigInt();

  let paid = 0n;
  for (let round = 0; round < 2; round += 1) {
    const settled = await succeed(api, api.tx.jobEscrow.settle(job), accounts.dave);
    const earned = cost(price, 1, (await activeTime(settled.blockHash)) - startedAtMs);
    await checkPayment(settled, { amount: earned - paid, released: 0n, payer: 'somebody else' });
    paid = earned;
    assert.equal((await jobRecord(job)).paid.toBigInt(), paid);
  }

  const closed = await succeed(api, api.tx.jobEscrow.close(job), accounts.charlie);
  const earned = cost(price, 1, (await activeTime(closed.blockHash)) - startedAtMs);
  await checkPayment(closed, { amount: earned - paid, released: escrow - earned, payer: 'consumer' });
  const event = eventOf(closed, 'jobEscrow', 'JobClosed');
  assert.deepEqual([event.outcome, event.paid, event.refunded], ['ClosedByConsumer', earned, escrow - earned]);
});

test('a job that was not started is taken back without cost', async () => {
  const { api, accounts } = suite;
  const order = deploy(api, machine, { manifest: manifestBytes('taken back') });
  const deployed = await succeed(api, order, accounts.charlie);
  const { job, escrowed } = eventOf(deployed, 'jobEscrow', 'JobDeployed');
  const closed = await succeed(api, api.tx.jobEscrow.close(job), accounts.charlie);
  const event = eventOf(closed, 'jobEscrow', 'JobClosed');
  assert.deepEqual([event.outcome, event.paid, event.refunded], ['Cancelled', 0n, escrowed]);
  const { before, after } = await ledger(closed);
  assert.equal(after.consumer.free - before.consumer.free, escrowed - closed.fee);
  assert.equal(before.issuance, after.issuance);
});

test('a dapp that subscribes to events sees each of them once', async () => {
  const { api, accounts } = suite;
  const seen = [];
  const blocks = [];
  // The first call tells the events of the block that is the newest when the subscription begins.
  const stop = await api.query.system.events((records) => {
    blocks.push(records);
    if (blocks.length === 1) return;
    for (const { event } of records) {
      if (event.section === 'providerRegistry') seen.push(event.method);
    }
  });
  await succeed(api, api.tx.providerRegistry.updateAsk(machine, price + 1n), accounts.bob);
  await succeed(api, api.tx.providerRegistry.suspendSelf(machine), worker);
  await succeed(api, api.tx.providerRegistry.resume(machine), accounts.bob);
  await eventually('the last event', 10_000, () => seen.length >= 3);
  stop();
  assert.deepEqual(seen, ['AskUpdated', 'MachineStatusChanged', 'MachineStatusChanged']);
  assert.equal((await machineRecord()).ask.toBigInt(), price + 1n);
});

test('a dapp lists all machines and a provider\'s own', async () => {
  const { api, accounts } = suite;
  const [all, own] = await Promise.all([
    api.query.providerRegistry.machines.entries(),
    api.query.providerRegistry.machinesByProvider.keys(accounts.bob.address),
  ]);
  assert.deepEqual(all.map(([key]) => key.args[0].toBigInt()), [machine]);
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
  const { after } = await ledger(included);
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
