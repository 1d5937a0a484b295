// The node's binary, and files made with it, which outlast a test run and are made again when the binary
// changes.

import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Returns the folder in which the scripts build. */
function targetFolder() {
  return process.env.CARGO_TARGET_DIR
    ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'assay', 'target');
}

/** Returns the path of the node's binary: `ASSAY_NODE`, or the one that the scripts build. */
export function nodeBinary() {
  const path = process.env.ASSAY_NODE ?? join(targetFolder(), 'debug', 'assay-node');
  if (!existsSync(path)) {
    throw new Error(`there is no node at ${path}: run scripts/test e2e, which builds it, or set ASSAY_NODE`);
  }
  return path;
}

/** Returns the path of the worker's binary: `ASSAY_WORKER`, or the one that the scripts build. */
export function workerBinary() {
  const path = process.env.ASSAY_WORKER ?? join(targetFolder(), 'debug', 'assay-worker');
  if (!existsSync(path)) {
    throw new Error(`there is no worker at ${path}: run scripts/test e2e, which builds it, or set ASSAY_WORKER`);
  }
  return path;
}

/** Runs a subcommand of the node to its end and returns its output. */
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

/** Returns the path of a file in the target folder that is kept as long as the node's binary is the same. */
export async function keptPath(name) {
  const { size, mtimeMs } = statSync(nodeBinary());
  const home = join(targetFolder(), 'e2e');
  const current = `${size}-${Math.trunc(mtimeMs)}`;
  if (!existsSync(join(home, current))) {
    // Folders of earlier binaries.
    const all = await readdir(home).catch(() => []);
    const old = all.filter((folder) => folder !== current);
    await Promise.all(old.map((folder) => rm(join(home, folder), { recursive: true, force: true })));
    await mkdir(join(home, current), { recursive: true });
  }
  return join(home, current, name);
}

/**
 * Returns the path of a kept file with the content that `make` returns: the first caller makes it, the others
 * wait.
 */
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

/**
 * Takes a lock; returns true if this process has it now. Removes the lock of a process that is gone, for the
 * next attempt.
 */
async function take(lock) {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const owner = Number(await readFile(lock, 'utf8').catch(() => ''));
  try {
    // The lock may exist without its owner's number yet.
    if (owner > 0) process.kill(owner, 0);
  } catch {
    await rm(lock, { force: true });
  }
  return false;
}
