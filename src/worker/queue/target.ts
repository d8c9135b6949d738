/**
 * What a queue endpoint runs: a function, or the methods of one instance. Chooses the function of a
 * job's input. Rules and texts of the choice: spec/build.md 7.2.
 */

import { FlashError, reportOf } from "../../contract/errors.ts";
import { instanceOf } from "../../contract/instance.ts";
import { HOOKS } from "../../contract/method-names.ts";
import { jobLabel } from "../../contract/origin.ts";
import type { FunctionManifest } from "../../contract/manifest.ts";
import type { AnyClass, AnyFunction, EndpointDeclaration } from "../../contract/registry.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import { Callable } from "../callable.ts";
import { targetOf, type Served } from "../program.ts";

export interface QueueTarget {
  /** The function for this input, and the input that is left for it. Throws `INVALID_INPUT`. */
  choose(input: unknown): { callable: Callable; input: unknown };
  /** How chains of calls name that function. */
  labelOf(input: unknown): string;
  /** Runs the instance's `close()`. */
  close(): Promise<void>;
}

/** Creates the instance of a class. Throws `WORKER_START_FAILED` when that fails. */
export async function createTarget(
  served: Served,
  declarations: readonly EndpointDeclaration[],
): Promise<QueueTarget> {
  const { handler, type } = targetOf(served, declarations);
  const options = declarations.find((one) => one.target !== undefined)?.options ?? {};
  const labelOf = (input: unknown): string => jobLabel(served.endpoint, input);
  if (type === undefined) {
    const [manifest] = served.endpoint.functions;
    if (manifest === undefined) throw nothingToRun(served, "function");
    const callable = new Callable({ manifest, handler, options, style: served.style });
    const close = (): Promise<void> => Promise.resolve();
    return { choose: (input) => ({ callable, input }), labelOf, close };
  }
  const self = await createInstance(type, served);
  const methods = new Map<string, Callable>();
  for (const manifest of served.endpoint.functions) {
    const method = (self as Record<string, unknown>)[manifest.name];
    if (HOOKS.includes(manifest.name) || typeof method !== "function") continue;
    const handler = method as AnyFunction;
    methods.set(
      manifest.name,
      new Callable({ manifest, handler, options, style: served.style, self }),
    );
  }
  if (methods.size === 0) throw nothingToRun(served, "public method");
  return {
    choose: (input) => chooseMethod(input, methods, type.name),
    labelOf,
    close: () => closeInstance(self),
  };
}

function chooseMethod(
  input: unknown,
  methods: ReadonlyMap<string, Callable>,
  className: string,
): { callable: Callable; input: unknown } {
  const [only] = methods.values();
  if (methods.size === 1 && only !== undefined) {
    return { callable: only, input: takesMethod(only.manifest) ? input : withoutMethod(input) };
  }
  const names = [...methods.keys()].sort().join(", ");
  const wanted = isPlainJsonObject(input) ? input.method : undefined;
  if (wanted === undefined || wanted === null) {
    throw new FlashError(
      "INVALID_INPUT",
      `class ${className} has multiple methods: ${names}. include a "method" key in the input.`,
      { issues: [{ path: "method", message: `is required: one of ${names}` }] },
    );
  }
  const callable = typeof wanted === "string" ? methods.get(wanted) : undefined;
  if (callable === undefined) {
    const shown = typeof wanted === "string" ? wanted : JSON.stringify(wanted);
    throw new FlashError(
      "INVALID_INPUT",
      `unknown method '${shown}' on ${className}. available: ${names}`,
      { issues: [{ path: "method", message: `must be one of ${names}` }] },
    );
  }
  return { callable, input: withoutMethod(input) };
}

/** A single method may well have a parameter, or take an object with a property, of that name. */
function takesMethod({ parameters }: FunctionManifest): boolean {
  return parameters.some(
    ({ name, schema }) =>
      name === "method" || (parameters.length === 1 && schema.properties?.method !== undefined),
  );
}

function withoutMethod(input: unknown): unknown {
  if (!isPlainJsonObject(input) || !Object.hasOwn(input, "method")) return input;
  const { method: _, ...rest } = input;
  return rest;
}

async function createInstance(type: AnyClass, { endpoint }: Served): Promise<object> {
  try {
    return await instanceOf(type);
  } catch (cause) {
    const { name, message } = reportOf(cause);
    throw new FlashError(
      "WORKER_START_FAILED",
      `The class ${type.name} of '${endpoint.name}' could not be created: ${name}: ${message}`,
      { cause },
    );
  }
}

async function closeInstance(instance: object): Promise<void> {
  const { close } = instance as { close?: unknown };
  if (typeof close === "function") await (close as () => unknown).call(instance);
}

function nothingToRun({ endpoint }: Served, what: string): FlashError {
  return new FlashError("WORKER_START_FAILED", `'${endpoint.name}' has no ${what} to run.`);
}
