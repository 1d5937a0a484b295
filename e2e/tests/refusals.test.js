// Invalid input gets its own error and loses nothing: refused calls leave the state unchanged and cost their
// fees.

import { test } from 'node:test';

import { ASY, eventOf, govern, refuseAll, succeed } from '../lib/chain.js';
import {
  activeMachine, deploy, IMAGE_DIGEST, manifestBytes, minimumBond, orderFor, registerMachine, registrationOf, rotateKeys,
  workerSignature,
} from '../lib/market.js';
import { withNode } from '../lib/suite.js';

const LIMIT_OF_SLOTS = 64;
const YEAR_MS = 365n * 86_400_000n;

const NOBODY = { consumer: null };

let machine;
let worker;
// A machine of the same provider without a bond, and its worker key.
let unbonded;
let idle;

const suite = withNode(async ({ api, accounts }) => {
  worker = accounts.fresh('worker of the refusals');
  machine = await activeMachine(api, accounts.bob, worker);
  idle = accounts.fresh('worker without a bond');
  const registered = await succeed(api, registerMachine(api, idle, accounts.bob), accounts.bob);
  unbonded = eventOf(registered, 'providerRegistry', 'MachineRegistered').machine;
});

// First, because the machine earns rewards as soon as its first whole epoch is over.
test('rewards', async (context) => {
  const { api, accounts } = suite;
  const { payout, setRewardDestination } = api.tx.rewardEmission;
  const elsewhere = { Account: accounts.dave.address };
  await refuseAll(context, api, [
    ['of a machine that has earned nothing yet', payout(machine, 32), accounts.dave, 'rewardEmission.NothingToPay'],
    ['of a machine that is not there', payout(999, 32), accounts.dave, 'rewardEmission.NothingToPay'],
    ['of more epochs than one payment covers', payout(machine, 33), accounts.dave, 'rewardEmission.BadEpochCount'],
    ['of no epochs', payout(machine, 0), accounts.dave, 'rewardEmission.BadEpochCount'],
    ['sent elsewhere by a stranger', setRewardDestination(machine, elsewhere), accounts.dave,
      'rewardEmission.NotProvider'],
  ]);
});

test('registering', async (context) => {
  const { api, accounts } = suite;
  const { bob, dave, eve } = accounts;
  const { registerMachine: register, registerProvider } = api.tx.providerRegistry;
  const other = accounts.fresh('another worker');
  const machineWith = (changes) => registerMachine(api, other, bob, changes);
  const beyondThePole = { latitudeMicrodegrees: 90_000_001, longitudeMicrodegrees: 0 };
  await refuseAll(context, api, [
    ['a provider twice', registerProvider('again'), bob, 'providerRegistry.AlreadyProvider'],
    ['a provider without a name', registerProvider(''), dave, 'providerRegistry.EmptyName'],
    ['a machine by no provider', registerMachine(api, other, dave), dave, 'providerRegistry.NoSuchProvider'],
    ['a worker key in use', registerMachine(api, worker, bob), bob, 'providerRegistry.WorkerKeyInUse'],
    ['a class that is not in the catalogue', machineWith({ class: 9_999 }), bob, 'providerRegistry.NoSuchClass'],
    ['no slots', machineWith({ slots: 0 }), bob, 'providerRegistry.BadSlots'],
    ['too many slots', machineWith({ slots: LIMIT_OF_SLOTS + 1 }), bob, 'providerRegistry.BadSlots'],
    ['a place that is not on Earth', machineWith({ location: beyondThePole }), bob, 'providerRegistry.NotOnEarth'],
    ['a region in capital letters', machineWith({ region: 'EU' }), bob, 'providerRegistry.BadRegion'],
    ['an endpoint of another protocol', machineWith({ endpoint: 'ftp://x' }), bob, 'providerRegistry.BadEndpoint'],
    ['an ask of nothing', machineWith({ ask: 0 }), bob, 'providerRegistry.AskIsZero'],
    ['a worker key that agreed to serve somebody else',
      register(registrationOf(other), workerSignature(api, other, dave)), bob, 'providerRegistry.BadWorkerSignature'],
    ['a worker key whose agreement somebody else signed',
      register(registrationOf(other), workerSignature(api, eve, bob)), bob, 'providerRegistry.BadWorkerSignature'],
  ]);
});

