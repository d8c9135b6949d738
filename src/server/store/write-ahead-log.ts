/**
 * SQLite's write-ahead log as it lies on the disk, looked at before SQLite reads it. SQLite takes the
 * log's beginning up to the first frame that is not whole, and says nothing of what comes behind: a
 * kill leaves nothing there, but one wrong bit hides every later transaction.
 *
 * Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
 */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const HEAD_BYTES = 32;
/** Of the head, what its checksum is about. */
const HEAD_CHECKED_BYTES = 24;
const FRAME_HEAD_BYTES = 24;
/** Of a frame's head, what its checksum is about: page number and, in a transaction's last frame, a size. */
const FRAME_CHECKED_BYTES = 8;
/** Where a frame's head has the frame's sums. */
const SUMS_AT = 16;
/** With 1 in the lowest bit the checksums are of big-endian words. */
const MAGIC = 0x37_7f_06_82;
const LEAST_PAGE_BYTES = 512;
/** Frames that are read together. */
const FRAMES_AT_ONCE = 256;

/** Of what stands before it, too: two sums, each frame's go on from those of the last. */
type Sums = readonly [number, number];

interface Head {
  isBigEndian: boolean;
  pageBytes: number;
  /** The same in every frame that was written since the log last began anew. */
  salt: Buffer;
  sums: Sums;
}

/** What was written to the log and will not be read. Undefined: nothing, or there is no log. */
export function findLogDamage(file: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(HEAD_BYTES);
    // What is too short for a frame has no transaction.
    if (size < HEAD_BYTES + FRAME_HEAD_BYTES + LEAST_PAGE_BYTES) return undefined;
    readSync(fd, bytes, 0, HEAD_BYTES, 0);
    const head = headOf(bytes);
    if (head === undefined) return "its head is not whole, so that nothing of it is read";
    const lost = lostTransactions(fd, head);
    return lost === 0 ? undefined : `${lost} transactions behind a page that is not whole are lost`;
  } finally {
    closeSync(fd);
  }
}

function headOf(bytes: Buffer): Head | undefined {
  const magic = bytes.readUInt32BE(0);
  if (magic >>> 1 !== MAGIC >>> 1) return undefined;
  const isBigEndian = (magic & 1) === 1;
  const sums = sumsOf(bytes.subarray(0, HEAD_CHECKED_BYTES), [0, 0], isBigEndian);
  if (!isSumOf(sums, bytes, HEAD_CHECKED_BYTES)) return undefined;
  return { isBigEndian, pageBytes: bytes.readUInt32BE(8), salt: bytes.subarray(16, 24), sums };
}

/** Transactions whose last frame was written as a whole, behind one that is not. */
function lostTransactions(fd: number, { isBigEndian, pageBytes, salt, sums }: Head): number {
  const frameBytes = FRAME_HEAD_BYTES + pageBytes;
  const many = Buffer.alloc(frameBytes * FRAMES_AT_ONCE);
  let before = sums;
  let [isBroken, lost] = [false, 0];
  for (let at = HEAD_BYTES; ;) {
    const length = readSync(fd, many, 0, many.length, at);
    if (length < frameBytes) return lost;
    at += length - (length % frameBytes);
    for (let from = 0; from + frameBytes <= length; from += frameBytes) {
      const frame = many.subarray(from, from + frameBytes);
      // Others are of earlier times: the log has begun anew before them.
      const isWhole = frame.subarray(8, 16).equals(salt) && follows(frame, before, isBigEndian);
      // What was undone may have left frames, and so may a process that was killed as it wrote the last one.
      const isLastOne = frame.readUInt32BE(4) !== 0;
      if (isBroken && isWhole && isLastOne) lost++;
      if (!isWhole) isBroken = true;
      before = [frame.readInt32BE(SUMS_AT), frame.readInt32BE(SUMS_AT + 4)];
    }
  }
}

/** Whether the frame is whole, when the one before it has these sums. */
function follows(frame: Buffer, before: Sums, isBigEndian: boolean): boolean {
  const head = sumsOf(frame.subarray(0, FRAME_CHECKED_BYTES), before, isBigEndian);
  return isSumOf(sumsOf(frame.subarray(FRAME_HEAD_BYTES), head, isBigEndian), frame, SUMS_AT);
}

function sumsOf(bytes: Buffer, [one, other]: Sums, isBigEndian: boolean): Sums {
  let [a, b] = [one, other];
  for (let at = 0; at < bytes.length; at += 8) {
    a = (a + b + (isBigEndian ? bytes.readInt32BE(at) : bytes.readInt32LE(at))) | 0;
    b = (b + a + (isBigEndian ? bytes.readInt32BE(at + 4) : bytes.readInt32LE(at + 4))) | 0;
  }
  return [a, b];
}

function isSumOf([a, b]: Sums, bytes: Buffer, at: number): boolean {
  return bytes.readInt32BE(at) === a && bytes.readInt32BE(at + 4) === b;
}
