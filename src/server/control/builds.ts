/**
 * Builds on disk: `home/builds/<buildId>/` holds an unpacked artifact. A build appears whole or not at
 * all, and the same artifact twice is one build. An artifact comes from outside: its size, its paths
 * and its manifest are checked before anything refers to it.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Transform, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { unpackTar } from "modern-tar/fs";
import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import {
  MANIFEST_FILE,
  WORKER_FILE,
  readManifest,
  type EndpointManifest,
  type Manifest,
} from "../../contract/manifest.ts";
import { checkName } from "../../contract/options.ts";
import type { BuildRow, ControlStore } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import { newId, newPrefixedId } from "../../kit/ids.ts";

/** An artifact may grow this much when unpacked: packages shrink to a third or so, bombs to a thousandth. */
const MAX_GROWTH = 20;
/** A small artifact may always unpack to this, bytes. */
const MIN_UNPACKED = 256 * 1024 * 1024;
const GZIP_MAGIC = [0x1f, 0x8b] as const;

export class Builds {
  readonly #store: ControlStore;
  readonly #clock: Clock;
  readonly #folder: string;

  constructor(options: { store: ControlStore; home: string; clock: Clock }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#folder = path.join(options.home, "builds");
  }

  /** Where a build is unpacked. */
  folderOf(buildId: string): string {
    return path.join(this.#folder, buildId);
  }

  /**
   * Takes an artifact in. Throws `PAYLOAD_TOO_LARGE`, `INVALID_REQUEST` for what is no artifact,
   * `INVALID_MANIFEST`.
   */
  async receive(app: string, artifact: Readable): Promise<BuildRow> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const draft = path.join(this.#folder, `.draft-${newId()}`);
    try {
      const { digest, bytes } = await save(artifact, `${draft}.tar.gz`);
      const known = (await this.#store.listBuilds(app)).find((build) => build.digest === digest);
      if (known !== undefined && (await this.#isWhole(known))) return known;
      await unpack(`${draft}.tar.gz`, draft, bytes);
      const manifest = await readUnpacked(draft, app);
      const build = known ?? {
        id: newPrefixedId("build"),
        app,
        digest,
        bytes,
        manifest,
        createdAt: this.#clock.now(),
      };
      // The folder first: a build that the store knows can be run. One that a power failure has broken
      // is replaced.
      await rm(this.folderOf(build.id), { recursive: true, force: true });
      await rename(draft, this.folderOf(build.id));
      const stored = await this.#store.putBuild(build);
      if (stored.id !== build.id) await rm(this.folderOf(build.id), { recursive: true });
      return stored;
    } finally {
      await rm(draft, { recursive: true, force: true });
      await rm(`${draft}.tar.gz`, { force: true });
    }
  }

  /** The build of an artifact that is known and there as a whole. */
  async find(app: string, digest: string): Promise<BuildRow | undefined> {
    const known = (await this.#store.listBuilds(app)).find((build) => build.digest === digest);
    return known !== undefined && (await this.#isWhole(known)) ? known : undefined;
  }

  async #isWhole(build: BuildRow): Promise<boolean> {
    return await readUnpacked(this.folderOf(build.id), build.app).then(
      () => true,
      () => false,
    );
  }
}

async function save(artifact: Readable, file: string): Promise<{ digest: string; bytes: number }> {
  const digest = createHash("sha256");
  const head: number[] = [];
  let bytes = 0;
  const handle = await open(file, "wx", 0o600);
  try {
    for await (const chunk of artifact as AsyncIterable<Buffer>) {
      if (head.length < GZIP_MAGIC.length) head.push(...chunk.subarray(0, 2 - head.length));
      bytes += chunk.length;
      if (bytes > LIMITS.artifactBytes) throw tooLarge();
      digest.update(chunk);
      await handle.writeFile(chunk);
    }
  } finally {
    await handle.close();
  }
  if (GZIP_MAGIC.some((byte, index) => head[index] !== byte)) {
    throw invalid("The upload is not an artifact: it is not gzip data.");
  }
  return { digest: digest.digest("hex"), bytes };
}

async function unpack(file: string, folder: string, packedBytes: number): Promise<void> {
  // Before the unpacker, which would make it too, readable for everybody.
  await mkdir(folder, { mode: 0o700 });
  const guard = countBytes(Math.max(MIN_UNPACKED, packedBytes * MAX_GROWTH));
  const target = unpackTar(folder, {
    strict: true,
    // Runs before anything is written for the entry.
    map: (header) => {
      refuseUnsafe(header);
      // No setuid, and nobody but the owner may write.
      return { ...header, mode: ((header.mode ?? 0o644) & 0o755) | 0o600 };
    },
  });
  try {
    await pipeline(createReadStream(file), createGunzip(), guard, target);
  } catch (cause) {
    if (FlashError.is(cause)) throw cause;
    throw invalid(`The artifact cannot be unpacked: ${(cause as Error).message}`, cause);
  }
}

/** Names and link targets that lead out of the folder, and anything but files, folders and links. */
function refuseUnsafe(header: { name: string; type?: string; linkname?: string }): void {
  const { name, type = "file", linkname = "" } = header;
  if (!["file", "directory", "symlink", "link"].includes(type)) {
    throw invalid(`The artifact holds '${name}', which is a ${type}.`);
  }
  if (leadsOut(name)) throw invalid(`The artifact holds '${name}', which leads out of its folder.`);
  const target =
    type === "symlink" ? path.posix.join(path.posix.dirname(name), linkname) : linkname;
  if (linkname.startsWith("/") || leadsOut(target)) {
    throw invalid(`The artifact's link '${name}' leads out of its folder.`);
  }
}

function leadsOut(name: string): boolean {
  const plain = path.posix.normalize(name.replaceAll("\\", "/"));
  return plain.startsWith("/") || plain === ".." || plain.startsWith("../") || name.includes("\0");
}

function countBytes(maxBytes: number): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > maxBytes) done(invalid(`The artifact unpacks to more than ${maxBytes} bytes.`));
      else done(null, chunk);
    },
  });
}

