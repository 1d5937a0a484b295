// A provider's whole life, step by step: three machines join, are found, work, offend, pay for it, and leave;
// and the provider has its money back except for fees and slashes, to the planck.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  around, ASY, awaitEvent, balanceOf, eventOf, eventsOf, eventually, govern, rpc, setParameter, submit, succeed,
  totalIssuance,
} from '../lib/chain.js';
import { proveHardware } from '../lib/challenge.js';
import { minimumBond, registerMachine, registrationOf, rotateKeys } from '../lib/market.js';
import { withNode } from '../lib/suite.js';

// The shortest epochs that the chain accepts: a slash falls due with the next one, and a bond unlocks with
// the one after it.
const EPOCH_MS = 24_000;
const EPOCH_LIMIT_MS = 4 * EPOCH_MS;

const BERLIN = registrationOf({}).location;
const NEW_YORK = { latitudeMicrodegrees: 40_712_800, longitudeMicrodegrees: -74_006_000 };
const RTX_4090 = 31;
const NOBODY = { consumer: null };
const FUNDS_OF_A_WORKER = 10n * ASY;

const suite = withNode(async ({ api, accounts }) => {
  await govern(api, [
    setParameter(api, 'ProviderStaking', 'SlashDeferEpochs', 1),
    setParameter(api, 'ProviderStaking', 'UnbondingEpochs', 2),
  ], accounts.alice);
}, { epochMs: EPOCH_MS });

// The machines, cheapest first at the start: one in New York, one with a GPU, and one that will be slashed.
const york = {};
const gpu = {};
const home = {};

// The provider's balance before it became one, and its expenses since.
let atFirst;
let fees = 0n;
let givenAway = 0n;
let lost = 0n;

/** Sends a call of the provider that must succeed. */
async function byProvider(...calls) {
  const { api, accounts } = suite;
  const included = await succeed(api, calls.length === 1 ? calls[0] : api.tx.utility.batchAll(calls), accounts.bob);
  fees += included.fee;
  return included;
}

/** Sends a call of the provider that must be refused with this error. */
async function refusedToProvider(call, expected) {
  const { error, fee } = await submit(suite.api, call, suite.accounts.bob);
  assert.equal(error, expected);
  fees += fee;
}

function find(requirements, options) {
  return rpc(suite.node.url, 'assay_findMachines', requirements, options);
}

/** Returns the machines that the market offers, in its order. */
async function found(requirements = {}, options = undefined) {
  const { offers } = await find(requirements, options);
  return offers.map(({ machine }) => [york, gpu, home].find(({ id }) => Number(id) === machine));
}

function explain(requirements, { id }) {
  return rpc(suite.node.url, 'assay_explain', requirements, Number(id));
}

function view({ id }) {
  return rpc(suite.node.url, 'assay_machine', Number(id));
}

async function status(machine) {
  return (await view(machine)).status;
}

/** Returns the plancks held for a machine. */
async function bondOf({ id }) {
  const record = await suite.api.query.providerStaking.bonds(id);
  if (record.isNone) return 0n;
  const { bonded, unlocking } = record.unwrap();
  return unlocking.reduce((sum, { amount }) => sum + amount.toBigInt(), bonded.toBigInt());
}

/** Waits until a slash is applied, and checks that exactly the burned amount left the issuance. */
async function applied({ id }, from) {
  const { api } = suite;
  const isIt = (fields) => fields.id.dueEpoch === id.dueEpoch && fields.id.index === id.index;
  const block = await awaitEvent(api, from, 'providerStaking', 'Slashed', isIt, EPOCH_LIMIT_MS);
  const all = eventsOf(block, 'providerStaking', 'Slashed');
  const [before, after] = await around(block, (hash) => totalIssuance(api, hash));
  assert.equal(before - after, all.reduce((sum, { burned }) => sum + burned, 0n), 'what was burned is gone');
  const epoch = (await (await api.at(block.blockHash)).query.chainClock.currentEpoch()).toNumber();
  assert.ok(epoch >= id.dueEpoch, `in epoch ${epoch}`);
  lost += block.fields.taken;
  return block;
}

