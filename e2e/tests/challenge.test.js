// Value of the hardware challenge: an honest machine earns, and a cheat loses a part of its bond in an audit.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Answerer, answersOf, challengeDue, commitRoots } from '../lib/challenge.js';
import { awaitEvent, eventOf, eventsOf, eventually, govern, setParameter, succeed } from '../lib/chain.js';
import { minimumBond, registerMachine } from '../lib/market.js';
import { withNode } from '../lib/suite.js';
import { startProbeResponder } from '../lib/worker.js';

// Long enough for a busy machine: an answer computed in half of it is in a block before its end.
const COMMIT_WINDOW_MS = 30_000;
const LIMIT_MS = 300_000;

let responder;
const suite = withNode(async ({ api, accounts }) => {
  responder = await startProbeResponder(api, accounts.fresh('worker of the honest machine'));
  await govern(api, [setParameter(api, 'ProviderStaking', 'SlashDeferEpochs', 1)], accounts.alice);
}, {
  epochMs: 24_000,
  challenges: {
    newcomerIntervalMs: 12_000,
    commitWindowMs: COMMIT_WINDOW_MS,
    meanAuditIntervalMs: 45_000,
    maxAuditIntervalMs: 90_000,
    proveWindowMs: 15_000,
    reportWindowMs: 45_000,
    maxProofAgeMs: 3_600_000,
  },
});

let isOver = false;
let playing;
after(async () => {
  isOver = true;
  await playing;
  await responder.stop();
});

/** Answers correctly in all rounds before the first in which it cheats. */
class Cheat extends Answerer {
  firstRound = Infinity;

  constructor(api, machine, worker, cheat) {
    super(api, machine, worker);
    this.cheat = cheat;
    this.refusals = [];
  }

  async commit(due) {
    if (due.round < this.firstRound) return super.commit(due);
    return this.cheat(due, this).catch((error) => this.refusals.push(error.message));
  }
}

/** A device that computes for one machine at a time. */
class Device {
  turn = Promise.resolve();

  run(work) {
    // One machine's late answer must not keep the next one from the device.
    this.turn = this.turn.catch(() => {}).then(async () => {
      // More than half of the window, as on a device for which the class is well calibrated; and short enough
      // that one answer reaches a block in time.
      await sleep(0.55 * COMMIT_WINDOW_MS);
      await work();
    });
    return this.turn;
  }
}

const device = new Device();
const players = {};
const CHEATS = {
  honest: null,
  // A machine with half of the memory that it claims, which computes with that.
  half: async (due, self) => {
    const answers = answersOf(due, self.machine, { params: { ...due.params, items: due.params.items / 2 } });
    self.answers.set(due.round, answers);
    await commitRoots(self.api, due, self.machine, answers.map(({ root }) => root), self.worker);
  },
  // Two machines with one device, which has time for only one of them.
  shared: (due, self) => device.run(() => Answerer.prototype.commit.call(self, due)),
  sharing: (due, self) => device.run(() => Answerer.prototype.commit.call(self, due)),
  late: async (due, self) => {
    await sleep(COMMIT_WINDOW_MS + 4_000);
    await Answerer.prototype.commit.call(self, due);
  },
  // A machine that commits to somebody else's roots, and proves its own.
  copying: async (due, self) => {
    const copied = await eventually('roots to copy', COMMIT_WINDOW_MS / 2, () => players.honest.answers.get(due.round));
    self.answers.set(due.round, answersOf(due, self.machine));
    await commitRoots(self.api, due, self.machine, copied.map(({ root }) => root), self.worker);
  },
  silent: async () => {},
};

/** Lets all players act until the tests are over. */
async function play() {
  while (!isOver) {
    for (const player of Object.values(players)) {
      // Not awaited: a player may be slow on purpose.
      player.act().catch((error) => player.errors.push(error));
    }
    await sleep(1_000);
  }
}

