// The owner's way to a job on a worker: its TLS key is pinned by the worker key, and the consumer's signature of
// a challenge gives a token. Written from the description, with polkadot.js, and not from the Rust client.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { connect } from 'node:tls';

import { bnToU8a, hexToU8a, stringToU8a, u8aConcat, u8aToHex, u8aWrapBytes } from '@polkadot/util';
import { signatureVerify } from '@polkadot/util-crypto';

const OWNER_CONTEXT = stringToU8a('assay/owner/v1');
const TLS_CONTEXT = stringToU8a('assay/tls/v1');
const TIMEOUT_MS = 10_000;

const u64 = (number) => bnToU8a(BigInt(number), { bitLength: 64, isLe: true });

/** Error of a request that the worker refused; `status` is the HTTP status. */
export class RefusedError extends Error {
  constructor(path, status, body) {
    super(`${path}: ${status} ${body}`);
    this.status = status;
  }
}

/** Opens a connection to a server with this SHA-256 of its public key; nothing is sent to another one. */
function pinnedSocket(url, spkiSha256) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    // No authority issued the certificate: its key is compared below.
    const socket = connect({ host: hostname, port, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`${url} does not answer`)));
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const key = socket.getPeerX509Certificate().publicKey.export({ type: 'spki', format: 'der' });
      const found = `0x${createHash('sha256').update(key).digest('hex')}`;
      if (found === spkiSha256) resolve(socket);
      else socket.destroy(new Error(`${url} has the TLS key ${found}, and the worker vouches for ${spkiSha256}`));
    });
  });
}

async function ask(part, method, path, { token, json } = {}) {
  const socket = await pinnedSocket(part.url, part.spki_sha256);
  const body = json === undefined ? undefined : JSON.stringify(json);
  const headers = { connection: 'close' };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) Object.assign(headers, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  return new Promise((resolve, reject) => {
    const asked = request({ method, path, headers, createConnection: () => socket }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(chunks);
        if (response.statusCode < 300) resolve({ bytes, headers: response.headers });
        else reject(new RefusedError(path, response.statusCode, bytes.toString()));
      });
    });
    asked.once('error', reject);
    asked.end(body);
  });
}

/**
 * Returns where the owner part of a worker's API is, once the worker key's signature of its TLS key is checked.
 * `machine` and `workerKey` (an address) are as on chain.
 */
export async function ownerPart(api, url, machine, workerKey) {
  const response = await fetch(`${url}/v1/owner`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const part = await response.json();
  assert.equal(response.status, 200, JSON.stringify(part));
  assert.equal(BigInt(part.machine), BigInt(machine));
  assert.ok(part.expires_at_s * 1_000 > Date.now());
  const message = u8aConcat(
    TLS_CONTEXT, api.genesisHash, u64(machine), hexToU8a(part.spki_sha256), u64(part.expires_at_s),
  );
  const { isValid, crypto } = signatureVerify(message, part.signature, workerKey);
  assert.ok(isValid && crypto === 'sr25519', 'the worker key does not vouch for the TLS key');
  return part;
}

/**
 * Gets a token for a job with the key of its consumer or of a delegate, and returns the requests that it allows.
 * `wrapped` signs as wallets do, in `<Bytes>…</Bytes>`.
 */
export async function logIn(api, part, job, pair, { wrapped = false } = {}) {
  const challenge = JSON.parse((await ask(part, 'POST', `/v1/jobs/${job}/challenge`)).bytes);
  const expiresAtS = challenge.time_s + 600;
  const message = u8aConcat(
    OWNER_CONTEXT, api.genesisHash, u64(job), u64(part.machine), hexToU8a(challenge.nonce), u64(expiresAtS),
  );
  const signature = u8aToHex(pair.sign(wrapped ? u8aWrapBytes(message) : message));
  const json = { account: pair.address, expires_at_s: expiresAtS, nonce: challenge.nonce, signature };
  const { token } = JSON.parse((await ask(part, 'POST', `/v1/jobs/${job}/token`, { json })).bytes);
  const get = (path) => ask(part, 'GET', `/v1/jobs/${job}${path}`, { token });
  return {
    token,
    get,
    async status() {
      return JSON.parse((await get('')).bytes);
    },
    async logs() {
      return (await get('/logs')).bytes;
    },
    logOut: () => ask(part, 'DELETE', '/v1/token', { token }),
  };
}