test('a provider and three machines are registered', async () => {
  const { api, accounts } = suite;
  const { bob, fresh } = accounts;
  atFirst = await balanceOf(api, bob.address);
  const machines = [
    [york, { ask: 20n * ASY, region: 'us-east', location: NEW_YORK }],
    [gpu, { ask: 30n * ASY, class: RTX_4090, slots: 1 }],
    [home, { ask: 36n * ASY }],
  ];
  for (const [index, [machine]] of machines.entries()) machine.worker = fresh(`worker ${index} of the provider`);
  home.nextWorker = fresh('the worker after that');
  const workers = [york, gpu, home].map(({ worker }) => worker).concat(home.nextWorker);

  const included = await byProvider(
    api.tx.providerRegistry.registerProvider('Bob\'s machines'),
    ...machines.map(([machine, changes]) => registerMachine(api, machine.worker, bob, changes)),
    ...workers.map(({ address }) => api.tx.balances.transferKeepAlive(address, FUNDS_OF_A_WORKER)),
  );
  givenAway += FUNDS_OF_A_WORKER * BigInt(workers.length);
  const registered = eventsOf(included, 'providerRegistry', 'MachineRegistered');
  for (const [index, [machine]] of machines.entries()) machine.id = registered[index].machine;
});

test('a machine is shown when it is bonded and proven', async () => {
  const { api } = suite;
  assert.deepEqual(await found(), []);
  assert.equal(await status(home), 'unproven');
  assert.deepEqual(await explain({}, home), [{ requirement: 'status', found: 'unproven' }]);

  const bonds = await Promise.all([york, gpu, home].map(async ({ id }) => [id, await minimumBond(api, id)]));
  await byProvider(...bonds.map(([id, amount]) => api.tx.providerStaking.bond(id, amount)));
  assert.equal(await status(home), 'unproven', 'a bond alone is not enough');
  await Promise.all([york, gpu, home].map(({ id, worker }) => proveHardware(api, id, worker)));
  assert.deepEqual(await found(), [york, gpu, home], 'the cheapest first');
  assert.deepEqual(await explain({}, home), []);
});

