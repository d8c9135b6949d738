/**
 * Carries out calls: decides where each one runs, and runs it there. In this process with what is
 * here; over HTTP with `calls.ts`, whose binder and validator load with the first remote call.
 */

import { FlashError } from "../contract/flash-error.ts";
import { instanceOf } from "../contract/instance.ts";
import type { AnyClass, AnyFunction, RouteDeclaration } from "../contract/registry.ts";
import type { Place } from "../contract/where.ts";
import { abortable } from "../kit/abort.ts";
import { newJobId } from "../kit/ids.ts";
import type { RemoteCall } from "./calls.ts";
import { peerAtDevServer, peerByName, peerOf, type Peer } from "./connection.ts";
import { nameOf, type Handle } from "./declare.ts";
import { describingError } from "./describing.ts";
import { collect, runInProcess } from "./in-process.ts";
import type { EndpointJob } from "./job.ts";
import { startLocalJob } from "./local-job.ts";
import type { LiveTarget } from "./live-calls.ts";
import { notDeployedError, placeCall } from "./place.ts";
import type { CallOptions, SubmitOptions } from "./types.ts";

/** A function of a queue endpoint; `method` when it is one of a class. */
export interface QueueTarget {
  handle: Handle;
  label: string;
  method?: string;
  /** What a call in process runs: the function, or the method of the class's one instance. */
  run: { handler: AnyFunction } | { type: AnyClass };
}

interface RouteTarget {
  handle: Handle;
  route: RouteDeclaration;
}

/** Calls a route. */
export async function callRoute(
  { handle, route }: RouteTarget,
  args: readonly unknown[],
  options: CallOptions,
): Promise<unknown> {
  const place = placeCall(handle);
  if (place === "in-process") {
    const running = async (): Promise<unknown> =>
      runInProcess(() => route.handler(...args), options);
    return abortable(running(), options.signal);
  }
  return callRouteAt(place, { handle, route }, { args, options });
}

/** Calls a route that does not run in this process. */
export async function callRouteAt(
  place: Place,
  { handle, route }: RouteTarget,
  { args, options }: { args: readonly unknown[]; options: CallOptions },
): Promise<unknown> {
  const call = remoteCall(place, handle, { args, options });
  if (place === "live-worker") {
    const { callLive } = await import("./live-calls.ts");
    const name = route.handler.name || `${route.method} ${route.path}`;
    return callLive({ execution_type: "function", function_name: name, route }, call);
  }
  const calls = await import("./calls.ts");
  return calls.callRoute(route, call);
}

/** Runs a job and waits for its result. */
export async function callQueue(
  target: QueueTarget,
  args: readonly unknown[],
  options: SubmitOptions,
): Promise<unknown> {
  const { handle, method } = target;
  const place = placeCall(handle);
  if (place === "in-process") {
    const job = { id: newJobId("runsync"), endpoint: endpointOf(target) };
    const running = runInProcess(async () => collect(runHere(target, args)), {
      job,
      signal: options.signal,
    });
    return abortable(running, options.signal);
  }
  const call = remoteCall(place, handle, { args, options });
  if (place === "live-worker") {
    const { callLive } = await import("./live-calls.ts");
    return collect(await callLive(liveTarget(target), call));
  }
  const calls = await import("./calls.ts");
  return calls.callQueue(method, call);
}

/** Submits a job; with `runsync` it also waits for a while. */
export async function submitJob(
  target: QueueTarget,
  args: readonly unknown[],
  { operation, ...options }: SubmitOptions & { operation: "run" | "runsync" },
): Promise<EndpointJob> {
  const { handle, method } = target;
  const place = placeCall(handle);
  if (place === "in-process") {
    const job = startLocalJob(endpointOf(target), () => runHere(target, args), options.signal);
    return operation === "run" ? job : job.wait();
  }
  const call = remoteCall(place, handle, { args, options });
  const calls = await import("./calls.ts");
  return calls.submitCall(operation, method, call);
}

/** Submits a job and yields its chunks. */
export async function* streamJob(
  target: QueueTarget,
  args: readonly unknown[],
  options: SubmitOptions,
): AsyncGenerator {
  const { handle, method } = target;
  const place = placeCall(handle);
  if (place === "in-process") {
    yield* startLocalJob(endpointOf(target), () => runHere(target, args), options.signal).stream();
    return;
  }
  const call = remoteCall(place, handle, { args, options });
  const calls = await import("./calls.ts");
  yield* calls.streamCall(method, call);
}

function runHere({ run, method = "" }: QueueTarget, args: readonly unknown[]): unknown {
  return "handler" in run ? run.handler(...args) : runMethod(run.type, method, args);
}

async function runMethod(
  type: AnyClass,
  method: string,
  args: readonly unknown[],
): Promise<unknown> {
  const instance = (await instanceOf(type)) as Record<string, AnyFunction>;
  return instance[method]?.(...args);
}

function liveTarget({ handle, run, method, label }: QueueTarget): LiveTarget {
  return "handler" in run
    ? { execution_type: "function", function_name: nameOf(handle) ?? label }
    : { execution_type: "class", class_name: run.type.name, method_name: method ?? "" };
}

/** What a job's context calls its endpoint. */
function endpointOf({ handle, label }: QueueTarget): string {
  return nameOf(handle) ?? label;
}

function remoteCall(
  place: Place,
  handle: Handle,
  given: Pick<RemoteCall, "args" | "options">,
): RemoteCall {
  const { executionTimeoutMs } = handle.declaration.options;
  // 0 means the platform's limit.
  return {
    ...given,
    peer: peerAt(place, handle),
    executionTimeoutMs: executionTimeoutMs || undefined,
  };
}

/** Where the places are that are not this process. */
function peerAt(place: Place, handle: Handle): Peer {
  if (place === "own-url" && handle.deployment !== undefined) return peerOf(handle.deployment);
  if (place === "refused") throw describingError();
  if (place === "not-deployed") throw notDeployedError();
  const name = nameOf(handle);
  if (name !== undefined) return place === "live-worker" ? peerAtDevServer(name) : peerByName(name);
  throw new FlashError("INVALID_USAGE", "The endpoint has no name by which it could be called.", {
    hint: "Give it one: Endpoint({ name: 'my-endpoint' }, …).",
  });
}
