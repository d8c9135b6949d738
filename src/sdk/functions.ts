/**
 * What user code gets back for its functions: callables that run in process or at the deployed
 * endpoint, decided anew at every call.
 */

import { instanceOf, privateMethods, publicMethods } from "../contract/instance.ts";
import { FlashError } from "../contract/errors.ts";
import {
  DECLARATION,
  type AnyClass,
  type AnyFunction,
  type RouteDeclaration,
} from "../contract/registry.ts";
import { newJobId } from "../kit/ids.ts";
import type { RemoteCall } from "./calls.ts";
import { peerByName, peerOf, type Peer } from "./connection.ts";
import { nameOf, type Handle } from "./declare.ts";
import { collect, runInProcess } from "./in-process.ts";
import type { EndpointJob } from "./job.ts";
import { startLocalJob } from "./local-job.ts";
import { describingError, notDeployedError, placeCall, refusal, traceable } from "./place.ts";
import type {
  CallOptions,
  EndpointInfo,
  QueueClass,
  QueueFunction,
  RouteFunction,
} from "./types.ts";

/** What a call runs when it runs in process. */
type Work = (args: readonly unknown[]) => unknown;

/** A function of a queue endpoint; `method` when it is one of a class. */
export interface QueueTarget {
  handle: Handle;
  label: string;
  method?: string;
  work: Work;
}

/** The function of a queue endpoint. */
export function queueFunction<F extends AnyFunction>(handle: Handle, handler: F): QueueFunction<F> {
  const work: Work = (args) => handler(...args);
  return queueCallable({ handle, label: handler.name, work }) as unknown as QueueFunction<F>;
}

/** The class of a queue endpoint: its methods on the class and on its instances, its statics inherited. */
export function queueClass<C extends AnyClass>(handle: Handle, type: C): QueueClass<C> {
  const methods = Object.fromEntries(
    publicMethods(type).map((name) => [name, queueCallable(methodTarget(handle, type, name))]),
  );
  function Wrapper(this: object, ...args: unknown[]): void {
    if (new.target === undefined) {
      throw new FlashError("INVALID_USAGE", `Class '${type.name}' cannot be called without 'new'`);
    }
    if (args.length === 0) return;
    throw new FlashError(
      "INVALID_USAGE",
      `'${type.name}' takes no constructor arguments: each worker creates it once, without any.`,
      { hint: "Pass values to its methods, or read them from the environment in the constructor." },
    );
  }
  const { prototype } = Wrapper;
  for (const holder of [Wrapper, prototype]) {
    defineAll(holder, methods);
    forbidPrivate(holder, type);
  }
  Object.setPrototypeOf(Wrapper, type);
  Object.defineProperty(Wrapper, "name", { value: type.name, configurable: true });
  if (!("endpoint" in methods)) defineAll(Wrapper, { endpoint: infoOf(handle) });
  return declared(Wrapper, handle) as unknown as QueueClass<C>;
}

/** A route's function: a promise wherever it runs. */
export function routeFunction<F extends AnyFunction>(
  handle: Handle,
  route: RouteDeclaration,
  options: CallOptions = {},
): RouteFunction<F> {
  const call = (...args: unknown[]): Promise<unknown> => {
    const place = placeCall(handle);
    if (place === "refused") return refusal();
    // An async function, so that what a synchronous handler throws arrives as a rejection.
    if (place === "in-process") {
      return (async () => runInProcess(() => route.handler(...args), options))();
    }
    return remotely(handle, place, (peer) =>
      callRemotely((calls) => calls.callRoute(route, remoteCall(handle, peer, args, options))),
    );
  };
  named(call, route.handler);
  defineAll(call, {
    with: (more: CallOptions) => routeFunction(handle, route, { ...options, ...more }),
    endpoint: infoOf(handle),
  });
  return declared(call, handle, route) as unknown as RouteFunction<F>;
}

/** A route of a Live resource: in process exactly the user's function, its exceptions included. */
export function liveRouteFunction(handle: Handle, route: RouteDeclaration): AnyFunction {
  const isAsync = route.handler.constructor.name === "AsyncFunction";
  const call = (...args: unknown[]): unknown => {
    const place = placeCall(handle);
    if (place === "in-process") return runInProcess(() => route.handler(...args));
    if (place !== "refused") {
      return remotely(handle, place, (peer) =>
        callRemotely((calls) => calls.callRoute(route, remoteCall(handle, peer, args, {}))),
      );
    }
    if (isAsync) return refusal();
    throw describingError();
  };
  named(call, route.handler);
  return declared(call, handle, route);
}

/** Marks a value as declared by `handle`, for the compiler, the worker and `where()`. */
export function declared<T extends object>(value: T, handle: Handle, route?: RouteDeclaration): T {
  const mark = { endpoint: handle.declaration, ...(route === undefined ? {} : { route }) };
  Object.defineProperty(value, DECLARATION, { value: mark, configurable: true });
  return traceable(value, handle);
}

