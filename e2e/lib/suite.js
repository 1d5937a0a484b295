// Set-up of every test file: a node of its own and a client, both ended afterwards in any case.

import { after, before } from 'node:test';

import { connect, wellKnownAccounts } from './chain.js';
import { startNode } from './node.js';

/**
 * Starts a node before a file's tests and then calls `prepare`. The fields of the returned object are set by
 * then. `options` are those of the node.
 *
 * One hook for both: hooks of a file do not wait for each other.
 */
export function withNode(prepare = async () => {}, options = {}) {
  const suite = {};
  before(async () => {
    suite.node = await startNode(options);
    suite.api = await connect(suite.node.url);
    suite.accounts = await wellKnownAccounts();
    await prepare(suite);
  });
  after(async () => {
    await suite.api?.disconnect();
    await suite.node?.stop();
  });
  return suite;
}
