/** Identifiers. All are URL-safe without escaping: unmodified workers put job ids into paths as they are. */

import type { Trace } from "../contract/trace.ts";

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** Lower-case letters and digits, such as endpoint ids. 12 characters hold 62 bits. */
export function newId(length = 12): string {
  let id = "";
  while (id.length < length) {
    const byte = randomByte();
    // 252 is the largest multiple of 36 in a byte: taking more would favour the first digits.
    if (byte < 252) id += ALPHABET.charAt(byte % 36);
  }
  // A leading letter, so that an id is a valid host name label and file name everywhere.
  return id.charAt(0) >= "a" ? id : `e${id.slice(1)}`;
}

/** `build_…`, `rel_…`: the prefix tells a reader of logs what it is. */
export function newPrefixedId(prefix: string, length = 12): string {
  return `${prefix}_${newId(length)}`;
}

let lastTime = 0;
let sequence = 0;

/** Random bytes are fetched for many ids at once: asking for eight costs as much as for thousands. */
const pool = new Uint8Array(4096);
let poolAt = pool.length;

/** Two hexadecimal digits of every byte. */
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function randomByte(): number {
  if (poolAt === pool.length) {
    crypto.getRandomValues(pool);
    poolAt = 0;
  }
  // No byte is used twice: who knows one id must not know anything about the next.
  return pool[poolAt++] ?? 0;
}

function randomHex(): string {
  return HEX[randomByte()] ?? "";
}

/** Where a UUID's last two groups begin, with the dash before them. */
const RANDOM_PART = 18;

/**
 * A UUID version 7: sorted by time, so that a million of them append to an index instead of
 * scattering over it. Within one millisecond a counter keeps the order.
 */
export function uuidv7(now = Date.now()): string {
  const time = Math.floor(now);
  if (time > lastTime) [lastTime, sequence] = [time, 0];
  else if (++sequence > 0xfff) [lastTime, sequence] = [lastTime + 1, 0];
  const counter = sequence.toString(16).padStart(3, "0");
  // The end of a version 4 is what a version 7 ends with: its variant and 62 random bits.
  return `${stampOf(lastTime)}-7${counter}${crypto.randomUUID().slice(RANDOM_PART)}`;
}

let stampedTime = 0;
let stamp = "";

/** The first half of a version 7. Told once for each millisecond. */
function stampOf(time: number): string {
  if (time === stampedTime) return stamp;
  const hex = time.toString(16).padStart(12, "0");
  [stampedTime, stamp] = [time, `${hex.slice(0, 8)}-${hex.slice(8)}`];
  return stamp;
}

/** A job id as the platform writes it: UUID and region suffix, `sync-` for jobs of `/runsync`. */
export function newJobId(via: "run" | "runsync"): string {
  const id = `${uuidv7()}-u1`;
  return via === "runsync" ? `sync-${id}` : id;
}

/** A secret: 32 random bytes, base64url. */
export function newSecret(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const text = btoa(String.fromCharCode(...bytes));
  return `${prefix}_${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** Told once, then counted on: a request is asked for its name more often than anybody looks for it. */
const requestPrefix = newId(8);
let requests = 0;

/** The id of a request that came without one. Grows within a process. */
export function newRequestId(): string {
  requests += 1;
  return `${requestPrefix}-${requests.toString(36)}`;
}

/** What a client calls its request, if that is a name that fits into logs and headers. */
export function givenRequestId(header: unknown): string | undefined {
  return typeof header === "string" && /^[\w.:-]{1,128}$/.test(header) ? header : undefined;
}

/** A trace of its own: nobody has asked for it to be kept. */
export function newTrace(): Trace {
  return { traceId: hexDigits(16), spanId: newSpanId(), isSampled: false };
}

/** 16 hexadecimal digits. */
export function newSpanId(): string {
  return hexDigits(8);
}

function hexDigits(bytes: number): string {
  let hex = "";
  while (hex.length < bytes * 2) hex += randomHex();
  // All zeros would mean that there is none.
  return /^0+$/.test(hex) ? hexDigits(bytes) : hex;
}
