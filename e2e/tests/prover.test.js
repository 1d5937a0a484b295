// The tests' own prover computes the answers of the challenge's test vectors.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { hexToU8a, u8aToHex } from '@polkadot/util';

import { openedLanes, seedOf, SlotAnswer } from '../lib/prover.js';

const bytes = (text) => hexToU8a(`0x${text}`);
const text = (value) => u8aToHex(value).slice(2);

test('the vectors are answered to the byte', async () => {
  const path = new URL('../../proof/tests/vectors/challenge.json', import.meta.url);
  const vectors = JSON.parse(await readFile(path, 'utf8'));
  assert.ok(vectors.length > 0);
  for (const vector of vectors) {
    const { params, machine_id: machine, slot } = vector;
    const workerKey = bytes(vector.worker_key);
    const seed = seedOf({ randomness: bytes(vector.round_randomness), machine, workerKey, slot });
    assert.equal(text(seed), vector.seed);
    const answer = new SlotAnswer({
      items: params.items,
      fillDoubleRounds: params.fill_double_rounds,
      lanesLog2: params.lanes_log2,
      steps: params.steps,
    }, seed);
    assert.equal(text(answer.firstItem), vector.item_0);
    assert.equal(text(answer.firstLane), vector.lane_0);
    assert.equal(text(answer.root), vector.root);
    const lanes = openedLanes({
      openingRandomness: bytes(vector.opening_randomness),
      machine,
      slot,
      openings: params.openings,
      lanesLog2: params.lanes_log2,
    });
    assert.deepEqual(lanes, vector.openings.map(({ lane }) => lane));
    for (const { lane, siblings } of vector.openings) {
      assert.deepEqual(answer.siblings(lane).map(text), siblings);
    }
  }
});
