/**
 * Uploads of artifacts that survive broken connections: `home/uploads/<app>/<digest>` holds what has
 * come so far. A client asks how much that is, and goes on from there; the same artifact from two
 * clients is one upload. Nothing becomes a build before its digest has been checked.
 *
 *   1  A file has one writer. A newer request ends an earlier one: whoever sends anew has lost its
 *      connection, whatever the server still believes about it.
 *   2  Bytes are only ever appended, at the place that the client names.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { UploadDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import { checkName } from "../../contract/options.ts";
import type { BuildRow } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import { reserveBytes } from "../store/reserve.ts";
import type { Builds } from "./builds.ts";
import { buildDocument } from "./documents.ts";

/** An upload that nobody has gone on with for this long is dropped, ms. */
const STALE_MS = 24 * 3_600_000;
const LOOK_MS = 3_600_000;
/** Uploads that are under way or were given up, of all apps. */
const MAX_UPLOADS = 64;

/** Which artifact. */
export interface UploadName {
  app: string;
  /** SHA-256 of the whole artifact, hex. */
  digest: string;
}

interface Writer {
  end: () => void;
  over: Promise<void>;
}

export class Uploads {
  readonly #folder: string;
  readonly #builds: Builds;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #writers = new Map<string, Writer>();
  #cancel: () => void = () => undefined;