async function readUnpacked(folder: string, app: string): Promise<Manifest> {
  const text = await readFile(path.join(folder, MANIFEST_FILE), "utf8").catch((cause: unknown) => {
    throw invalid(`The artifact has no ${MANIFEST_FILE}.`, cause);
  });
  const manifest = readManifest(text, MANIFEST_FILE);
  if (manifest.app !== app) {
    throw badManifest(`The artifact is of the app '${manifest.app}', not '${app}'.`);
  }
  const names = new Set<string>();
  for (const endpoint of manifest.endpoints) {
    checkEndpoint(endpoint);
    if (names.has(endpoint.name)) {
      throw badManifest(`The manifest names the endpoint '${endpoint.name}' twice.`);
    }
    names.add(endpoint.name);
  }
  const needsCode = manifest.endpoints.some(({ form }) => form !== "image");
  if (needsCode) await requireProgram(folder);
  return manifest;
}

async function requireProgram(folder: string): Promise<void> {
  const size = await stat(path.join(folder, WORKER_FILE)).then(
    (found) => found.size,
    () => 0,
  );
  if (size === 0) throw invalid(`The artifact has no ${WORKER_FILE}.`);
}

/** What the server itself builds on; the rest is the worker's business. */
function checkEndpoint(endpoint: EndpointManifest): void {
  const wrong = checkName(endpoint.name);
  if (wrong !== undefined) throw badManifest(`The manifest's endpoint name ${wrong}`);
  const { kind, fingerprint, functions, options } = endpoint;
  const isWhole =
    (kind === "qb" || kind === "lb") &&
    typeof fingerprint === "string" &&
    Array.isArray(functions) &&
    typeof options?.env === "object" &&
    [options.workersMin, options.workersMax, options.idleTimeoutS, options.scalerValue].every(
      (value) => Number.isFinite(value) && value >= 0,
    ) &&
    options.scalerValue > 0 &&
    options.maxConcurrency >= 1;
  if (!isWhole) throw badManifest(`The manifest's endpoint '${endpoint.name}' is not complete.`);
}

function badManifest(message: string): FlashError {
  return new FlashError("INVALID_MANIFEST", message, { hint: "Run 'flash build' again." });
}

function invalid(message: string, cause?: unknown): FlashError {
  return new FlashError("INVALID_REQUEST", message, {
    hint: "Send the artifact.tar.gz that 'flash build' writes.",
    ...(cause === undefined ? {} : { cause }),
  });
}

function tooLarge(): FlashError {
  return new FlashError(
    "PAYLOAD_TOO_LARGE",
    `The artifact is larger than ${LIMITS.artifactBytes} bytes.`,
    { hint: "Leave large files out of the build and load them when the worker starts." },
  );
}
