/**
 * Step 7, second half: the artifact. The same entries give the same bytes. Entries in memory are
 * compressed in runs, and a run that is as it was in the last build is not compressed again.
 */

import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { crc32 } from "node:zlib";
import { packTar, type TarSource } from "modern-tar/fs";
import type { Artifact } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { newId } from "../kit/ids.ts";
import { compare } from "./diagnostics.ts";
import {
  compressPiece,
  GZIP_HEADER,
  gzipTrailer,
  joinChecked,
  NOTHING,
  pieceStream,
  type Checked,
  type Piece,
} from "./gzip.ts";
import { isEnvFile } from "./ignore-rules.ts";

/** One file of the artifact. */
export interface PackEntry {
  /** Path in the archive. */
  path: string;
  content: Uint8Array | { file: string };
  /** Default 0o644. */
  mode?: number;
}

const NO_TIME = new Date(0);
const MEGABYTE = 1024 * 1024;
/** How many of the largest parts an error lists. */
const LARGEST = 5;

export interface PackOptions {
  maxBytes?: number;
  signal?: AbortSignal | undefined;
  /** Remembers what was compressed from one build to the next. */
  memory?: PackMemory;
}

/** Compressed runs by the path of their first entry. */
export type PackMemory = Map<string, { entries: readonly PackEntry[]; piece: Piece }>;

