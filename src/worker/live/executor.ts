/**
 * `POST /execute`. Whoever calls must have the worker's secret: it runs whatever code it is sent. The
 * secret is put on by the server that started the worker, for requests with the server's key.
 */

import { hash, timingSafeEqual } from "node:crypto";
import { FlashError, PROBLEM_TYPE, problemOf, reportOf } from "../../contract/errors.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import {
  LIVE_SECRET_HEADER,
  answerOfFailure,
  type ExecuteRequest,
  type LiveEvent,
} from "../../contract/live.ts";
import type { Served } from "../program.ts";
import { Bundles } from "./bundles.ts";
import { Execution } from "./execution.ts";
import { respond } from "./respond.ts";
import { Slots } from "./slots.ts";

export class LiveExecutor {
  readonly #bundles: Bundles;
  readonly #slots: Slots;
  readonly #secret: Buffer;

  /** Throws `INVALID_CONFIG` without a secret. */
  constructor(served: Served, secret: string) {
    if (secret === "") {
      throw new FlashError("INVALID_CONFIG", "A live worker needs a secret, and has none.");
    }
    const { executes, options } = served.endpoint;
    this.#bundles = new Bundles(served);
    // A load-balanced endpoint takes what the balancer gives it, a queue worker has its number of jobs.
    this.#slots = new Slots(executes === "qb" ? options.maxConcurrency : Infinity);
    this.#secret = digest(secret);
  }

  /** 403 without the secret; otherwise 200, and `success` tells how it went. */
  async answer(request: Request): Promise<Response> {
    const given = digest(request.headers.get(LIVE_SECRET_HEADER) ?? "");
    if (!timingSafeEqual(given, this.#secret)) return forbidden();
    return await respond(await this.#execute(request), request.headers.get("accept"));
  }

  /** Runs the `close()` of every instance and removes the files. */
  async close(): Promise<void> {
    await this.#bundles.close();
  }

  async #execute(request: Request): Promise<AsyncIterable<LiveEvent>> {
    try {
      const { signal } = request;
      const call = readRequest(await readBody(request));
      return new Execution(call, { bundles: this.#bundles, slots: this.#slots, signal }).start();
    } catch (error) {
      if (!FlashError.is(error)) throw error;
      return justOne(answerOfFailure(error));
    }
  }
}

async function* justOne(event: LiveEvent): AsyncGenerator<LiveEvent> {
  yield await Promise.resolve(event);
}

async function readBody(request: Request): Promise<unknown> {
  try {
    return await request.json();
  } catch (cause) {
    const text = `Invalid request body: ${reportOf(cause).message}`;
    throw new FlashError("INVALID_REQUEST", text, { cause });
  }
}

/** Checks what the rest relies on. Texts: spec/sdk.md 13.1, 13.2. */
function readRequest(body: unknown): ExecuteRequest {
  // The platform's queue wraps what it delivers.
  const value = isPlainJsonObject(body) && isPlainJsonObject(body.input) ? body.input : body;
  if (!isPlainJsonObject(value)) throw wrong("Invalid request body: it is no JSON object");
  const { execution_type: type = "function", function_name: name, class_name: className } = value;
  if (type !== "function" && type !== "class") {
    throw wrong(`Invalid request body: execution_type is ${JSON.stringify(type)}`);
  }
  if (type === "class" && !isText(className)) {
    throw wrong('class_name is required when execution_type is "class"');
  }
  const { bundle, args = [] } = value;
  if (type === "function" && !isText(name)) {
    throw wrong(
      bundle === undefined
        ? "Missing function_name or function_code in request"
        : 'function_name is required when execution_type is "function"',
    );
  }
  if (!isPlainJsonObject(bundle) || !isText(bundle.digest) || !isModules(bundle.modules)) {
    throw wrong("Missing function_name or function_code in request");
  }
  if (!Array.isArray(args)) {
    throw wrong(`Failed to deserialize arguments: args is ${typeof args}, not a list`);
  }
  return { ...value, execution_type: type, args } as unknown as ExecuteRequest;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function isModules(value: unknown): boolean {
  if (value === undefined) return true;
  return isPlainJsonObject(value) && Object.values(value).every((one) => typeof one === "string");
}

function wrong(message: string): FlashError {
  return new FlashError("INVALID_REQUEST", message);
}

function forbidden(): Response {
  const error = new FlashError("FORBIDDEN", "The request does not have this worker's secret.", {
    hint: "Send it through the Flash server that started the worker, with the server's key.",
  });
  return Response.json(problemOf(error), {
    status: 403,
    headers: { "content-type": PROBLEM_TYPE },
  });
}

function digest(secret: string): Buffer {
  return hash("sha256", secret, "buffer");
}
