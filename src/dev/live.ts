/**
 * Live workers of `flash run --remote`: deploys them to the target, has functions run there, removes them
 * at the end. They are an app of their own, `live-…`, so that nothing that is deployed is touched.
 *
 * Invariants:
 *   1. What a call runs is the newest good build's code: the worker that lacks it is sent it.
 *   2. What was deployed is removed by `close()`, unless it is to be kept.
 */

import path from "node:path";
import { liveBuild, type BuildResult, type LiveBuild } from "../compiler/compiler.ts";
import type { Cloud, Target } from "../contract/cloud.ts";
import { FlashError, PROBLEM_TYPE, errorOfProblem } from "../contract/errors.ts";
import { parseOrUndefined } from "../contract/json.ts";
import {
  EXECUTE_PATH,
  answerOfFailure,
  type ExecuteAnswer,
  type LiveCall,
  type LiveEvent,
} from "../contract/live.ts";
import type { WorkerPlatform } from "../contract/platform.ts";
import { serverSentEvents } from "../kit/event-stream.ts";

export interface LiveOptions {
  cloud: Cloud;
  /** Opens the cloud. */
  key: string | undefined;
  /** What its workers run on, for packages. */
  platform: WorkerPlatform;
  /** Where the live workers are deployed. */
  target: Target;
  /** Leave them there at the end. */
  keep: boolean;
}

export interface LiveWorkersOptions extends LiveOptions {
  /** For the artifact. */
  folder: string;
  /** Told what functions write. */
  onOutput: (endpoint: string, stream: "stdout" | "stderr", text: string) => void;
}

/** A worker that has said that it lacks the bundle gets it with the next request. */
const MAX_SENDS = 3;

export class LiveWorkers {
  readonly #options: LiveWorkersOptions;
  #bundles: LiveBuild["bundles"] = new Map();
  #urls: ReadonlyMap<string, string> = new Map();
  /** Fingerprint of what is deployed; empty when a deployment has failed. */
  #deployed: string | undefined;
  #closing: Promise<boolean> | undefined;

  constructor(options: LiveWorkersOptions) {
    this.#options = options;
  }

  /** Base URL of the server where they run. */
  get url(): string {
    return this.#options.cloud.target;
  }

  /** True for endpoints whose functions run on live workers. */
  has(endpoint: string): boolean {
    return this.#bundles.has(endpoint);
  }

  /**
   * From now on calls run this build's code. Deploys what has changed but code. Throws
   * `PAYLOAD_TOO_LARGE`, and what a deployment fails with; calls then still run the earlier code.
   */
  async follow(built: BuildResult): Promise<void> {
    const build = liveBuild(built, this.#options.target.app);
    if (build === undefined) await this.#remove();
    else if (build.manifest.fingerprint !== this.#deployed) await this.#deploy(build);
    this.#bundles = build?.bundles ?? new Map();
  }

  /** Runs a function on a live worker. Never throws: the last event says what went wrong. */
  async *execute(endpoint: string, call: LiveCall, signal: AbortSignal): AsyncGenerator<LiveEvent> {
    try {
      yield* this.#execute(endpoint, call, signal);
    } catch (error) {
      yield answerOfFailure(
        FlashError.is(error) ? error : workerLost(endpoint, error as Error, signal),
      );
    }
  }

  /** Removes what was deployed. False when that has failed and it is left there. Idempotent. */
  close(): Promise<boolean> {
    this.#closing ??= this.#options.keep ? Promise.resolve(true) : this.#tryRemove();
    return this.#closing;
  }

  async #deploy({ manifest, pack }: LiveBuild): Promise<void> {
    const { cloud, target, folder } = this.#options;
    const artifact = await pack(path.join(folder, "live.tar.gz"));
    // Before it is known how it ends: what may be there is to be removed.
    this.#deployed = "";
    const { endpoints } = await cloud.deploy(artifact, target);
    // As we reach the server, not as it calls itself.
    this.#urls = new Map(
      endpoints.map(({ name, id }) => [name, `${cloud.target}/lb/${id}${EXECUTE_PATH}`]),
    );
    this.#deployed = manifest.fingerprint;
  }

  async #tryRemove(): Promise<boolean> {
    try {
      await this.#remove();
      return true;
    } catch {
      return false;
    }
  }

  async #remove(): Promise<void> {
    if (this.#deployed === undefined) return;
    const { cloud, target } = this.#options;
    await cloud.undeploy(target).catch((error: unknown) => {
      if (!FlashError.is(error) || error.code !== "NOT_DEPLOYED") throw error;
    });
    this.#deployed = undefined;
    this.#urls = new Map();
  }

  async *#execute(
    endpoint: string,
    call: LiveCall,
    signal: AbortSignal,
  ): AsyncGenerator<LiveEvent> {
    const bundle = this.#bundles.get(endpoint);
    const url = this.#urls.get(endpoint);
    if (bundle === undefined || url === undefined) throw notLive(endpoint);
    let modules: Record<string, string> | undefined;
    // The next request may reach another worker, which lacks the bundle as well, but not for ever.
    for (let sends = 1; sends <= MAX_SENDS; sends++) {
      const sent = { digest: bundle.digest, ...(modules === undefined ? {} : { modules }) };
      const request = { url, body: JSON.stringify({ ...call, bundle: sent }), signal };
      let last: ExecuteAnswer | undefined;
      for await (const event of this.#post(endpoint, request)) {
        if ("needs_bundle" in event) {
          last = event;
          break;
        }
        if ("text" in event) this.#options.onOutput(endpoint, event.stream, event.text);
        yield event;
        if ("success" in event) return;
      }
      if (last === undefined) throw new Error("the answer ended early");
      ({ modules } = bundle);
    }
    throw new FlashError(
      "REMOTE_ERROR",
      `The live worker of '${endpoint}' does not keep its code.`,
    );
  }

  async *#post(
    endpoint: string,
    { url, body, signal }: { url: string; body: string; signal: AbortSignal },
  ): AsyncGenerator<LiveEvent> {
    const { key } = this.#options;
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "text/event-stream",
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      },
      body,
      signal,
    });
    if (!response.ok || response.body === null) throw await errorOf(endpoint, response);
    for await (const { data } of serverSentEvents(response.body)) {
      const event = parseOrUndefined(data);
      if (typeof event === "object" && event !== null) yield event as LiveEvent;
    }
  }
}

async function errorOf(endpoint: string, response: Response): Promise<FlashError> {
  const text = await response.text();
  const isProblem = response.headers.get("content-type")?.startsWith(PROBLEM_TYPE) === true;
  const problem = isProblem ? errorOfProblem(parseOrUndefined(text)) : undefined;
  return (
    problem ??
    new FlashError(
      "REMOTE_ERROR",
      `The live worker of '${endpoint}' answered ${response.status}: ${text.slice(0, 200)}`,
    )
  );
}

function workerLost(endpoint: string, cause: Error, signal: AbortSignal): FlashError {
  if (signal.aborted) return new FlashError("CANCELLED", "The caller closed its connection.");
  return new FlashError(
    "WORKER_LOST",
    `The live worker of '${endpoint}' was lost: ${cause.message}`,
    {
      cause,
      hint: "Whether it has acted on the call is not known; call again if that is safe.",
    },
  );
}

function notLive(endpoint: string): FlashError {
  return new FlashError("NOT_FOUND", `'${endpoint}' has no live worker.`, {
    hint: "Live workers run the functions of Live resources.",
  });
}
