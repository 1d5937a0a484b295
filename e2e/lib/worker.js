// The part of a worker that validators see: it answers probes, or does not.

import { createServer } from 'node:http';
import { bnToU8a, hexToU8a, stringToU8a, u8aConcat, u8aToHex } from '@polkadot/util';

const PROBE_CONTEXT = stringToU8a('assay/probe/v1');
const PROBE_PATH = '/v1/probe';

/**
 * Answers probes on a port of the loopback address with a worker key, as the machine whose number is put into
 * `machine`. The object's `endpoint` is what to register the machine with; `probes` counts the questions.
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
