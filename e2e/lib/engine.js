// The container engine as a test looks at it: by its own API, beside the worker. Also an engine of a test's own,
// which can be killed and started again.

import { spawn } from 'node:child_process';
import { readFile, readdir, rm, rmdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';

import { u8aToHex } from '@polkadot/util';
import { decodeAddress } from '@polkadot/util-crypto';

const API = '/v1.40';
const TIMEOUT_MS = 30_000;
const START_LIMIT_MS = 30_000;
const CONTROL_GROUPS = '/sys/fs/cgroup';

// Engines that were started and have not ended, so that a test process that dies takes them with it.
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Sends one request to an engine; returns the status and the parsed body. */
function ask(socketPath, method, path) {
  return new Promise((resolve, reject) => {
    const options = { socketPath, method, path, timeout: TIMEOUT_MS, headers: { host: 'engine' } };
    const asked = request(options, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        try {
          resolve({ status: response.statusCode, body: text === '' ? null : JSON.parse(text) });
        } catch {
          resolve({ status: response.statusCode, body: text });
        }
      });
    });
    asked.once('timeout', () => asked.destroy(new Error(`the engine gave no answer to ${path}`)));
    asked.once('error', reject);
    asked.end();
  });
}

async function get(socketPath, path) {
  const { status, body } = await ask(socketPath, 'GET', path);
  if (status !== 200) throw new Error(`the engine answered ${path} with ${status} ${JSON.stringify(body)}`);
  return body;
}

/** Returns true if the process with this id runs, and its command or its control group names the container. */
async function belongsTo(pid, container) {
  if (!(pid > 1)) return false;
  const read = (name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
  const [command, groups] = await Promise.all([read('cmdline'), read('cgroup')]);
  return command.includes(container) || groups.includes(container);
}

/** An engine behind a socket, and a worker's containers and networks at it. */
export class Engine {
  constructor(socket, workerKey) {
    this.socket = socket;
    /** Every container of the worker that was ever listed, by its identifier. */
    this.seen = new Map();
    if (workerKey) this.ownedBy(workerKey);
  }

  /** Names the worker, by the address of its key, whose containers are looked for. */
  ownedBy(workerKey) {
    const key = u8aToHex(decodeAddress(workerKey), -1, false);
    this.filters = encodeURIComponent(JSON.stringify({ label: [`assay.worker=${key}`] }));
  }

  /** Returns the worker's containers, ended ones too, each with its job. */
  async containers() {
    const listed = await get(this.socket, `${API}/containers/json?all=true&filters=${this.filters}`);
    const found = listed.map(({ Id: id, State: state, Labels: labels }) => (
      { id, state, job: BigInt(labels['assay.job']) }
    ));
    for (const container of found) this.seen.set(container.id, container);
    return found;
  }

  /** Returns the names of the worker's networks. */
  async networks() {
    return (await get(this.socket, `${API}/networks?filters=${this.filters}`)).map(({ Name: name }) => name);
  }

  /** Removes the worker's containers by force. */
  async removeAll() {
    for (const { id } of await this.containers()) {
      await ask(this.socket, 'DELETE', `${API}/containers/${id}?force=true&v=true`);
    }
  }

  /**
   * Kills the first process of a container, or the process that watches it (`conmon`) where `monitor` is true
   * and the engine has one. Returns false if there was none to kill.
   */
  async killOf(container, { monitor = false } = {}) {
    const { status, body } = monitor
      ? await ask(this.socket, 'GET', `/v4.0.0/libpod/containers/${container}/json`)
      : await ask(this.socket, 'GET', `${API}/containers/${container}/json`);
    const pid = status === 200 ? body.State?.[monitor ? 'ConmonPid' : 'Pid'] : undefined;
    // The number may be another process's by now: look before.
    if (!(await belongsTo(pid, container))) return false;
    try {
      process.kill(pid, 'SIGKILL');
      return true;
    } catch {
      return false;
    }
  }

  /** Returns the control groups of all containers that were ever listed, each with its processes. */
  async controlGroups() {
    const found = [];
    const look = async (folder, depth) => {
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      for (const entry of entries.filter((one) => one.isDirectory())) {
        const path = join(folder, entry.name);
        const [id] = entry.name.match(/[0-9a-f]{64}/) ?? [];
        if (id && this.seen.has(id)) {
          const processes = await readFile(join(path, 'cgroup.procs'), 'utf8').catch(() => '');
          found.push({ path, id, processes: processes.split('\n').filter((line) => line !== '') });
        } else if (depth > 0) await look(path, depth - 1);
      }
    };
    await look(CONTROL_GROUPS, 6);
    return found;
  }

  /** Removes control groups without processes that an engine left when it was killed. */
  async removeControlGroups() {
    for (const { path } of await this.controlGroups()) await rmdir(path).catch(() => {});
  }
}

/** A Podman service of a test's own, on the storage of the service that all tests share. */
class OwnEngine extends Engine {
  constructor(socket, command) {
    super(socket);
    this.command = command;
  }

  /** Starts the service and waits until it answers. */
  async start() {
    await rm(this.socket, { force: true });
    const [program, ...words] = this.command;
    const child = spawn(
      program,
      [...words, 'system', 'service', '--time=0', `unix://${this.socket}`],
      { stdio: 'ignore' },
    );
    running.add(child);
    this.child = child;
    this.ended = new Promise((resolve) => child.once('close', () => {
      running.delete(child);
      resolve();
    }));
    const started = Date.now();
    for (;;) {
      const { status } = await ask(this.socket, 'GET', `${API}/_ping`).catch(() => ({}));
      if (status === 200) return;
      if (child.exitCode !== null || Date.now() - started > START_LIMIT_MS) {
        throw new Error(`the engine of the test did not answer at ${this.socket}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Kills the service at once. The containers go on. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** Ends the service. */
  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), START_LIMIT_MS);
    await this.ended;
    clearTimeout(timer);
  }
}

/**
 * Starts an engine of the test's own with its socket in a folder, by the command in
 * `ASSAY_TEST_ENGINE_COMMAND`, one word a line. Returns `undefined` where there is none, and for a rootless
 * Podman, whose service is not the process that was started.
 */
export async function startOwnEngine(folder) {
  const command = (process.env.ASSAY_TEST_ENGINE_COMMAND ?? '').split('\n').filter((word) => word !== '');
  if (command.length === 0 || process.getuid() !== 0) return undefined;
  const engine = new OwnEngine(join(folder, 'own.sock'), command);
  await engine.start();
  return engine;
}