test('the market is searched over JSON-RPC', async (context) => {
  const berlin = (withinKm) => ({ near: { center: BERLIN, withinKm } });
  for (const [name, requirements, expected] of [
    ['by class', { gpuType: 'CPU' }, [york, home]],
    ['by a class that nobody has', { gpuType: 'NVIDIA_H100' }, []],
    ['by memory of the GPU', { minVramMib: 24_576 }, [gpu]],
    ['by more of it than there is', { minVramMib: 24_577 }, []],
    ['by compute score', { minComputeScore: 165 }, [gpu]],
    ['by cores', { minCudaCores: 16_384 }, [gpu]],
    ['by region', { region: 'us-east' }, [york]],
    ['by distance', berlin(1), [gpu, home]],
    ['by a distance over the ocean', berlin(7_000), [york, gpu, home]],
    ['by price', { maxPricePerSlotHour: String(30n * ASY) }, [york, gpu]],
    ['by free slots', { minFreeSlots: 2 }, [york, home]],
    ['by the slots\' part of the memory', { minRamMib: 16_384 }, [gpu]],
    ['by bandwidth', { minUploadMbps: 101 }, []],
    ['by uptime, which nobody has seen yet', { minUptimePpm: 950_000 }, [york, gpu, home]],
    ['by a better uptime', { minUptimePpm: 950_001 }, []],
    ['by evidence that nobody gave', { tee: 'tdx' }, []],
    ['by machines of one provider', { minNodes: 3 }, [york, gpu, home]],
    ['by more of them', { minNodes: 4 }, []],
    ['by several things', { gpuType: 'CPU', ...berlin(1), maxPricePerSlotHour: String(36n * ASY) }, [home]],
  ]) {
    await context.test(name, async () => assert.deepEqual(await found(requirements), expected));
  }

  await context.test('an offer tells everything that a consumer wants to know', async () => {
    const { offers: [offer] } = await find({ gpuType: 'NVIDIA_RTX_4090', near: { center: NEW_YORK, withinKm: 7_000 } });
    const { distanceM, ...rest } = offer;
    assert.ok(Math.abs(distanceM - 6_385_000) < 20_000, `${distanceM} m from New York to Berlin`);
    const wanted = registrationOf(gpu.worker);
    assert.deepEqual(rest, {
      machine: Number(gpu.id),
      provider: suite.accounts.bob.address,
      workerKey: gpu.worker.address,
      sealingKey: wanted.sealingKey,
      status: 'active',
      class: RTX_4090,
      gpuType: 'NVIDIA_RTX_4090',
      vramMib: 24_576,
      cudaCores: 16_384,
      computeScore: 165,
      slots: 1,
      freeSlots: 1,
      cpuCores: wanted.cpuCores,
      ramMib: wanted.ramMib,
      diskGib: wanted.diskGib,
      uploadMbps: wanted.uploadMbps,
      downloadMbps: wanted.downloadMbps,
      region: wanted.region,
      location: BERLIN,
      endpoint: wanted.endpoint,
      pricePerSlotHour: String(30n * ASY),
      nextPricePerSlotHour: null,
      nextPriceFromMs: null,
      // Price divided by 165 TFLOPS, rounded up.
      pricePerTflopsHour: String((30n * ASY + 164n) / 165n),
      uptimePpm: 950_000,
      teeKinds: [],
      service: { fulfilled: 0, cancelled: 0, notStarted: 0, abandoned: 0, unresolved: 0 },
    });
    assert.deepEqual(await view(gpu), { ...rest, distanceM: null }, 'and so does the machine itself');
  });

  await context.test('on request it tells which machines it passed over, and why', async () => {
    const requirements = { gpuType: 'CPU', maxPricePerSlotHour: String(20n * ASY) };
    const { offers, passedOver } = await find(requirements, { explain: true });
    assert.deepEqual(offers.map(({ machine }) => machine), [Number(york.id)]);
    const mismatch = { requirement: 'maxPricePerSlotHour', found: String(36n * ASY) };
    assert.deepEqual(passedOver, [{ machine: Number(home.id), mismatches: [mismatch] }]);
    assert.equal('passedOver' in (await find(requirements)), false);
  });

  await context.test('of one machine it tells everything that does not fit', async () => {
    const requirements = { gpuType: 'NVIDIA_RTX_4090', minVramMib: 24_576, region: 'us-east' };
    assert.deepEqual(await explain(requirements, home), [
      { requirement: 'gpuType', found: 'CPU' },
      { requirement: 'minVramMib', wanted: 24_576, found: 0 },
      { requirement: 'region', found: 'eu-central' },
    ]);
    assert.equal(await explain({}, { id: 999n }), null);
    assert.equal(await view({ id: 999n }), null);
  });

  await context.test('pages of one block fit together', async () => {
    const seen = [];
    let { at, next } = await find({}, { limit: 1 });
    let cursor = null;
    do {
      const page = await find({}, { limit: 1, cursor, at });
      seen.push(...page.offers.map(({ machine }) => machine));
      ({ at, next } = page);
      cursor = next;
    } while (next !== null && seen.length < 10);
    assert.deepEqual(seen, [york, gpu, home].map(({ id }) => Number(id)));
  });

  for (const [name, requirements, options, expected] of [
    ['an unknown class', { gpuType: 'RTX_4090' }, {}, /gpuType: .*no hardware class named 'RTX_4090'/],
    ['a place that is not on Earth', { near: { center: { ...BERLIN, latitudeMicrodegrees: 90_000_001 }, withinKm: 1 } },
      {}, /near\.center: latitudes/],
    ['more machines than can be asked for', { minNodes: 65 }, {}, /minNodes: at most 64/],
    ['a page of nothing', {}, { limit: 0 }, /limit: 1 to 100/],
    ['a page that is too long', {}, { limit: 101 }, /limit: 1 to 100/],
    ['a misspelt requirement', { minVram: 80 }, {}, /minVram/],
    ['a price that is none', { maxPricePerSlotHour: '2.5' }, {}, /whole number of plancks/],
    ['a cursor of another kind', {}, { cursor: '0x00' }, /50 hex digits/],
  ]) {
    await context.test(`${name} is refused with a sentence`, async () => {
      await assert.rejects(find(requirements, options), expected);
    });
  }
});

