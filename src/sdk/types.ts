/** Types of what the SDK returns: they carry the user's own parameters and results. */

import type { EndpointKind, EndpointOptions } from "../contract/options.ts";
import type { AnyClass, AnyFunction } from "../contract/registry.ts";
import type { ServerlessScalerType } from "../contract/hardware.ts";
import type { JobCounts } from "../contract/job.ts";
import type { HttpMethod } from "../contract/routes.ts";
import type { EndpointJob, WaitOptions } from "./job.ts";

/** What a function's stream consists of; `never` when it does not stream. */
export type ChunkOf<F extends AnyFunction> =
  ReturnType<F> extends AsyncIterable<infer T> | Generator<infer T> ? T : never;

/** What a queue function's call gives: the awaited result, or all chunks of a generator. */
export type ResultOf<F extends AnyFunction> =
  ReturnType<F> extends AsyncIterable<infer T> | Generator<infer T> ? T[] : Awaited<ReturnType<F>>;

/** Settings of single calls. */
export interface CallOptions {
  /**
   * How long to wait for the answer, ms. Default: the endpoint's `executionTimeoutMs`, else 30 s for
   * routes and no limit for jobs; FLASH_SENTINEL_TIMEOUT (seconds) overrides both. Ignored in process.
   */
  timeoutMs?: number;
  /** Aborts the wait. The job of a queue endpoint goes on. */
  signal?: AbortSignal;
  /** Further headers, for deployed endpoints. */
  headers?: Readonly<Record<string, string>>;
}

/** Which endpoint a function belongs to. */
export interface EndpointInfo {
  /** Undefined for a queue endpoint that takes its name from its export. */
  readonly name: string | undefined;
  readonly kind: EndpointKind;
  /** The class that declared it: `Endpoint`, `LiveLoadBalancer` … */
  readonly resource: string;
}

/**
 * A function of a queue endpoint. Calling it runs a job and waits for its result; of a generator that
 * is the list of all chunks.
 */
export interface QueueCall<F extends AnyFunction> {
  (...args: Parameters<F>): Promise<ResultOf<F>>;
  /** Submits a job and returns as soon as it is accepted. */
  run(...args: Parameters<F>): Promise<EndpointJob<ResultOf<F>>>;
  /** Submits a job and waits up to 90 s; the job may still be running then. */
  runsync(...args: Parameters<F>): Promise<EndpointJob<ResultOf<F>>>;
  /** The same function with other settings, such as `{ policy: { key: "customer-7" } }`. */
  with(options: SubmitOptions): QueueFunction<F>;
  readonly endpoint: EndpointInfo;
}

export interface QueueStream<F extends AnyFunction> {
  /** Submits a job and yields its chunks as they are produced. */
  stream(...args: Parameters<F>): AsyncIterable<ChunkOf<F>>;
}

export type QueueFunction<F extends AnyFunction> = QueueCall<F> &
  ([ChunkOf<F>] extends [never] ? unknown : QueueStream<F>);

type MethodName<T> = {
  [K in keyof T]: K extends `_${string}` | "init" | "close"
    ? never
    : T[K] extends AnyFunction
      ? K
      : never;
}[keyof T];

/** The public methods of a class, each one a queue function. */
export type QueueMethods<T> = {
  readonly [K in MethodName<T>]: T[K] extends AnyFunction ? QueueFunction<T[K]> : never;
};

/**
 * A class as a queue endpoint. Methods are called on the class itself or on `new Model()`: either
 * way on the one instance that each worker holds.
 */
export type QueueClass<C extends AnyClass> = (new () => QueueMethods<InstanceType<C>>) &
  QueueMethods<InstanceType<C>> &
  Omit<Pick<C, keyof C>, "prototype" | keyof QueueMethods<InstanceType<C>>> & {
    readonly endpoint: EndpointInfo;
  };

/**
 * A route's function. Calling it gives a promise wherever it runs. What the function returns is what
 * the call gives, a Response of any status and a ReadableStream included.
 */
export interface RouteFunction<F extends AnyFunction> {
  (...args: Parameters<F>): Promise<Awaited<ReturnType<F>>>;
  /** The same function with other settings. */
  with(options: CallOptions): RouteFunction<F>;
  readonly endpoint: EndpointInfo;
}

/** GET, POST, PUT, DELETE or PATCH; upper case, lower case, or one capital. */
export type RouteMethod = HttpMethod | Lowercase<HttpMethod> | Capitalize<Lowercase<HttpMethod>>;

/** Starts with `/`; may hold parameters such as `/users/{user_id}`. Not `/ping`, not `/execute`. */
export type RoutePath = `/${string}`;

/** Registers a route: at once, or curried when the handler is left out. */
export interface RouteRegistrar {
  <F extends AnyFunction>(path: RoutePath, handler: F): RouteFunction<F>;
  (path: RoutePath): <F extends AnyFunction>(handler: F) => RouteFunction<F>;
}

