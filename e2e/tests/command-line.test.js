// `assay --output json` on a real chain: each line is one object, with keys and enum values in snake_case.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { workerBinary } from '../lib/binary.js';
import { eventOf, eventually, succeed } from '../lib/chain.js';
import { activeMachine, deploy } from '../lib/market.js';
import { withNode } from '../lib/suite.js';

let machine;
let job;
let jobBlock;
const suite = withNode(async ({ api, accounts }) => {
  machine = await activeMachine(api, accounts.bob, accounts.fresh('worker of the command line'));
  const included = await succeed(api, deploy(api, machine), accounts.charlie);
  job = eventOf(included, 'jobEscrow', 'MachineAssigned').job;
  jobBlock = included.blockNumber;
});

/** Keys whose values are texts of people and registries, not names that Assay's programs define. */
const TEXTS = new Set([
  'chain', 'class_name', 'command', 'endpoint', 'error', 'gpu_type', 'image', 'name', 'region', 'version',
]);

/** Runs the `assay` beside the worker's binary; returns the objects that it prints. */
async function assay(...words) {
  const program = join(dirname(workerBinary()), 'assay');
  const options = ['--url', suite.node.url, '--output', 'json'];
  const child = spawn(program, [...options, ...words.map(String)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (data) => { output += data; });
  child.stderr.on('data', (data) => { errors += data; });
  const status = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  assert.equal(status, 0, `assay ${words.join(' ')}: ${errors}`);
  return output.trim().split('\n').map((line) => JSON.parse(line));
}

/** Returns true for text that is a name: one word. Numbers, hexadecimal text and addresses begin with a digit. */
function isName(text) {
  return /^[A-Za-z][A-Za-z0-9_]*$/.test(text);
}

/** Collects the names in a value: keys, and enum values. `key` is the key of the value. */
function namesIn(value, key = '') {
  if (Array.isArray(value)) return value.flatMap((item) => namesIn(item, key));
  if (value !== null && typeof value === 'object') {
    return Object.entries(value).flatMap(([name, content]) => [name, ...namesIn(content, name)]);
  }
  return typeof value === 'string' && !TEXTS.has(key) && isName(value) ? [value] : [];
}

/** Asserts that every name in the objects is in snake_case, and that `known` are among them. */
function assertSnakeCase(objects, known) {
  const names = new Set(namesIn(objects));
  const others = [...names].filter((name) => !/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name));
  assert.deepEqual(others, []);
  for (const name of known) assert.ok(names.has(name), `${name} is not in ${[...names]}`);
}

test('a name in another case is found among keys and enum values', () => {
  const value = { workerKey: '5FHneW46', status: { suspended: 'BondTooLow' }, name: 'MyFarm', ask: '12', hash: '0xAB' };
  assert.deepEqual(namesIn(value), ['workerKey', 'status', 'suspended', 'BondTooLow', 'name', 'ask', 'hash']);
  assert.throws(() => assertSnakeCase(value, []), /workerKey[^]*BondTooLow/);
});

test('the chain and its accounts are printed in snake_case', async () => {
  assertSnakeCase(await assay('chain'), ['total_issuance', 'active_time_ms']);
  assertSnakeCase(await assay('balance', '//Bob'), ['account', 'free']);
});

test('machines are printed in snake_case', async () => {
  assertSnakeCase(await assay('machine', 'list'), ['worker_key', 'active']);
  const [shown] = await assay('machine', 'show', machine);
  assert.equal(shown.machine, Number(machine));
  assertSnakeCase(shown, ['sealing_key', 'minimum_bond', 'pending_slashes', 'active']);
  assertSnakeCase(await assay('machine', 'find'), ['price_per_slot_hour', 'tee_kinds']);
  const [explained] = await assay('machine', 'explain', machine, '--min-vram-gib', '1000000');
  assert.ok(explained.mismatches.length > 0);
  assertSnakeCase(explained, ['requirement']);
});

test('a job and the events of the chain are printed in snake_case', async () => {
  const [shown] = await assay('job', 'show', job);
  assert.equal(shown.job, Number(job));
  assertSnakeCase(shown, ['max_duration_ms', 'starting', 'verification', 'consumer']);
  const { chain } = suite.api.rpc;
  const finalBlock = async () => (await chain.getHeader(await chain.getFinalizedHead())).number.toNumber();
  await eventually('finality of the order', 60_000, finalBlock, (number) => number >= jobBlock);
  const events = await assay('watch', '--from-block', '1', '--timeout', '10s');
  assertSnakeCase(events, ['provider_registry', 'machine_status_changed', 'hardware_challenge', 'machine_assigned']);
});
