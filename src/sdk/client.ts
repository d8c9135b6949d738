/** Clients of endpoints whose code is not yours: known by id, or deployed from a container image. */

import { FlashError, type Issue } from "../contract/errors.ts";
import type { ServerlessScalerType } from "../contract/hardware.ts";
import type { JobDocument } from "../contract/job.ts";
import type { EndpointOptions } from "../contract/options.ts";
import { registry, type AnyFunction } from "../contract/registry.ts";
import { readAnswer } from "./answer.ts";
import { Callable } from "./callable.ts";
import { peerById, peerByName, type Peer } from "./connection.ts";
import { declareEndpoint, misuse, type Handle } from "./declare.ts";
import { ensureOk, exchange } from "./exchange.ts";
import { declared } from "./functions.ts";
import { EndpointJob } from "./job.ts";
import { RemoteJob, changeJob, chunksOf, operate, readJob, submit, submitAndHold } from "./jobs.ts";
import { refusal } from "./place.ts";
import type { ClientVerb, HealthDocument, RequestOptions, SubmitOptions } from "./types.ts";

/** Time of a client's request, ms. Source: the original. */
const REQUEST_TIMEOUT_MS = 60_000;

export class Client extends Callable {
  readonly #options: EndpointOptions;
  readonly #handle: Handle;

  constructor(options: EndpointOptions, entry: AnyFunction) {
    const decorate = (): unknown => this.refuseDecoration(decorate);
    super(decorate);
    this.#options = options;
    this.#handle = declareEndpoint(
      { kind: "client", options, resource: "Endpoint", live: false, production: false },
      entry,
    );
    declared(this, this.#handle);
  }

  get = this.#verb("GET");
  post = this.#verb("POST");
  put = this.#verb("PUT");
  delete = this.#verb("DELETE");
  patch = this.#verb("PATCH");

  get id(): string | undefined {
    return this.#options.id;
  }

  get name(): string | undefined {
    return this.#options.name;
  }

  get isClient(): boolean {
    return true;
  }

  get isCpu(): boolean {
    return this.#options.cpu !== undefined;
  }

  get isLoadBalanced(): boolean {
    return false;
  }

  get workersMin(): number {
    return this.#workers[0];
  }

  get workersMax(): number {
    return this.#workers[1];
  }

  get scalerType(): ServerlessScalerType {
    return this.#options.scalerType ?? "QUEUE_DELAY";
  }

  run(input: unknown = {}, options: SubmitOptions = {}): Promise<EndpointJob> {
    return this.#submit("run", input, options);
  }

  runsync(input: unknown = {}, options: SubmitOptions = {}): Promise<EndpointJob> {
    return this.#submit("runsync", input, options);
  }

  status(jobId: string): Promise<EndpointJob> {
    return this.#remotely(async (peer) => jobAt(peer, await readJob(peer, jobId)));
  }

  cancel(jobId: string): Promise<EndpointJob> {
    return this.#remotely(async (peer) => jobAt(peer, await changeJob(peer, "cancel", jobId)));
  }

  retry(jobId: string): Promise<EndpointJob> {
    return this.#remotely(async (peer) => jobAt(peer, await changeJob(peer, "retry", jobId)));
  }

  async *stream(jobId: string): AsyncGenerator {
    yield* chunksOf(await this.#remotely(async (peer) => peer), jobId);
  }

  health(): Promise<HealthDocument> {
    return this.#remotely((peer) => operate(peer, "GET", "/health") as Promise<HealthDocument>);
  }

  purge(): Promise<{ removed: number; status: string }> {
    return this.#remotely(
      (peer) =>
        operate(peer, "POST", "/purge-queue") as Promise<{ removed: number; status: string }>,
    );
  }

  /** Refuses to be applied to code; returns the client when mistakes are only collected. */
  refuseDecoration(entry: AnyFunction): this {
    const mode = this.#mode;
    misuse(
      `cannot use Endpoint(${mode}=...) as a decorator. ${mode}= endpoints are clients for external/pre-built services. use Endpoint(name=...) for your own code.`,
      entry,
    );
    return this;
  }

