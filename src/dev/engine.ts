/**
 * The same server as in production, with the project's newest good build deployed on it.
 *
 * Invariants:
 *   1. What is served is always a build that was whole: a failed build or deployment changes nothing.
 *   2. One build at a time; the caller waits for one before it asks for the next.
 */

import { createReadStream } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import type { Duplex } from "node:stream";
import {
  Project,
  type BuildRequest,
  type BuildResult,
  type Diagnostic,
} from "../compiler/compiler.ts";
import type { Compute } from "../contract/compute.ts";
import type { LogLine } from "../contract/control.ts";
import { FlashError } from "../contract/errors.ts";
import { makeFolder } from "../server/control/folders.ts";
import type { Log } from "../kit/log.ts";
import { FlashServer, ProcessCompute, openStore, type SqliteStore } from "../server/server.ts";
import { DEV_ENVIRONMENT, type FrontEngine } from "./front.ts";
import type { Served } from "./served.ts";
import type { LiveWorkers } from "./live.ts";
import { RelayCompute } from "./relay-compute.ts";

export interface EngineOptions {
  project: BuildRequest;
  home: string;
  version: string;
  log: Log;
  /** Told every line that a worker writes. */
  onLine: (line: LogLine) => void;
  /** Runs functions of live endpoints elsewhere. `env`: how their workers here reach the dev server. */
  remote?: { live: LiveWorkers; env: () => Record<string, string> };
}

export class Engine implements FrontEngine {
  readonly #options: EngineOptions;
  readonly #server: FlashServer;
  readonly #project: Project;
  #followed: { names: string; stop: AbortController; done: Promise<void> } | undefined;
  readonly #settled = Promise.withResolvers<void>();
  served: Served | undefined;
  problem: string | undefined;

  private constructor(options: EngineOptions, server: FlashServer) {
    this.#options = options;
    this.#server = server;
    this.#project = new Project(options.project);
  }

  /** Starts the server; nothing is built yet. Throws when another dev server uses the home. */
  static async start(options: EngineOptions): Promise<Engine> {
    const { home, version, log } = options;
    makeFolder(home);
    // Losing the last moments to a power cut is fine here; waiting for the disk on every job is not.
    const store = openOwnStore(home, log);
    const compute = computeOf(options);
    try {
      const server = await FlashServer.start({
        home,
        host: "127.0.0.1",
        port: 0,
        store,
        compute,
        version,
        log,
        allowPrivateWebhooks: true,
        // `.env` and the shell are where a developer has them.
        secretFallback: (name) => process.env[name],
      });
      return new Engine(options, server);
    } catch (error) {
      await compute.close();
      await store.close();
      throw error;
    }
  }

  get key(): string {
    return this.#server.key;
  }

  get live(): LiveWorkers | undefined {
    return this.#options.remote?.live;
  }

  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#server.handle(request, response);
  }

  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#server.handleUpgrade(request, socket, head);
  }

  /**
   * Builds and serves the project: all of it, or what the changed files (absolute) touch. Throws
   * `BUILD_FAILED` with every mistake; what was served before still is.
   */
  async build(changed?: readonly string[]): Promise<BuildResult> {
    try {
      const built =
        changed === undefined ? await this.#project.build() : await this.#project.rebuild(changed);
      await this.#serve(built);
      this.problem = undefined;
      return built;
    } catch (error) {
      this.problem = (error as Error).message;
      throw error;
    } finally {
      this.#settled.resolve();
    }
  }

  /** Type errors in the newest good build; undefined when they are not looked for. Stops nothing. */
  typeErrors(signal: AbortSignal): Promise<Diagnostic[] | undefined> {
    return this.#project.typeErrors(signal);
  }

  /** Lets running work finish for `graceMs`, then ends every worker. Idempotent. */
  async close(graceMs: number): Promise<void> {
    this.#followed?.stop.abort();
    try {
      await this.#server.close({ graceMs });
      await this.#followed?.done;
    } finally {
      await this.#project.close();
    }
  }

  async #serve(built: BuildResult): Promise<void> {
    // First: what is served here may call it at once.
    await this.live?.follow(built);
    const { artifact } = built;
    const { manifest } = artifact;
    const { app } = manifest;
    const { control } = this.#server;
    const build = await control.putBuild(app, createReadStream(artifact.file));
    const { endpoints } = await control.deploy({
      app,
      environment: DEV_ENVIRONMENT,
      build: build.id,
    });
    const ids = new Map(endpoints.map(({ name, id }) => [name, id]));
    this.served = { manifest, digest: artifact.digest, ids };
    await this.#follow(app);
  }

  /** Follows the output of the endpoints there are now. */
  async #follow(app: string): Promise<void> {
    const names = [...(this.served?.ids.keys() ?? [])].sort().join("\n");
    if (names === this.#followed?.names) return;
    this.#followed?.stop.abort();
    const stop = new AbortController();
    const lines = await this.#server.control.logs(
      { app, environment: DEV_ENVIRONMENT },
      { tail: 0, follow: true, signal: stop.signal },
    );
    const done = this.#forward(lines);
    this.#followed = { names, stop, done };
  }

  async #forward(lines: AsyncIterable<LogLine>): Promise<void> {
    for await (const line of lines) this.#options.onLine(line);
  }
}

function computeOf({ home, log, remote }: EngineOptions): Compute {
  const compute = new ProcessCompute({ home, log });
  if (remote === undefined) return compute;
  const { live, env } = remote;
  const folder = path.join(home, "relay");
  return new RelayCompute({ compute, folder, env, isLive: (name) => live.has(name) });
}

function openOwnStore(home: string, log: Log): SqliteStore {
  try {
    return openStore({ home, durability: "relaxed", log });
  } catch (cause) {
    if (!FlashError.is(cause) || cause.code !== "CONFLICT") throw cause;
    throw new FlashError("CONFLICT", "This project is being run already.", {
      hint: `Stop the other 'flash run' first; both would use ${home}.`,
      cause,
    });
  }
}