test('seven machines prove their hardware', async () => {
  const { api, accounts } = suite;
  const names = Object.keys(CHEATS);
  const workers = names.map((name) => accounts.fresh(`worker of the ${name} machine`));
  const registered = await succeed(api, api.tx.utility.batchAll([
    api.tx.providerRegistry.registerProvider('Bob\'s machines'),
    ...names.map((name, index) => registerMachine(api, workers[index], accounts.bob, {
      slots: 1, ...(name === 'honest' ? { endpoint: responder.endpoint } : {}),
    })),
  ]), accounts.bob);
  const machines = eventsOf(registered, 'providerRegistry', 'MachineRegistered').map(({ machine }) => machine);
  for (const [index, name] of names.entries()) {
    players[name] = new Cheat(api, machines[index], workers[index], CHEATS[name]);
    players[name].errors = [];
  }
  responder.machine = players.honest.machine;
  const bonds = await Promise.all(machines.map(async (machine) =>
    api.tx.providerStaking.bond(machine, await minimumBond(api, machine))));
  await succeed(api, api.tx.utility.batchAll(bonds), accounts.bob);
  playing = play();
  for (const { machine } of Object.values(players)) {
    await eventually(`machine ${machine} to be active`, LIMIT_MS, async () =>
      (await api.query.providerRegistry.machines(machine)).unwrap().status.isActive);
  }
});

/** The slash of a machine, from the decision at block `from` or later until it was taken. */
async function slashOf(api, machine, from) {
  const isIts = (slash) => slash.machine === machine;
  const queued = await awaitEvent(api, from, 'providerStaking', 'SlashQueued', isIts, LIMIT_MS);
  const slashed = await awaitEvent(api, from, 'providerStaking', 'Slashed', isIts, LIMIT_MS);
  assert.ok(slashed.fields.taken > 0n);
  return queued.fields;
}

test('who is silent in an audit loses a part of its bond', async (context) => {
  const { api } = suite;
  const from = (await api.rpc.chain.getHeader()).number.toNumber();
  const firstRound = (await api.query.hardwareChallenge.nextRound()).toNumber();
  // Two of seven are silent, less than a third, so silence is punished. Wrong answers come later: their slashes
  // take machines out of the audit, and two of five are too many.
  for (const name of ['late', 'silent']) players[name].firstRound = firstRound;
  const bond = await minimumBond(api, players.honest.machine);

  for (const name of ['late', 'silent']) {
    await context.test(`the ${name} machine gave no answer in time, and loses a part of its bond`, async () => {
      const { machine } = players[name];
      // The validator's node reports it by itself; the punishment is decided when the round is concluded. On a
      // busy machine a third may be silent in a round: that one punishes nobody, and the next one does.
      const isIts = (fields) => fields.machine === machine && fields.round >= BigInt(firstRound);
      const { fields: { round } } = await awaitEvent(api, from, 'hardwareChallenge', 'MissPunished', isIts, LIMIT_MS);
      const isOfRound = (fields) => fields.round === round;
      const isMiss = (fields) => isIts(fields) && isOfRound(fields);
      await awaitEvent(api, from, 'hardwareChallenge', 'AnswerMissed', isMiss, LIMIT_MS);
      const { fields } = await awaitEvent(api, from, 'hardwareChallenge', 'RoundConcluded', isOfRound, LIMIT_MS);
      assert.equal(fields.outcome, 'Punished');
      const { reason, owed } = await slashOf(api, machine, from);
      assert.equal(reason, 'Offence(ChallengeUnanswered)');
      assert.equal(owed, bond / 100n);
    });
  }
  await context.test('the late answer was refused by the pool', () => {
    assert.ok(players.late.refusals.length > 0);
  });
});

