// Value of TEE evidence: it counts for one machine, on one chain, with its present keys, down to a root that
// governance trusts; and then the machine earns a quarter more.

import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { u8aToHex } from '@polkadot/util';

import {
  chainOf, collect, evidenceIdOf, fingerprintOf, keyIdOf, submitEvidence, submitList, workloadOf,
} from '../lib/attestation.js';
import { proveHardware } from '../lib/challenge.js';
import {
  around, balanceOf, eventOf, eventsOf, eventually, govern, refuseAll, rpc, submit, succeed,
} from '../lib/chain.js';
import { bondedMachine, rotateKeys } from '../lib/market.js';
import { withNode } from '../lib/suite.js';
import { POLICY, Vendor } from '../lib/vendor.js';
import { startProbeResponder } from '../lib/worker.js';

const LIFETIME_S = 24n * 60n * 60n;
/** Step to which the end of evidence is rounded down. */
const SLOT_S = 600n;

/** The runtime's set of TEEs has one bit for each; this one is AMD's. */
const SEV_SNP = 1 << 2;

// Making the keys takes seconds; the node starts meanwhile.
const making = Promise.all([Vendor.create(), Vendor.create()]);
let vendor;
let lookAlike;
let chip;

/** Two machines that differ only in their evidence: each has `machine`, `provider` and `worker`. */
const attested = {};
const plain = {};
const responders = [];

const suite = withNode(async ({ api, accounts }) => {
  [vendor, lookAlike] = await making;
  chip = vendor.chip(Buffer.alloc(64, 0x42));
  const prepare = async (machine, name, provider) => {
    const worker = accounts.fresh(`worker of the ${name} machine`);
    const responder = await startProbeResponder(api, worker);
    responders.push(responder);
    const id = await bondedMachine(api, provider, worker, { slots: 1, endpoint: responder.endpoint });
    responder.machine = id;
    Object.assign(machine, { machine: id, provider, worker });
  };
  await Promise.all([prepare(attested, 'attested', accounts.bob), prepare(plain, 'plain', accounts.dave)]);
}, { epochMs: 24_000 });
after(() => Promise.all(responders.map((responder) => responder.stop())));

const refused = (cause) => `attestation.Refused(${cause})`;

async function currentEpoch() {
  return (await suite.api.query.chainClock.currentEpoch()).toNumber();
}

async function untilAfter(epoch) {
  await eventually(`the end of epoch ${epoch}`, 120_000, currentEpoch, (current) => current > epoch);
}

/** Collects a chip's evidence of a machine. */
function evidenceFor({ machine }, changes = {}, by = chip) {
  return collect(suite.api, by, machine, changes);
}

/** Returns the call with which a machine submits evidence. */
function submission({ machine }, evidence) {
  return submitEvidence(suite.api, machine, evidence);
}

/** Returns the TEEs that a machine has, at a block or now. */
async function teesOf({ machine }, hash) {
  const at = hash === undefined ? suite.api : await suite.api.at(hash);
  return (await at.call.computeMarketApi.machine(machine)).unwrap().teeKinds.toNumber();
}

/** Returns the machines that a search through the runtime's interface finds. */
async function found(requirements) {
  const page = await suite.api.call.computeMarketApi.findMachines(requirements, 10, null);
  return page.asOk.offers.map(({ machine }) => machine.toBigInt());
}

/** Returns the total weight of all machines at a block. */
async function totalWeight(hash) {
  return (await (await suite.api.at(hash)).query.rewardEmission.totalWeight()).toBigInt();
}

/** Returns the plancks held from an account for evidence and for keys. */
async function deposits({ address }, hash) {
  const balance = await balanceOf(suite.api, address, hash);
  const [evidence, key] = ['Evidence', 'Key'].map((reason) => balance.held('attestation', reason));
  return { evidence, key, free: balance.free };
}

/** Reads a root as its vendor publishes it, from the crate that verifies evidence. */
function publishedRoot(name) {
  return readFile(new URL(`../../evidence/roots/${name}.der`, import.meta.url));
}

/** Removes the key, its identifier and the signature from a root certificate. */
function withoutKey(root) {
  const { publicKey } = new X509Certificate(root);
  const name = createHash('sha1').update(publicKey.export({ type: 'pkcs1', format: 'der' })).digest();
  const parts = [publicKey.export({ type: 'spki', format: 'der' }), name];
  const unsigned = root.subarray(0, -512).toString('hex');
  return parts.reduce((rest, part) => rest.replace(part.toString('hex'), ''), unsigned);
}

