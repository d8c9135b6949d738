/**
 * One function of an endpoint, ready to be called: how its arguments are found in a request or a
 * job's input, and how its result becomes JSON. Compiled once, used for every call of both kinds.
 */

import { Binder, type RequestParts } from "../contract/binder.ts";
import { sentence } from "../contract/issues.ts";
import { encodeResult } from "../contract/carry.ts";
import { FlashError, type Issue } from "../contract/errors.ts";
import type { FunctionManifest } from "../contract/manifest.ts";
import type { EndpointOptions } from "../contract/options.ts";
import type { AnyFunction } from "../contract/registry.ts";
import { functionError } from "./failure.ts";
import type { StackStyle } from "./stack.ts";
import { SchemaBinder, throughSchema } from "./standard-schema.ts";

export interface CallableOptions {
  manifest: FunctionManifest;
  handler: AnyFunction;
  /** The options as declared: they hold the Standard Schemas, which a manifest cannot carry. */
  options: EndpointOptions;
  style: StackStyle;
  /** The instance, for methods. */
  self?: object;
}

export class Callable {
  readonly manifest: FunctionManifest;
  /** Takes a raw Web Request. */
  readonly wantsRequest: boolean;
  /** Takes files. */
  readonly wantsBytes: boolean;
  readonly binder: Binder;
  readonly #options: CallableOptions;
  readonly #judged: SchemaBinder | undefined;

  constructor(options: CallableOptions) {
    const { manifest } = options;
    this.manifest = manifest;
    this.#options = options;
    this.wantsRequest = manifest.parameters.some(({ carrier }) => carrier === "request");
    this.wantsBytes = manifest.parameters.some(({ carrier }) => carrier === "bytes");
    this.binder = new Binder(manifest, manifest.route);
    const schema = options.options.input;
    this.#judged = schema === undefined ? undefined : new SchemaBinder(manifest, schema);
  }

  /** The arguments in these parts. Throws `INVALID_INPUT` with every issue. */
  async bind(parts: RequestParts): Promise<unknown[]> {
    if (this.#judged !== undefined) return await this.#judged.decode(parts);
    // Nothing but bytes has to be waited for.
    return this.wantsBytes ? await this.binder.receive(parts) : this.binder.decode(parts);
  }

  /** Calls the function. Whatever it throws arrives as `FUNCTION_ERROR` with a report. */
  async call(args: readonly unknown[]): Promise<unknown> {
    const { handler, self, style } = this.#options;
    try {
      return await handler.apply(self, [...args]);
    } catch (thrown) {
      throw functionError(thrown, style);
    }
  }

  /** An error that came out of a stream the function returned. */
  failed(thrown: unknown): FlashError {
    return FlashError.is(thrown) && thrown.code === "INVALID_OUTPUT"
      ? thrown
      : functionError(thrown, this.#options.style);
  }

  /** Why an aborted call ended. */
  endedBy(signal: AbortSignal): FlashError {
    const reason: unknown = signal.reason;
    return FlashError.is(reason) ? reason : this.failed(reason);
  }

  /** A result, or one value of a streamed one, as plain JSON. Throws `INVALID_OUTPUT`. */
  async encode(value: unknown): Promise<unknown> {
    const { options, manifest } = this.#options;
    const checked =
      options.output === undefined ? value : await throughSchema(value, options.output);
    if (checked === undefined) return null;
    const issues: Issue[] = [];
    const json = encodeResult(checked, manifest.returns ?? {}, issues);
    if (issues.length === 0) return json;
    throw new FlashError(
      "INVALID_OUTPUT",
      `'${manifest.name}' returned what cannot be sent: ${sentence(issues)}`,
      { issues },
    );
  }
}

/** True for what is sent value by value: async generators and other async iterables, generators. */
export function isStream(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  if (typeof value !== "object" || value === null) return false;
  if (Symbol.asyncIterator in value) return true;
  return Symbol.iterator in value && Object.prototype.toString.call(value) === "[object Generator]";
}
