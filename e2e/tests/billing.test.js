// A service is paid by closed epochs, exact to the planck. In a file of its own, with a name early in the
// order, because it lasts for several epochs: files run in the order of their names, and a long one should
// not run last.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { activeTimeAt, ASY, eventOf, succeed } from '../lib/chain.js';
import { checkPayment } from '../lib/ledger.js';
import { activeMachine, cost, deploy, manifestBytes, untilClosed } from '../lib/market.js';
import { withNode } from '../lib/suite.js';
import { startProbeResponder } from '../lib/worker.js';

const price = 36n * ASY;
let responder;
// The shortest epochs that the chain accepts, in each of which the node's validator watches the machine.
const suite = withNode(async ({ api, accounts }) => {
  responder = await startProbeResponder(api, accounts.fresh('worker of the service'));
}, { epochMs: 24_000 });
after(() => responder.stop());

test('a service of several epochs is paid as they are closed, but for the hold-back, and closed early', async () => {
  const { api, accounts } = suite;
  const worker = accounts.fresh('worker of the service');
  const machine = await activeMachine(api, accounts.bob, worker, { endpoint: responder.endpoint });
  responder.machine = machine;
  const assignmentOf = async () => (await api.query.jobEscrow.assignments(job, machine)).unwrap();
  const durationMs = 3_600_000n;
  const escrow = cost(price, 1, durationMs, { roundUp: true });
  const deployed = await succeed(
    api,
    deploy(api, machine, { manifest: manifestBytes('the service'), kind: 'Service', maxDurationMs: durationMs }),
    accounts.charlie,
  );
  const { job } = eventOf(deployed, 'jobEscrow', 'JobOrdered');
  const { startedAtMs } = eventOf(await succeed(api, api.tx.jobEscrow.start(job), worker), 'jobEscrow', 'JobStarted');

  let paid = 0n;
  for (let round = 0; round < 2; round += 1) {
    await untilClosed(api);
    const settled = await succeed(api, api.tx.jobEscrow.settle(job, machine), accounts.dave);
    const { state, earned } = await assignmentOf();
    assert.equal(earned.toBigInt(), cost(price, 1, state.asRunning.judgedUntilMs.toBigInt() - startedAtMs));
    const payable = earned.toBigInt() - (earned.toBigInt() + 9n) / 10n;
    await checkPayment(suite, settled, { amount: payable - paid, released: 0n, payer: 'somebody else' });
    paid = payable;
  }

  const closed = await succeed(api, api.tx.jobEscrow.close(job), accounts.charlie);
  const earned = cost(price, 1, (await activeTimeAt(api, closed.blockHash)) - startedAtMs);
  assert.equal(eventOf(closed, 'jobEscrow', 'EscrowReturned').amount, escrow - earned);
  await untilClosed(api);
  // The last payment, with the hold-back, pays a bounty to a caller that takes no part in the job.
  const last = await succeed(api, api.tx.jobEscrow.settle(job, machine), accounts.dave);
  await checkPayment(suite, last, { amount: earned - paid, released: 0n, payer: 'somebody else' });
  const event = eventOf(last, 'jobEscrow', 'AssignmentClosed');
  assert.deepEqual([event.outcome, event.paid], ['ClosedByConsumer', earned]);
  const bounty = eventOf(last, 'jobEscrow', 'BountyPaid');
  assert.equal(bounty.recipient, accounts.dave.address);
  assert.ok(bounty.amount > last.fee, `a bounty of ${bounty.amount} for a fee of ${last.fee}`);
});