test('what a machine asks, where it is reached and who acts for it can be changed', async () => {
  const { api, accounts } = suite;
  const { at } = await find({});
  const included = await byProvider(
    api.tx.providerRegistry.updateAsk(home.id, 10n * ASY),
    api.tx.providerRegistry.updateEndpoint(home.id, 'https://home.example:4001'),
    rotateKeys(api, home.id, home.nextWorker, accounts.bob),
  );
  assert.equal(eventOf(included, 'providerRegistry', 'AskUpdated').ask, 10n * ASY);
  assert.equal(eventOf(included, 'providerRegistry', 'KeysRotated').workerKey, home.nextWorker.address);
  assert.deepEqual(await found(), [home, york, gpu], 'now it is the cheapest');
  assert.deepEqual(await found({}, { at }), [york, gpu, home], 'but it was not before');
  const changed = await view(home);
  assert.equal(changed.endpoint, 'https://home.example:4001');
  assert.equal(changed.workerKey, home.nextWorker.address);
  assert.equal(changed.sealingKey, `0x${'08'.repeat(32)}`);

  // A raise takes effect a minute later, and is announced meanwhile.
  await byProvider(api.tx.providerRegistry.updateAsk(home.id, 11n * ASY));
  const announced = await view(home);
  assert.equal(announced.pricePerSlotHour, String(10n * ASY));
  assert.equal(announced.nextPricePerSlotHour, String(11n * ASY));
  await byProvider(api.tx.providerRegistry.updateAsk(home.id, 10n * ASY));
  assert.equal((await view(home)).nextPricePerSlotHour, null, 'a cut forgets it');

  // Only the new key acts for the machine.
  const { suspendSelf } = api.tx.providerRegistry;
  const [refused] = await Promise.all([
    submit(api, suspendSelf(home.id, 'Maintenance'), home.worker),
    succeed(api, suspendSelf(home.id, 'Maintenance'), home.nextWorker),
  ]);
  assert.equal(refused.error, 'providerRegistry.NotProviderOrWorker');
  assert.deepEqual(await status(home), { suspended: 'ownRequest' });
  assert.deepEqual(await found(), [york, gpu]);
  await succeed(api, api.tx.providerRegistry.resume(home.id), home.nextWorker);
  assert.equal(await status(home), 'active');
  home.worker = home.nextWorker;
});

