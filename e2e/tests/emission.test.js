// The emission: an epoch ends, its pool is shared by weight, and anybody can have a machine paid.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { hexToU8a, u8aConcat } from '@polkadot/util';
import { encodeAddress } from '@polkadot/util-crypto';

import { balanceOf, eventOf, eventually, refuseAll, succeed, totalIssuance } from '../lib/chain.js';
import { activeMachine } from '../lib/market.js';
import { withNode } from '../lib/suite.js';
import { startProbeResponder } from '../lib/worker.js';

const responders = [];
const suite = withNode(async ({ api, accounts }) => {
  for (const name of ['small', 'large']) {
    responders.push(await startProbeResponder(api, accounts.fresh(`worker of the ${name} machine`)));
  }
});
after(() => Promise.all(responders.map((responder) => responder.stop())));

const EMISSION_CAP = 1_000_000_000n * 10n ** 12n;
const EMISSION_DIVISOR = 50_586n;
const ETHEREUM_ADDRESS = `0x${'c0ffee'.repeat(6)}c0ff`;

/** Account of a 20-byte address, as the SDK's contracts map it: padded with 0xEE. */
const MAPPED_ACCOUNT = encodeAddress(u8aConcat(hexToU8a(ETHEREUM_ADDRESS), new Uint8Array(12).fill(0xee)), 42);

test('two machines share an epoch by their weight', async (context) => {
  const { api, accounts } = suite;
  // One slot weighs four quarters, two slots eight: both are of the class whose compute score is one.
  const [small, large] = await Promise.all([['small', accounts.bob, 1], ['large', accounts.dave, 2]].map(
    async ([name, provider, slots], index) => {
      const { endpoint } = responders[index];
      const machine = await activeMachine(api, provider, accounts.fresh(`worker of the ${name} machine`), { slots, endpoint });
      responders[index].machine = machine;
      return machine;
    },
  ));
  await succeed(api, api.tx.rewardEmission.setRewardDestination(large, { Ethereum: ETHEREUM_ADDRESS }), accounts.dave);
  const joined = (await api.query.chainClock.currentEpoch()).toNumber();
  const shared = joined + 1;

  let record;
  await context.test('the epoch after the one in which they joined closes with both', async () => {
    await eventually(
      `the end of epoch ${shared}`,
      180_000,
      async () => (await api.query.chainClock.currentEpoch()).toNumber(),
      (epoch) => epoch > shared,
    );
    record = await api.query.rewardEmission.epochRecords(shared);
    assert.equal(record.totalWeight.toBigInt(), 12n);
    assert.equal(record.minted.toBigInt(), 0n);
  });

  await context.test('a small network shares what its weight is worth, and leaves the rest', async () => {
    const cap = api.consts.rewardEmission.capPerWeight.toBigInt();
    assert.equal(record.pool.toBigInt(), 12n * cap);
    let remaining = EMISSION_CAP;
    for (let epoch = 0; epoch < shared; epoch += 1) {
      remaining -= (await api.query.rewardEmission.epochRecords(epoch)).pool.toBigInt();
    }
    assert.equal(record.pool.toBigInt() + record.withheld.toBigInt(), remaining / EMISSION_DIVISOR);
  });

  await context.test('what validators saw in it is final when the next epoch has ended', async () => {
    await eventually(
      `the end of epoch ${shared + 1}`,
      120_000,
      async () => (await api.query.chainClock.currentEpoch()).toNumber(),
      (epoch) => epoch > shared + 1,
    );
  });

  for (const [name, machine, weight, recipient] of [
    ['the small machine is paid to its provider', small, 1n, accounts.bob.address],
    ['the large machine is paid to its 20-byte address', large, 2n, MAPPED_ACCOUNT],
  ]) {
    await context.test(name, async () => {
      // Anybody may request the payment; Eve takes no part in it.
      const included = await succeed(api, api.tx.rewardEmission.payout(machine, 32), accounts.eve);
      const paid = eventOf(included, 'rewardEmission', 'RewardPaid');
      const share = (record.pool.toBigInt() * weight) / 3n;
      assert.equal(paid.amount, share);
      assert.equal(paid.lastEpoch, BigInt(shared));
      const [before, after] = await Promise.all([included.parentHash, included.blockHash].map(async (hash) => ({
        free: (await balanceOf(api, recipient, hash)).free,
        issuance: await totalIssuance(api, hash),
      })));
      assert.equal(after.free - before.free, share);
      assert.equal(after.issuance - before.issuance, share, 'what is paid is new');
    });
  }

  await context.test('what was minted is noted, and never more than the pool', async () => {
    const closed = await api.query.rewardEmission.epochRecords(shared);
    const pool = closed.pool.toBigInt();
    assert.equal(closed.minted.toBigInt(), pool / 3n + (pool * 2n) / 3n);
  });

  await context.test('nothing is paid twice', (nested) => refuseAll(nested, api, [
    ['the small machine', api.tx.rewardEmission.payout(small, 32), accounts.eve, 'rewardEmission.NothingToPay'],
    ['the large machine', api.tx.rewardEmission.payout(large, 32), accounts.eve, 'rewardEmission.NothingToPay'],
  ]));
});