  get #mode(): "id" | "image" {
    return this.#options.id === undefined ? "image" : "id";
  }

  get #workers(): readonly [number, number] {
    const { workers } = this.#options;
    if (workers === undefined) return [0, 1];
    return typeof workers === "number" ? [0, workers] : workers;
  }

  #verb(method: string): ClientVerb {
    const send = (
      path: string,
      data?: unknown,
      options: RequestOptions & { raw?: boolean } = {},
    ) => {
      if (typeof data === "function") return this.#refuseRoute(method, path, send);
      return this.#remotely((peer) => this.#request(peer, [method, path, data], options));
    };
    return send as ClientVerb;
  }

  async #request(
    peer: Peer,
    [method, path, data]: [method: string, path: string, data: unknown],
    { query, raw, ...options }: RequestOptions & { raw?: boolean },
  ): Promise<unknown> {
    if (!path.startsWith("/")) {
      throw new FlashError("INVALID_USAGE", `path must start with '/', got: ${path}`);
    }
    const json = data === undefined ? undefined : await toJson(data, "data");
    const search = new URLSearchParams(
      pairsOf({ ...(method === "GET" ? asQuery(json) : {}), ...query }),
    );
    const question =
      search.size === 0 ? "" : `${path.includes("?") ? "&" : "?"}${search.toString()}`;
    const outgoing = {
      timeoutMs: REQUEST_TIMEOUT_MS,
      ...options,
      method,
      url: `${peer.routesUrl}${path}${question}`,
      body: method === "GET" || json === undefined ? undefined : JSON.stringify(json),
    };
    return exchange(peer, outgoing, async (response) => {
      if (raw === true) return response;
      await ensureOk(response, peer);
      return readAnswer(response, peer);
    });
  }

  #submit(
    operation: "run" | "runsync",
    input: unknown,
    { webhook, policy, ...limits }: SubmitOptions,
  ): Promise<EndpointJob> {
    return this.#remotely(async (peer) => {
      const body = {
        input: await toJson(input, "input"),
        ...(webhook === undefined ? {} : { webhook }),
        ...(policy === undefined ? {} : { policy }),
      };
      const sent = { timeoutMs: REQUEST_TIMEOUT_MS, ...limits, body };
      return jobAt(
        peer,
        await (operation === "run" ? submit(peer, "run", sent) : submitAndHold(peer, sent)),
      );
    });
  }

  #refuseRoute(method: string, path: string, entry: AnyFunction): unknown {
    const mode = this.#mode;
    misuse(
      `Endpoint(${mode}=...) is a client, not a route decorator. @ep.${method.toLowerCase()}("${path}") cannot register handlers on a client endpoint. to register routes, use Endpoint(name=...) without ${mode}=.`,
      entry,
    );
    return undefined;
  }

  /** Nothing is called while the project is described. An `id` always wins over a name. */
  async #remotely<T>(work: (peer: Peer) => Promise<T>): Promise<T> {
    if (registry().mode === "describe") return refusal();
    const { id, name } = this.#options;
    return work(id === undefined ? peerByName(name ?? "") : peerById(id));
  }
}

function jobAt(peer: Peer, document: JobDocument): EndpointJob {
  return new EndpointJob(new RemoteJob(peer, document.id), document);
}

/** Plain JSON, or `NOT_SERIALIZABLE`. Loaded with the first value that is sent. */
async function toJson(value: unknown, name: string): Promise<unknown> {
  const { encodeJson } = await import("../contract/carry.ts");
  const issues: Issue[] = [];
  const json = encodeJson(value, {}, name, issues);
  if (issues.length === 0) return json;
  const unfit = issues.map(({ path, message }) => `${path} ${message}`).join("; ");
  throw new FlashError("NOT_SERIALIZABLE", `JSON serialization error: ${unfit}.`, { issues });
}

function asQuery(data: unknown): Record<string, unknown> {
  if (data === undefined || data === null) return {};
  if (typeof data === "object" && !Array.isArray(data)) return data as Record<string, unknown>;
  throw new FlashError(
    "INVALID_USAGE",
    "data of a GET request must be an object: it becomes the query string.",
  );
}

/** Lists repeat their key; what is not text is written as JSON. */
function pairsOf(query: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(query).flatMap(([key, value]) =>
    [value]
      .flat()
      .map((one): [string, string] => [key, typeof one === "string" ? one : JSON.stringify(one)]),
  );
}
