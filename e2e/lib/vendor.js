// A fictitious vendor of SEV-SNP processors: its certificates, lists and reports are those of AMD byte for
// byte, except for the keys. Written independently from AMD's documents and published data, so that the
// chain's verifier is tested against more than the vendors of its own tests.

import { createHash, constants, generateKeyPair, generateKeyPairSync, sign } from 'node:crypto';
import { promisify } from 'node:util';

const MINUTE_MS = 60_000;
const DAY_MS = 1_440 * MINUTE_MS;

/** Length of a report in bytes, and of its signed part. */
const REPORT_BYTES = 1_184;
const SIGNED_BYTES = 672;

/**
 * Length of each number of a report's signature, little-endian and padded with zeros; P-384 needs 48 bytes.
 */
const SIGNATURE_NUMBER_BYTES = 72;
const SCALAR_BYTES = 48;

/** Offsets in a report. */
const AT = {
  version: 0x00,
  policy: 0x08,
  vmpl: 0x30,
  signatureAlgorithm: 0x34,
  currentTcb: 0x38,
  reportData: 0x50,
  measurement: 0x90,
  reportId: 0x140,
  migrationAgent: 0x160,
  reportedTcb: 0x180,
  cpuFamily: 0x188,
  cpuModel: 0x189,
  chipId: 0x1a0,
  committedTcb: 0x1e0,
  launchTcb: 0x1f0,
};

/** Bits of a guest's policy. */
export const POLICY = { SMT: 1n << 16n, ALWAYS_ONE: 1n << 17n, MIGRATION: 1n << 18n, DEBUG: 1n << 19n };

/** Security versions of the firmware and microcode, and their encoding in reports. */
const VERSIONS = { bootLoader: 3, tee: 0, snp: 8, microcode: 115 };
const TCB = Buffer.from([VERSIONS.bootLoader, VERSIONS.tee, 0, 0, 0, 0, VERSIONS.snp, VERSIONS.microcode]);

/** Measurement of the guests at their start. */
export const MEASUREMENT = createHash('sha384').update('the guest of the tests').digest();

// DER, as far as certificates need it.

function element(tag, ...parts) {
  const content = Buffer.concat(parts);
  const { length } = content;
  const lengthBytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...lengthBytes]), content]);
}

const sequence = (...parts) => element(0x30, ...parts);
const explicit = (number, ...parts) => element(0xa0 | number, ...parts);
const octets = (bytes) => element(0x04, bytes);
const bits = (bytes, unused = 0) => element(0x03, Buffer.from([unused]), bytes);
const utf8 = (text) => element(0x0c, Buffer.from(text));
const printable = (text) => element(0x13, Buffer.from(text));
const ia5 = (text) => element(0x16, Buffer.from(text));
const NULL = element(0x05);
const TRUE = element(0x01, Buffer.from([0xff]));

/** Encodes a number that is not negative. */
function integer(value) {
  const digits = BigInt(value).toString(16);
  const bytes = Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
  // Without the leading zero a set first bit would make it negative.
  return element(0x02, Buffer.from(bytes[0] & 0x80 ? [0] : []), bytes);
}

function identifier(text) {
  const [first, second, ...rest] = text.split('.').map(Number);
  const arcs = [40 * first + second, ...rest].map((arc) => {
    const bytes = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) bytes.unshift((left & 0x7f) | 0x80);
    return Buffer.from(bytes);
  });
  return element(0x06, ...arcs);
}

/** Encodes a time between 1950 and 2049, to the second. */
function time(date) {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '');
  return element(0x17, Buffer.from(digits.slice(2)));
}

function nameOf(commonName) {
  const part = (attribute, value) => element(0x31, sequence(identifier(`2.5.4.${attribute}`), value));
  return sequence(
    part(11, utf8('Engineering')),
    part(6, printable('US')),
    part(7, utf8('Santa Clara')),
    part(8, utf8('CA')),
    part(10, utf8('Advanced Micro Devices')),
    part(3, utf8(commonName)),
  );
}

function extension(arcs, value, { critical = false } = {}) {
  return sequence(identifier(arcs), ...(critical ? [TRUE] : []), octets(value));
}

