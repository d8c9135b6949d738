/**
 * Standbys: processes that have booted the worker runtime and wait to become a worker, so that a cold
 * start is the import of the user's code. One is kept for each of the two runtimes that were last wanted;
 * when workers start faster than standbys boot, up to one for each processor, until a quiet minute has
 * passed. Each is used once.
 */

import os from "node:os";
import type { Clock } from "../../kit/clock.ts";
import type { WorkerProcess } from "./worker-process.ts";

/** What a standby loads, program and SDK: equal digests are the same runtime. */
export interface Runtime {
  digest: string;
  file: string;
}

export interface StandbysOptions {
  clock: Clock;
  boot: (runtime: Runtime) => Promise<WorkerProcess>;
  /** A standby has not made everything ready that it could: it will start slower. */
  onUnready: (failure: string) => void;
}

/** A standby that has not announced itself after this time is given up, ms: no busy machine takes as long. */
const BOOT_MS = 60_000;
/** A used standby is replaced after this time, ms: its successor must not slow its start. */
const REFILL_MS = 300;
/** After this time without a miss one standby is enough again, ms. */
const QUIET_MS = 60_000;
/** Boots that fail in a row until the runtime is believed to have no standby. */
const MAX_FAILURES = 3;
/** Apps that were built with different versions of the package have different runtimes. */
const MAX_RUNTIMES = 2;

export class Standbys {
  readonly #options: StandbysOptions;
  /** By digest, the one that was wanted last at the end. */
  readonly #crews = new Map<string, Crew>();
  #isClosed = false;

  constructor(options: StandbysOptions) {
    this.#options = options;
  }

  /** Keeps standbys of this runtime from now on; those of the one that was wanted longest ago may go. */
  keep(runtime: Runtime): void {
    this.#crewOf(runtime)?.fill();
  }

  /** How many stand ready. */
  get ready(): number {
    return [...this.#crews.values()].reduce((sum, crew) => sum + crew.ready, 0);
  }

  /** A standby of this runtime, if one stands ready. */
  take(runtime: Runtime): WorkerProcess | undefined {
    return this.#crewOf(runtime)?.take();
  }

  close(): void {
    this.#isClosed = true;
    for (const crew of this.#crews.values()) crew.close();
    this.#crews.clear();
  }

  #crewOf(runtime: Runtime): Crew | undefined {
    if (this.#isClosed) return undefined;
    const crew = this.#crews.get(runtime.digest) ?? new Crew(runtime, this.#options);
    this.#crews.delete(runtime.digest);
    this.#crews.set(runtime.digest, crew);
    const [oldest] = this.#crews.entries();
    if (this.#crews.size > MAX_RUNTIMES && oldest !== undefined) {
      const [digest, leaving] = oldest;
      this.#crews.delete(digest);
      leaving.close();
    }
    return crew;
  }
}

/** The standbys of one runtime. */
class Crew {
  readonly #runtime: Runtime;
  readonly #options: StandbysOptions;
  readonly #most = Math.max(1, os.availableParallelism());
  readonly #standing = new Set<WorkerProcess>();
  readonly #all = new Set<WorkerProcess>();
  #wanted = 1;
  #booting = 0;
  #failures = 0;
  #cancelCalm: (() => void) | undefined;
  #isClosed = false;

  constructor(runtime: Runtime, options: StandbysOptions) {
    this.#runtime = runtime;
    this.#options = options;
  }

  get ready(): number {
    return this.#standing.size;
  }

  take(): WorkerProcess | undefined {
    const standby = [...this.#standing].find(({ isOver }) => !isOver);
    if (standby === undefined) this.#missed();
    else {
      this.#standing.delete(standby);
      this.#all.delete(standby);
    }
    this.#options.clock.after(REFILL_MS, () => this.fill());
    return standby;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelCalm?.();
    for (const standby of this.#all) standby.kill();
    this.#standing.clear();
    this.#all.clear();
  }

  #missed(): void {
    this.#wanted = Math.min(this.#wanted + 1, this.#most);
    this.#cancelCalm?.();
    this.#cancelCalm = this.#options.clock.after(QUIET_MS, () => {
      this.#wanted = 1;
      for (const surplus of [...this.#standing].slice(1)) this.#dismiss(surplus);
    });
  }

  /** It ends. Nobody is to get it in the meantime. */
  #dismiss(standby: WorkerProcess): void {
    this.#all.delete(standby);
    this.#standing.delete(standby);
    standby.kill();
  }

  fill(): void {
    if (this.#isClosed || this.#failures >= MAX_FAILURES) return;
    while (this.#all.size + this.#booting < this.#wanted) {
      this.#booting++;
      void this.#boot().finally(() => this.#booting--);
    }
  }

  async #boot(): Promise<void> {
    let standby: WorkerProcess;
    try {
      standby = await this.#options.boot(this.#runtime);
    } catch {
      // A plain start will fail as well, and says why to somebody who asked for it.
      this.#failures++;
      return;
    }
    if (this.#isClosed) {
      standby.kill();
      return;
    }
    this.#all.add(standby);
    const cancel = this.#options.clock.after(BOOT_MS, () => {
      this.#dismiss(standby);
      this.#failures++;
      this.fill();
    });
    void standby.standing.then((failure) => {
      cancel();
      if (!this.#all.has(standby)) return;
      if (failure !== undefined) this.#options.onUnready(failure);
      this.#failures = 0;
      this.#standing.add(standby);
    });
    void standby.exited.then(() => {
      cancel();
      // One that was taken is a worker now, and its end another's business.
      if (!this.#all.delete(standby)) return;
      if (!this.#standing.delete(standby)) this.#failures++;
      this.fill();
    });
  }
}
