// Balances before and after a transaction, and the effect of a payment on them.

import assert from 'node:assert/strict';

import { balanceOf, eventsOf, totalIssuance } from './chain.js';
import { splitOf, TREASURY } from './market.js';

/** Reads the balances of all parties, and the total issuance, before and after a transaction. */
export async function ledger({ api, accounts }, included) {
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

/** Checks that a transaction sent by `payer` made a payment of this amount, and changed nothing else. */
export async function checkPayment(suite, included, { amount, released, payer }) {
  const split = splitOf(amount);
  const { before, after } = await ledger(suite, included);
  const feeOf = (who) => (who === payer ? included.fee : 0n);
  assert.equal(after.provider.free - before.provider.free, split.provider - feeOf('provider'), 'the provider\'s part');
  assert.equal(after.treasury.free - before.treasury.free, split.treasury, 'the treasury\'s part');
  // The author of the block also gets the fee of the transaction itself.
  assert.equal(after.author.free - before.author.free, split.author + included.fee, 'the author\'s part');
  assert.equal(before.issuance - after.issuance, split.burned, 'what was burned, and nothing else, is gone');
  // Held together with the price of the job.
  const sum = (method, field) => eventsOf(included, 'jobEscrow', method).reduce((all, event) => all + event[field], 0n);
  const deposits = sum('JobClosed', 'depositReturned') + sum('BountyPaid', 'amount');
  const held = (ledgerSide) => ledgerSide.consumer.held('jobEscrow', 'Job');
  assert.equal(held(before) - held(after), amount + released + deposits, 'what is not held any more');
  return split;
}
