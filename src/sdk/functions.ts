/**
 * What user code gets back for its functions: callables that run in process or at the deployed
 * endpoint, decided anew at every call. How they run loads with the first call.
 */

import { FlashError } from "../contract/flash-error.ts";
import { privateMethods, publicMethods } from "../contract/method-names.ts";
import type { AnyClass, AnyFunction, RouteDeclaration } from "../contract/registry.ts";
import { declared, type Handle } from "./declare.ts";
import { describingError, isDescribing, refusal } from "./describing.ts";
import type { QueueTarget } from "./dispatch.ts";
import type { EndpointJob } from "./job.ts";
import type {
  CallOptions,
  EndpointInfo,
  QueueClass,
  QueueFunction,
  RouteFunction,
  SubmitOptions,
} from "./types.ts";

/** The function of a queue endpoint. */
export function queueFunction<F extends AnyFunction>(handle: Handle, handler: F): QueueFunction<F> {
  const target = { handle, label: handler.name, run: { handler } };
  return queueCallable(target) as unknown as QueueFunction<F>;
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
  const call = (...args: unknown[]): Promise<unknown> =>
    dispatched(({ callRoute }) => callRoute({ handle, route }, args, options));
  named(call, route.handler);
  defineAll(call, {
    with: (more: CallOptions) => routeFunction(handle, route, { ...options, ...more }),
    endpoint: infoOf(handle),
  });
  return declared(call, handle, route) as unknown as RouteFunction<F>;
}

function queueCallable(target: QueueTarget, options: SubmitOptions = {}): object {
  const call = (...args: unknown[]): Promise<unknown> =>
    dispatched(({ callQueue }) => callQueue(target, args, options));
  const submit =
    (operation: "run" | "runsync") =>
    (...args: unknown[]): Promise<EndpointJob> =>
      dispatched(({ submitJob }) => submitJob(target, args, { ...options, operation }));
  named(call, { name: target.label });
  defineAll(call, {
    run: submit("run"),
    runsync: submit("runsync"),
    stream: (...args: unknown[]) => streamOf(target, args, options),
    with: (more: SubmitOptions) => queueCallable(target, { ...options, ...more }),
    endpoint: infoOf(target.handle),
  });
  return declared(call, target.handle);
}

/** Everything behind a call, from the decision where it runs to HTTP, loads with the first one. */
function dispatched<T>(work: (dispatch: typeof import("./dispatch.ts")) => Promise<T>): Promise<T> {
  return isDescribing() ? refusal() : import("./dispatch.ts").then(work);
}

async function* streamOf(
  target: QueueTarget,
  args: readonly unknown[],
  options: SubmitOptions,
): AsyncGenerator {
  if (isDescribing()) throw describingError();
  const { streamJob } = await import("./dispatch.ts");
  yield* streamJob(target, args, options);
}

function methodTarget(handle: Handle, type: AnyClass, name: string): QueueTarget {
  return { handle, label: `${type.name}.${name}`, method: name, run: { type } };
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

/** Gives a wrapper the name, and where it is known the arity, of what it wraps. */
export function named(call: AnyFunction, like: { name: string; length?: number }): void {
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
