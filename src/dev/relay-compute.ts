/**
 * The compute of `flash run --remote`: workers of live endpoints are relays, which have no code and post
 * every call to the dev server; the others are what they always are.
 */

import { mkdir, rm, symlink } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Compute, RunningWorker, WorkerSpec } from "../contract/compute.ts";
import { FlashError } from "../contract/errors.ts";
import { MANIFEST_FILE, WORKER_FILE } from "../contract/manifest.ts";

/** The relay's program. Works from `src/` and from `dist/` alike. */
const PROGRAM = fileURLToPath(new URL("../../dist/runtime/relay.mjs", import.meta.url));

export interface RelayComputeOptions {
  /** Starts the workers. */
  compute: Compute;
  /** Holds an artifact for each build: its manifest and the relay's program. Removed at the end. */
  folder: string;
  isLive: (endpoint: string) => boolean;
  /** How relays reach the dev server; asked at each start. */
  env: () => Record<string, string>;
}

export class RelayCompute implements Compute {
  readonly name: string;
  readonly runsImages: boolean;
  readonly #options: RelayComputeOptions;
  /** By the artifact's folder. */
  readonly #folders = new Map<string, Promise<string>>();

  constructor(options: RelayComputeOptions) {
    this.#options = options;
    this.name = options.compute.name;
    this.runsImages = options.compute.runsImages;
  }

  async start(spec: WorkerSpec): Promise<RunningWorker> {
    const { compute, isLive, env } = this.#options;
    if (!isLive(spec.endpointName)) return await compute.start(spec);
    const artifactDir = await this.#folderFor(spec);
    // Those that stand by have booted another program.
    const relay = { ...spec, artifactDir, flashboot: false, env: { ...spec.env, ...env() } };
    return await compute.start(relay);
  }

  prepare(artifactDir: string): void {
    this.#options.compute.prepare?.(artifactDir);
  }

  async reclaim(): Promise<void> {
    await rm(this.#options.folder, { recursive: true, force: true });
    await this.#options.compute.reclaim();
  }

  async close(): Promise<void> {
    await this.#options.compute.close();
    await rm(this.#options.folder, { recursive: true, force: true });
  }

  async #folderFor({ artifactDir, endpointName }: WorkerSpec): Promise<string> {
    const made = this.#folders.get(artifactDir) ?? this.#makeFolder(artifactDir);
    this.#folders.set(artifactDir, made);
    try {
      return await made;
    } catch (cause) {
      this.#folders.delete(artifactDir);
      const message = `The relay of '${endpointName}' could not be prepared: ${(cause as Error).message}`;
      throw new FlashError("WORKER_START_FAILED", message, { cause });
    }
  }

  async #makeFolder(artifactDir: string): Promise<string> {
    const folder = path.join(this.#options.folder, path.basename(artifactDir));
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await symlink(path.join(artifactDir, MANIFEST_FILE), path.join(folder, MANIFEST_FILE));
    await symlink(PROGRAM, path.join(folder, WORKER_FILE));
    return folder;
  }
}
