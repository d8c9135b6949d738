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
import { createTarPacker } from "modern-tar";
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
  /** The content in parts, which tell of a long text what is likely to stay. */
  parts?: readonly Uint8Array[];
  /** Default 0o644. */
  mode?: number;
}

/** What a header says of nobody in particular, at no time. */
const ANYBODY = { mtime: new Date(0), uid: 0, gid: 0, uname: "", gname: "" };
const MEGABYTE = 1024 * 1024;
/** How many of the largest parts an error lists. */
const LARGEST = 5;

export interface PackOptions {
  maxBytes?: number;
  signal?: AbortSignal | undefined;
  /** Remembers what was compressed from one build to the next. */
  memory?: PackMemory;
}

/** Compressed runs by their key. */
export type PackMemory = Map<string, { run: Run; piece: Piece }>;

/** What is compressed together: whole entries, or bytes of a tar file. */
type Run = { key: string } & (
  | { entries: readonly PackEntry[]; bytes?: undefined }
  | { entries?: undefined; bytes: readonly Uint8Array[] }
);

/** Writes `file` whole or not at all. Throws `PAYLOAD_TOO_LARGE` above the platform's limit. */
export async function packArtifact(
  file: string,
  entries: readonly PackEntry[],
  options: PackOptions = {},
): Promise<Omit<Artifact, "manifest">> {
  const { maxBytes = LIMITS.artifactBytes, signal, memory = new Map() } = options;
  const groups = groupsOf([...entries].sort((a, b) => compare(a.path, b.path)));
  const temporary = `${file}.${newId(6)}.tmp`;
  try {
    const archive = await ArchiveFile.open(temporary);
    try {
      await writeGroups(archive, groups, { memory, signal });
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
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
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
    this.#waiting.push(data);
    this.#waitingBytes += data.length;
    if (this.#waitingBytes >= MEGABYTE) await this.#flush();
  }

  async #flush(): Promise<void> {
    const data = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
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
    await this.#flush();
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
 * Groups sorted entries. Where a group starts depends on paths alone: an entry more or less moves the
 * borders of its own group only. What lies on disk, and what comes in parts, is apart from the rest.
 */
function groupsOf(entries: readonly PackEntry[]): PackEntry[][] {
  const groups: PackEntry[][] = [];
  let before: PackEntry | undefined;
  for (const entry of entries) {
    const isSameForm = before !== undefined && formOf(before) === formOf(entry);
    const goesOn = isSameForm && (formOf(entry) === "disk" || !startsGroup(entry));
    if (goesOn) groups.at(-1)?.push(entry);
    else groups.push([entry]);
    before = entry;
  }
  return groups;
}

function formOf({ content, parts }: PackEntry): "memory" | "parts" | "disk" {
  if (!(content instanceof Uint8Array)) return "disk";
  return parts === undefined ? "memory" : "parts";
}

function startsGroup({ path }: PackEntry): boolean {
  return !path.includes("/") || crc32(path) % RUN_ENTRIES === 0;
}

async function writeGroups(
  archive: ArchiveFile,
  groups: readonly PackEntry[][],
  { memory, signal }: { memory: PackMemory; signal: AbortSignal | undefined },
): Promise<void> {
  const before = new Map(memory);
  memory.clear();
  // All are asked for at once, and written in order: compressing uses threads of its own.
  const coming = groups.map((group) => compressGroup(group, before));
  for (const pieces of coming) pieces.catch(() => undefined);
  for (const [index, group] of groups.entries()) {
    signal?.throwIfAborted();
    const compressed = (await coming[index]) ?? [];
    if (group.some((entry) => formOf(entry) === "disk")) {
      await writeFromDisk(archive, group, signal);
    }
    for (const { run, piece } of compressed) {
      memory.set(run.key, { run, piece });
      await archive.write(piece.data);
      archive.add(piece);
    }
  }
}

/** Nothing for what lies on disk, which is never held. */
async function compressGroup(
  group: readonly PackEntry[],
  before: PackMemory,
): Promise<{ run: Run; piece: Piece }[]> {
  const [first] = group;
  if (first === undefined || formOf(first) === "disk") return [];
  const runs: Run[] =
    formOf(first) === "parts" ? await runsOfParts(first) : [{ key: first.path, entries: group }];
  return Promise.all(
    runs.map(async (run) => {
      const known = before.get(run.key);
      if (known !== undefined && isSameRun(known.run, run)) return known;
      const tar = run.bytes === undefined ? await tarOf(run.entries) : Buffer.concat(run.bytes);
      return { run, piece: await compressPiece(tar) };
    }),
  );
}

/** About so many parts of one content make a run. */
const RUN_PARTS = 16;

/** Which part starts a run depends on the part alone, for the same reason as in {@link groupsOf}. */
async function runsOfParts(entry: PackEntry): Promise<Run[]> {
  const { path } = entry;
  const runs: Uint8Array[][] = [[await headerOf(entry)], []];
  for (const part of entry.parts ?? []) {
    if (crc32(part.subarray(0, SAMPLE_BYTES)) % RUN_PARTS === 0) runs.push([]);
    runs.at(-1)?.push(part);
  }
  runs.push([new Uint8Array(-sizeOf(entry) & 511)]);
  return runs.map((bytes, index) => {
    const [first] = bytes;
    // The numbers of runs shift when one comes or goes; what they start with does not.
    const start = first === undefined ? index : crc32(first.subarray(0, SAMPLE_BYTES));
    return { key: `${path} ${start}`, bytes };
  });
}

/** Enough of a part to tell it from others. */
const SAMPLE_BYTES = 256;

/** The tar header alone: the content of a large entry is not passed through the packer. */
async function headerOf(entry: PackEntry): Promise<Uint8Array> {
  const { readable, controller } = createTarPacker();
  const { path: name, mode = 0o644 } = entry;
  controller.add({ name, size: sizeOf(entry), mode, ...ANYBODY });
  const { value } = await readable.getReader().read();
  if (value?.length !== 512) throw new Error(`the name of ${name} does not fit into one header`);
  return value;
}

/** Without the end of the archive. */
async function tarOf(entries: readonly PackEntry[]): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of packTar(entries.map(sourceOf), { concurrency: 1 })) {
    chunks.push(chunk as Uint8Array);
  }
  const tar = Buffer.concat(chunks);
  return tar.subarray(0, tar.length - TAR_END.length);
}

function isSameRun(a: Run, b: Run): boolean {
  if (a.bytes !== undefined)
    return b.bytes !== undefined && isSameList(a.bytes, b.bytes, isSameBytes);
  return b.entries !== undefined && isSameList(a.entries, b.entries, isSameEntry);
}

function isSameList<T>(a: readonly T[], b: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  if (a.length !== b.length) return false;
  return a.every((one, index) => {
    const other = b[index];
    return other !== undefined && isSame(one, other);
  });
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}

function isSameEntry(a: PackEntry, b: PackEntry): boolean {
  if (a.path !== b.path || a.mode !== b.mode) return false;
  const { content } = b;
  if (!(a.content instanceof Uint8Array && content instanceof Uint8Array)) return false;
  return isSameBytes(a.content, content);
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
  const header = { target: path, mode, ...ANYBODY };
  return content instanceof Uint8Array
    ? { type: "content", content, ...header }
    : { type: "file", source: content.file, ...header };
}

function sizeOf({ content }: PackEntry): number {
  return content instanceof Uint8Array ? content.length : statSync(content.file).size;
}

function tooLarge(bytes: number, maxBytes: number, entries: readonly PackEntry[]): FlashError {
  const sizes = new Map<string, number>();
  for (const entry of entries) {
    const part = contributor(entry.path);
    const size = sizeOf(entry);
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
