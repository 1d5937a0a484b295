// The validators' view of a worker: a responder that answers probes, or does not. Also real workers.

import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { bnToU8a, hexToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';

import { workerBinary } from './binary.js';
import { freePort } from './node.js';

const STOP_LIMIT_MS = 30_000;

// Number of lines of a worker's log in the message of a failure.
const LOG_LINES = 120;

// Workers that were started and have not ended, so that a test process that dies takes them with it.
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Unmounts the disks of jobs that a worker left to its next start, deepest first. */
async function unmountBelow(folder) {
  const mounts = await readFile('/proc/mounts', 'utf8');
  const below = mounts.split('\n').map((line) => line.split(' ')[1]).filter((path) => path?.startsWith(`${folder}/`));
  for (const path of below.sort().reverse()) spawnSync('umount', ['-l', path]);
}

const PROBE_CONTEXT = stringToU8a('assay/probe/v1');
const PROBE_PATH = '/v1/probe';

/**
 * Answers probes on a port of the loopback address with a worker key, for the machine whose number is set as
 * `machine`. The object's `endpoint` is the one to register the machine with; `probes` counts the requests.
 */
export async function startProbeResponder(api, worker) {
  const responder = { machine: undefined, probes: 0 };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://worker');
    const nonce = url.searchParams.get('nonce');
    if (url.pathname !== PROBE_PATH || responder.machine === undefined) {
      response.writeHead(503).end();
      return;
    }
    responder.probes += 1;
    const bestBlock = await api.rpc.chain.getBlockHash();
    const machine = bnToU8a(responder.machine, { bitLength: 64, isLe: true });
    const message = u8aConcat(PROBE_CONTEXT, api.genesisHash, hexToU8a(`0x${nonce}`), machine, bestBlock);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({
      machine: Number(responder.machine),
      best_block_hash: bestBlock.toHex(),
      signature: u8aToHex(worker.sign(message)),
    }));
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  responder.endpoint = `http://127.0.0.1:${server.address().port}`;
  responder.stop = () => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(resolve);
  });
  return responder;
}

/** A real worker, which can be killed and started again. */
class RealWorker {
  constructor(folder, configuration, port) {
    this.folder = folder;
    this.configuration = configuration;
    this.log = join(folder, 'worker.log');
    /** Base URL of the public part of the worker's API. */
    this.url = `http://127.0.0.1:${port}`;
    this.start();
  }

  /** Starts the program, with the files that an earlier one left. */
  start() {
    const child = spawn(workerBinary(), ['--config', this.configuration], {
      cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    const stream = createWriteStream(this.log, { flags: 'a' });
    child.stdout.pipe(stream, { end: false });
    child.stderr.pipe(stream, { end: false });
    this.child = child;
    this.ended = new Promise((resolve) => child.once('close', () => {
      running.delete(child);
      stream.end();
      resolve();
    }));
  }

  /** Returns true while the program runs. */
  runs() {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Returns the worker's status. */
  async status() {
    const response = await fetch(`${this.url}/status`, { signal: AbortSignal.timeout(5_000) });
    return response.json();
  }

  /** Returns the end of the worker's log, for the message of a failure. */
  async tail(lines = 60) {
    const text = await readFile(this.log, 'utf8').catch(() => '(no log)');
    return text.split('\n').slice(-lines).join('\n');
  }

  /** Kills the program at once: no handler runs. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** Asks the program to end, waits for it, and unmounts the disks that it left. */
  async stop() {
    if (this.runs()) {
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_LIMIT_MS);
      await this.ended;
      clearTimeout(timer);
    }
    await unmountBelow(this.folder);
  }
}

/**
 * Starts a real worker with its files in `folder`, for a node and a container engine. It registers its
 * machine by itself, with the provider key of the development account `provider`. `ask` is the price of a
 * slot and hour in ASY; the resources are those of the whole machine, and `hardwareClass` is its class in the
 * chain's catalogue: that of machines without GPUs if it is left out. Only `registries` may be on the loopback
 * address; images that the engine has already need none.
 */
export async function startWorker({
  folder, nodeUrl, engineSocket, provider, rewardAddress,
  ask = 1, slots = 1, cpuCores = 1, ramGb = 1, storageGb = 1, region = 'local', hardwareClass,
  registries = [],
}) {
  const port = await freePort();
  const ownerPort = await freePort();
  const metricsPort = await freePort();
  const configuration = join(folder, 'worker.yaml');
  await writeFile(configuration, [
    'version: "3.2"',
    'node_settings:', '  node_name: "a machine"', `  reward_address: "${rewardAddress}"`,
    'shared_resources:', `  cpu_cores: ${cpuCores}`, `  ram_gb: ${ramGb}`, `  storage_gb: ${storageGb}`,
    'network_config:', '  max_upload_mbps: 100', '  max_download_mbps: 100', `  p2p_port: ${port}`, '  enable_tee: false',
    'staking:', '  auto_stake_rewards: false',
    'assay:', `  chain_url: "${nodeUrl}"`, `  ask: ${ask}`, `  slots: ${slots}`, `  region: "${region}"`,
    ...(hardwareClass === undefined ? [] : [`  hardware_class: "${hardwareClass}"`]),
    `  private_registries: ${JSON.stringify(registries)}`,
    `  engine: "${engineSocket}"`, `  owner_port: ${ownerPort}`,
    `  metrics_listen: "127.0.0.1:${metricsPort}"`, `  provider_key_uri: "//${provider}"`,
  ].join('\n'));
  return new RealWorker(folder, configuration, port);
}

/** Does a part of a test, and adds the end of the worker's log to the message of its failure. */
export async function withLog(worker, part, work) {
  try {
    return await work();
  } catch (error) {
    error.message = `${part}: ${error.message}\nthe end of the worker's log:\n${await worker.tail(LOG_LINES)}`;
    throw error;
  }
}