test('who breaks its word is slashed in the next epoch', async (context) => {
  const { api, accounts } = suite;
  const { alice, charlie, eve } = accounts;
  const loss = 100n * ASY + 1n;
  let slashed;
  let governed;

  await context.test('a machine is slashed a little, and leaves the market at once', async () => {
    slashed = await govern(api, [api.tx.providerStaking.slash(home.id, 20_000, NOBODY)], alice);
    const queued = eventOf(slashed, 'providerStaking', 'SlashQueued');
    home.bond = await minimumBond(api, home.id);
    assert.equal(queued.machine, home.id);
    assert.equal(queued.reason, 'Governance');
    assert.equal(queued.owed, (home.bond * 2n) / 100n);
    home.slash = queued;
    const record = (await api.query.providerStaking.bonds(home.id)).unwrap();
    assert.equal(record.pending.toBigInt(), queued.owed);
    assert.equal(record.bonded.toBigInt(), home.bond, 'nothing is taken yet');
    assert.deepEqual(await status(home), { suspended: 'bondTooLow' }, 'but it is lost already');
  });

  await context.test('governance slashes another machine, of more than it has', async () => {
    const { slash } = api.tx.providerStaking;
    governed = await govern(api, [
      slash(york.id, 1_000_000, { consumer: [charlie.address, loss] }),
      slash(york.id, 100_000, NOBODY),
    ], alice);
    york.bond = await minimumBond(api, york.id);
    [york.slash, york.secondSlash] = eventsOf(governed, 'providerStaking', 'SlashQueued');
    assert.equal(york.slash.reason, 'Governance');
    assert.equal(york.slash.owed, york.bond);
    assert.equal(york.secondSlash.owed, york.bond / 10n);
  });

  await context.test('a machine drains meanwhile, and governance takes a slash of it back', async () => {
    const { cancelSlash, slash } = api.tx.providerStaking;
    const defer = (epochs) => setParameter(api, 'ProviderStaking', 'SlashDeferEpochs', epochs);
    const [drained, queued] = await Promise.all([
      byProvider(api.tx.providerRegistry.drain(gpu.id)),
      // A long deferral leaves time to cancel.
      govern(api, [defer(50), slash(gpu.id, 500_000, NOBODY), defer(1)], alice),
    ]);
    assert.equal(eventOf(drained, 'providerRegistry', 'MachineStatusChanged').to, 'Draining');
    assert.equal(await status(gpu), 'draining');
    assert.ok(!(await found()).includes(gpu));
    const { id } = eventOf(queued, 'providerStaking', 'SlashQueued');
    await refusedToProvider(api.tx.providerRegistry.resume(gpu.id), 'providerRegistry.BondTooLow');
    const cancelled = await govern(api, [cancelSlash(id)], alice);
    await byProvider(api.tx.providerRegistry.resume(gpu.id));
    assert.deepEqual(eventOf(cancelled, 'providerStaking', 'SlashCancelled'), { id, machine: gpu.id });
    assert.equal((await api.query.providerStaking.bonds(gpu.id)).unwrap().pending.toBigInt(), 0n);
    assert.ok((await found()).includes(gpu));
  });

  await context.test('the first slash falls due: it is burned, and the machine stays suspended for its bond', async () => {
    const { fields } = await applied(home.slash, slashed.blockNumber);
    const { owed } = home.slash;
    assert.deepEqual(
      [fields.taken, fields.toConsumer, fields.burned, fields.debt],
      [owed, 0n, owed, 0n],
    );
    assert.equal(await bondOf(home), home.bond - owed);
    assert.deepEqual(await status(home), { suspended: 'bondTooLow' });
  });

  await context.test('the other\'s makes the consumer whole, and burns the rest', async () => {
    const block = await applied(york.slash, governed.blockNumber);
    const { fields } = block;
    assert.deepEqual(
      [fields.taken, fields.toConsumer, fields.burned, fields.debt],
      [york.bond, loss, york.bond - loss, 0n],
    );
    const [before, after] = await around(block, (hash) => balanceOf(api, charlie.address, hash));
    assert.equal(after.free - before.free, loss);
    const second = await applied(york.secondSlash, governed.blockNumber);
    assert.deepEqual([second.fields.taken, second.fields.debt], [0n, york.secondSlash.owed]);
    assert.deepEqual(await status(york), { suspended: 'inDebt' });
  });

  await context.test('a machine in debt takes no bond until somebody has paid', async () => {
    const { bond, bondExtra, payDebt } = api.tx.providerStaking;
    await refusedToProvider(bond(york.id, york.bond), 'providerStaking.InDebt');
    const [extra, paid] = await Promise.all([
      // The machine that only lacks a part of its bond works again with that part.
      byProvider(bondExtra(home.id, home.slash.owed)),
      succeed(api, payDebt(york.id, york.secondSlash.id), eve),
    ]);
    assert.equal(eventOf(extra, 'providerStaking', 'Bonded').total, home.bond);
    assert.equal(await status(home), 'active');

    const { payer, burned } = eventOf(paid, 'providerStaking', 'DebtPaid');
    assert.deepEqual([payer, burned], [eve.address, york.secondSlash.owed]);
    const [before, after] = await around(paid, (hash) => totalIssuance(api, hash));
    assert.equal(before - after, burned);
    assert.deepEqual(await status(york), { suspended: 'bondTooLow' });
    await byProvider(bond(york.id, york.bond));
    assert.equal(await status(york), 'active');
  });
});

