/**
 * Builds on disk: `home/builds/<buildId>/` holds an unpacked artifact. A build appears whole or not at
 * all, and the same artifact twice is one build. An artifact comes from outside: its size, its paths
 * and its manifest are checked before anything refers to it.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Transform, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
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
/** How long after it has failed an unpacker may still be at something, ms. */
const SETTLE_MS = 100;
/** A small artifact may always unpack to this, bytes. */
const MIN_UNPACKED = 256 * 1024 * 1024;
const GZIP_MAGIC = [0x1f, 0x8b] as const;

export class Builds {
  readonly #store: ControlStore;
  readonly #clock: Clock;
  readonly #folder: string;
  /** Builds without a row, whose files are still there. */
  readonly #doomed = new Set<string>();

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
      const known = await this.#known(app, digest);
      if (known !== undefined && (await this.isWhole(known))) return known;
      const unpackedBytes = await unpack(`${draft}.tar.gz`, draft, bytes);
      const manifest = await readUnpacked(draft, app);
      const build = known ?? {
        id: newPrefixedId("build"),
        app,
        digest,
        bytes,
        unpackedBytes,
        manifest,
        createdAt: this.#clock.now(),
      };
      // The folder first: a build that the store knows can be run. One that a power failure has broken
      // is replaced.
      await rm(this.folderOf(build.id), { recursive: true, force: true });
      await rename(draft, this.folderOf(build.id));
      const stored = await this.#store.putBuild({ ...build, unpackedBytes }, this.#wantedUntil());
      if (stored.id !== build.id) await rm(this.folderOf(build.id), { recursive: true });
      return stored;
    } finally {
      // What broke the unpacking may still have a file of it in its hands.
      await rm(draft, { recursive: true, force: true, maxRetries: 5 });
      await rm(`${draft}.tar.gz`, { force: true });
    }
  }

  /** The build of an artifact that is known and there as a whole. */
  async find(app: string, digest: string): Promise<BuildRow | undefined> {
    const known = await this.#known(app, digest);
    return known !== undefined && (await this.isWhole(known)) ? known : undefined;
  }

  /** False when files that every worker needs are not there any more. */
  async isWhole(build: BuildRow): Promise<boolean> {
    return await readUnpacked(this.folderOf(build.id), build.app).then(
      () => true,
      () => false,
    );
  }

  /** False when what a worker of this endpoint runs from is not there any more. */
  async hasFilesOf(buildId: string, endpoint: EndpointManifest): Promise<boolean> {
    return await requireFiles(this.folderOf(buildId), [endpoint]).then(
      () => true,
      () => false,
    );
  }

  /** Names in the folder that belong to no build: what a crash has left behind. */
  async strays(known: readonly string[]): Promise<string[]> {
    const ids = new Set(known);
    const names = await readdir(this.#folder).catch(() => []);
    return names.filter((name) => !ids.has(name));
  }

  /** These builds are known to nobody any more, but workers may still run from them. */
  doom(buildIds: readonly string[]): void {
    for (const id of buildIds) this.#doomed.add(id);
  }

  get hasDoomed(): boolean {
    return this.#doomed.size > 0;
  }

  /** Removes the files of doomed builds that nobody uses. */
  async removeDoomed(inUse: ReadonlySet<string>): Promise<void> {
    const free = [...this.#doomed].filter((id) => !inUse.has(id));
    await this.remove(free);
    for (const id of free) this.#doomed.delete(id);
  }

  async remove(names: readonly string[]): Promise<void> {
    for (const name of names) {
      await rm(path.join(this.#folder, name), { recursive: true, force: true, maxRetries: 3 });
    }
  }

  /** The build with this digest, kept from being pruned until its deployment has come. */
  async #known(app: string, digest: string): Promise<BuildRow | undefined> {
    const known = (await this.#store.listBuilds(app)).find((build) => build.digest === digest);
    if (known === undefined) return undefined;
    return (await this.#store.wantBuild(known.id, this.#wantedUntil())) ? known : undefined;
  }

  #wantedUntil(): number {
    return this.#clock.now() + LIMITS.unusedBuildMs;
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

/** Returns the size of all files, bytes. */
async function unpack(file: string, folder: string, packedBytes: number): Promise<number> {
  // Before the unpacker, which would make it too, readable for everybody.
  await mkdir(folder, { mode: 0o700 });
  const guard = countBytes(Math.max(MIN_UNPACKED, packedBytes * MAX_GROWTH));
  let bytes = 0;
  const target = unpackTar(folder, {
    strict: true,
    // Runs before anything is written for the entry.
    map: (header) => {
      refuseUnsafe(header);
      bytes += header.size ?? 0;
      // No setuid, and nobody but the owner may write.
      return { ...header, mode: ((header.mode ?? 0o644) & 0o755) | 0o600 };
    },
  });
  try {
    await pipeline(createReadStream(file), createGunzip(), guard, target);
  } catch (cause) {
    // The unpacker does not wait for what it has begun, the making of the folder among it, before it ends.
    await sleep(SETTLE_MS);
    if (FlashError.is(cause)) throw cause;
    throw invalid(`The artifact cannot be unpacked: ${(cause as Error).message}`, cause);
  }
  return bytes;
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
  checkManifest(manifest, app);
  await requireFiles(folder, manifest.endpoints);
  return manifest;
}

/** Throws `INVALID_MANIFEST` when the server cannot build on it. */
export function checkManifest(manifest: Manifest, app: string): void {
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
}

/** The worker program, and the bundle of each endpoint that has one: what `executes` gets its code with the calls. */
async function requireFiles(folder: string, endpoints: readonly EndpointManifest[]): Promise<void> {
  if (endpoints.every(({ form }) => form === "image")) return;
  const program = await stat(path.join(folder, WORKER_FILE)).then(
    (found) => found.size,
    () => 0,
  );
  if (program === 0) throw invalid(`The artifact has no ${WORKER_FILE}.`);
  for (const { bundle, executes } of endpoints) {
    if (bundle === undefined || executes !== undefined) continue;
    await stat(path.join(folder, bundle)).catch((cause: unknown) => {
      throw invalid(`The artifact has no ${bundle}.`, cause);
    });
  }
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
