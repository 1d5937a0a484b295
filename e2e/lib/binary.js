// The node's binary, and what is made from it once: files that outlast a run of the tests and are made anew with the binary.

import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where the scripts build. */
function targetFolder() {
  return process.env.CARGO_TARGET_DIR
    ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'assay', 'target');
}

/** Path of the node's binary: `ASSAY_NODE`, or where the scripts build it. */
export function nodeBinary() {
  const path = process.env.ASSAY_NODE ?? join(targetFolder(), 'debug', 'assay-node');
  if (!existsSync(path)) {
    throw new Error(`there is no node at ${path}: run scripts/test e2e, which builds it, or set ASSAY_NODE`);
  }
  return path;
}

/** Path of the worker's binary: `ASSAY_WORKER`, or where the scripts build it. */
export function workerBinary() {
  const path = process.env.ASSAY_WORKER ?? join(targetFolder(), 'debug', 'assay-worker');
  if (!existsSync(path)) {
    throw new Error(`there is no worker at ${path}: run scripts/test e2e, which builds it, or set ASSAY_WORKER`);
  }
  return path;
}

/** Runs a subcommand of the node to its end and gives what it printed. */
export function runNode(...argumentsOfNode) {
  return new Promise((resolve, reject) => {
    const child = spawn(nodeBinary(), argumentsOfNode, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.on('data', (data) => { output += data; });
    child.stderr.on('data', (data) => { errors += data; });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output, errors }));
  });
}

/** Path of what is kept in the target folder under this name for as long as the node's binary is the same. */
export async function keptPath(name) {
  const { size, mtimeMs } = statSync(nodeBinary());
  const home = join(targetFolder(), 'e2e');
  const current = `${size}-${Math.trunc(mtimeMs)}`;
  if (!existsSync(join(home, current))) {
    // Those of the binaries before.
    const all = await readdir(home).catch(() => []);
    const old = all.filter((folder) => folder !== current);
    await Promise.all(old.map((folder) => rm(join(home, folder), { recursive: true, force: true })));
    await mkdir(join(home, current), { recursive: true });
  }
  return join(home, current, name);
}

/** Path of the file of this name with what `make` gives: made by whoever asks first, while the others wait. */
export async function keptFile(name, make) {
  const path = await keptPath(name);
  const lock = `${path}.lock`;
  while (!existsSync(path)) {
    if (!(await take(lock))) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      continue;
    }
    try {
      if (!existsSync(path)) {
        const part = `${path}.${process.pid}`;
        await writeFile(part, await make());
        await rename(part, path);
      }
    } finally {
      await rm(lock, { force: true });
    }
  }
  return path;
}

/** Whether this process has the lock from now on. One whose process is gone is removed, for the next attempt. */
async function take(lock) {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const owner = Number(await readFile(lock, 'utf8').catch(() => ''));
  try {
    // It may be taken, and not say by whom yet.
    if (owner > 0) process.kill(owner, 0);
  } catch {
    await rm(lock, { force: true });
  }
  return false;
}