test('the tests\' vendor looks like AMD in everything but its keys', async (context) => {
  const published = await publishedRoot('amd-ark-milan');

  await context.test('its root', () => {
    for (const { root } of [vendor, lookAlike]) {
      assert.notDeepEqual(root, published);
      assert.equal(withoutKey(root), withoutKey(published));
    }
  });

  await context.test('its chain, as another reader of certificates sees it', () => {
    const [device, authority, root] = chip.chain.map((certificate) => new X509Certificate(certificate));
    for (const [certificate, issuer] of [[device, authority], [authority, root], [root, root]]) {
      assert.ok(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey), certificate.subject);
      assert.ok(issuer.ca);
    }
    assert.ok(!device.ca);
    assert.ok(!device.verify(new X509Certificate(lookAlike.authority).publicKey));
  });
});

test('a chain that ends in a look-alike of a vendor\'s root proves nothing', async (context) => {
  const { api, accounts } = suite;
  const { bob, eve } = accounts;

  await context.test('the chain trusts the roots that the vendors publish, and no others', async () => {
    const hex = async (name) => u8aToHex(await publishedRoot(name));
    const amd = (product) => hex(`amd-ark-${product.toLowerCase()}`).then((root) => ({ product, root }));
    assert.deepEqual((await api.query.attestation.roots()).toJSON(), {
      intel: [await hex('intel-sgx-root')],
      amd: await Promise.all(['Milan', 'Genoa', 'Turin'].map(amd)),
      nvidia: [await hex('nvidia-device-identity')],
    });
  });

  const [device, authority, root] = chip.chain;
  const ending = async (certificates) => submission(attested, await evidenceFor(attested, { key: chainOf(certificates) }));
  await refuseAll(context, api, [
    ['that comes along', await ending([device, authority, root]), bob, refused('UntrustedRoot')],
    ['that stays at home', await ending([device, authority]), bob, refused('UntrustedRoot')],
    ['whose place the vendor\'s takes', await ending([device, authority, await publishedRoot('amd-ark-milan')]), bob,
      refused('UntrustedRoot')],
    ['that signs lists too', submitList(api, 'AmdMilan', vendor.list({ number: 1 })), eve,
      refused('BadSignature(RevocationList)')],
    ['that its owner wants to be trusted', api.tx.attestation.addRoot('AmdMilan', u8aToHex(root)), bob, 'BadOrigin'],
  ]);
});

let evidence;
let firstFee;
let sharedEpoch;

