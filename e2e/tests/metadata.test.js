// The metadata and interfaces that a dapp, a wallet or an explorer finds on the chain.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { merkleizeMetadata } from '@polkadot-api/merkleize-metadata';
import { u8aToHex } from '@polkadot/util';

import { runNode } from '../lib/binary.js';
import { ASY, balanceOf, eventually, rpc, send, subscribe, succeed } from '../lib/chain.js';
import { withNode } from '../lib/suite.js';

const ASSAY_PALLETS = {
  ChainClock: 50,
  ProviderRegistry: 51,
  ProviderStaking: 52,
  JobEscrow: 53,
  RewardEmission: 54,
  HardwareChallenge: 55,
  Attestation: 56,
  Availability: 57,
  FinalityView: 58,
};
/** Index of the first pallet of Assay; lower ones are the SDK's. */
const FIRST_INDEX = 50;

const suite = withNode();

/** Returns Assay's pallets from the metadata. */
function assayPallets() {
  return suite.api.runtimeMetadata.asLatest.pallets.filter(({ index }) => index.toNumber() >= FIRST_INDEX);
}

/** Returns the variants of a pallet's enumeration; none if the pallet lacks it. */
function variants(pallet, what) {
  if (pallet[what].isNone) return [];
  const type = suite.api.registry.lookup.getSiType(pallet[what].unwrap().type);
  return [...type.def.asVariant.variants];
}

function hasDocs(docs) {
  return docs.some((line) => line.toString().trim() !== '');
}

test('the chain tells its name, token and address format', async () => {
  const { api } = suite;
  assert.equal((await api.rpc.system.chain()).toString(), 'Assay Development');
  assert.equal(api.runtimeVersion.specName.toString(), 'assay');
  assert.deepEqual(api.registry.chainTokens, ['ASY']);
  assert.deepEqual(api.registry.chainDecimals, [12]);
  assert.equal(api.registry.chainSS58, 42);
  assert.equal(api.consts.balances.existentialDeposit.toBigInt(), ASY / 1_000n);
  assert.equal(api.consts.babe.expectedBlockTime.toBigInt(), 3_000n);
});

test('each of Assay\'s pallets has its name and index', () => {
  const found = Object.fromEntries(assayPallets().map(({ name, index }) => [name.toString(), index.toNumber()]));
  assert.deepEqual(found, ASSAY_PALLETS);
});

test('every call, event, error, storage item and constant of Assay\'s pallets is documented', () => {
  const undocumented = [];
  let counted = 0;
  const check = (name, docs) => {
    counted += 1;
    if (!hasDocs(docs)) undocumented.push(name);
  };
  for (const pallet of assayPallets()) {
    const name = pallet.name.toString();
    for (const call of variants(pallet, 'calls')) check(`${name} call ${call.name}`, call.docs);
    for (const error of variants(pallet, 'errors')) check(`${name} error ${error.name}`, error.docs);
    for (const event of variants(pallet, 'events')) {
      check(`${name} event ${event.name}`, event.docs);
      for (const field of event.fields) {
        check(`${name} event ${event.name} field ${field.name.unwrapOr('?')}`, field.docs);
      }
    }
    if (pallet.storage.isSome) {
      for (const item of pallet.storage.unwrap().items) check(`${name} storage ${item.name}`, item.docs);
    }
    for (const constant of pallet.constants) check(`${name} constant ${constant.name}`, constant.docs);
  }
  assert.deepEqual(undocumented, []);
  assert.ok(counted > 100, `only ${counted} items were found to check`);
});

test('the runtime\'s interface to the market is described, and polkadot.js can call it', async () => {
  const { api } = suite;
  const apis = api.runtimeMetadata.asLatest.apis;
  const market = apis.find(({ name }) => name.toString() === 'ComputeMarketApi');
  assert.ok(market, `among ${apis.map(({ name }) => name).join(', ')}`);
  assert.deepEqual(market.methods.map(({ name }) => name.toString()), ['find_machines', 'machine', 'explain']);
  for (const { name, docs } of [market, ...market.methods]) assert.ok(hasDocs(docs), `${name} is documented`);

  const { computeMarketApi } = api.call;
  assert.ok((await computeMarketApi.machine(0)).isNone);
  const { offers, next } = (await computeMarketApi.findMachines({}, 10, null)).asOk;
  assert.equal(offers.length, 0);
  assert.ok(next.isNone);
});

