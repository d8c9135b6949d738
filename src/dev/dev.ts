/**
 * `flash run`: the whole house on one machine, rebuilt on save.
 *
 *   dev          this file: starts the parts, reacts to changes, stops the parts
 *   engine       the production server with the newest good build on it; served: that build
 *   front        HTTP with names instead of ids
 *   production   addresses of a deployment, on the dev port
 *   live         live workers of --remote: deployed, called, removed
 *   live-route   calls that go to them
 *   relay-compute   the workers here that stand for them
 *   access       who may use it without a key
 *   port         which port
 *   api          the API description
 *   api-browser  the pages at /docs
 *   watch        which files changed
 *   type-errors  what TypeScript has against what is served
 *   talk         events as lines for people
 *
 * It does nothing otherwise than production does: a request goes through the same gateway to the same
 * workers. Jobs live in a store of their own under the project's `.flash/dev` and outlive restarts.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import pc from "picocolors";
import {
  formatDiagnostics,
  frameOfStack,
  type BuildRequest,
  type BuildResult,
  type BuildStep,
} from "../compiler/compiler.ts";
import { FlashError } from "../contract/errors.ts";
import { createLog, entryText } from "../kit/log.ts";
import { keyFile } from "../server/server.ts";
import { Engine } from "./engine.ts";
import { Front } from "./front.ts";
import { LiveWorkers, type LiveOptions } from "./live.ts";
import { describeEvent, type DevEvent, type OutputStream } from "./talk.ts";
import { TypeErrors } from "./type-errors.ts";
import { SourceWatcher } from "./watch.ts";
import { RELAY_ENV } from "../worker/relay/relay.ts";

export { DEV_ENVIRONMENT } from "./front.ts";
export type { LiveOptions } from "./live.ts";
export type { DevEvent } from "./talk.ts";

export interface DevOptions {
  /** Folder of the project. */
  root: string;
  app: string;
  /** Default `localhost`. On any other than a loopback host, requests need the key. */
  host?: string;
  /** 0 takes any free port. */
  port: number;
  /** Fail when the port is taken. Default: take the next free one. */
  strictPort?: boolean;
  /** Rebuild on save. Default true. */
  reload?: boolean;
  /** Where jobs, builds and logs are kept. Default: `.flash/dev` in the project. */
  home?: string;
  /** Options of an endpoint that win over the code, as flash.toml has them. Asked in every build. */
  overrides?: BuildRequest["overrides"];
  /** Patterns of files to ship that no import names. Asked in every build. */
  include?: BuildRequest["include"];
  /** Told the steps of builds until one is served; undefined when something else is told. */
  onStep?: (step: BuildStep | undefined) => void;
  /** Functions of Live resources run on live workers there. */
  remote?: LiveOptions;
  /** Told everything that happens. Default: writes it to stderr for people. */
  onEvent?: (event: DevEvent) => void;
}

export interface DevServer {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  /** Stops everything it started. Idempotent. */
  close(): Promise<void>;
}

/** What runs when the dev server is told to stop may take this long, ms. */
const GRACE_MS = 2000;

/**
 * Serves a project. Resolves when it is reachable; with `reload` even when the first build failed,
 * since the next save may mend it. Throws `BUILD_FAILED` without `reload`, `CONFLICT` when no port is free.
 */