interface EndpointFacts {
  readonly name: string | undefined;
  readonly isCpu: boolean;
  readonly isClient: boolean;
  /** True once a route is registered. */
  readonly isLoadBalanced: boolean;
  readonly workersMin: number;
  readonly workersMax: number;
  readonly scalerType: ServerlessScalerType;
}

/** `Endpoint(options)`: apply it to one function or class, or register routes on it. */
export interface EndpointBuilder extends EndpointFacts {
  /** As a standard class decorator. */
  <C extends AnyClass>(type: C, context: ClassDecoratorContext): C;
  <C extends AnyClass>(type: C): QueueClass<C>;
  <F extends AnyFunction>(handler: F): QueueFunction<F>;
  readonly get: RouteRegistrar;
  readonly post: RouteRegistrar;
  readonly put: RouteRegistrar;
  readonly delete: RouteRegistrar;
  readonly patch: RouteRegistrar;
  /** Registers a route of any method, written in any case. */
  route<F extends AnyFunction>(method: RouteMethod, path: RoutePath, handler: F): RouteFunction<F>;
}

/** Settings of a client's HTTP call. */
export interface RequestOptions extends CallOptions {
  query?: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

/** Settings of a job. In process `webhook` and `policy` mean nothing. */
export interface SubmitOptions extends CallOptions {
  /** Called with the job document when the job has ended. */
  webhook?: string;
  policy?: JobPolicyRequest;
}

/** What a submission may ask for. Durations are ms. */
export interface JobPolicyRequest {
  /** Longest run of one attempt, 5 s to 7 days. Default: the endpoint's. */
  executionTimeout?: number;
  /** The job's whole life, 10 s to 7 days. Default 24 h. */
  ttl?: number;
  /** Never starts a worker. */
  lowPriority?: boolean;
  /** Starts that much later at the earliest. */
  delayMs?: number;
  /** Starts then at the earliest: epoch ms or ISO 8601. */
  runAt?: number | string;
  /**
   * Whose job it is: jobs with the same key run `keyConcurrency` at a time (an option of the endpoint,
   * default 1), and keys take turns, so that nobody waits for all jobs of somebody else.
   */
  key?: string;
}

/** Sends an HTTP request. JSON answers are parsed, other text is a string, the rest a Uint8Array. */
export interface ClientVerb {
  /** With `raw` the answer itself, whatever its status. */
  (path: string, data: unknown, options: RequestOptions & { raw: true }): Promise<Response>;
  /** With GET, `data` is an object that becomes the query string. */
  <T = unknown>(path: string, data?: unknown, options?: RequestOptions): Promise<T>;
}

export interface HealthDocument {
  jobs: JobCounts;
  workers: Record<string, number>;
}

/** `Endpoint({ id })` and `Endpoint({ name, image })`: a client of code that is not yours. */
export interface EndpointClient extends EndpointFacts {
  readonly id: string | undefined;
  readonly get: ClientVerb;
  readonly post: ClientVerb;
  readonly put: ClientVerb;
  readonly delete: ClientVerb;
  readonly patch: ClientVerb;
  /** Submits a job. `input` is sent as `{"input": input}`: do not wrap it. */
  run<T = unknown>(input?: unknown, options?: SubmitOptions): Promise<EndpointJob<T>>;
  /** Submits a job and waits, by default up to 60 s; the job may still be running then. */
  runsync<T = unknown>(input?: unknown, options?: SubmitOptions): Promise<EndpointJob<T>>;
  /** The job as it is now. */
  status<T = unknown>(jobId: string, options?: CallOptions): Promise<EndpointJob<T>>;
  cancel<T = unknown>(jobId: string, options?: CallOptions): Promise<EndpointJob<T>>;
  /** Queues a failed or timed out job again. */
  retry<T = unknown>(jobId: string, options?: CallOptions): Promise<EndpointJob<T>>;
  /** Yields the job's chunks until it ends. Each chunk is delivered once. */
  stream<T = unknown>(jobId: string, options?: WaitOptions): AsyncIterable<T>;
  health(options?: CallOptions): Promise<HealthDocument>;
  /** Cancels the jobs that wait. */
  purge(options?: CallOptions): Promise<{ removed: number; status: string }>;
}

/** Options that make a client. */
export type ClientOptions = EndpointOptions & ({ id: string } | { image: string });

/** `Endpoint`, with or without `new`. */
export interface EndpointFactory {
  new (options: ClientOptions): EndpointClient;
  new (options: EndpointOptions | string): EndpointBuilder;
  (options: ClientOptions): EndpointClient;
  (options: EndpointOptions | string): EndpointBuilder;
  <C extends AnyClass>(options: EndpointOptions | string, type: C): QueueClass<C>;
  <F extends AnyFunction>(options: EndpointOptions | string, handler: F): QueueFunction<F>;
}