test('every field of events and calls has a name', () => {
  const unnamed = [];
  for (const pallet of assayPallets()) {
    for (const what of ['calls', 'events']) {
      for (const variant of variants(pallet, what)) {
        if (variant.fields.some(({ name }) => name.isNone)) unnamed.push(`${pallet.name} ${what} ${variant.name}`);
      }
    }
  }
  assert.deepEqual(unnamed, []);
});

test('the transaction extensions are the ones that wallets expect, in their order', () => {
  assert.deepEqual(suite.api.registry.signedExtensions, [
    'AuthorizeCall', 'CheckNonZeroSender', 'CheckSpecVersion', 'CheckTxVersion', 'CheckGenesis', 'CheckMortality',
    'CheckNonce', 'CheckWeight', 'ChargeTransactionPayment', 'CheckMetadataHash', 'WeightReclaim',
  ]);
});

test('a transaction that commits to the metadata is accepted, as hardware wallets make them', async () => {
  const { api, accounts } = suite;
  const { specName, specVersion } = api.runtimeVersion;
  const latest = await api.call.metadata.metadataAtVersion(15);
  const digest = merkleizeMetadata(latest.unwrap().toHex(), {
    decimals: 12,
    tokenSymbol: 'ASY',
    specName: specName.toString(),
    specVersion: specVersion.toNumber(),
    base58Prefix: 42,
  }).digest();

  const transfer = api.tx.balances.transferKeepAlive(accounts.fresh('metadata').address, ASY);
  const committed = { nonce: -1, mode: 1, metadataHash: u8aToHex(digest), withSignedTransaction: true };
  await new Promise((resolve, reject) => {
    transfer.signAndSend(accounts.dave, committed, ({ status, dispatchError }) => {
      if (dispatchError) reject(new Error(dispatchError.toString()));
      else if (status.isInBlock) resolve();
    }).catch(reject);
  });
  assert.equal((await balanceOf(api, accounts.fresh('metadata').address)).free, ASY);

  // The same transaction with a commitment to other metadata is invalid on this chain.
  const wrong = { ...committed, metadataHash: `0x${'11'.repeat(32)}` };
  await assert.rejects(
    api.tx.balances.transferKeepAlive(accounts.fresh('metadata').address, ASY).signAndSend(accounts.dave, wrong),
    /bad signature|1010/i,
  );
});

test('the JSON-RPC offers the methods that clients build on', async () => {
  const { methods } = await rpc(suite.node.url, 'rpc_methods');
  const wanted = [
    'system_chain', 'system_health', 'system_properties', 'system_accountNextIndex',
    'chain_getBlock', 'chain_getFinalizedHead', 'chain_subscribeFinalizedHeads',
    'state_getMetadata', 'state_getStorage', 'state_getKeysPaged', 'state_call', 'state_subscribeStorage',
    'author_submitExtrinsic', 'author_submitAndWatchExtrinsic', 'author_pendingExtrinsics',
    'babe_epochAuthorship', 'grandpa_roundState', 'grandpa_proveFinality', 'grandpa_subscribeJustifications',
    'payment_queryInfo', 'payment_queryFeeDetails',
    'chainSpec_v1_chainName', 'chainSpec_v1_genesisHash', 'chainSpec_v1_properties',
    'chainHead_v1_follow', 'chainHead_v1_storage', 'chainHead_v1_call', 'transactionWatch_v1_submitAndWatch',
    'assay_findMachines', 'assay_machine', 'assay_explain',
  ];
  assert.deepEqual(wanted.filter((method) => !methods.includes(method)), []);
});

test('chainSpec_v1 describes the chain', async () => {
  const { api, node } = suite;
  assert.equal(await rpc(node.url, 'chainSpec_v1_chainName'), 'Assay Development');
  assert.equal(await rpc(node.url, 'chainSpec_v1_genesisHash'), api.genesisHash.toHex());
  const properties = await rpc(node.url, 'chainSpec_v1_properties');
  assert.deepEqual(properties, { ss58Format: 42, tokenDecimals: 12, tokenSymbol: 'ASY' });
});

