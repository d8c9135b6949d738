/** A compute driver starts and stops workers on some machine. */

import type { LineFacts } from "./logs.ts";
import type { FunctionSpan } from "./span.ts";

import type { ManifestPart } from "./manifest.ts";

export interface WorkerSpec {
  workerId: string;
  endpointId: string;
  endpointName: string;
  kind: "qb" | "lb";
  /** Folder of the unpacked artifact. */
  artifactDir: string;
  /** What the artifact's manifest says of the endpoint: with a thousand of them it takes long to read. */
  manifest?: ManifestPart;
  /** A pre-booted process may become this worker. Default false. */
  flashboot?: boolean;
  /** Everything the worker sees: nothing of the server's own environment is added but PATH, HOME and TZ. */
  env: Readonly<Record<string, string>>;
  /** Receives each line the worker writes. */
  onLine: (line: WorkerLine) => void;
}

export interface WorkerLine extends LineFacts {
  stream: "stdout" | "stderr";
  text: string;
  /** Epoch ms. */
  at: number;
  /** No line: a function has run, and its trace is kept. */
  span?: FunctionSpan;
  /** It was longer than a line may be: the next line of this stream goes on with it. */
  cut?: true;
}

export interface WorkerExit {
  code: number | null;
  signal: string | null;
}

/** A worker has used all the memory that it may, bytes. */
export interface MemoryExcess {
  usedBytes: number;
  limitBytes: number;
}

/** Where a load-balanced worker is reached. */
export type WorkerAddress = { socketPath: string } | { host: string; port: number };

export interface RunningWorker {
  readonly workerId: string;
  /** Undefined for queue workers, which call in. */
  readonly address: WorkerAddress | undefined;
  /** Process id, where there is one. */
  readonly pid: number | undefined;
  /**
   * Resolves when the worker itself says that it can serve; never rejects. Undefined where the driver
   * has no channel to the worker: then its health check is all there is.
   */
  readonly ready?: Promise<void>;
  /** Memory it uses now, bytes; undefined when that cannot be told. Never rejects. */
  memoryBytes?(): Promise<number | undefined>;
  /** Resolves once, when the worker and everything it started are gone. */
  readonly exited: Promise<WorkerExit>;
  /** Asks it to finish (SIGTERM), and ends it after `graceMs`. Idempotent. */
  stop(graceMs: number): Promise<WorkerExit>;
  /** Ends it at once, with everything it started. */
  kill(): void;
}

export interface Compute {
  /** `process`, `docker`, … */
  readonly name: string;
  /** False: it runs only code of ours, and workers of an image are started by somebody else. */
  readonly runsImages: boolean;
  /** Resolves when the worker has been started, not when it is ready. Throws `WORKER_START_FAILED`. */
  start(spec: WorkerSpec): Promise<RunningWorker>;
  /** Workers of this artifact may be wanted soon: a driver that can makes their start faster. */
  prepare?(artifactDir: string): void;
  /** Booted processes that wait to become a worker; undefined where the driver has none. */
  readonly standbys?: number;
  /** Ends workers that an earlier server left behind. */
  reclaim(): Promise<void>;
  /** Ends every worker. Idempotent. */
  close(): Promise<void>;
}
