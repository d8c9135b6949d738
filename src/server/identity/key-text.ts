/**
 * What a key looks like: `flashk_`, 32 random bytes, and a checksum of four. The prefix lets people and
 * secret scanners recognise it, the checksum tells a key that was cut off or mistyped from one that
 * is not known.
 *
 * It is kept as its SHA-256. A slow hash (scrypt, argon2) protects passwords that can be guessed;
 * there are 2^256 of these, so guessing is hopeless at any speed, while every request pays for the hash.
 */

import { crc32 } from "node:zlib";
import { newSecret } from "../../kit/ids.ts";

const PREFIX = "flashk";
const CHECKSUM_LENGTH = 6;

export function newKey(): string {
  const text = newSecret(PREFIX);
  return text + checksumOf(text);
}

/** True for a text that was made as a key and has not changed since. */
export function isWholeKey(text: string): boolean {
  if (!text.startsWith(`${PREFIX}_`)) return false;
  const body = text.slice(0, -CHECKSUM_LENGTH);
  return text.slice(-CHECKSUM_LENGTH) === checksumOf(body);
}

/** True for what claims to be such a key. */
export function looksLikeKey(text: string): boolean {
  return text.startsWith(`${PREFIX}_`);
}

function checksumOf(text: string): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(text));
  return bytes.toString("base64url");
}