test('who answers wrongly in an audit loses half of its bond', async (context) => {
  const { api } = suite;
  const from = (await api.rpc.chain.getHeader()).number.toNumber();
  const firstRound = (await api.query.hardwareChallenge.nextRound()).toNumber();
  for (const name of ['half', 'copying']) players[name].firstRound = firstRound;
  const bond = await minimumBond(api, players.honest.machine);

  for (const name of ['half', 'copying']) {
    await context.test(`the ${name} machine answered wrongly, and loses half of its bond`, async () => {
      const { machine } = players[name];
      const isIts = (fields) => fields.machine === machine && fields.round >= BigInt(firstRound);
      await awaitEvent(api, from, 'hardwareChallenge', 'AnswerWrong', isIts, LIMIT_MS);
      const { reason, owed } = await slashOf(api, machine, from);
      assert.equal(reason, 'Offence(ChallengeWrong)');
      assert.equal(owed, bond / 2n);
    });
  }
});

test('of two machines with one device one gives no answer, and loses its proof', async () => {
  const { api } = suite;
  const from = (await api.rpc.chain.getHeader()).number.toNumber();
  const firstRound = (await api.query.hardwareChallenge.nextRound()).toNumber();
  const two = [players.shared, players.sharing];
  for (const player of two) player.firstRound = firstRound;
  const machines = two.map(({ machine }) => machine);
  const isOne = ({ machine, round }) => machines.includes(machine) && round >= BigInt(firstRound);
  const { fields } = await awaitEvent(api, from, 'hardwareChallenge', 'AnswerMissed', isOne, LIMIT_MS);
  const other = machines.find((machine) => machine !== fields.machine);
  const isOther = ({ machine, round }) => machine === other && round === fields.round;
  await awaitEvent(api, from, 'hardwareChallenge', 'MachineProven', isOther, LIMIT_MS);
  assert.ok((await api.query.hardwareChallenge.proofs(fields.machine)).unwrap().steps.isEmpty);
  // One of the three remaining machines was silent: at that share silence may have another cause, and none is
  // slashed.
  const isIt = ({ round }) => round === fields.round;
  const concluded = await awaitEvent(api, from, 'hardwareChallenge', 'RoundConcluded', isIt, LIMIT_MS);
  assert.equal(concluded.fields.outcome, 'MassSilence');
});

test('finality is as close behind as the chain says', async () => {
  const { api } = suite;
  const recent = await api.query.finalityView.recent();
  assert.ok(recent.lags.length > 0 && recent.lagBlocks.toNumber() <= 5, recent.toString());
});

test('the honest machine answered every audit and earns', async () => {
  const { api, accounts } = suite;
  const { machine, errors } = players.honest;
  assert.deepEqual(errors.map(String), []);
  assert.ok((await api.query.providerRegistry.machines(machine)).unwrap().status.isActive);
  const paid = eventOf(await succeed(api, api.tx.rewardEmission.payout(machine, 32), accounts.eve), 'rewardEmission', 'RewardPaid');
  // One slot of the CPU class weighs four quarters, and in a network this small each unit of weight earns the
  // cap.
  const anEpoch = 4n * api.consts.rewardEmission.capPerWeight.toBigInt();
  const epochs = paid.lastEpoch - paid.firstEpoch + 1n;
  assert.ok(
    paid.amount > 0n && paid.amount % anEpoch === 0n && paid.amount <= epochs * anEpoch,
    `${paid.amount} plancks for ${epochs} epochs`,
  );
  const bonded = (await api.query.providerStaking.bonds(machine)).unwrap().bonded.toBigInt();
  assert.equal(bonded, await minimumBond(api, machine), 'nothing was taken');
});

test('nobody knows a round before it opens', async () => {
  const { api } = suite;
  const next = (await api.query.hardwareChallenge.nextRound()).toNumber();
  assert.ok((await api.query.hardwareChallenge.rounds(next)).isNone);
  const due = await challengeDue(api, players.honest.machine);
  const state = await Promise.all(due.map(async ({ round }) => (await api.query.hardwareChallenge.rounds(round)).unwrap()));
  for (const [index, record] of state.entries()) {
    // Openings are drawn once no block can include a commit any more.
    const isCommitting = due[index].phase === 'Commit';
    assert.ok(!isCommitting || record.openings.isNone);
  }
});
