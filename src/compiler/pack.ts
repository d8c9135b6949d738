/** Step 7, second half: the artifact. The same entries give the same bytes. */

import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, readdirSync, statSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { packTar, type TarSource } from "modern-tar/fs";
import type { Artifact } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { newId } from "../kit/ids.ts";
import { compare } from "./diagnostics.ts";
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

/** Writes `file` whole or not at all. Throws `PAYLOAD_TOO_LARGE` above the platform's limit. */
export async function packArtifact(
  file: string,
  entries: readonly PackEntry[],
  options: { maxBytes?: number; signal?: AbortSignal } = {},
): Promise<Omit<Artifact, "manifest">> {
  const { maxBytes = LIMITS.artifactBytes, signal } = options;
  const sources = [...entries].sort((a, b) => compare(a.path, b.path)).map(sourceOf);
  const temporary = `${file}.${newId(6)}.tmp`;
  try {
    await pipeline(
      packTar(sources, { concurrency: 1 }),
      createGzip(),
      createWriteStream(temporary),
      signal === undefined ? {} : { signal },
    );
    const bytes = statSync(temporary).size;
    if (bytes > maxBytes) throw tooLarge(bytes, maxBytes, entries);
    const digest = await digestOf(temporary);
    await rename(temporary, file);
    return { file, digest, bytes };
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
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

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
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
