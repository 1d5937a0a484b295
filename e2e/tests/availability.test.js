// Availability: a validator's node probes every machine and reports those that did not answer, which affects
// payments.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { stringToU8a, u8aConcat } from '@polkadot/util';
import { encodeAddress } from '@polkadot/util-crypto';

import { balanceOf, eventOf, eventually, refuseAll, succeed } from '../lib/chain.js';
import { activeMachine } from '../lib/market.js';
import { freePort } from '../lib/node.js';
import { withNode } from '../lib/suite.js';
import { startProbeResponder } from '../lib/worker.js';

/** Account that pays for reports, from the pallet's identity. */
const POT = encodeAddress(u8aConcat(stringToU8a('modlasy/aval'), new Uint8Array(20)), 42);

const responders = [];
// The shortest epochs that the chain accepts.
const suite = withNode(async ({ api, accounts }) => {
  for (const name of ['present', 'impostor']) {
    responders.push(await startProbeResponder(api, accounts.fresh(`worker of the ${name} machine`)));
  }
}, { epochMs: 24_000 });
after(() => Promise.all(responders.map((responder) => responder.stop())));

async function epochAfter(epoch) {
  await eventually(
    `the end of epoch ${epoch}`,
    120_000,
    async () => (await suite.api.query.chainClock.currentEpoch()).toNumber(),
    (current) => current > epoch,
  );
}

test('machines are paid for what a validator saw of them', async (context) => {
  const { api, accounts, node } = suite;
  const [present, impostor] = responders;
  const workers = ['present', 'impostor', 'absent'].map((name) => accounts.fresh(`worker of the ${name} machine`));
  present.machine = await activeMachine(api, accounts.bob, workers[0], { endpoint: present.endpoint });
  // The responder at this endpoint answers for another provider's machine.
  const other = await activeMachine(api, accounts.dave, workers[1], { endpoint: impostor.endpoint });
  impostor.machine = present.machine;
  const absent = await activeMachine(api, accounts.charlie, workers[2], { endpoint: `http://127.0.0.1:${await freePort()}` });
  const watched = (await api.query.chainClock.currentEpoch()).toNumber() + 1;

  await context.test('the validator reports those that did not answer as themselves', async () => {
    await epochAfter(watched);
    const reported = await eventually(
      `the report on epoch ${watched}`,
      60_000,
      async () => (await api.query.availability.failures.keys(watched)).map((key) => key.args[1].toNumber()).sort(),
      (machines) => machines.length > 0,
    );
    assert.deepEqual(reported, [other, absent].map(Number).sort());
    assert.ok(present.probes >= 2, `the machine was asked ${present.probes} times`);
  });

  await context.test('the node counts what it asked', async () => {
    const metrics = await (await fetch(node.prometheusUrl)).text();
    const count = (outcome) => Number(new RegExp(`^assay_availability_probes_total.*"${outcome}".* (\\d+)$`, 'm').exec(metrics)?.[1] ?? 0);
    assert.ok(count('seen') >= 2 && count('missed') >= 4, metrics.split('\n').filter((line) => line.includes('availability')).join('\n'));
  });

  await context.test('only who was seen is paid for the epoch, and the rest is never minted', async () => {
    await epochAfter(watched + 1);
    const share = (await api.query.rewardEmission.epochRecords(watched)).pool.toBigInt() / 3n;
    const paid = [];
    for (const machine of [present.machine, other, absent]) {
      // Some machines became active earlier than others, and are owed earlier epochs, too.
      let reward;
      do {
        const included = await succeed(api, api.tx.rewardEmission.payout(machine, 1), accounts.eve);
        reward = eventOf(included, 'rewardEmission', 'RewardPaid');
      } while (reward.lastEpoch < BigInt(watched));
      assert.equal(reward.lastEpoch, BigInt(watched));
      paid.push(reward.amount);
    }
    assert.deepEqual(paid, [share, 0n, 0n]);
    assert.equal((await api.query.rewardEmission.epochRecords(watched)).minted.toBigInt(), share);
  });

  await context.test('the validator earns for its report', async () => {
    await eventually(
      'the reward of the report',
      60_000,
      async () => (await api.query.availability.rewards(accounts.aliceStash.address)).toBigInt(),
      (owed) => owed > 0n,
    );
    const included = await succeed(api, api.tx.availability.claim(accounts.aliceStash.address), accounts.eve);
    const { amount } = eventOf(included, 'availability', 'RewardClaimed');
    assert.ok(amount > 0n);
    // Checked on the pot's side: the validator also gets its share of the fees of its blocks.
    const [before, afterwards] = await Promise.all([included.parentHash, included.blockHash]
      .map((hash) => balanceOf(api, POT, hash)));
    assert.equal(before.free - afterwards.free, amount);
  });

  await context.test('nobody else can report', (nested) => refuseAll(nested, api, [
    ['an account', api.tx.availability.report(watched, 0, null, [], `0x${'00'.repeat(64)}`), accounts.alice, 'BadOrigin'],
  ]));
});