test('chainHead_v1 follows the chain', async () => {
  const seen = [];
  const stop = await subscribe(suite.api, 'chainHead_v1', [false], (event) => seen.push(event));
  try {
    await eventually('a new block', 20_000, () => seen.some(({ event }) => event === 'newBlock'));
  } finally {
    await stop();
  }
  assert.equal(seen[0].event, 'initialized');
  assert.ok(seen[0].finalizedBlockHashes.length > 0);
});

test('a fee is told before it is paid, and is the fee that is paid', async () => {
  const { api, accounts } = suite;
  const call = api.tx.balances.transferKeepAlive(accounts.fresh('fee').address, ASY);
  const told = (await call.paymentInfo(accounts.eve)).partialFee.toBigInt();
  const before = await balanceOf(api, accounts.eve.address);
  const included = await succeed(api, call, accounts.eve);
  const after = await balanceOf(api, accounts.eve.address, included.blockHash);
  assert.equal(before.free - after.free, ASY + included.fee);
  // The estimate is the maximum: the unused part of the call's weight is refunded.
  assert.ok(included.fee > 0n && included.fee <= told, `${included.fee} was paid, ${told} was told`);
});

test('a transaction for another chain or by an account without money is refused before any block', async () => {
  const { api, accounts } = suite;
  const transfer = () => api.tx.balances.transferKeepAlive(accounts.alice.address, ASY);
  await assert.rejects(
    transfer().signAndSend(accounts.dave, { genesisHash: `0x${'22'.repeat(32)}`, nonce: -1 }),
    /bad signature|1010/i,
  );
  await assert.rejects(transfer().signAndSend(accounts.fresh('penniless'), { nonce: -1 }), /Inability to pay/i);
});

test('the Prometheus endpoint tells the height of the chain', async () => {
  const text = await (await fetch(suite.node.prometheusUrl)).text();
  assert.match(text, /^substrate_block_height\{.*status="best".*\} \d+/m);
  assert.match(text, /^substrate_block_height\{.*status="finalized".*\} \d+/m);
});

test('an unknown chain is refused with a sentence that names the known ones', async () => {
  const { status, errors } = await runNode('--chain', 'no-such-chain');
  assert.notEqual(status, 0);
  assert.match(errors, /unknown chain "no-such-chain"/);
  assert.match(errors, /"dev" and "local"/);
});

test('the genesis presets give chain specifications: one validator for dev, three for local', async () => {
  for (const [chain, validators] of [['dev', 1], ['local', 3]]) {
    const { status, output } = await runNode('build-spec', '--chain', chain);
    assert.equal(status, 0);
    const { patch } = JSON.parse(output).genesis.runtimeGenesis;
    assert.equal(patch.session.keys.length, validators);
    assert.equal(patch.chainClock.epochDurationMs, 60_000);
  }
});

test('the hardware catalogue is there, with the class of machines without GPUs', async () => {
  const { api } = suite;
  const classes = await api.query.providerRegistry.hardwareClasses.entries();
  const names = classes.map(([, record]) => record.unwrap().name.toUtf8());
  assert.ok(names.includes('CPU') && names.includes('NVIDIA_H100') && names.includes('NVIDIA_RTX_4090'), names.join());
  assert.equal(new Set(names).size, names.length, 'no name is given twice');
  for (const [key, record] of classes) {
    const found = await api.query.providerRegistry.hardwareClassIds(record.unwrap().name);
    assert.equal(found.unwrap().toNumber(), key.args[0].toNumber(), 'a class is found by its name');
  }
});

test('a bad JSON-RPC request gets an error and the node goes on', async () => {
  await assert.rejects(send(suite.api, 'no_such_method'), /Method not found/);
  // Bytes that are no transaction: the runtime refuses them, and the node reports a failed check.
  await assert.rejects(send(suite.api, 'author_submitExtrinsic', '0x00'), /100[0-9]|1010/);
  assert.equal((await suite.api.rpc.system.health()).isSyncing.isTrue, false);
});
