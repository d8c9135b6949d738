/** Clients of endpoints whose code is not yours: known by id, or deployed from a container image. */

import type { ServerlessScalerType } from "../contract/hardware.ts";
import type { EndpointOptions } from "../contract/options.ts";
import type { AnyFunction } from "../contract/registry.ts";
import { Callable } from "./callable.ts";
import type { ClientCalls } from "./client-calls.ts";
import { declareEndpoint, declared, misuse, type Handle } from "./declare.ts";
import { isDescribing, refusal } from "./describing.ts";
import type { EndpointJob, WaitOptions } from "./job.ts";
import type {
  CallOptions,
  ClientVerb,
  HealthDocument,
  RequestOptions,
  SubmitOptions,
} from "./types.ts";

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
    return this.#remotely((calls) => calls.run(input, options));
  }

  runsync(input: unknown = {}, options: SubmitOptions = {}): Promise<EndpointJob> {
    return this.#remotely((calls) => calls.runsync(input, options));
  }

  status(jobId: string, options: CallOptions = {}): Promise<EndpointJob> {
    return this.#remotely((calls) => calls.status(jobId, options));
  }

  cancel(jobId: string, options: CallOptions = {}): Promise<EndpointJob> {
    return this.#remotely((calls) => calls.change("cancel", jobId, options));
  }

  retry(jobId: string, options: CallOptions = {}): Promise<EndpointJob> {
    return this.#remotely((calls) => calls.change("retry", jobId, options));
  }

  async *stream(jobId: string, options: WaitOptions = {}): AsyncGenerator {
    yield* await this.#remotely(async (calls) => calls.stream(jobId, options));
  }

  health(options: CallOptions = {}): Promise<HealthDocument> {
    return this.#remotely((calls) => calls.health(options));
  }

  purge(options: CallOptions = {}): Promise<{ removed: number; status: string }> {
    return this.#remotely((calls) => calls.purge(options));
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
      return this.#remotely((calls) => calls.request([method, path, data], options));
    };
    return send as ClientVerb;
  }

  #refuseRoute(method: string, path: string, entry: AnyFunction): unknown {
    const mode = this.#mode;
    misuse(
      `Endpoint(${mode}=...) is a client, not a route decorator. @ep.${method.toLowerCase()}("${path}") cannot register handlers on a client endpoint. to register routes, use Endpoint(name=...) without ${mode}=.`,
      entry,
    );
    return undefined;
  }

  /** Nothing is called while the project is described. What calls need loads with the first one. */
  async #remotely<T>(work: (calls: ClientCalls) => Promise<T>): Promise<T> {
    if (isDescribing()) return refusal();
    const { ClientCalls } = await import("./client-calls.ts");
    return work(new ClientCalls(this.#options));
  }
}
