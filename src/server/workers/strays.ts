/**
 * Processes that a worker has started in sessions of their own: they are not in its group, and would
 * outlive it. They are known by the worker's id in their environment. Looked for some moments after
 * workers have ended, once for all of them. Linux only: elsewhere such processes stay.
 */

import { readFile, readdir } from "node:fs/promises";
import { WORKER_ENV } from "../../contract/worker-env.ts";
import type { Clock } from "../../kit/clock.ts";

const GATHER_MS = 200;

export class Strays {
  readonly #clock: Clock;
  #workerIds = new Set<string>();
  /** Being looked for. */
  readonly #wanted = new Set<string>();
  #looking: Promise<void> = Promise.resolve();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What this worker has left is ended soon. */
  leftBy(workerId: string): void {
    this.#workerIds.add(workerId);
    if (this.#workerIds.size > 1) return;
    this.#clock.after(GATHER_MS, () => void this.end());
  }

  /** Resolves when a worker may come back under this id, without being taken for what it left. */
  async clear(workerId: string): Promise<void> {
    if (this.#workerIds.has(workerId)) await this.end();
    else if (this.#wanted.has(workerId)) await this.#looking;
  }

  /** Ends what all workers have left that were named until now. Never rejects. */
  async end(): Promise<void> {
    const workerIds = this.#workerIds;
    this.#workerIds = new Set();
    if (workerIds.size > 0) {
      for (const id of workerIds) this.#wanted.add(id);
      this.#looking = this.#looking.then(async () => {
        await endAll(workerIds);
        for (const id of workerIds) this.#wanted.delete(id);
      });
    }
    await this.#looking;
  }
}

async function endAll(workerIds: ReadonlySet<string>): Promise<void> {
  const names = await readdir("/proc").catch(() => []);
  for (const name of names) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    if (!workerIds.has((await workerOf(pid)) ?? "")) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone in the meantime.
    }
  }
}

/** The worker whose environment this process has. */
async function workerOf(pid: number): Promise<string | undefined> {
  const name = `${WORKER_ENV.workerId}=`;
  // Not there any more, or somebody else's.
  const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  const entry = environment.split("\0").find((one) => one.startsWith(name));
  return entry?.slice(name.length);
}