test('changing a machine', async (context) => {
  const { api, accounts } = suite;
  const { bob, dave } = accounts;
  const registry = api.tx.providerRegistry;
  const ownClass = { name: 'MINE', vramMib: 0, cudaCores: 0, computeScore: 1_000_000, stakePerSlot: 0 };
  await refuseAll(context, api, [
    ['somebody else\'s ask', registry.updateAsk(machine, ASY), dave, 'providerRegistry.NotProvider'],
    ['the ask of a machine that is not there', registry.updateAsk(999, ASY), bob, 'providerRegistry.NoSuchMachine'],
    ['an ask of nothing', registry.updateAsk(machine, 0), bob, 'providerRegistry.AskIsZero'],
    ['an endpoint that is no URL', registry.updateEndpoint(machine, 'nowhere'), bob, 'providerRegistry.BadEndpoint'],
    ['somebody else\'s endpoint', registry.updateEndpoint(machine, 'https://x'), dave, 'providerRegistry.NotProvider'],
    ['suspending somebody else\'s', registry.suspendSelf(machine, 'Maintenance'), dave, 'providerRegistry.NotProviderOrWorker'],
    ['suspending what is not in the market', registry.suspendSelf(unbonded, 'Heat'), bob, 'providerRegistry.NotSuspendable'],
    ['resuming what is not suspended', registry.resume(machine), bob, 'providerRegistry.NotSuspended'],
    ['resuming somebody else\'s', registry.resume(machine), dave, 'providerRegistry.NotProviderOrWorker'],
    ['draining somebody else\'s', registry.drain(machine), dave, 'providerRegistry.NotProviderOrWorker'],
    ['draining what is not active', registry.drain(unbonded), bob, 'providerRegistry.NotActive'],
    ['refreshing what is up to date', registry.refreshMachine(machine), dave, 'providerRegistry.NothingToRefresh'],
    ['retiring somebody else\'s', registry.retire(machine), dave, 'providerRegistry.NotProvider'],
    ['giving up while there are machines', registry.deregisterProvider(), bob, 'providerRegistry.HasMachines'],
    ['the catalogue without being root', registry.setHardwareClass(0, ownClass), bob, 'BadOrigin'],
  ]);
});

test('rotating keys', async (context) => {
  const { api, accounts } = suite;
  const { bob, dave } = accounts;
  const other = accounts.fresh('another device');
  const ofAnother = api.tx.providerRegistry.rotateKeys(
    machine, other.address, `0x${'08'.repeat(32)}`, workerSignature(api, other, dave),
  );
  await refuseAll(context, api, [
    ['of somebody else\'s machine', rotateKeys(api, machine, other, dave), dave, 'providerRegistry.NotProvider'],
    ['of a machine that is not there', rotateKeys(api, 999, other, bob), bob, 'providerRegistry.NoSuchMachine'],
    ['to one that serves another machine', rotateKeys(api, machine, idle, bob), bob, 'providerRegistry.WorkerKeyInUse'],
    ['to one that agreed to serve somebody else', ofAnother, bob, 'providerRegistry.BadWorkerSignature'],
  ]);
});

test('bonding', async (context) => {
  const { api, accounts } = suite;
  const { bob, charlie, dave } = accounts;
  const minimum = await minimumBond(api, unbonded);
  const { bond, bondExtra, setAutoStake, unbond, withdraw } = api.tx.providerStaking;
  await refuseAll(context, api, [
    ['a planck less than the minimum', bond(unbonded, minimum - 1n), bob, 'providerStaking.BelowMinimum'],
    ['somebody else\'s machine', bond(unbonded, minimum), dave, 'providerStaking.NotProvider'],
    ['a machine that is not there', bond(999, minimum), bob, 'providerStaking.NoSuchMachine'],
    ['more than there is', bond(unbonded, 10n ** 9n * ASY), bob, 'Token.FundsUnavailable'],
    ['twice', bond(machine, minimum), bob, 'providerStaking.AlreadyBonded'],
    ['more, where nothing is bonded', bondExtra(unbonded, ASY), bob, 'providerStaking.NotBonded'],
    ['less than an active machine\'s minimum', unbond(machine, 1n), bob, 'providerStaking.BelowMinimum'],
    ['more taken out than there is', unbond(machine, minimum + 1n), bob, 'providerStaking.BondTooSmall'],
    ['withdrawing what is not due', withdraw(machine), bob, 'providerStaking.NothingDue'],
    ['withdrawing where nothing is bonded', withdraw(unbonded), bob, 'providerStaking.NotBonded'],
    ['nothing more', bondExtra(machine, 0), bob, 'providerStaking.AmountIsZero'],
    ['rewards of somebody else\'s machine', setAutoStake(machine, true), dave, 'providerStaking.NotProvider'],
    ['rewards where nothing is bonded', setAutoStake(unbonded, true), bob, 'providerStaking.NotBonded'],
    ['a job for a machine without a bond', deploy(api, unbonded), charlie, 'jobEscrow.NotEligible'],
  ]);
});

