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

/**
 * Starts a real worker with its files in `folder`, for a node and a container engine. It registers its
 * machine by itself, with the provider key of the development account `provider`.
 */
export async function startWorker({ folder, nodeUrl, engineSocket, provider, rewardAddress }) {
  const port = await freePort();
  const ownerPort = await freePort();
  const configuration = join(folder, 'worker.yaml');
  await writeFile(configuration, [
    'version: "3.2"',
    'node_settings:', '  node_name: "a machine"', `  reward_address: "${rewardAddress}"`,
    'shared_resources:', '  cpu_cores: 1', '  ram_gb: 1', '  storage_gb: 1',
    'network_config:', '  max_upload_mbps: 100', '  max_download_mbps: 100', `  p2p_port: ${port}`, '  enable_tee: false',
    'staking:', '  auto_stake_rewards: false',
    'assay:', `  chain_url: "${nodeUrl}"`, '  ask: 1', '  slots: 1', '  region: "local"', `  engine: "${engineSocket}"`,
    `  owner_port: ${ownerPort}`, `  provider_key_uri: "//${provider}"`,
  ].join('\n'));
  const log = join(folder, 'worker.log');
  const child = spawn(workerBinary(), ['--config', configuration], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  const stream = createWriteStream(log, { flags: 'a' });
  child.stdout.pipe(stream, { end: false });
  child.stderr.pipe(stream, { end: false });
  const ended = new Promise((resolve) => child.once('close', resolve));
  return {
    /** Base URL of the public part of the worker's API. */
    url: `http://127.0.0.1:${port}`,
    /** Returns the worker's status. */
    async status() {
      const response = await fetch(`http://127.0.0.1:${port}/status`, { signal: AbortSignal.timeout(5_000) });
      return response.json();
    },
    /** Returns the end of the worker's log, for the message of a failure. */
    async tail(lines = 60) {
      const text = await readFile(log, 'utf8').catch(() => '(no log)');
      return text.split('\n').slice(-lines).join('\n');
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
        await ended;
        clearTimeout(timer);
      }
      running.delete(child);
      await unmountBelow(folder);
    },
  };
}
