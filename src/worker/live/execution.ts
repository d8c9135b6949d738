/** One execution on a live worker: from the request to the events that tell what came of it. */

import { FlashError, reportOf } from "../../contract/errors.ts";
import { instanceOf } from "../../contract/instance.ts";
import {
  answerOfFailure,
  type ExecuteAnswer,
  type ExecuteRequest,
  type LiveEvent,
} from "../../contract/live.ts";
import { publicMethods } from "../../contract/method-names.ts";
import type { AnyFunction } from "../../contract/registry.ts";
import type { EndpointOptions } from "../../contract/options.ts";
import { decodeRich, encodeRich } from "../../contract/rich.ts";
import { conflictKey } from "../../contract/routes.ts";
import { newId } from "../../kit/ids.ts";
import { Call, type CallOptions } from "../call.ts";
import { isStream } from "../callable.ts";
import { functionError } from "../failure.ts";
import type { StackStyle } from "../stack.ts";
import { SchemaBinder, throughSchema } from "../standard-schema.ts";
import { loadFailure, type Bundles, type LoadedBundle } from "./bundles.ts";
import { EventQueue } from "./event-queue.ts";
import { listenToOutput } from "./output.ts";
import type { Slots } from "./slots.ts";

export interface ExecutionOptions {
  bundles: Bundles;
  slots: Slots;
  /** Aborts when the caller is gone. */
  signal: AbortSignal;
}

/** The function that a request means, ready to be called. */
interface Target {
  handler: AnyFunction;
  self?: object;
  options: EndpointOptions;
  style: StackStyle;
}

export class Execution {
  readonly #request: ExecuteRequest;
  readonly #options: ExecutionOptions;
  readonly #call: Call;
  readonly #events: EventQueue<LiveEvent>;

  constructor(request: ExecuteRequest, options: ExecutionOptions) {
    this.#request = request;
    this.#options = options;
    this.#events = new EventQueue(() => this.#leave());
    this.#call = new Call(this.#callOptions());
  }

  /** Starts it. The last event is its answer; a reader that leaves ends the function's call. */
  start(): AsyncIterable<LiveEvent> {
    void this.#run();
    return this.#events;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#leave();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) this.#leave();
    try {
      this.#events.push(await this.#answer());
    } catch (thrown) {
      this.#events.push(answerOfFailure(flashErrorOf(thrown)));
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#call.end();
      this.#events.end();
    }
  }