test('slashing', async (context) => {
  const { api, accounts } = suite;
  const { alice, bob, dave } = accounts;
  const { applySlash, bond, cancelSlash, payDebt, slash } = api.tx.providerStaking;
  const { refreshMachine, retire, updateAsk } = api.tx.providerRegistry;
  const queued = await govern(api, [slash(unbonded, 100_000, NOBODY)], alice);
  const { id } = eventOf(queued, 'providerStaking', 'SlashQueued');
  const never = { dueEpoch: id.dueEpoch, index: id.index + 1 };
  await refuseAll(context, api, [
    ['without being root', slash(machine, 100_000, NOBODY), bob, 'BadOrigin'],
    ['cancelled without being root', cancelSlash(id), bob, 'BadOrigin'],
    ['applied before it is due', applySlash(id), dave, 'providerStaking.SlashNotDue'],
    ['applied without there being one', applySlash(never), dave, 'providerStaking.NoSuchSlash'],
    ['a debt that is none yet', payDebt(unbonded, id), dave, 'providerStaking.NoSuchDebt'],
    ['a debt of a machine that is not there', payDebt(999, id), dave, 'providerStaking.NoSuchDebt'],
  ]);

  // A pending slash keeps the record of a machine that leaves.
  await succeed(api, retire(unbonded), bob);
  const minimum = await minimumBond(api, unbonded);
  await context.test('of a machine that retired', (nested) => refuseAll(nested, api, [
    ['bonded again', bond(unbonded, minimum), bob, 'providerStaking.MachineRetired'],
    ['retired again', retire(unbonded), bob, 'providerRegistry.MachineRetired'],
    ['for another price', updateAsk(unbonded, ASY), bob, 'providerRegistry.MachineRetired'],
    ['with other keys', rotateKeys(api, unbonded, idle, bob), bob, 'providerRegistry.MachineRetired'],
    ['refreshed', refreshMachine(unbonded), dave, 'providerRegistry.MachineRetired'],
  ]));
});

test('deploying', async (context) => {
  const { api, accounts } = suite;
  const { charlie } = accounts;
  const to = (changes) => deploy(api, machine, changes);
  const long = `0x${'20'.repeat(16 * 1_024 + 1)}`;
  const otherLength = orderFor(manifestBytes('length'));
  otherLength.manifest.Public.lengthBytes += 1;
  const withOtherLength = api.tx.utility.batchAll([
    api.tx.preimage.notePreimage(manifestBytes('length')),
    api.tx.jobEscrow.deploy(otherLength, [machine]),
  ]);
  const notNoted = api.tx.jobEscrow.deploy(orderFor(manifestBytes('not noted')), [machine]);
  const poor = accounts.fresh('poor consumer');
  // Enough for the fee and the manifest's deposit, but not for ten minutes at 36 ASY an hour.
  await succeed(api, api.tx.balances.transferKeepAlive(poor.address, 5n * ASY), accounts.eve);
  await refuseAll(context, api, [
    ['below the ask', to({ maxPricePerSlotHour: 36n * ASY - 1n }), charlie, 'jobEscrow.PriceTooLow'],
    ['for no time', to({ maxDurationMs: 0 }), charlie, 'jobEscrow.BadDuration'],
    ['for longer than a year', to({ maxDurationMs: YEAR_MS + 1n }), charlie, 'jobEscrow.BadDuration'],
    ['on no slots', to({ slots: 0 }), charlie, 'jobEscrow.NoSlots'],
    ['on more slots than are free', to({ slots: 3 }), charlie, 'jobEscrow.NotEligible'],
    ['to a machine that is not there', deploy(api, 999), charlie, 'jobEscrow.NotEligible'],
    ['for attested machines, to one that is not', to({ kind: { Task: { verification: 'Attested' } } }), charlie,
      'jobEscrow.NotAttested'],
    ['verified by a proof', to({ kind: { Task: { verification: { Proof: { verifyingKey: IMAGE_DIGEST } } } } }), charlie,
      'jobEscrow.ProofNotSupported'],
    ['with a manifest that is too long', to({ manifest: long }), charlie, 'jobEscrow.ManifestTooLarge'],
    ['with a manifest that was not noted', notNoted, charlie, 'jobEscrow.ManifestMissing'],
    ['with a manifest of another length', withOtherLength, charlie, 'jobEscrow.ManifestMissing'],
    ['by a consumer who cannot pay the longest run', to({}), poor, 'Token.FundsUnavailable'],
  ]);
});

