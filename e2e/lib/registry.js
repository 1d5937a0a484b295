// The registry on the loopback address: images made of those that are there.

import { createHash } from 'node:crypto';

const TIMEOUT_MS = 30_000;
const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';

/** Sends one request; an answer other than success is an error. */
async function ask(url, options = {}) {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
  if (!response.ok) throw new Error(`${options.method ?? 'GET'} ${url}: ${response.status} ${await response.text()}`);
  return response;
}

function digestOf(bytes) {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * Pushes the image of a reference (`host:port/name@sha256:…`) once more under a tag, with this command as its own.
 * Returns the new image's name with the tag, and its digest.
 */
export async function pushWithCommand(reference, tag, command) {
  const [, host, name, digest] = reference.match(/^([^/]+)\/(.+)@(sha256:[0-9a-f]{64})$/);
  const base = `http://${host}/v2/${name}`;
  const headers = { accept: MANIFEST };
  const manifest = await (await ask(`${base}/manifests/${digest}`, { headers })).json();
  const configuration = await (await ask(`${base}/blobs/${manifest.config.digest}`)).json();
  configuration.config.Cmd = command;
  const bytes = Buffer.from(JSON.stringify(configuration));

  const begun = await ask(`${base}/blobs/uploads/`, { method: 'POST' });
  const place = new URL(begun.headers.get('location'), base);
  place.searchParams.set('digest', digestOf(bytes));
  await ask(place, { method: 'PUT', headers: { 'content-type': 'application/octet-stream' }, body: bytes });

  Object.assign(manifest.config, { size: bytes.length, digest: digestOf(bytes) });
  const body = Buffer.from(JSON.stringify(manifest));
  await ask(`${base}/manifests/${tag}`, { method: 'PUT', headers: { 'content-type': MANIFEST }, body });
  return { image: `${host}/${name}:${tag}`, digest: digestOf(body) };
}