function queueCallable(target: QueueTarget, options: CallOptions = {}): object {
  const { handle, method, work } = target;
  const call = (...args: unknown[]): Promise<unknown> =>
    atPlace(target, args, options, {
      here: () => {
        const job = { id: newJobId("runsync"), endpoint: endpointOf(target) };
        return runInProcess(async () => collect(work(args)), { job, signal: options.signal });
      },
      remote: (remote) => callRemotely((calls) => calls.callQueue(method, remote)),
    });
  const submit =
    (operation: "run" | "runsync") =>
    (...args: unknown[]): Promise<EndpointJob> =>
      atPlace(target, args, options, {
        here: async () => {
          const job = startLocalJob(endpointOf(target), () => work(args), options.signal);
          return operation === "run" ? job : job.wait();
        },
        remote: (remote) => callRemotely((calls) => calls.submitCall(operation, method, remote)),
      });
  named(call, { name: target.label });
  defineAll(call, {
    run: submit("run"),
    runsync: submit("runsync"),
    stream: (...args: unknown[]) => streamOf(target, args, options),
    with: (more: CallOptions) => queueCallable(target, { ...options, ...more }),
    endpoint: infoOf(handle),
  });
  return declared(call, handle);
}

/** What a job's context calls its endpoint. */
function endpointOf({ handle, label }: QueueTarget): string {
  return nameOf(handle) ?? label;
}

function methodTarget(handle: Handle, type: AnyClass, name: string): QueueTarget {
  const work: Work = async (args) => {
    const instance = (await instanceOf(type)) as Record<string, AnyFunction>;
    return instance[name]?.(...args);
  };
  return { handle, label: `${type.name}.${name}`, method: name, work };
}

function atPlace<T>(
  { handle }: QueueTarget,
  args: readonly unknown[],
  options: CallOptions,
  ways: { here: () => Promise<T>; remote: (call: RemoteCall) => Promise<T> },
): Promise<T> {
  const place = placeCall(handle);
  if (place === "refused") return refusal();
  if (place === "in-process") return ways.here();
  return remotely(handle, place, (peer) => ways.remote(remoteCall(handle, peer, args, options)));
}

async function* streamOf(
  target: QueueTarget,
  args: readonly unknown[],
  options: CallOptions,
): AsyncGenerator {
  const { handle, method, work } = target;
  const place = placeCall(handle);
  if (place === "refused") throw describingError();
  if (place === "in-process") {
    yield* startLocalJob(endpointOf(target), () => work(args), options.signal).stream();
    return;
  }
  const peer = await remotely(handle, place, async (found) => found);
  const { streamCall } = await import("./calls.ts");
  yield* streamCall(method, remoteCall(handle, peer, args, options));
}

/** Binding and validating weigh more than the rest of the SDK, so they load with the first remote call. */
async function callRemotely<T>(
  work: (calls: typeof import("./calls.ts")) => Promise<T>,
): Promise<T> {
  return work(await import("./calls.ts"));
}

/** Acts on the places that are not this process. */
async function remotely<T>(
  handle: Handle,
  place: string,
  work: (peer: Peer) => Promise<T>,
): Promise<T> {
  if (place === "own-url" && handle.deployment !== undefined)
    return work(peerOf(handle.deployment));
  if (place === "not-deployed") throw notDeployedError();
  if (place !== "deployed") {
    throw new FlashError("NOT_SUPPORTED", "Live workers are not supported here.");
  }
  const name = nameOf(handle);
  if (name !== undefined) return work(peerByName(name));
  throw new FlashError("INVALID_USAGE", "The endpoint has no name by which it could be called.", {
    hint: "Give it one: Endpoint({ name: 'my-endpoint' }, …).",
  });
}

function remoteCall(
  { declaration }: Handle,
  peer: Peer,
  args: readonly unknown[],
  options: CallOptions,
): RemoteCall {
  const { executionTimeoutMs } = declaration.options;
  // 0 means the platform's limit.
  return { peer, args, options, executionTimeoutMs: executionTimeoutMs || undefined };
}

function infoOf({ declaration }: Handle): EndpointInfo {
  return {
    get name() {
      return declaration.name;
    },
    kind: declaration.kind === "lb" ? "lb" : "qb",
    resource: declaration.resource,
  };
}

function named(call: AnyFunction, like: { name: string; length?: number }): void {
  Object.defineProperty(call, "name", { value: like.name, configurable: true });
  if (like.length !== undefined) {
    Object.defineProperty(call, "length", { value: like.length, configurable: true });
  }
}

function defineAll(holder: object, values: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(values)) {
    Object.defineProperty(holder, key, { value, configurable: true, writable: true });
  }
}

function forbidPrivate(holder: object, type: AnyClass): void {
  for (const name of privateMethods(type)) {
    Object.defineProperty(holder, name, {
      get: () => {
        throw new FlashError("INVALID_USAGE", `'${type.name}' object has no attribute '${name}'`, {
          hint: "Methods whose names start with '_' are private to the class.",
        });
      },
    });
  }
}