test('evidence counts when governance trusts its root', async (context) => {
  const { api, accounts } = suite;
  const { alice, bob, eve } = accounts;
  // The hardware is proven meanwhile. A failure is reported where the promise is awaited.
  const proving = Promise.all([attested, plain].map(({ machine, worker }) => proveHardware(api, machine, worker)));
  proving.catch(() => {});

  await context.test('governance trusts it, and accepts a workload', async () => {
    // A client starts a transaction's lifetime at the newest finalized block, whose hash the chain must still
    // have.
    await eventually('the finality of block 2', 60_000, async () => {
      return (await api.rpc.chain.getHeader(await api.rpc.chain.getFinalizedHead())).number.toNumber();
    }, (finalized) => finalized >= 2);
    const governed = await govern(api, [
      api.tx.attestation.addRoot('AmdMilan', u8aToHex(vendor.root)),
      api.tx.attestation.allowWorkload(workloadOf(), 'the guest of the tests'),
      // Stands for the passing of time, which removes the hashes of old blocks.
      api.tx.system.killStorage([api.query.system.blockHash.key(1)]),
    ], alice);
    assert.deepEqual(eventOf(governed, 'attestation', 'RootAdded'), {
      vendor: 'AmdMilan', fingerprint: fingerprintOf(vendor.root),
    });
    assert.deepEqual(eventOf(governed, 'attestation', 'WorkloadAllowed'), { digest: workloadOf() });
  });

  await context.test('not before somebody brings the list of what the root revoked', async () => {
    const { error } = await submit(api, submission(attested, await evidenceFor(attested)), bob);
    assert.equal(error, refused('RevocationUnknown'));
    const brought = await succeed(api, submitList(api, 'AmdMilan', vendor.list({ number: 1 })), eve);
    assert.equal(eventsOf(brought, 'attestation', 'CollateralRenewed').length, 1);
  });

  await context.test('the worker submits it, and the provider pays the deposits', async () => {
    assert.equal(await teesOf(attested), 0);
    evidence = await evidenceFor(attested);
    const included = await succeed(api, submission(attested, evidence), attested.worker);
    firstFee = included.fee;
    const nowS = (await (await api.at(included.blockHash)).query.timestamp.now()).toBigInt() / 1_000n;
    assert.deepEqual(eventOf(included, 'attestation', 'EvidenceAccepted'), {
      machine: attested.machine,
      id: evidenceIdOf(chip),
      workload: workloadOf(),
      untilS: ((nowS + LIFETIME_S) / SLOT_S) * SLOT_S,
    });
    assert.deepEqual(eventOf(included, 'attestation', 'KeyKept'), {
      key: keyIdOf(chip),
      owner: bob.address,
      validUntilS: BigInt(Date.parse(new X509Certificate(chip.certificate).validTo)) / 1_000n,
    });
    assert.equal((await api.query.attestation.devices(evidenceIdOf(chip).device)).unwrap().toBigInt(), attested.machine);
    const [before, after] = await around(included, (hash) => deposits(bob, hash));
    assert.ok(after.evidence > 0n && after.key > 0n);
    assert.deepEqual([before.evidence, before.key], [0n, 0n]);
    assert.equal(before.free - after.free, after.evidence + after.key);
  });

  await context.test('the market shows it, and finds the machine by it', async () => {
    await proving;
    assert.deepEqual([await teesOf(attested), await teesOf(plain)], [SEV_SNP, 0]);
    assert.deepEqual(await found({}), [attested.machine, plain.machine].sort());
    assert.deepEqual(await found({ tee: 'SevSnp' }), [attested.machine]);
    assert.deepEqual(await found({ tee: 'Tdx' }), []);
  });

  await context.test('over JSON-RPC too, which says what the other machine lacks', async () => {
    const { url } = suite.node;
    const { offers } = await rpc(url, 'assay_findMachines', { tee: 'sevSnp' });
    assert.deepEqual(offers.map(({ machine, teeKinds }) => [machine, teeKinds]), [[Number(attested.machine), ['sevSnp']]]);
    const mismatches = await rpc(url, 'assay_explain', { tee: 'sevSnp' }, Number(plain.machine));
    assert.deepEqual(mismatches, [{ requirement: 'tee', found: [] }]);
  });
  // The first epoch in which both have their full weight from its beginning.
  sharedEpoch = (await currentEpoch()) + 1;
});

