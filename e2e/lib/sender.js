// Transactions that outlast the node they were given to: signed once, and given to running nodes until a final
// block has them. The number of each among its account's keeps it from being made twice.

import { send } from './chain.js';

/** Transactions of one account, which no one else uses meanwhile. */
export class Sender {
  /** `nonce` is the account's next one. */
  constructor(pair, nonce) {
    this.pair = pair;
    this.nonce = nonce;
    this.pending = new Map();
  }

  /** Signs a call for good and gives it to a node. Returns the transaction's hash. */
  async send(api, call) {
    const signed = await call.signAsync(this.pair, { nonce: this.nonce, era: 0 });
    const hash = signed.hash.toHex();
    this.pending.set(hash, { nonce: this.nonce, bytes: signed.toHex() });
    this.nonce += 1;
    await this.give(api, hash);
    return hash;
  }

  /**
   * Gives the transactions that are in no block to a node again, and forgets those that final blocks have.
   * Returns how many are in no block that the node knows.
   */
  async push(api, history) {
    for (const hash of this.pending.keys()) if (history.transactions.has(hash)) this.pending.delete(hash);
    const { nonce } = await api.query.system.account(this.pair.address);
    const waiting = [...this.pending].filter(([, transaction]) => transaction.nonce >= nonce.toNumber());
    for (const [hash] of waiting) await this.give(api, hash);
    return waiting.length;
  }

  async give(api, hash) {
    // The pool may have it already, or have dropped what it depends on: it is given again later.
    await send(api, 'author_submitExtrinsic', this.pending.get(hash).bytes).catch(() => {});
  }
}