test('the provider leaves, and has back what was not slashed', async (context) => {
  const { api, accounts } = suite;
  const { alice, bob, dave } = accounts;
  const { cancelSlash, slash, unbond, withdraw } = api.tx.providerStaking;
  const { deregisterProvider, retire } = api.tx.providerRegistry;
  const machines = [york, gpu, home];
  let pending;
  let dueEpoch;

  await context.test('its machines retire, one of them with a slash pending', async () => {
    const queued = await govern(api, [
      setParameter(api, 'ProviderStaking', 'SlashDeferEpochs', 50),
      slash(gpu.id, 250_000, NOBODY),
    ], alice);
    pending = eventOf(queued, 'providerStaking', 'SlashQueued');
    gpu.bond = await bondOf(gpu);
    assert.equal(pending.owed, gpu.bond / 4n);

    const included = await byProvider(
      ...machines.map(({ id }) => retire(id)),
      ...machines.map(({ id, bond }) => unbond(id, bond)),
    );
    const unbonded = eventsOf(included, 'providerStaking', 'Unbonded');
    assert.deepEqual(unbonded.map(({ amount }) => amount), machines.map(({ bond }) => bond));
    dueEpoch = Number(unbonded[0].dueEpoch);
    assert.deepEqual(await found(), []);
    assert.deepEqual(await explain({}, home), [{ requirement: 'status', found: 'retired' }]);
    await refusedToProvider(deregisterProvider(), 'providerRegistry.HasMachines');
  });

  await context.test('anybody has the bonds given back when they are due, but for what is locked', async () => {
    const epoch = async () => (await api.query.chainClock.currentEpoch()).toNumber();
    await eventually(`epoch ${dueEpoch}`, EPOCH_LIMIT_MS, epoch, (current) => current >= dueEpoch);
    const included = await succeed(api, api.tx.utility.batchAll(machines.map(({ id }) => withdraw(id))), dave);
    const withdrawn = eventsOf(included, 'providerStaking', 'Withdrawn');
    assert.deepEqual(
      withdrawn.map(({ amount }) => amount),
      [york.bond, gpu.bond - pending.owed, home.bond],
    );
    const removed = eventsOf(included, 'providerRegistry', 'MachineRemoved');
    assert.deepEqual(removed.map(({ machine }) => machine), [york.id, home.id]);
    assert.equal(await bondOf(gpu), pending.owed);
    assert.equal((await submit(api, withdraw(gpu.id), dave)).error, 'providerStaking.SlashPending');
  });

  await context.test('a slash that is taken back frees the rest', async () => {
    await govern(api, [cancelSlash(pending.id)], alice);
    const included = await succeed(api, withdraw(gpu.id), dave);
    assert.equal(eventOf(included, 'providerStaking', 'Withdrawn').amount, pending.owed);
    assert.equal(await view(gpu), null);
  });

  await context.test('nothing is left of it on the chain, and every planck is accounted for', async () => {
    await byProvider(deregisterProvider());
    const { machines: records, machinesByProvider, offers, providers, workerKeys } = api.query.providerRegistry;
    const { agenda, bonds, debts } = api.query.providerStaking;
    for (const map of [records, machinesByProvider, offers, providers, workerKeys, agenda, bonds, debts]) {
      assert.deepEqual(await map.keys(), []);
    }
    const atLast = await balanceOf(api, bob.address);
    assert.equal((await api.query.balances.holds(bob.address)).length, 0);
    assert.equal(atLast.reserved, atFirst.reserved);
    assert.equal(lost, home.slash.owed + york.slash.owed);
    assert.equal(atLast.free, atFirst.free - fees - givenAway - lost);
  });
});