  constructor(options: { home: string; builds: Builds; clock: Clock; log: Log }) {
    this.#folder = path.join(options.home, "uploads");
    this.#builds = options.builds;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Drops stale uploads, now and every hour. */
  async start(): Promise<void> {
    await this.#dropStale();
    this.#cancel = this.#clock.after(LOOK_MS, () => {
      void this.start().catch((error: unknown) =>
        this.#log.warn("stale uploads were not dropped", { error: String(error) }),
      );
    });
  }

  close(): void {
    this.#cancel();
    for (const { end } of this.#writers.values()) end();
  }

  /** How much has come, and the build when it is known already. */
  async look(name: UploadName): Promise<UploadDocument> {
    const file = this.#fileOf(name);
    const build = await this.#builds.find(name.app, name.digest);
    const offset = build === undefined ? await sizeOf(file) : build.bytes;
    return { ...name, offset, build: build === undefined ? null : buildDocument(build) };
  }

  /**
   * Appends to an upload of `bytes` in all, from `offset` on. What has come before a connection breaks
   * stays. Throws `CONFLICT` when the upload is elsewhere, `PAYLOAD_TOO_LARGE`, `STORAGE_FULL`.
   */
  async append(
    name: UploadName,
    { offset, bytes, body }: { offset: number; bytes: number; body: Readable },
  ): Promise<UploadDocument> {
    const file = this.#fileOf(name);
    if (bytes > LIMITS.artifactBytes) throw tooLarge(LIMITS.artifactBytes);
    await this.#alone(
      file,
      async (isEnded) => {
        const size = await sizeOf(file);
        if (size !== offset) throw elsewhere(size);
        if (size === 0) await this.#mayBegin(file, bytes);
        await write(file, body, { room: bytes - size, isEnded });
      },
      () => body.destroy(),
    );
    return await this.look(name);
  }

  /** Checks the whole and makes it a build. Throws `CONFLICT` when it is not whole, `INVALID_REQUEST` when damaged. */
  async complete(name: UploadName): Promise<BuildRow> {
    const file = this.#fileOf(name);
    let build: BuildRow | undefined;
    await this.#alone(file, async () => {
      build = await this.#builds.find(name.app, name.digest);
      if (build !== undefined) return;
      const digest = await digestOf(file);
      if (digest !== name.digest) {
        await rm(file, { force: true });
        throw new FlashError(
          "INVALID_REQUEST",
          `The artifact arrived damaged: its digest is ${digest}, not ${name.digest}.`,
          { hint: "Deploy again. If it happens again, something on the way changes data." },
        );
      }
      build = await this.#builds.receive(name.app, createReadStream(file));
    });
    await rm(file, { force: true });
    if (build === undefined) throw new FlashError("UNAVAILABLE", "The upload was interrupted.");
    return build;
  }

  /** See invariant 1. `run` gets a way to ask whether it has been ended. */
  async #alone(
    file: string,
    run: (isEnded: () => boolean) => Promise<void>,
    onEnd: () => void = () => undefined,
  ): Promise<void> {
    for (let earlier = this.#writers.get(file); earlier; earlier = this.#writers.get(file)) {
      earlier.end();
      await earlier.over;
    }
    let isEnded = false;
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const end = (): void => {
      isEnded = true;
      onEnd();
    };
    this.#writers.set(file, { end, over });
    try {
      await run(() => isEnded);
    } finally {
      this.#writers.delete(file);
      resolve();
    }
  }

  async #mayBegin(file: string, bytes: number): Promise<void> {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    const { length } = await this.#all();
    if (length >= MAX_UPLOADS) {
      throw new FlashError("OVERLOADED", `${length} uploads are under way or unfinished.`, {
        hint: "Unfinished ones are dropped after a day.",
      });
    }
    const { bavail, bsize, blocks } = await statfs(path.dirname(file));
    // Packed, and unpacked once more; jobs go on being accepted then, with and besides the reserve.
    if (bavail * bsize < 2 * (bytes + reserveBytes(blocks * bsize))) {
      throw new FlashError("STORAGE_FULL", "The server's disk has no room for this artifact.", {
        hint: "Free some space there, then deploy again.",
      });
    }
  }

  async #dropStale(): Promise<void> {
    const before = this.#clock.now() - STALE_MS;
    for (const file of await this.#all()) {
      if (this.#writers.has(file)) continue;
      const found = await stat(file).catch(() => undefined);
      if (found !== undefined && found.mtimeMs < before) await rm(file, { force: true });
    }
  }

  async #all(): Promise<string[]> {
    const entries = await readdir(this.#folder, { recursive: true, withFileTypes: true }).catch(
      () => [],
    );
    const files = entries.filter((entry) => entry.isFile());
    return files.map(({ parentPath, name }) => path.join(parentPath, name));
  }

  /** Both parts become parts of a path. */
  #fileOf({ app, digest }: UploadName): string {
    const wrong = checkName(app);
    if (wrong !== undefined) throw new FlashError("INVALID_REQUEST", `app ${wrong}`);
    if (!/^[0-9a-f]{64}$/.test(digest)) {
      throw new FlashError("INVALID_REQUEST", "'digest' must be a SHA-256 in hexadecimal digits.");
    }
    return path.join(this.#folder, app, digest);
  }
}

async function write(
  file: string,
  body: Readable,
  { room, isEnded }: { room: number; isEnded: () => boolean },
): Promise<void> {
  const handle = await open(file, "a", 0o600);
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > room) throw tooLarge(room);
      await handle.writeFile(chunk);
    }
  } catch (cause) {
    if (FlashError.is(cause)) throw cause;
    if (isEnded()) throw new FlashError("CONFLICT", "A newer request goes on with this upload.");
    throw new FlashError("INVALID_REQUEST", "The connection broke; what has come is kept.", {
      cause,
    });
  } finally {
    await handle.close();
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw elsewhere(0);
    throw error;
  });
  return hash.digest("hex");
}

async function sizeOf(file: string): Promise<number> {
  return await stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}

function elsewhere(offset: number): FlashError {
  return new FlashError("CONFLICT", `The upload has ${offset} bytes.`, {
    hint: "Ask for its offset and go on from there.",
    details: { offset },
  });
}

function tooLarge(maxBytes: number): FlashError {
  return new FlashError("PAYLOAD_TOO_LARGE", `The artifact is larger than ${maxBytes} bytes.`, {
    hint: "Leave large files out of the build and load them when the worker starts.",
  });
}
