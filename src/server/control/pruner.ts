/**
 * Removes what no release can come back to: old releases, their builds, and the files of those. The
 * store decides, in one step; files follow. A build's row goes before its files, so whatever a crash
 * leaves behind is a folder that no row names, which the next start removes.
 */

import type { PruneDocument } from "../../contract/control.ts";
import type { ControlStore } from "../../contract/store.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Builds } from "./builds.ts";

export interface PrunerOptions {
  store: ControlStore;
  builds: Builds;
  fleet: Fleet;
  clock: Clock;
  log: Log;
  /** Releases of an environment that can come back, at least 1. */
  keepReleases: number;
}

/** Jobs that pinned a version end, and unused builds age, without anybody deploying, ms. */
const EVERY_MS = 60 * 60_000;

export class Pruner {
  readonly #options: PrunerOptions;
  #cancelNext: (() => void) | undefined;
  #work: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: PrunerOptions) {
    this.#options = options;
  }

  get keepReleases(): number {
    return this.#options.keepReleases;
  }

  /** Before anything is uploaded: removes files that no build owns, then prunes now and then. */
  async start(): Promise<void> {
    const { store, builds } = this.#options;
    const strays = await builds.strays(await store.buildIds());
    if (strays.length > 0) {
      this.#options.log.info("files without a build are removed", { folders: strays.length });
      this.#behind(() => builds.remove(strays));
    }
    await this.run();
    this.#schedule();
  }

  /** Prunes one app, or all; resolves when the store has done it. Files may be removed a little later. */
  async run(app?: string): Promise<Omit<PruneDocument, "app">> {
    const { store, clock, keepReleases, log } = this.#options;
    const { releases, builds } = await store.prune({
      ...(app === undefined ? {} : { app }),
      keepReleases,
      now: clock.now(),
    });
    const freedBytes = builds.reduce((sum, { bytes }) => sum + bytes, 0);
    if (builds.length > 0) log.info("builds removed", { builds: builds.length, freedBytes });
    this.discard(builds.map(({ id }) => id));
    return { releases, builds: builds.map(({ id, bytes }) => ({ id, bytes })), freedBytes };
  }

  /** The store has forgotten these builds: their files go as soon as no worker runs from them. */
  discard(buildIds: readonly string[]): void {
    const { builds, fleet } = this.#options;
    builds.doom(buildIds);
    this.#behind(() => builds.removeDoomed(fleet.buildsInUse()));
  }

  /** A worker has ended: files that only it still needed may go. */
  workerGone(): void {
    const { builds, fleet } = this.#options;
    if (!this.#isClosed && builds.hasDoomed) {
      this.#behind(() => builds.removeDoomed(fleet.buildsInUse()));
    }
  }

  /** Resolves when all files that may go are gone. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelNext?.();
    await this.#work;
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#cancelNext = this.#options.clock.after(EVERY_MS, () => {
      this.#behind(async () => {
        await this.run();
      });
      this.#schedule();
    });
  }

  /** One after the other, behind whoever asked. */
  #behind(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error: unknown) => {
      this.#options.log.warn("builds could not be removed", { error: String(error) });
    });
  }
}
