/**
 * The default compute driver: a worker is a process of this machine.
 *
 *   worker-process   one process: its group, its output, its end
 *   standbys         processes that have booted and wait to become a worker
 *   lines            output cut into lines, bounded
 *   strays           what workers started and left behind in sessions of their own
 *   leftovers        records that let the next server end what a killed one left behind
 *
 * A process is not a sandbox: workers run with the server's user and see the machine's files.
 */

import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Compute, RunningWorker, WorkerSpec } from "../../contract/compute.ts";
import { FlashError } from "../../contract/errors.ts";
import { linkPathOf } from "../../contract/lb-link.ts";
import { SDK_FILE, WORKER_FILE } from "../../contract/manifest.ts";
import { WORKER_ENV } from "../../contract/worker-env.ts";
import { systemClock } from "../../kit/clock.ts";
import { newPrefixedId } from "../../kit/ids.ts";
import { silentLog, type Log } from "../../kit/log.ts";
import { WorkerRecords } from "./leftovers.ts";
import { Strays } from "./strays.ts";
import { Standbys, type Runtime } from "./standbys.ts";
import { WorkerProcess, type ProcessPlace, type ProcessStart } from "./worker-process.ts";

/** Longest path of a Unix socket, bytes; the kernel's limit is 108 with the final zero, 104 on macOS. */
const MAX_SOCKET_PATH = 103;
/** A worker id and `.sock`, generously. */
const SOCKET_NAME_LENGTH = 40;
/** All that a worker gets of the server's own environment. */
const INHERITED = ["PATH", "HOME", "TZ", "LANG"] as const;
/** Digests of runtimes that are remembered, by the artifact's folder. */
const MAX_RUNTIMES = 256;

export interface ProcessComputeOptions {
  /** FLASH_HOME: records of running workers are kept there. */
  home: string;
  log?: Log;
}

export class ProcessCompute implements Compute {
  readonly name = "process";
  readonly runsImages = false;
  readonly #home: string;
  readonly #records: WorkerRecords;
  readonly #log: Log;
  readonly #processes = new Set<WorkerProcess>();
  /** The files of processes that have ended, by mark, until they are removed. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #standbys = new Standbys({
    clock: systemClock,
    boot: (runtime) => this.#bootStandby(runtime),
    onUnready: (error) => this.#log.warn("a standby could not rehearse", { error }),
  });
  readonly #strays = new Strays(systemClock);
  /** By artifact folder; undefined for a runtime that cannot stand by. */
  readonly #runtimes = new Map<string, Promise<Runtime | undefined>>();
  #folder: Promise<string> | undefined;
  #isClosed = false;

  constructor(options: ProcessComputeOptions) {
    this.#home = path.resolve(options.home);
    this.#records = new WorkerRecords(this.#home);
    this.#log = options.log ?? silentLog;
  }

  async start(spec: WorkerSpec): Promise<RunningWorker> {
    const runtime = await this.#runtimeOf(spec);
    await this.#strays.clear(spec.workerId);
    const standby =
      spec.flashboot === true && runtime !== undefined ? this.#standbys.take(runtime) : undefined;
    const started = standby ?? (await this.#spawnFor(spec));
    const socketPath = spec.kind === "lb" ? socketOf(started.place) : undefined;
    const { workerId, onLine } = spec;
    const worker = started.become({ workerId, socketPath, onLine });
    void worker.exited.then(() => this.#strays.leftBy(workerId));
    standby?.assign(environment(spec, standby.place), spec.manifest);
    return worker;
  }

  get standbys(): number {
    return this.#standbys.ready;
  }

  prepare(artifactDir: string): void {
    void this.#readRuntime(artifactDir).then(
      (runtime) => {
        if (runtime !== undefined && !this.#isClosed) this.#standbys.keep(runtime);
      },
      // A start says what is wrong with the artifact.
      () => undefined,
    );
  }

  async reclaim(): Promise<void> {
    for (const workerId of await this.#records.reclaim()) {
      this.#log.warn("ended a worker that an earlier server left behind", { worker: workerId });
    }
    await rm(this.#ownFolder(), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#standbys.close();
    const processes = [...this.#processes];
    for (const one of processes) one.kill();
    await Promise.all(processes.map((one) => one.exited));
    await this.#strays.end();
    for (const { place } of processes) await this.#records.remove(place.mark);
    if (this.#folder !== undefined) await rm(await this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }

  async #spawnFor(spec: WorkerSpec): Promise<WorkerProcess> {
    const place = await this.#makePlace(spec.workerId);
    return await this.#spawn(place, {
      program: path.join(spec.artifactDir, WORKER_FILE),
      label: `'${spec.endpointName}'`,
      env: environment(spec, place),
      // It may have ended, with a reason, before it is recorded.
      onLine: spec.onLine,
    });
  }

  /** Its environment says nothing of any endpoint: it may become a worker of each. */
  async #bootStandby(runtime: Runtime): Promise<WorkerProcess> {
    const place = await this.#makePlace(newPrefixedId("standby", 8));
    const env = {
      ...inherited(place),
      [WORKER_ENV.workerId]: place.mark,
      [WORKER_ENV.standby]: socketOf(place),
    };
    return await this.#spawn(place, { program: runtime.file, label: "a standby", env });
  }

  async #spawn(place: ProcessPlace, start: Omit<ProcessStart, "place">): Promise<WorkerProcess> {
    if (this.#isClosed) {
      throw new FlashError("WORKER_START_FAILED", "The server is stopping; no worker is started.");
    }
    const process = await WorkerProcess.spawn({ ...start, place });
    this.#processes.add(process);
    const recorded = this.#record(process);
    const { mark } = place;
    const leaving = this.#forgetAfterExit(process, recorded).finally(() => {
      if (this.#leaving.get(mark) === leaving) this.#leaving.delete(mark);
    });
    this.#leaving.set(mark, leaving);
    await recorded;
    if (this.#isClosed) process.kill();
    return process;
  }

  async #makePlace(mark: string): Promise<ProcessPlace> {
    // A worker that comes back under its id comes to the same place.
    await this.#leaving.get(mark);
    const folder = path.join(await this.#base(), mark);
    await mkdir(folder, { mode: 0o700 });
    return { mark, folder };
  }

  /** Throws `WORKER_START_FAILED` when the artifact has no runtime. */
  async #runtimeOf(spec: WorkerSpec): Promise<Runtime | undefined> {
    try {
      return await this.#readRuntime(spec.artifactDir);
    } catch (cause) {
      this.#runtimes.delete(spec.artifactDir);
      const file = path.join(spec.artifactDir, WORKER_FILE);
      throw new FlashError(
        "WORKER_START_FAILED",
        `The build of '${spec.endpointName}' is not complete: ${file} is missing.`,
        { hint: "Deploy again.", cause },
      );
    }
  }