const SHA_384 = sequence(identifier('2.16.840.1.101.3.4.2.2'), NULL);
const PSS_SALT_BYTES = 48;
const RSASSA_PSS_SHA_384 = sequence(
  identifier('1.2.840.113549.1.1.10'),
  sequence(
    explicit(0, SHA_384),
    explicit(1, sequence(identifier('1.2.840.113549.1.1.8'), SHA_384)),
    explicit(2, integer(PSS_SALT_BYTES)),
    // The default value, which AMD encodes nevertheless.
    explicit(3, integer(1)),
  ),
);

/** Encodes a signed structure, a certificate or a list: content, algorithm and signature. */
function signed(content, { privateKey }) {
  const signature = sign('sha384', content, {
    key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: PSS_SALT_BYTES,
  });
  return sequence(content, RSASSA_PSS_SHA_384, bits(signature));
}

function certificate({ serial, issuer, subject, from, until, keys, extensions }, issuerKeys) {
  return signed(sequence(
    explicit(0, integer(2)),
    integer(serial),
    RSASSA_PSS_SHA_384,
    nameOf(issuer),
    sequence(time(from), time(until)),
    nameOf(subject),
    keyInfo(keys),
    explicit(3, sequence(...extensions)),
  ), issuerKeys);
}

function keyInfo({ publicKey }) {
  return publicKey.export({ type: 'spki', format: 'der' });
}

/** Returns the identifier by which authorities name a key. */
function keyIdentifier(keys) {
  return createHash('sha1').update(keys.publicKey.export({ type: 'pkcs1', format: 'der' })).digest();
}

/**
 * Returns an authority's extensions: the usage of its key, and the number of authorities allowed below it.
 */
function authorityExtensions(keys, usageBits, unusedBits, below) {
  return [
    extension('2.5.29.15', bits(Buffer.from([usageBits]), unusedBits), { critical: true }),
    extension('2.5.29.14', octets(keyIdentifier(keys))),
    extension('2.5.29.19', sequence(TRUE, ...(below === undefined ? [] : [integer(below)])), { critical: true }),
  ];
}

/** A vendor: its root (ARK), its authority (ASK), the list of revoked authorities, and its chips. */
export class Vendor {
  /** Creates the vendor's keys, which takes seconds. `product` is part of its names. */
  static async create(product = 'Milan') {
    const make = () => promisify(generateKeyPair)('rsa', { modulusLength: 4_096 });
    return new Vendor(product, ...await Promise.all([make(), make()]));
  }

  constructor(product, rootKeys, authorityKeys) {
    Object.assign(this, { product, rootKeys, authorityKeys });
    const rootName = `ARK-${product}`;
    const listUrl = element(0x86, Buffer.from(`https://kdsintf.amd.com/vcek/v1/${product}/crl`));
    const listPoint = extension('2.5.29.31', sequence(sequence(explicit(0, explicit(0, listUrl)))));
    const from = new Date('2020-10-22T17:23:05Z');
    const until = new Date('2045-10-22T17:23:05Z');
    /** Certificate of the root. */
    this.root = certificate({
      serial: 0x10000, issuer: rootName, subject: rootName, from, until, keys: rootKeys,
      extensions: [...authorityExtensions(rootKeys, 0x06, 1), listPoint],
    }, rootKeys);
    this.authoritySerial = 0x10001;
    /** Certificate of the authority. */
    this.authority = certificate({
      serial: this.authoritySerial, issuer: rootName, subject: `SEV-${product}`, from, until, keys: authorityKeys,
      extensions: [
        ...authorityExtensions(authorityKeys, 0x04, 2, 0),
        extension('2.5.29.35', sequence(element(0x80, keyIdentifier(rootKeys)))),
        listPoint,
      ],
    }, rootKeys);
  }

