// The final blocks of a chain, each read once, and the books of the jobs in them.

import assert from 'node:assert/strict';

import { fieldsOf } from './chain.js';
import { cost } from './market.js';

/** Final blocks from the first one on. Any node of the chain may be asked for the next ones. */
export class FinalHistory {
  constructor() {
    /** Number of the newest block that was read. */
    this.height = 0;
    /** Hash of that block. */
    this.hash = undefined;
    /** Events in their order, each with its block's number, section, method and fields. */
    this.events = [];
    /** Errors by the hash of a transaction that failed, `null` for one that did not. */
    this.transactions = new Map();
  }

  /** Reads the blocks that a node holds for final and that were not read yet. */
  async readOn(api) {
    const head = await api.rpc.chain.getHeader(await api.rpc.chain.getFinalizedHead());
    while (this.height < head.number.toNumber()) {
      const height = this.height + 1;
      const hash = await api.rpc.chain.getBlockHash(height);
      const [{ block }, records] = await Promise.all([
        api.rpc.chain.getBlock(hash),
        (await api.at(hash)).query.system.events(),
      ]);
      assert.equal(
        this.hash === undefined || block.header.parentHash.toHex() === this.hash, true,
        `block ${height} is no child of what was final before`,
      );
      const hashes = block.extrinsics.map((extrinsic) => extrinsic.hash.toHex());
      for (const { phase, event } of records) {
        const { section, method } = event;
        const transaction = phase.isApplyExtrinsic ? hashes[phase.asApplyExtrinsic.toNumber()] : undefined;
        if (api.events.system.ExtrinsicSuccess.is(event)) this.transactions.set(transaction, null);
        else if (api.events.system.ExtrinsicFailed.is(event)) {
          this.transactions.set(transaction, event.data.dispatchError.toString());
        } else if (section === 'jobEscrow' || api.events.transactionPayment.TransactionFeePaid.is(event)) {
          this.events.push({ height, transaction, section, method, fields: fieldsOf(event) });
        }
      }
      [this.height, this.hash] = [height, hash.toHex()];
    }
  }

  /** Returns the fees that an account paid. */
  feesOf(address) {
    const paid = this.events.filter(({ method, fields }) => method === 'TransactionFeePaid' && fields.who === address);
    return paid.reduce((sum, { fields }) => sum + fields.actualFee + fields.tip, 0n);
  }

  /** Returns the books of a consumer's jobs by number, each with all events of its job in their order. */
  jobsOf(address) {
    const books = new Map();
    for (const { method, fields, height, transaction } of this.events) {
      if (method !== 'JobOrdered' || fields.consumer !== address) continue;
      books.set(fields.job, { job: fields.job, order: fields, transaction, height, events: [] });
    }
    // An order's machines are assigned before it is told of.
    for (const { method, fields } of this.events) books.get(fields.job)?.events.push({ method, fields });
    for (const book of books.values()) {
      book.all = (name) => book.events.filter(({ method }) => method === name).map(({ fields }) => fields);
      book.has = (name) => book.events.some(({ method }) => method === name);
    }
    return books;
  }
}

/** Outcomes that a deployed task can have. */
const TASK_OUTCOMES = ['Completed', 'NoResult', 'Abandoned', 'Declined', 'NotStarted'];

/** Outcomes that a deployed service can have. */
const SERVICE_OUTCOMES = [
  'ClosedByConsumer', 'Cancelled', 'Expired', 'WorkloadEnded', 'WentDown', 'Abandoned', 'Declined', 'NotStarted',
];

/**
 * Checks the books of a closed job of one machine whose consumer chose it: it was assigned, started, ended and
 * closed once at most, paid no more than its time at its price, and every planck that was held for it went
 * somewhere. Returns the outcome and what the consumer lost.
 */
export function checkBook(book) {
  const { job, order } = book;
  const sum = (name, field) => book.all(name).reduce((all, fields) => all + fields[field], 0n);
  const once = (name) => {
    const all = book.all(name);
    assert.equal(all.length, 1, `job ${job}: ${all.length} events ${name}`);
    return all[0];
  };
  const atMostOnce = (name) => {
    const all = book.all(name);
    assert.ok(all.length <= 1, `job ${job}: ${all.length} events ${name}`);
    return all[0];
  };

  const assigned = once('MachineAssigned');
  const started = atMostOnce('JobStarted');
  const result = atMostOnce('ResultSubmitted');
  const ended = atMostOnce('AssignmentEnded');
  const { outcome, paid } = once('AssignmentClosed');
  const closed = once('JobClosed');
  const isTask = order.kind !== 'Service';
  assert.ok((isTask ? TASK_OUTCOMES : SERVICE_OUTCOMES).includes(outcome), `job ${job} ended as ${outcome}`);

  const settled = sum('PaymentSettled', 'providerAmount') + sum('PaymentSettled', 'fee');
  assert.equal(settled, paid, `job ${job}: its payments are those of its assignment`);
  assert.equal(closed.paid, paid, `job ${job}: its payments are those of its only assignment`);
  assert.equal(book.all('PaymentDiverted').length, 0, `job ${job}: its money reached its recipients`);
  if (outcome === 'Cancelled') {
    assert.equal(started, undefined, `job ${job} was taken back after its start`);
  } else if (started === undefined || ended === undefined) {
    assert.equal(paid, 0n, `job ${job} was paid, and did not run to an end`);
  } else {
    const longest = cost(assigned.pricePerSlotHour, order.slots, ended.endedAtMs - started.startedAtMs);
    assert.ok(paid <= longest, `job ${job} was paid ${paid} for a time that is worth ${longest}`);
  }
  if (isTask && result === undefined) assert.equal(paid, 0n, `task ${job} was paid, and has no result`);
  if (outcome === 'Completed') assert.ok(result && started, `task ${job} is completed without a start or a result`);

  const forfeited = sum('EarningsForfeited', 'amount');
  const bounties = sum('BountyPaid', 'amount');
  const lost = settled + forfeited + bounties;
  assert.equal(
    order.escrowed + order.deposit, lost + sum('EscrowReturned', 'amount') + closed.depositReturned,
    `job ${job}: what was held for it was paid or went back`,
  );
  return { outcome, paid, lost, started, result, isTask };
}