export async function runDev(options: DevOptions): Promise<DevServer> {
  const server = new RunningDev(options);
  try {
    await server.start();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

class RunningDev implements DevServer {
  readonly #options: DevOptions;
  readonly #tell: (event: DevEvent) => void;
  #engine: Engine | undefined;
  #front: Front | undefined;
  #watcher: SourceWatcher | undefined;
  readonly #live: LiveWorkers | undefined;
  #typeErrors: TypeErrors | undefined;
  #isAnnounced = false;
  #closing: Promise<void> | undefined;

  constructor(options: DevOptions) {
    this.#options = options;
    const tell = options.onEvent ?? tellOnStderr();
    this.#tell = (event) => {
      options.onStep?.(undefined);
      tell(event);
    };
    this.#live =
      options.remote === undefined
        ? undefined
        : new LiveWorkers({
            ...options.remote,
            folder: this.#home,
            onOutput: (endpoint, stream, text) => this.#tellOutput(endpoint, stream, text),
          });
  }

  get url(): string {
    return this.#front?.url ?? "";
  }

  get #home(): string {
    return this.#options.home ?? path.join(this.#options.root, ".flash", "dev");
  }

  async start(): Promise<void> {
    const { root, host = "localhost", port, strictPort = false } = this.#options;
    const engine = await this.#startEngine();
    this.#engine = engine;
    this.#typeErrors = new TypeErrors({
      find: (signal) => engine.typeErrors(signal),
      onNews: (news) => this.#tell({ kind: "types", ...news }),
      onProblem: ({ message }) =>
        this.#tell({ kind: "warning", text: `Types are not checked: ${message}` }),
    });
    this.#front = await Front.listen(engine, { host, port, strictPort });
    if (port !== 0 && this.#front.port !== port) {
      this.#tell({ kind: "port-taken", wanted: port, used: this.#front.port });
    }
    if (this.#options.reload === false) {
      this.#announce(await engine.build());
      this.#typeErrors.look();
      return;
    }
    // Watching begins first: what is saved during the first build must not be missed.
    this.#watcher = await SourceWatcher.open({
      root,
      onChange: (changed) => this.#rebuild(engine, changed),
      onProblem: ({ message }) =>
        this.#tell({ kind: "warning", text: `File watching disabled: ${message}` }),
    });
    await this.#attempt(engine, async () => this.#announce(await engine.build()));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#isAnnounced) this.#tell({ kind: "stopping" });
    this.#front?.stop();
    // At once: a build that is being served waits for workers, and ends with them.
    await Promise.all([
      this.#watcher?.close(),
      this.#typeErrors?.stop(),
      this.#engine?.close(GRACE_MS),
    ]);
    await this.#front?.end();
    await this.#removeLive();
  }

  async #removeLive(): Promise<void> {
    const { remote } = this.#options;
    if (remote === undefined || (await this.#live?.close()) !== false) return;
    const { app, environment } = remote.target;
    const where = `--app ${app} --env ${environment} --target ${remote.cloud.target}`;
    const text = `The live workers could not be removed: flash undeploy --all ${where}`;
    this.#tell({ kind: "warning", text });
  }

  /** An error of a function with the lines around it, as they are in the editor. */
  #framed(fields: Record<string, unknown>): Record<string, unknown> {
    const { stack } = (fields["error"] ?? {}) as { stack?: unknown };
    if (typeof stack !== "string" || fields["frame"] !== undefined) return fields;
    const frame = frameOfStack(this.#options.root, stack);
    return frame === undefined ? fields : { ...fields, frame };
  }

  #tellOutput(endpoint: string, stream: OutputStream, output: string): void {
    for (const text of output.replace(/\n$/, "").split("\n")) {
      this.#tell({ kind: "output", endpoint, stream, text });
    }
  }

  async #startEngine(): Promise<Engine> {
    const { root, app, overrides, include, remote } = this.#options;
    const home = this.#home;
    return Engine.start({
      project: {
        root,
        app,
        // Not where `flash build` writes: both may run at once.
        outDir: path.join(home, "build"),
        onStep: (step) => {
          if (!this.#isAnnounced) this.#options.onStep?.(step);
        },
        ...(overrides === undefined ? {} : { overrides }),
        ...(remote === undefined ? {} : { livePlatform: remote.platform }),
        ...(include === undefined ? {} : { include }),
      },
      home,
      version: ownVersion(),
      log: createLog({
        level: "error",
        format: "text",
        write: (text) => this.#tell({ kind: "warning", text: text.trimEnd() }),
      }),
      onLine: ({ endpoint, stream, message, fields = {} }) =>
        this.#tellOutput(endpoint, stream, entryText(message, this.#framed(fields))),
      ...(this.#live === undefined
        ? {}
        : { remote: { live: this.#live, env: () => this.#relayEnvironment() } }),
    });
  }

  /** How workers of this machine reach the front. */
  #relayEnvironment(): Record<string, string> {
    const { port = 0 } = this.#front ?? {};
    const { host = "localhost" } = this.#options;
    const isAny = ["localhost", "0.0.0.0", "::"].includes(host);
    const name = isAny ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
    return {
      [RELAY_ENV.url]: `http://${name}:${port}`,
      [RELAY_ENV.key]: this.#engine?.key ?? "",
    };
  }

  /**
   * What makes no difference is not told: our own words may go to a file in the project, and would be
   * the next change.
   */
  async #rebuild(engine: Engine, changed: readonly string[]): Promise<void> {
    await this.#attempt(engine, async () => {
      const started = performance.now();
      const { served, problem } = engine;
      const built = await engine.build(changed);
      if (!this.#isAnnounced) this.#announce(built);
      else if (problem !== undefined || served?.digest !== built.artifact.digest) {
        this.#warn(built);
        this.#tell({
          kind: "reloaded",
          manifest: built.manifest,
          changed: changed.map((file) => path.relative(this.#options.root, file)),
          tookMs: performance.now() - started,
        });
      }
    });
  }

  /** Runs a build and tells what is wrong when it fails. */
  async #attempt(engine: Engine, build: () => Promise<void>): Promise<void> {
    void this.#typeErrors?.stop();
    try {
      await build();
      if (this.#closing === undefined) this.#typeErrors?.look();
    } catch (error) {
      // What was under way when everything was told to stop.
      if (this.#closing !== undefined) return;
      const text = FlashError.is(error) ? error.message : ((error as Error).stack ?? String(error));
      this.#tell({ kind: "failed", text, keepsServing: engine.served !== undefined });
    }
  }

  #announce(built: BuildResult): void {
    this.#warn(built);
    const { isOpen = true } = this.#front ?? {};
    this.#tell({
      kind: "ready",
      url: this.url,
      manifest: built.manifest,
      ...(isOpen ? {} : { keyFile: keyFile(this.#home) }),
      ...(this.#live === undefined ? {} : { live: this.#live }),
    });
    this.#isAnnounced = true;
  }

  #warn({ warnings }: BuildResult): void {
    if (warnings.length === 0) return;
    this.#tell({ kind: "warning", text: formatDiagnostics(warnings) });
  }
}

function tellOnStderr(): (event: DevEvent) => void {
  const isColored = process.stderr.isTTY && !process.env.NO_COLOR;
  const colors = pc.createColors(isColored);
  return (event) => void process.stderr.write(`${describeEvent(event, colors)}\n`);
}

function ownVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