test('working on a job', async (context) => {
  const { api, accounts } = suite;
  const { bob, charlie, dave } = accounts;
  const { accept, abandon, close, decline, expire, reject, settle, start, submitAttestedResult, submitResult } =
    api.tx.jobEscrow;
  const { retire } = api.tx.providerRegistry;
  const result = `0x${'5a'.repeat(32)}`;
  const deployed = await succeed(api, deploy(api, machine, { manifest: manifestBytes('refused') }), charlie);
  const { job } = eventOf(deployed, 'jobEscrow', 'JobOrdered');

  await context.test('before it is started', (nested) => refuseAll(nested, api, [
    ['started by a stranger', start(job), dave, 'jobEscrow.NotWorker'],
    ['started by its provider', start(job), bob, 'jobEscrow.NotWorker'],
    ['a job that is not there', start(9_999), worker, 'jobEscrow.NoSuchJob'],
    ['a result before the start', submitResult(job, result), worker, 'jobEscrow.WrongState'],
    ['accepted before there is a result', accept(job, machine), charlie, 'jobEscrow.WrongState'],
    ['taken back by a stranger', close(job), dave, 'jobEscrow.NotConsumer'],
    ['expired before its time', expire(job, machine), dave, 'jobEscrow.TooEarly'],
    ['abandoned by a stranger', abandon(job, machine), dave, 'jobEscrow.NotProvider'],
    ['declined by a stranger', decline(job, machine, 'CannotRun'), dave, 'jobEscrow.NotProvider'],
    ['declined for a manifest that is public', decline(job, machine, 'NotDelivered'), worker, 'jobEscrow.ManifestIsPublic'],
  ]));

  await succeed(api, start(job), worker);
  await context.test('while it runs', (nested) => refuseAll(nested, api, [
    ['started twice', start(job), worker, 'jobEscrow.WrongState'],
    ['a running task closed by its consumer', close(job), charlie, 'jobEscrow.TaskRunning'],
    ['a result by a stranger', submitResult(job, result), dave, 'jobEscrow.NotWorker'],
    ['a result that the machine vouches for, where the consumer verifies',
      submitAttestedResult(job, result, { Sr25519: `0x${'00'.repeat(64)}` }), worker, 'jobEscrow.OtherVerification'],
    ['a running task settled', settle(job, machine), dave, 'jobEscrow.WrongState'],
    ['its machine retired', retire(machine), bob, 'providerRegistry.SlotsLeased'],
  ]));

  await succeed(api, submitResult(job, result), worker);
  await context.test('once there is a result', (nested) => refuseAll(nested, api, [
    ['a second result', submitResult(job, result), worker, 'jobEscrow.WrongState'],
    ['accepted by a stranger', accept(job, machine), dave, 'jobEscrow.NotConsumer'],
    ['rejected by its provider', reject(job, machine), bob, 'jobEscrow.NotConsumer'],
    ['settled before the consumer\'s window is over', settle(job, machine), dave, 'jobEscrow.TooEarly'],
    ['abandoned', abandon(job, machine), bob, 'jobEscrow.WrongState'],
  ]));

  await succeed(api, accept(job, machine), charlie);
  await context.test('once it has ended', (nested) => refuseAll(nested, api, [
    ['accepted again', accept(job, machine), charlie, 'jobEscrow.WrongState'],
    ['settled before its epoch is closed', settle(job, machine), dave, 'jobEscrow.NothingDue'],
  ]));
});
