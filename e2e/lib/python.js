// Programs in Python over the package `depin_compute_lib`, as its users write them: run by the system's Python.

import { spawn } from 'node:child_process';

/** Folder with the package and its native part; `undefined` where `ASSAY_TEST_PYTHON_PACKAGE` names none. */
export const pythonPackage = process.env.ASSAY_TEST_PYTHON_PACKAGE || undefined;

// Programs that were started and have not ended, so that a test process that dies takes them with it.
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A program that runs. Each line that it writes is one JSON value. */
class PythonProgram {
  constructor(words, endpoint) {
    const child = spawn('python3', words.map(String), {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env, ASSAY_ENDPOINT: endpoint, PYTHONPATH: pythonPackage, PYTHONDONTWRITEBYTECODE: '1',
      },
    });
    running.add(child);
    this.child = child;
    this.values = [];
    this.errors = '';
    this.problem = undefined;
    this.isClosed = false;
    this.waiting = [];
    let rest = '';
    child.stdout.on('data', (data) => {
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      for (const line of lines.filter((text) => text !== '')) this.take(line);
    });
    child.stderr.on('data', (data) => { this.errors += data; });
    // A program that has ended takes no words any more.
    child.stdin.on('error', () => {});
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => { this.problem = error; });
      child.once('close', (status, signal) => {
        running.delete(child);
        this.isClosed = true;
        this.tell();
        resolve({ status, signal });
      });
    });
  }

  take(line) {
    try {
      this.values.push(JSON.parse(line));
    } catch {
      this.problem ??= new Error(`the program wrote a line that is no JSON: ${line}`);
    }
    this.tell();
  }

  tell() {
    for (const look of this.waiting.splice(0)) look();
  }

  fail(what) {
    const { exitCode, signalCode } = this.child;
    const end = exitCode === null && signalCode === null ? 'it runs' : `it ended with ${exitCode ?? signalCode}`;
    return new Error(`${what}; ${end}; its errors:\n${this.errors}`, { cause: this.problem });
  }

  /** Waits for the first value that `accepts` holds for. */
  async value(what, limitMs, accepts) {
    const until = Date.now() + limitMs;
    for (;;) {
      const found = this.values.find(accepts);
      if (found !== undefined) return found;
      if (this.isClosed || this.problem !== undefined || Date.now() >= until) {
        this.child.kill('SIGKILL');
        throw this.fail(`the program did not write ${what} within ${limitMs / 1_000} s`);
      }
      let timer;
      await new Promise((resolve) => {
        timer = setTimeout(resolve, until - Date.now());
        this.waiting.push(resolve);
      });
      clearTimeout(timer);
    }
  }

  /** Sends a line to the program. */
  say(text) {
    this.child.stdin.write(`${text}\n`);
  }

  /** Interrupts the program, as Ctrl-C does. */
  interrupt() {
    this.child.kill('SIGINT');
  }

  /** Waits for the end of the program, and kills it when the time is over. */
  async end(limitMs) {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.child.kill('SIGKILL');
    }, limitMs);
    const end = await this.ended;
    clearTimeout(timer);
    if (isLate) throw this.fail(`the program did not end within ${limitMs / 1_000} s`);
    if (this.problem) throw this.fail('the program failed');
    return end;
  }

  /** Waits for the end, which must be a success, and returns all that the program wrote. */
  async succeed(limitMs) {
    const { status, signal } = await this.end(limitMs);
    if (status !== 0) throw this.fail(`the program ended with ${status ?? signal}`);
    return this.values;
  }
}

/** Starts `python3` with these words, such as the path of a program, for the node at an endpoint. */
export function startPython(words, endpoint) {
  return new PythonProgram(words, endpoint);
}
