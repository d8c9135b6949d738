/**
 * An endpoint's declarations without its code: every function posts its call to the dev server, which
 * has the bundle and knows the live worker.
 */

import { FlashError, reportOf } from "../../contract/errors.ts";
import { resultOf, EXECUTE_PATH, type LiveCall } from "../../contract/live.ts";
import type { EndpointManifest, FunctionManifest } from "../../contract/manifest.ts";
import { contextStorage, type Context } from "../../contract/context.ts";
import type { AnyClass, AnyFunction, EndpointDeclaration } from "../../contract/registry.ts";
import { parseOrUndefined } from "../../contract/json.ts";
import { encodeRich } from "../../contract/rich.ts";
import { WORKER_ENV } from "../../contract/worker-env.ts";
import { serverSentEvents } from "../../kit/event-stream.ts";
import { JudgedElsewhere } from "../failure.ts";
import type { Served } from "../program.ts";

/** The dev server, and its key. */
export const RELAY_ENV = { url: "FLASH_LIVE_URL", key: "FLASH_LIVE_KEY" } as const;

/** What the endpoint's code would have declared. */
export function relayed({ endpoint }: Served): Promise<EndpointDeclaration[]> {
  const { name, kind, resource } = endpoint;
  const declaration: EndpointDeclaration = {
    name,
    kind,
    options: {},
    resource,
    live: true,
    target: targetOf(endpoint),
    targetSite: undefined,
    routes: endpoint.functions.flatMap((signature) => {
      const { route } = signature;
      const handler = relay(endpoint, signature);
      return route === undefined ? [] : [{ ...route, handler, site: "" }];
    }),
    site: "",
  };
  return Promise.resolve([declaration]);
}

function targetOf(endpoint: EndpointManifest): EndpointDeclaration["target"] {
  const [first] = endpoint.functions;
  if (endpoint.kind === "lb" || first === undefined) return undefined;
  if (endpoint.form === "function") return { form: "function", handler: relay(endpoint, first) };
  // The instance is the live worker's.
  const type = function Relayed(): void {} as unknown as AnyClass;
  Object.defineProperty(type, "name", { value: endpoint.name });
  for (const signature of endpoint.functions) {
    Object.defineProperty(type.prototype, signature.name, { value: relay(endpoint, signature) });
  }
  return { form: "class", type };
}

function relay(endpoint: EndpointManifest, signature: FunctionManifest): AnyFunction {
  return async (...args: unknown[]) => {
    const context = contextStorage()?.getStore();
    try {
      const call = await callOf({ endpoint, signature }, args, context);
      const result = await post(endpoint.name, call, context);
      return isGenerator(result) ? relayStream(result) : result;
    } catch (thrown) {
      throw judged(thrown);
    }
  };
}

async function* relayStream(values: AsyncGenerator): AsyncGenerator {
  try {
    yield* values;
  } catch (thrown) {
    throw judged(thrown);
  }
}

/** The function's own failure has been reported where it happened. */
function judged(thrown: unknown): unknown {
  return FlashError.is(thrown) ? new JudgedElsewhere(thrown) : thrown;
}

function isGenerator(value: unknown): value is AsyncGenerator {
  return Object.prototype.toString.call(value) === "[object AsyncGenerator]";
}

async function callOf(
  { endpoint, signature }: { endpoint: EndpointManifest; signature: FunctionManifest },
  args: readonly unknown[],
  context: Context | undefined,
): Promise<LiveCall> {
  const { route, name } = signature;
  const isClass = endpoint.form === "class";
  return {
    ...(isClass
      ? { execution_type: "class", class_name: endpoint.name, method_name: name }
      : { execution_type: "function", function_name: name }),
    ...(route === undefined ? {} : { route }),
    serialization_format: "json",
    args: await Promise.all(args.map((value, index) => encodeRich(value, `args[${index}]`))),
    signature,
    ...(context === undefined ? {} : { context: await contextOf(context) }),
  };
}

async function contextOf(context: Context): Promise<NonNullable<LiveCall["context"]>> {
  const { attempt, job, deadline, request } = context;
  return {
    attempt,
    ...(job === undefined ? {} : { job }),
    ...(deadline === undefined ? {} : { timeout_ms: Math.max(0, deadline - Date.now()) }),
    ...(request === undefined ? {} : { request: await encodeRich(request) }),
  };
}

async function post(
  endpoint: string,
  call: LiveCall,
  context: Context | undefined,
): Promise<unknown> {
  const { env } = process;
  const url = `${env[RELAY_ENV.url] ?? ""}/${endpoint}${EXECUTE_PATH}`;
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "text/event-stream",
      authorization: `Bearer ${env[RELAY_ENV.key] ?? ""}`,
    },
    body: JSON.stringify(call),
    signal: context?.signal ?? null,
  }).catch((cause: unknown) => {
    throw unreachable(cause);
  });
  if (!response.ok || response.body === null) {
    throw unreachable(new Error(`status ${response.status}: ${await response.text()}`));
  }
  return await resultOf(eventsOf(response.body), {
    onProgress: (value) => context?.progress(value),
  });
}

async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator {
  try {
    for await (const { data } of serverSentEvents(body)) yield parseOrUndefined(data);
  } catch (cause) {
    throw unreachable(cause);
  }
}

function unreachable(cause: unknown): FlashError {
  const { message } = reportOf(cause);
  return new FlashError("CONNECTION_FAILED", `The dev server did not answer: ${message}`, {
    cause,
    hint: `Is 'flash run --remote' still running? This is worker ${process.env[WORKER_ENV.workerId] ?? ""}.`,
  });
}
