// Starts and stops real nodes. Each has its own ports on the loopback address and its own folder.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { keptPath, nodeBinary } from './binary.js';
import { specification } from './specification.js';

// The first node compiles its runtime when it starts: seconds on an idle machine, a minute or more on a busy
// one.
const START_LIMIT_MS = 180_000;
const STOP_LIMIT_MS = 15_000;

// Nodes that were started and have not ended, so that a test process that dies takes them with it.
const running = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

/** Returns a TCP port of 127.0.0.1 that is free at present. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A running node. */
class RunningNode {
  constructor(child, folder, log, ports) {
    this.child = child;
    this.folder = folder;
    this.log = log;
    /** Ports by which it is reached, for a node that takes its place. */
    this.ports = ports;
    this.url = `ws://127.0.0.1:${ports.rpc}`;
    this.networkPort = ports.network;
    this.prometheusUrl = `http://127.0.0.1:${ports.prometheus}/metrics`;
    this.ended = new Promise((resolve) => child.once('close', resolve));
  }

  /** Returns the address at which other nodes reach this one. */
  async address() {
    const { result } = await request(this.url, 'system_localPeerId');
    return `/ip4/127.0.0.1/tcp/${this.networkPort}/p2p/${result}`;
  }

  /** Returns the end of the node's log, for the message of a failure. */
  async tail(lines = 40) {
    const text = await readFile(this.log, 'utf8').catch(() => '(no log)');
    return text.split('\n').slice(-lines).join('\n');
  }

  /** Kills the node at once, like a power cut: no handler runs, nothing is flushed. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
    running.delete(this.child);
  }

  /** Asks the node to end, waits for it, and removes its folder unless that is kept for later. */
  async stop({ keepFolder = false } = {}) {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_LIMIT_MS);
      await this.ended;
      clearTimeout(timer);
    }
    running.delete(this.child);
    if (!keepFolder) await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * Starts a validator of the three-validator chain `local`: `alice`, `bob` or `charlie`. It finds the others
 * through `peers`, running nodes of the same chain; its own chain is stored in `folder`. `changes` are to the
 * chain's preset. With the `ports` of a node that was killed it is reached where that one was.
 */
export async function startLocalValidator(name, { folder, peers = [], changes, ports }) {
  const addresses = await Promise.all(peers.map((peer) => peer.address()));
  return startNode({
    folder,
    ports,
    network: ['--chain', await specification('local', changes), `--${name}`, '--unsafe-force-node-key-generation',
      ...addresses.flatMap((address) => ['--bootnodes', address])],
  });
}

/** Options of a node without peers: the nodes of other test files run the same development chain. */
const NO_PEERS = ['--in-peers', '0', '--out-peers', '0'];

/**
 * Schedule of challenges on the tests' chains: a newcomer is proven within a few blocks, and no machine is
 * audited unless a test wants it. Audits come at random: the mean is so long that none comes within a test's
 * minutes.
 */
export const CALM = {
  newcomerIntervalMs: 3_000,
  commitWindowMs: 6_000,
  meanAuditIntervalMs: 1_000 * 3_600_000,
  maxAuditIntervalMs: 1_000 * 3_600_000,
  maxProofAgeMs: 2_000 * 3_600_000,
};

/** Challenge parameters of every class: small enough to be answered in JavaScript between two blocks. */
const SMALL = { items: 2 ** 14, lanesLog2: 11, steps: 32 };

/** Returns the options of a one-validator chain: `--dev` with other epochs and challenges. */
async function alone({ epochMs = 60_000, challenges = CALM }) {
  const path = await specification('dev', {
    epochDurationMs: epochMs,
    ...challenges,
    ...SMALL,
    // A class must be answered within the round's window.
    deadlineMs: challenges.commitWindowMs,
  });
  // Replaces --dev, which excludes a specification of one's own.
  return ['--chain', path, '--alice', '--force-authoring', '--unsafe-force-node-key-generation', ...NO_PEERS];
}

/**
 * Starts a node of a chain of its own, or of another `network`, and waits until its JSON-RPC answers.
 *
 * With `folder` the chain is stored there and outlasts the node; without it the chain is temporary. With
 * `epochMs` epochs have that length instead of a minute; 24 seconds are the shortest that the chain accepts.
 * `challenges` replaces the usual schedule of challenges, `ports` the free ports that it would take.
 */
export async function startNode({ folder, ports: given, epochMs, challenges, network, extraArguments = [] } = {}) {
  const persistent = folder !== undefined;
  const home = folder ?? (await mkdtemp(join(tmpdir(), 'assay-e2e-')));
  await mkdir(home, { recursive: true });
  const ports = given ?? { rpc: await freePort(), network: await freePort(), prometheus: await freePort() };
  const chain = persistent ? ['--base-path', join(home, 'chain')] : ['--tmp'];
  const log = join(home, 'node.log');
  const child = spawn(
    nodeBinary(),
    [
      ...(network ?? await alone({ epochMs, challenges })), ...chain,
      '--compiled-runtimes', await keptPath('compiled-runtimes'),
      '--rpc-port', String(ports.rpc),
      '--prometheus-port', String(ports.prometheus),
      '--listen-addr', `/ip4/127.0.0.1/tcp/${ports.network}`,
      '--no-mdns', '--no-telemetry',
      ...extraArguments,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: home } },
  );
  running.add(child);
  const stream = createWriteStream(log, { flags: 'a' });
  child.stdout.pipe(stream, { end: false });
  child.stderr.pipe(stream, { end: false });
  child.once('close', () => stream.end());
  const node = new RunningNode(child, home, log, ports);

  const started = Date.now();
  while (!(await answers(node.url))) {
    const gone = child.exitCode !== null || child.signalCode !== null;
    if (gone || Date.now() - started > START_LIMIT_MS) {
      const tail = await node.tail();
      await node.stop({ keepFolder: persistent });
      const reason = gone
        ? `ended with status ${child.exitCode ?? child.signalCode}`
        : `did not answer on ${node.url} within ${START_LIMIT_MS / 1_000} s`;
      throw new Error(`the node ${reason}; the end of its log:\n${tail}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return node;
}

/** Returns true if the node's JSON-RPC answers a request. */
async function answers(url) {
  try {
    return (await request(url, 'system_chain')).result !== undefined;
  } catch {
    return false;
  }
}

/** Sends one request without parameters over HTTP. */
async function request(url, method) {
  const response = await fetch(url.replace('ws://', 'http://'), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [] }),
    signal: AbortSignal.timeout(2_000),
  });
  if (!response.ok) throw new Error(`${method} gave HTTP status ${response.status}`);
  return response.json();
}