test('nobody can use evidence for anything else', async (context) => {
  const { api, accounts } = suite;
  const { bob, dave, eve } = accounts;
  const byBob = async (name, changes, error, by = chip) =>
    [name, submission(attested, await evidenceFor(attested, changes, by)), bob, error];
  const known = { Known: keyIdOf(chip) };
  const bound = (changes) => ({ bound: changes, key: known });
  const guest = (report) => ({ report, key: known });
  const chain = (...certificates) => ({ key: chainOf(certificates) });

  // Evidence of an earlier block, submitted as that of a later one.
  const earlier = await evidenceFor(attested, { anchor: evidence.anchor - 1 });
  const later = (await api.rpc.chain.getHeader()).number.toNumber();
  const altered = await evidenceFor(attested, { key: known });
  const report = altered.evidence.SnpReport.report;
  altered.evidence.SnpReport.report = `${report.slice(0, 0x90 * 2 + 2)}00${report.slice(0x90 * 2 + 4)}`;
  const [device, authority, root] = chip.chain;
  const imitated = lookAlike.chip(chip.id);
  const second = vendor.chip(Buffer.alloc(64, 0x43));

  await refuseAll(context, api, [
    ['the same bytes for another machine', submission(plain, evidence), dave, refused('WrongBinding')],
    ['the same bytes by another machine\'s provider', submission(attested, evidence), dave, 'attestation.NotProvider'],
    ['the same bytes again', submission(attested, evidence), bob, 'attestation.NotNewer'],
    ['earlier evidence than what counts', submission(attested, earlier), bob, 'attestation.NotNewer'],
    ['earlier evidence as if it were later', submission(attested, { ...earlier, anchor: later }), bob,
      refused('WrongBinding')],
    ['for a machine that is not there', submission({ machine: 999 }, evidence), bob, 'attestation.NoSuchMachine'],
    ['of a device that another machine has', submission(plain, await evidenceFor(plain, { key: known })), dave,
      'attestation.DeviceTaken'],
    await byBob('of a second processor', {}, 'attestation.OtherProcessor', second),
    ['with an anchor to come', submission(attested, { ...evidence, anchor: later + 1_000 }), bob,
      'attestation.AnchorNotRecent'],
    await byBob('with an anchor that the chain has forgotten', { anchor: 1, key: known }, 'attestation.AnchorNotRecent'),
    await byBob('of a block that is on no chain', bound({ anchorHash: `0x${'ab'.repeat(32)}` }), refused('WrongBinding')),
    await byBob('of another chain', bound({ genesisHash: `0x${'cd'.repeat(32)}` }), refused('WrongBinding')),
    await byBob('with another sealing key', bound({ sealingKey: `0x${'ef'.repeat(32)}` }), refused('WrongBinding')),
    await byBob('with another worker key', bound({ workerKey: plain.worker.publicKey }), refused('WrongBinding')),
    await byBob('by a look-alike of the trusted root', chain(...imitated.chain), refused('UntrustedRoot'), imitated),
    await byBob('by a look-alike\'s authority below the trusted root', chain(...imitated.chain.slice(0, 2), root),
      refused('UntrustedRoot'), imitated),
    await byBob('by a look-alike\'s chip below the trusted authority', chain(imitated.certificate, authority, root),
      refused('BadSignature(Certificate)'), imitated),
    await byBob('by a chip that shows another one\'s certificate', chain(device, authority, root), refused('ChipMismatch'),
      second),
    await byBob('by a chip that says it is another one', { report: { chipId: chip.id }, ...chain(device, authority, root) },
      refused('BadSignature(SnpReport)'), second),
    ['with a byte that was changed', submission(attested, altered), bob, refused('BadSignature(SnpReport)')],
    await byBob('with a key that nobody has shown', { key: { Known: keyIdOf(second) } }, 'attestation.NoSuchKey'),
    await byBob('of a guest that can be debugged', guest({ policy: POLICY.ALWAYS_ONE | POLICY.DEBUG }),
      refused('Debuggable')),
    await byBob('of a guest that can be moved', guest({ policy: POLICY.ALWAYS_ONE | POLICY.MIGRATION }),
      refused('Migratable')),
    await byBob('of a guest\'s outer part', guest({ vmpl: 1 }), refused('PrivilegeLevelRefused({"vmpl":1})')),
    await byBob('of another product\'s chip', guest({ cpuModel: 0x11 }), refused('ProductMismatch')),
    await byBob('of another guest', guest({ measurement: Buffer.alloc(48, 0xcd) }), 'attestation.WorkloadNotAllowed'),
    ['a list of a look-alike\'s', submitList(api, 'AmdMilan', lookAlike.list({ number: 2 })), eve,
      refused('BadSignature(RevocationList)')],
  ]);
  await context.test('and the market shows what it showed', async () => {
    assert.deepEqual([await teesOf(attested), await teesOf(plain)], [SEV_SNP, 0]);
  });
});

test('a renewal names the key, and costs less', async () => {
  const { api, accounts } = suite;
  const renewal = await evidenceFor(attested, { key: { Known: keyIdOf(chip) } });
  const included = await succeed(api, submission(attested, renewal), attested.worker);
  const { machine, id } = eventOf(included, 'attestation', 'EvidenceAccepted');
  assert.deepEqual([machine, id], [attested.machine, evidenceIdOf(chip)]);
  assert.deepEqual(eventsOf(included, 'attestation', 'KeyKept'), []);
  assert.ok(included.fee < firstFee, `${included.fee} plancks after ${firstFee}`);
  const [before, after] = await around(included, (hash) => deposits(accounts.bob, hash));
  assert.deepEqual(after, before, 'nothing more is held');
});

test('when the keys change, the evidence counts for nothing at once', async (context) => {
  const { api, accounts } = suite;
  const { bob, fresh } = accounts;
  // A loss of weight counts for the whole epoch, and the shared epoch must have the full weight.
  await untilAfter(sharedEpoch);
  const key = { Known: keyIdOf(chip) };
  const stale = await evidenceFor(attested, { key });
  const rotated = await succeed(api, rotateKeys(api, attested.machine, fresh('the next worker'), bob), bob);

  await context.test('in the same block', async () => {
    assert.deepEqual(await around(rotated, (hash) => teesOf(attested, hash)), [SEV_SNP, 0]);
    assert.deepEqual(await found({ tee: 'SevSnp' }), []);
    assert.deepEqual(await around(rotated, totalWeight), [9n, 8n], 'a quarter of a slot');
  });

  await context.test('and evidence for the old keys is refused', async () => {
    const { error } = await submit(api, submission(attested, stale), bob);
    assert.equal(error, refused('WrongBinding'));
  });

  await context.test('until there is evidence for the new ones', async () => {
    await succeed(api, submission(attested, await evidenceFor(attested, { key })), bob);
    assert.equal(await teesOf(attested), SEV_SNP);
  });
});

