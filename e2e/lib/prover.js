// The hardware challenge's prover, written independently from its description, so that the chain's verifier
// is tested against more than its own crate.

import { blake3 } from '@noble/hashes/blake3';
import { bnToU8a, stringToU8a, u8aConcat } from '@polkadot/util';
import { blake2AsU8a } from '@polkadot/util-crypto';

const SEED_CONTEXT = stringToU8a('assay/challenge/v1');
const OPENINGS_CONTEXT = stringToU8a('assay/openings/v1');
const CHACHA_CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574];
const WORDS = 16;
const ITEM_DOMAIN = 1;
const LANE_DOMAIN = 2;
const WALK_DOUBLE_ROUNDS = 4;

function quarterRound(words, a, b, c, d) {
  words[a] += words[b];
  words[d] ^= words[a];
  words[d] = (words[d] << 16) | (words[d] >>> 16);
  words[c] += words[d];
  words[b] ^= words[c];
  words[b] = (words[b] << 12) | (words[b] >>> 20);
  words[a] += words[b];
  words[d] ^= words[a];
  words[d] = (words[d] << 8) | (words[d] >>> 24);
  words[c] += words[d];
  words[b] ^= words[c];
  words[b] = (words[b] << 7) | (words[b] >>> 25);
}

const scratch = new Uint32Array(WORDS);

/** Applies this many ChaCha double rounds to 16 words, in place, and adds the words as they were before. */
function permuteAdd(words, doubleRounds) {
  scratch.set(words);
  for (let round = 0; round < doubleRounds; round += 1) {
    quarterRound(words, 0, 4, 8, 12);
    quarterRound(words, 1, 5, 9, 13);
    quarterRound(words, 2, 6, 10, 14);
    quarterRound(words, 3, 7, 11, 15);
    quarterRound(words, 0, 5, 10, 15);
    quarterRound(words, 1, 6, 11, 12);
    quarterRound(words, 2, 7, 8, 13);
    quarterRound(words, 3, 4, 9, 14);
  }
  for (let index = 0; index < WORDS; index += 1) words[index] += scratch[index];
}

/**
 * Converts words to little-endian bytes. Typed arrays have the host's order: little-endian wherever Node.js
 * runs.
 */
function bytesOf(words) {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength).slice();
}

function block(words, seedWords, domain, counter, doubleRounds) {
  words.set(CHACHA_CONSTANTS, 0);
  words.set(seedWords, 4);
  words.set([counter, domain, 0, 0], 12);
  permuteAdd(words, doubleRounds);
}

/** Returns the seed of a slot in a round. */
export function seedOf({ randomness, machine, workerKey, slot }) {
  return blake2AsU8a(u8aConcat(
    SEED_CONTEXT, randomness, bnToU8a(machine, { bitLength: 64, isLe: true }), workerKey, [slot],
  ));
}

/** Returns the lanes that a slot must open. */
export function openedLanes({ openingRandomness, machine, slot, openings, lanesLog2 }) {
  return Array.from({ length: openings }, (_, opening) => {
    const hash = blake2AsU8a(u8aConcat(
      OPENINGS_CONTEXT, openingRandomness, bnToU8a(machine, { bitLength: 64, isLe: true }), [slot], [opening],
    ));
    return new DataView(hash.buffer, hash.byteOffset).getUint32(0, true) & (2 ** lanesLog2 - 1);
  });
}

/**
 * Answer of one slot: fills the memory, walks the lanes, and keeps the tree. The last level's only hash is
 * the root.
 */
export class SlotAnswer {
  constructor({ items, fillDoubleRounds, lanesLog2, steps }, seed) {
    const seedWords = new Uint32Array(seed.slice().buffer);
    const memory = new Uint32Array(items * WORDS);
    for (let index = 0; index < items; index += 1) {
      block(memory.subarray(index * WORDS, (index + 1) * WORDS), seedWords, ITEM_DOMAIN, index, fillDoubleRounds);
    }
    const words = new Uint32Array(WORDS);
    const leaves = [];
    for (let lane = 0; lane < 2 ** lanesLog2; lane += 1) {
      block(words, seedWords, LANE_DOMAIN, lane, WALK_DOUBLE_ROUNDS);
      for (let step = 0; step < steps; step += 1) {
        // Exact: with so few items the product has less than 53 bits.
        const item = Math.floor((words[0] * items) / 2 ** 32) * WORDS;
        for (let index = 0; index < WORDS; index += 1) words[index] ^= memory[item + index];
        permuteAdd(words, WALK_DOUBLE_ROUNDS);
      }
      leaves.push(blake3(bytesOf(words)));
      if (lane === 0) this.firstLane = bytesOf(words);
    }
    this.firstItem = bytesOf(memory.subarray(0, WORDS));
    this.levels = [leaves];
    while (this.levels.at(-1).length > 1) {
      const below = this.levels.at(-1);
      this.levels.push(Array.from(
        { length: below.length / 2 },
        (_, index) => blake3(u8aConcat(below[2 * index], below[2 * index + 1])),
      ));
    }
  }

  get root() {
    return this.levels.at(-1)[0];
  }

  /** Returns the siblings of a lane, from the leaves upwards. */
  siblings(lane) {
    return this.levels.slice(0, -1).map((level, height) => level[(lane >>> height) ^ 1]);
  }
}
