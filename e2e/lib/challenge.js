// A machine's side of the hardware challenge, in place of its worker.

import { bnToU8a, compactToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';
import { blake2AsU8a } from '@polkadot/util-crypto';

import { eventually, send } from './chain.js';
import { openedLanes, seedOf, SlotAnswer } from './prover.js';

const COMMIT_CONTEXT = stringToU8a('assay/challenge-commit/v2');
const PROVE_CONTEXT = stringToU8a('assay/challenge-prove/v2');
const PROOF_LIMIT_MS = 180_000;

const integer = (bitLength) => (value) => bnToU8a(value, { bitLength, isLe: true });
const [u8, u16, u32, u64] = [8, 16, 32, 64].map(integer);
const list = (items) => u8aConcat(compactToU8a(items.length), ...items);

/** Returns the answers that a machine owes or may give, the oldest round first, with plain values. */
export async function challengeDue(api, machine) {
  const due = await api.call.hardwareChallengeApi.challengeDue(machine);
  return due.map((one) => ({
    round: one.round.toNumber(),
    kind: one.kind.type,
    isOwed: one.isOwed.isTrue,
    randomness: one.randomness.toU8a(),
    workerKey: one.workerKey.toU8a(),
    params: {
      items: one.params.items.toNumber(),
      fillDoubleRounds: one.params.fillDoubleRounds.toNumber(),
      lanesLog2: one.params.lanesLog2.toNumber(),
      steps: one.params.steps.toNumber(),
      openings: one.params.openings.toNumber(),
      deadlineMs: one.params.deadlineMs.toNumber(),
    },
    slots: one.slots.toNumber(),
    roots: one.roots.map((root) => root.toU8a()),
    phase: one.phase.type,
    openingRandomness: one.phase.isProve ? one.phase.asProve.openingRandomness.toU8a() : undefined,
  }));
}

/**
 * Computes the answers of all slots that are due in a round; `changes` are the inputs that a cheat falsifies.
 */
export function answersOf(due, machine, changes = {}) {
  const { randomness, workerKey, params, slots } = { ...due, ...changes };
  return Array.from({ length: slots }, (_, slot) =>
    new SlotAnswer(params, seedOf({ randomness, machine: changes.machine ?? machine, workerKey, slot })));
}

/** Encodes the round of one fork. */
const roundBytes = ({ round, randomness }) => u8aConcat(u32(round), randomness);

/** Encodes all inputs of an answer except the openings: a worker signs them together with its answer. */
function subjectBytes(due, machine) {
  const { items, fillDoubleRounds, lanesLog2, steps, openings, deadlineMs } = due.params;
  return u8aConcat(
    roundBytes(due), u64(machine), due.workerKey,
    u32(items), u16(fillDoubleRounds), u8(lanesLog2), u16(steps), u8(openings), u64(deadlineMs),
  );
}

/** Commits to roots, signed by the worker key; rejects with the pool's error. */
export function commitRoots(api, due, machine, roots, worker) {
  const signature = worker.sign(u8aConcat(
    COMMIT_CONTEXT, api.genesisHash, subjectBytes(due, machine), list(roots),
  ));
  const call = u8aConcat(roundBytes(due), u64(machine), list(roots), signature);
  return submitGeneral(api, 'HardwareChallengeApi_commit_transaction', call);
}

/** Proves the opened lanes of all slots. */
export function proveSlots(api, due, machine, answers, worker) {
  const { openings, lanesLog2 } = due.params;
  const proofs = list(answers.map((answer, slot) => {
    const lanes = openedLanes({ openingRandomness: due.openingRandomness, machine, slot, openings, lanesLog2 });
    return list(lanes.map((lane) => list(answer.siblings(lane))));
  }));
  const firstSlot = [0];
  const signature = worker.sign(u8aConcat(
    PROVE_CONTEXT, api.genesisHash, subjectBytes(due, machine), due.openingRandomness,
    blake2AsU8a(list(due.roots)), firstSlot, blake2AsU8a(proofs),
  ));
  const call = u8aConcat(roundBytes(due), due.openingRandomness, u64(machine), firstSlot, proofs, signature);
  return submitGeneral(api, 'HardwareChallengeApi_prove_transaction', call);
}

/** Makes the runtime build an unsigned transaction, and submits it to the pool. */
async function submitGeneral(api, method, parameters) {
  const answer = await send(api, 'state_call', method, u8aToHex(parameters));
  if (!answer.startsWith('0x01')) throw new Error(`${method} made no transaction: ${answer.slice(0, 20)}`);
  return send(api, 'author_submitExtrinsic', `0x${answer.slice(4)}`);
}

/** A machine that answers every challenge, once each. Cheats override parts of it. */
export class Answerer {
  constructor(api, machine, worker) {
    Object.assign(this, { api, machine, worker, answers: new Map(), done: new Set() });
  }

  /** Does the next steps that are due. */
  async act() {
    const all = await challengeDue(this.api, this.machine);
    const proving = all.find(({ phase }) => phase === 'Prove');
    if (proving !== undefined) await this.once(`prove ${proving.round}`, () => this.prove(proving));
    const isUnderWay = all.some(({ phase }) => phase !== 'Commit');
    const open = all.filter(({ phase, isOwed }) => phase === 'Commit' && (isOwed || !isUnderWay)).at(-1);
    if (open !== undefined) await this.once(`commit ${open.round}`, () => this.commit(open));
  }

  async once(what, act) {
    if (this.done.has(what)) return;
    this.done.add(what);
    await act();
  }

  async commit(due) {
    const answers = this.answer(due);
    this.answers.set(due.round, answers);
    await commitRoots(this.api, due, this.machine, answers.map(({ root }) => root), this.worker);
  }

  async prove(due) {
    await proveSlots(this.api, due, this.machine, this.answers.get(due.round), this.worker);
  }

  answer(due) {
    return answersOf(due, this.machine);
  }
}

/** Answers until the machine is proven: a bonded machine is active then. */
export async function proveHardware(api, machine, worker) {
  const answerer = new Answerer(api, machine, worker);
  await eventually(`a proof of machine ${machine}`, PROOF_LIMIT_MS, async () => {
    await answerer.act();
    return (await api.query.hardwareChallenge.proofs(machine)).isSome;
  });
}