/** Writes `file` whole or not at all. Throws `PAYLOAD_TOO_LARGE` above the platform's limit. */
export async function packArtifact(
  file: string,
  entries: readonly PackEntry[],
  options: PackOptions = {},
): Promise<Omit<Artifact, "manifest">> {
  const { maxBytes = LIMITS.artifactBytes, signal, memory = new Map() } = options;
  const runs = runsOf([...entries].sort((a, b) => compare(a.path, b.path)));
  const temporary = `${file}.${newId(6)}.tmp`;
  try {
    const archive = await ArchiveFile.open(temporary);
    try {
      await writeRuns(archive, runs, { memory, signal });
      await archive.end();
    } finally {
      await archive.close();
    }
    const { bytes, digest } = archive;
    if (bytes > maxBytes) throw tooLarge(bytes, maxBytes, entries);
    await rename(temporary, file);
    return { file, digest, bytes };
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A gzip file in the making, with the digest of its bytes. */
class ArchiveFile {
  readonly #handle: FileHandle;
  readonly #hash = createHash("sha256");
  #checked = NOTHING;
  bytes = 0;
  digest = "";

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async open(path: string): Promise<ArchiveFile> {
    const archive = new ArchiveFile(await open(path, "wx"));
    await archive.write(GZIP_HEADER);
    return archive;
  }

  /** Writes compressed bytes; what they hold is told by {@link add}. */
  async write(data: Uint8Array): Promise<void> {
    this.#hash.update(data);
    this.bytes += data.length;
    await this.#handle.writeFile(data);
  }

  add(content: Checked): void {
    this.#checked = joinChecked(this.#checked, content);
  }

  async end(): Promise<void> {
    const trailer = await compressPiece(TAR_END);
    await this.write(trailer.data);
    this.add(trailer);
    await this.write(gzipTrailer(this.#checked));
    this.digest = this.#hash.digest("hex");
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Two empty blocks end a tar file; each run comes from modern-tar with its own. */
const TAR_END = new Uint8Array(1024);

/** About so many entries make a run: enough to compress well, few enough to be redone after an edit. */
const RUN_ENTRIES = 32;

/**
 * Cuts sorted entries into runs. Where a run starts depends on paths alone: an entry more or less
 * moves the borders of its own run only. What lies on disk is apart from what is held in memory.
 */
function runsOf(entries: readonly PackEntry[]): PackEntry[][] {
  const runs: PackEntry[][] = [];
  let before: PackEntry | undefined;
  for (const entry of entries) {
    const isSameKind = before !== undefined && isOnDisk(before) === isOnDisk(entry);
    const goesOn = isSameKind && (isOnDisk(entry) || !startsRun(entry.path));
    if (goesOn) runs.at(-1)?.push(entry);
    else runs.push([entry]);
    before = entry;
  }
  return runs;
}

function isOnDisk({ content }: PackEntry): boolean {
  return !(content instanceof Uint8Array);
}

function startsRun(path: string): boolean {
  return !path.includes("/") || crc32(path) % RUN_ENTRIES === 0;
}

async function writeRuns(
  archive: ArchiveFile,
  runs: readonly (readonly PackEntry[])[],
  { memory, signal }: { memory: PackMemory; signal: AbortSignal | undefined },
): Promise<void> {
  const before = new Map(memory);
  memory.clear();
  // All are asked for at once, and written in order: compressing uses threads of its own.
  const pieces = runs.map((run) => (run.some(isOnDisk) ? undefined : pieceOf(run, before)));
  for (const piece of pieces) piece?.catch(() => undefined);
  for (const [index, run] of runs.entries()) {
    signal?.throwIfAborted();
    const piece = await pieces[index];
    if (piece === undefined) {
      await writeFromDisk(archive, run, signal);
      continue;
    }
    memory.set(run[0]?.path ?? "", { entries: run, piece });
    await archive.write(piece.data);
    archive.add(piece);
  }
}

async function pieceOf(run: readonly PackEntry[], before: PackMemory): Promise<Piece> {
  const known = before.get(run[0]?.path ?? "");
  if (known !== undefined && isSameRun(known.entries, run)) return known.piece;
  const chunks: Uint8Array[] = [];
  for await (const chunk of packTar(run.map(sourceOf), { concurrency: 1 })) {
    chunks.push(chunk as Uint8Array);
  }
  const tar = Buffer.concat(chunks);
  return compressPiece(tar.subarray(0, tar.length - TAR_END.length));
}

function isSameRun(a: readonly PackEntry[], b: readonly PackEntry[]): boolean {
  return (
    a.length === b.length &&
    a.every((one, index) => {
      const other = b[index];
      return (
        other !== undefined &&
        one.path === other.path &&
        one.mode === other.mode &&
        isSameContent(one.content, other.content)
      );
    })
  );
}

function isSameContent(a: PackEntry["content"], b: PackEntry["content"]): boolean {
  if (a === b) return true;
  return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
}

/** Packages may be larger than memory. */
async function writeFromDisk(
  archive: ArchiveFile,
  run: readonly PackEntry[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const content = { ...NOTHING };
  await pipeline(
    packTar(run.map(sourceOf), { concurrency: 1 }),
    (tar: AsyncIterable<Uint8Array>) => withoutEnd(tar, content),
    pieceStream(),
    async (data: AsyncIterable<Uint8Array>) => {
      for await (const chunk of data) await archive.write(chunk);
    },
    signal === undefined ? {} : { signal },
  );
  archive.add(content);
}

/** Passes a tar file on but for its end, and sums up in `content` what has passed. */
async function* withoutEnd(
  tar: AsyncIterable<Uint8Array>,
  content: Checked,
): AsyncGenerator<Uint8Array> {
  let held: Uint8Array = new Uint8Array(0);
  for await (const chunk of tar) {
    const all = Buffer.concat([held, chunk]);
    const sure = all.subarray(0, Math.max(0, all.length - TAR_END.length));
    held = all.subarray(sure.length);
    content.crc = crc32(sure, content.crc);
    content.bytes += sure.length;
    yield sure;
  }
}

/** Every file below `folder` as entries below `to`, without npm's own notes, links and environment files. */
export function entriesOfFolder(folder: string, to: string): PackEntry[] {
  const entries: PackEntry[] = [];
  const visit = (from: string, path: string): void => {
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      const source = join(from, entry.name);
      if (entry.isDirectory()) {
        if (entry.name !== ".bin" && entry.name !== ".git") visit(source, `${path}/${entry.name}`);
      } else if (entry.isFile() && entry.name !== ".package-lock.json" && !isEnvFile(source)) {
        const isExecutable = (statSync(source).mode & 0o111) !== 0;
        entries.push({
          path: `${path}/${entry.name}`,
          content: { file: source },
          ...(isExecutable ? { mode: 0o755 } : {}),
        });
      }
    }
  };
  visit(folder, to);
  return entries;
}

function sourceOf({ path, content, mode = 0o644 }: PackEntry): TarSource {
  const header = { target: path, mtime: NO_TIME, uid: 0, gid: 0, uname: "", gname: "", mode };
  return content instanceof Uint8Array
    ? { type: "content", content, ...header }
    : { type: "file", source: content.file, ...header };
}

function tooLarge(bytes: number, maxBytes: number, entries: readonly PackEntry[]): FlashError {
  const sizes = new Map<string, number>();
  for (const entry of entries) {
    const part = contributor(entry.path);
    const size =
      entry.content instanceof Uint8Array
        ? entry.content.length
        : statSync(entry.content.file).size;
    sizes.set(part, (sizes.get(part) ?? 0) + size);
  }
  const largest = [...sizes].sort(([, a], [, b]) => b - a).slice(0, LARGEST);
  const list = largest.map(([part, size]) => `  ${megabytes(size)} MB  ${part}`).join("\n");
  return new FlashError(
    "PAYLOAD_TOO_LARGE",
    `Archive exceeds RunPod limit (${megabytes(bytes)} MB / ${megabytes(maxBytes)} MB). Largest parts, uncompressed:\n${list}`,
    {
      hint: "Leave out packages that the worker's image has with --exclude, or keep large files on a network volume.",
      details: { bytes, maxBytes, largest: largest.map(([path, size]) => ({ path, bytes: size })) },
    },
  );
}

/** `endpoints/a/node_modules/@x/y/z.js` counts for the package, everything else for itself. */
function contributor(path: string): string {
  return /^.*?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? path;
}

function megabytes(bytes: number): string {
  return bytes < MEGABYTE ? (bytes / MEGABYTE).toFixed(2) : String(Math.round(bytes / MEGABYTE));
}