  #leave(): void {
    this.#call.abort(new FlashError("CANCELLED", "The caller closed its connection."));
  }

  async #answer(): Promise<ExecuteAnswer> {
    const { bundles, slots } = this.#options;
    const { bundle } = this.#request;
    const onOutput = (stream: "stdout" | "stderr", text: string): void =>
      this.#events.push({ stream, text });
    return await listenToOutput(onOutput, async () => {
      const loading = bundles.find(bundle);
      if (loading === undefined) {
        const error = `The worker does not have the bundle ${bundle.digest}.`;
        return { success: false, needs_bundle: true, error };
      }
      const loaded = await loading.catch((error: unknown) => {
        throw loadFailure(error, this.#name);
      });
      const release = await slots.take(this.#call.signal);
      try {
        const value = await this.#call.run(() => this.#runFunction(loaded));
        return { success: true, json_result: value };
      } finally {
        release();
      }
    });
  }

  async #runFunction(loaded: LoadedBundle): Promise<unknown> {
    const target = await this.#find(loaded);
    const args = await this.#arguments(target);
    const { handler, self, style } = target;
    try {
      const value: unknown = await handler.apply(self, args);
      if (!isStream(value)) return await encodeResult(value, target);
      this.#events.push({ streams: true });
      for await (const chunk of value) {
        this.#events.push({ chunk: await encodeResult(chunk, target) });
        await this.#events.space();
        this.#call.signal.throwIfAborted();
      }
      return null;
    } catch (thrown) {
      if (thrown instanceof Unencodable) throw thrown.error;
      throw functionError(thrown, style);
    }
  }

  async #find(loaded: LoadedBundle): Promise<Target> {
    const { declarations, style } = loaded;
    const { execution_type: type, route } = this.#request;
    if (type === "class") return await this.#findMethod(loaded);
    const key = route === undefined ? undefined : conflictKey(route);
    for (const declaration of declarations) {
      const { target, options, routes } = declaration;
      const handler =
        key === undefined
          ? target?.form === "function" && target.handler
          : routes.find((one) => conflictKey(one) === key)?.handler;
      if (handler) return { handler, options, style };
    }
    throw new FlashError("NOT_FOUND", `Function '${this.#name}' not found in executed code`, {
      hint: "Save the file again, so that 'flash run' sends what it holds now.",
    });
  }

  async #findMethod({ declarations, style, instances }: LoadedBundle): Promise<Target> {
    const { method_name: method = "__call__" } = this.#request;
    for (const { target, options } of declarations) {
      if (target?.form !== "class") continue;
      if (!publicMethods(target.type).includes(method)) {
        const text = `Method '${method}' not found in class '${target.type.name}'`;
        throw new FlashError("NOT_FOUND", text);
      }
      // Other calls use it too: what it starts, and what it says, is not of this one.
      const self = await Call.outside(() => instanceOf(target.type)).catch((error: unknown) => {
        throw loadFailure(error, this.#name);
      });
      instances.add(self);
      const handler = (self as Record<string, AnyFunction>)[method];
      if (typeof handler === "function") return { handler, self, options, style };
    }
    throw new FlashError("NOT_FOUND", `Class '${this.#name}' not found in the provided code`);
  }

  /** The arguments; those of a request are judged by the schema of the options, if there is one. */
  async #arguments({ options }: Target): Promise<unknown[]> {
    const { args, signature } = this.#request;
    let values: unknown[];
    try {
      values = args.map((json, index) => decodeRich(json, `args[${index}]`));
    } catch (cause) {
      const text = `Failed to deserialize arguments: ${(cause as Error).message}`;
      throw new FlashError("INVALID_REQUEST", text, { cause });
    }
    if (options.input === undefined || signature === undefined) return values;
    return await new SchemaBinder(signature, options.input).judge(values);
  }

  get #name(): string {
    const { function_name: name, class_name: className } = this.#request;
    return name ?? className ?? "";
  }

  #callOptions(): CallOptions {
    const { context = {} } = this.#request;
    const { job, attempt, timeout_ms: ms, request } = context;
    const message = `Execution timeout: ${this.#name} did not finish within ${(ms ?? 0) / 1000}s.`;
    return {
      who: job === undefined ? { request: newId() } : { job: job.id },
      ...(attempt === undefined ? {} : { attempt }),
      ...(job === undefined ? {} : { job }),
      ...(ms === undefined
        ? {}
        : { limit: { ms, error: () => new FlashError("EXECUTION_TIMEOUT", message) } }),
      ...(request === undefined
        ? {}
        : {
            request: (signal) => new Request(decodeRich(request) as Request, { signal }),
          }),
      onProgress: (progress) => this.#events.push({ progress }),
    };
  }
}

/** Carries a failure of ours past the place where what user code throws is reported as its own. */
class Unencodable {
  readonly error: FlashError;
  constructor(error: FlashError) {
    this.error = error;
  }
}

async function encodeResult(value: unknown, { options }: Target): Promise<unknown> {
  try {
    const { output } = options;
    return await encodeRich(
      output === undefined ? value : await throughSchema(value, output),
      "result",
    );
  } catch (cause) {
    const text = `Failed to serialize result: ${(cause as Error).message}`;
    const issues = FlashError.is(cause) ? cause.issues : undefined;
    throw new Unencodable(
      new FlashError("INVALID_OUTPUT", text, {
        cause,
        ...(issues === undefined ? {} : { issues }),
      }),
    );
  }
}

function flashErrorOf(thrown: unknown): FlashError {
  if (FlashError.is(thrown)) return thrown;
  const { message } = reportOf(thrown);
  return new FlashError("INTERNAL", `Unexpected error: ${message}`, { cause: thrown });
}
