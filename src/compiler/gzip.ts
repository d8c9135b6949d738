/**
 * One gzip file made of pieces that are compressed apart, so that pieces which did not change are kept.
 * Each piece is deflate data that ends on a byte and is not the last block (RFC 1951); joined, between
 * one header and one trailer (RFC 1952), they are an ordinary gzip file with a single member.
 */

import { promisify } from "node:util";
import { constants, crc32, createDeflateRaw, deflateRaw, type DeflateRaw } from "node:zlib";

/** Uncompressed bytes, as the trailer needs to know them. */
export interface Checked {
  crc: number;
  bytes: number;
}

/** A compressed part of a gzip file. */
export interface Piece extends Checked {
  data: Uint8Array;
}

export const NOTHING: Checked = { crc: 0, bytes: 0 };

/** Without a time and a name, so that the same content gives the same bytes. 255: no known system. */
export const GZIP_HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);

/** An empty last block, which every piece leaves open. */
const LAST_BLOCK = Uint8Array.of(3, 0);

/** Ends the piece on a byte, and lets others follow. */
const OPEN_END = { finishFlush: constants.Z_SYNC_FLUSH };

const compressRaw = promisify(deflateRaw);

export async function compressPiece(content: Uint8Array): Promise<Piece> {
  const data = await compressRaw(content, OPEN_END);
  return { data, crc: crc32(content), bytes: content.length };
}

/** The same for content that is too large to be held. */
export function pieceStream(): DeflateRaw {
  return createDeflateRaw(OPEN_END);
}

/** What ends the file, after pieces with this content. */
export function gzipTrailer({ crc, bytes }: Checked): Uint8Array {
  const sums = Buffer.alloc(8);
  sums.writeUInt32LE(crc, 0);
  sums.writeUInt32LE(bytes % 2 ** 32, 4);
  return Buffer.concat([LAST_BLOCK, sums]);
}

/**
 * The check of two contents in a row. A CRC is the remainder of a polynomial over GF(2): the first is
 * multiplied by x to the number of bits that follow it, and the second is added.
 */
export function joinChecked(first: Checked, second: Checked): Checked {
  const shifted = multiply(powerOfX(second.bytes * 8), first.crc);
  return { crc: (shifted ^ second.crc) >>> 0, bytes: first.bytes + second.bytes };
}

/** The CRC-32 polynomial; the highest bit stands for the power 0. */
const POLYNOMIAL = 0xedb88320;
const ONE = 0x80000000;
const X = 0x40000000;

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product >>> 0;
}

function powerOfX(exponent: number): number {
  let power = ONE;
  let square = X;
  for (let left = exponent; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = multiply(square, power);
    square = multiply(square, square);
  }
  return power;
}