test('a device whose evidence is taken back can belong to another machine', async (context) => {
  const { api, accounts } = suite;
  const { bob, dave } = accounts;

  await context.test('its provider has the deposit again', async () => {
    const included = await succeed(api, api.tx.attestation.withdrawEvidence(attested.machine, evidenceIdOf(chip)), bob);
    assert.deepEqual(eventOf(included, 'attestation', 'EvidenceWithdrawn'), {
      machine: attested.machine, id: evidenceIdOf(chip),
    });
    const [before, after] = await around(included, (hash) => deposits(bob, hash));
    assert.equal(after.evidence, 0n);
    assert.equal(after.free - before.free, before.evidence - included.fee);
    assert.equal(await teesOf(attested), 0);
  });

  await context.test('and the other machine has its evidence', async () => {
    const moved = await evidenceFor(plain, { key: { Known: keyIdOf(chip) } });
    const included = await succeed(api, submission(plain, moved), dave);
    assert.equal(eventOf(included, 'attestation', 'EvidenceAccepted').machine, plain.machine);
    assert.deepEqual(await found({ tee: 'SevSnp' }), [plain.machine]);
  });
});

test('what the vendor revokes and governance distrusts vouches for nothing more', async (context) => {
  const { api, accounts } = suite;
  const { alice, dave, eve } = accounts;
  const key = { Known: keyIdOf(chip) };
  const renew = async () => submit(api, submission(plain, await evidenceFor(plain, { key })), dave);

  await context.test('a newer list names the authority', async () => {
    const list = vendor.list({ number: 2, revoked: [vendor.authoritySerial] });
    await succeed(api, submitList(api, 'AmdMilan', list), eve);
    assert.equal((await renew()).error, refused('Revoked'));
  });

  await context.test('the root is not trusted any more', async () => {
    await govern(api, [api.tx.attestation.removeRoot('AmdMilan', fingerprintOf(vendor.root))], alice);
    assert.equal((await renew()).error, refused('UntrustedRoot'));
  });
});

test('of two equal machines the attested one earned five parts where the other earned four', async (context) => {
  const { api, accounts } = suite;
  // The validators' view of an epoch is final when the next epoch has ended.
  await untilAfter(sharedEpoch + 1);
  const record = await api.query.rewardEmission.epochRecords(sharedEpoch);
  const pool = record.pool.toBigInt();
  assert.equal(record.totalWeight.toBigInt(), 9n);
  assert.ok(pool > 0n);

  /** Has a machine paid, epoch by epoch, and returns its provider's payment for the shared epoch. */
  const paid = async ({ machine, provider }, payer) => {
    for (;;) {
      const included = await succeed(api, api.tx.rewardEmission.payout(machine, 1), payer);
      const { firstEpoch, lastEpoch, amount, destination } = eventOf(included, 'rewardEmission', 'RewardPaid');
      if (lastEpoch < BigInt(sharedEpoch)) continue;
      assert.deepEqual([firstEpoch, lastEpoch], [sharedEpoch, sharedEpoch].map(BigInt));
      assert.equal(destination, provider.address);
      const [before, after] = await around(included, (hash) => balanceOf(api, provider.address, hash));
      assert.equal(after.free - before.free, amount, 'the balance grows by what the event says');
      return amount;
    }
  };
  // Anybody may request the payments.
  const [more, less] = await Promise.all([paid(attested, accounts.eve), paid(plain, accounts.ferdie)]);

  await context.test('each its part of the epoch\'s pool, to the planck', () => {
    assert.equal(more, (pool * 5n) / 9n);
    assert.equal(less, (pool * 4n) / 9n);
  });

  await context.test('in the ratio 1.25, but for what is lost by rounding both down', () => {
    const off = 4n * more - 5n * less;
    assert.ok(off > -4n && off < 5n, `${more} and ${less} plancks`);
  });

  await context.test('and no more than the pool was minted', async () => {
    const minted = (await api.query.rewardEmission.epochRecords(sharedEpoch)).minted.toBigInt();
    assert.equal(minted, more + less);
    assert.ok(minted <= pool && minted > pool - 2n);
  });
});