  /** Returns the root's list of the certificates that it revoked, by serial number; valid for half a year. */
  list({ number, revoked = [] }) {
    // The chain's clock is the time of its last block, which is behind ours.
    const issued = new Date(Date.now() - MINUTE_MS);
    const entries = revoked.map((serial) => sequence(integer(serial), time(issued)));
    return signed(sequence(
      integer(1),
      RSASSA_PSS_SHA_384,
      nameOf(`ARK-${this.product}`),
      time(issued),
      time(new Date(issued.getTime() + 180 * DAY_MS)),
      ...(entries.length === 0 ? [] : [sequence(...entries)]),
      explicit(0, sequence(
        extension('2.5.29.35', sequence(element(0x80, keyIdentifier(this.rootKeys)))),
        extension('2.5.29.20', integer(number)),
      )),
    ), this.rootKeys);
  }

  /** Creates a chip with this identifier of 64 bytes. */
  chip(id) {
    return new Chip(this, id);
  }
}

/** A processor of the vendor: it signs reports with a key that the vendor certifies. */
export class Chip {
  constructor(vendor, id) {
    Object.assign(this, { vendor, id: Buffer.from(id) });
    this.keys = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const version = (number, value) => extension(`1.3.6.1.4.1.3704.1.3.${number}`, integer(value));
    const from = new Date(Date.now() - 30 * DAY_MS);
    /** Certificate of its key (VCEK). */
    this.certificate = certificate({
      serial: 0, issuer: `SEV-${vendor.product}`, subject: 'SEV-VCEK',
      from, until: new Date(from.getTime() + 7 * 365 * DAY_MS), keys: this.keys,
      extensions: [
        extension('1.3.6.1.4.1.3704.1.1', integer(0)),
        extension('1.3.6.1.4.1.3704.1.2', ia5(`${vendor.product}-B0`)),
        version(1, VERSIONS.bootLoader),
        version(2, VERSIONS.tee),
        ...[4, 5, 6, 7].map((reserved) => version(reserved, 0)),
        version(3, VERSIONS.snp),
        version(8, VERSIONS.microcode),
        // These bytes are not DER: AMD writes the identifier without encoding.
        extension('1.3.6.1.4.1.3704.1.4', this.id),
      ],
    }, vendor.authorityKeys);
  }

  /** Returns its certificate chain, including the root's. */
  get chain() {
    return [this.certificate, this.vendor.authority, this.vendor.root];
  }

  /** Returns its public key as a point: `x ‖ y`. */
  get publicKey() {
    const { x, y } = this.keys.publicKey.export({ format: 'jwk' });
    return Buffer.concat([x, y].map((coordinate) => Buffer.from(coordinate, 'base64url')));
  }

  /**
   * Returns a signed report (version 3) with these 64 bytes as report data. The guest is a valid one on a
   * Milan, unless `changes` say otherwise.
   */
  report(reportData, changes = {}) {
    const {
      policy = POLICY.ALWAYS_ONE | POLICY.SMT, vmpl = 0, measurement = MEASUREMENT, chipId = this.id, cpuModel = 0x01,
    } = changes;
    const report = Buffer.alloc(REPORT_BYTES);
    report.writeUInt32LE(3, AT.version);
    report.writeBigUInt64LE(policy, AT.policy);
    report.writeUInt32LE(vmpl, AT.vmpl);
    report.writeUInt32LE(1, AT.signatureAlgorithm);
    for (const at of [AT.currentTcb, AT.reportedTcb, AT.committedTcb, AT.launchTcb]) TCB.copy(report, at);
    Buffer.from(reportData).copy(report, AT.reportData);
    measurement.copy(report, AT.measurement);
    createHash('sha256').update(reportData).digest().copy(report, AT.reportId);
    report.fill(0xff, AT.migrationAgent, AT.migrationAgent + 32);
    report.writeUInt8(0x19, AT.cpuFamily);
    report.writeUInt8(cpuModel, AT.cpuModel);
    chipId.copy(report, AT.chipId);
    const signature = sign('sha384', report.subarray(0, SIGNED_BYTES), {
      key: this.keys.privateKey, dsaEncoding: 'ieee-p1363',
    });
    for (const [index, at] of [0, SIGNATURE_NUMBER_BYTES].entries()) {
      const number = signature.subarray(index * SCALAR_BYTES, (index + 1) * SCALAR_BYTES);
      Buffer.from(number).reverse().copy(report, SIGNED_BYTES + at);
    }
    return report;
  }
}
