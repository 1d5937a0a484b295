// Random choices that a seed repeats.

/** Returns the seed in `ASSAY_SEED`, or a new one. */
export function seedOfRun() {
  const given = process.env.ASSAY_SEED;
  if (given === undefined || given === '') return Math.floor(Math.random() * 2 ** 32);
  const seed = Number(given);
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new Error(`ASSAY_SEED is '${given}': give a whole number below 2^32`);
  }
  return seed;
}

/** Generator of random numbers by a seed of 32 bits: the step of a Weyl sequence, mixed. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** Returns a number from 0 up to and without 1. */
  fraction() {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  }

  /** Returns a whole number of the range, both ends included. */
  integer(least, most) {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  /** Returns an element of a list; `undefined` if it is empty. */
  pick(list) {
    return list[this.integer(0, list.length - 1)];
  }

  /** Returns a list in another order. */
  shuffled(list) {
    const left = [...list];
    return list.map(() => left.splice(this.integer(0, left.length - 1), 1)[0]);
  }
}