  #readRuntime(artifactDir: string): Promise<Runtime | undefined> {
    const known = this.#runtimes.get(artifactDir);
    if (known !== undefined) return known;
    const reading = readRuntime(artifactDir);
    this.#runtimes.set(artifactDir, reading);
    const [oldest] = this.#runtimes.keys();
    if (this.#runtimes.size > MAX_RUNTIMES && oldest !== undefined) this.#runtimes.delete(oldest);
    return reading;
  }

  /**
   * Holds sockets and working folders, closed to other users: in the home, where the next server finds
   * what a killed one left, unless that makes socket paths too long.
   */
  async #base(): Promise<string> {
    this.#folder ??= this.#makeBase();
    return await this.#folder;
  }

  async #makeBase(): Promise<string> {
    const own = this.#ownFolder();
    if (fitsSockets(own)) {
      await mkdir(own, { recursive: true, mode: 0o700 });
      return own;
    }
    const parent = fitsSockets(path.join(os.tmpdir(), "flash-XXXXXX")) ? os.tmpdir() : "/tmp";
    return await mkdtemp(path.join(parent, "flash-"));
  }

  #ownFolder(): string {
    return path.join(this.#home, "run");
  }

  /** A safety net only: a worker whose server dies exits when its channel closes. */
  async #record({ place, pid }: WorkerProcess): Promise<void> {
    try {
      await this.#records.add({ workerId: place.mark, pid });
    } catch (error) {
      this.#log.warn("a worker could not be recorded", { error: String(error) });
    }
  }

  async #forgetAfterExit(process: WorkerProcess, recorded: Promise<void>): Promise<void> {
    const { mark, folder } = process.place;
    await process.exited;
    await recorded;
    this.#processes.delete(process);
    try {
      await this.#records.remove(mark);
      await rm(folder, { recursive: true, force: true });
      const socketPath = socketOf(process.place);
      await rm(socketPath, { force: true });
      await rm(linkPathOf(socketPath), { force: true });
    } catch (error) {
      this.#log.warn("the files of a worker could not be removed", {
        worker: mark,
        error: String(error),
      });
    }
  }
}

function fitsSockets(folder: string): boolean {
  return Buffer.byteLength(folder) + SOCKET_NAME_LENGTH <= MAX_SOCKET_PATH;
}

/**
 * The program and the SDK beside it, which a standby loads as well. Undefined when the program does not
 * know how to stand by, as those of older builds do not.
 */
async function readRuntime(artifactDir: string): Promise<Runtime | undefined> {
  const file = path.join(artifactDir, WORKER_FILE);
  const program = await readFile(file);
  if (!program.includes(WORKER_ENV.standby)) return undefined;
  // Without one there is nothing to load.
  const sdk = await readFile(path.join(artifactDir, SDK_FILE)).catch(() => "");
  const digest = createHash("sha256").update(program).update("\0").update(sdk).digest("hex");
  return { file, digest };
}

function socketOf({ folder }: ProcessPlace): string {
  return `${folder}.sock`;
}

function environment(spec: WorkerSpec, place: ProcessPlace): Record<string, string> {
  return {
    ...inherited(place),
    ...spec.env,
    [WORKER_ENV.artifactDir]: spec.artifactDir,
    [WORKER_ENV.output]: "tagged",
    ...(spec.kind === "lb" ? { [WORKER_ENV.socket]: socketOf(place) } : {}),
  };
}

function inherited({ folder }: ProcessPlace): Record<string, string> {
  const env: Record<string, string> = { TMPDIR: folder };
  for (const name of INHERITED) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}
