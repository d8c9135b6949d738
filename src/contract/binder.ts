/**
 * The one binder: from a call's arguments to a request or job input, and back. The client, the dev
 * server, the worker, the job gateway and the API description all use it, so a call means the same
 * thing everywhere.
 *
 *   named in the path                            path segment
 *   others, GET and DELETE without a body        query string
 *   others, otherwise                            JSON body object or `input`, by name
 *   exactly one left and it is an object         the body (or query, or input) is that object
 *   bytes                                        multipart form data, the others are fields;
 *                                                base64 text where the body is JSON
 *   request                                      the raw Web Request
 *
 * A key of the body or input that nothing declares is refused, one that names a path parameter and
 * unknown keys of the query are ignored. Absent, `undefined`, no body and `{}` mean the same.
 */

import { FlashError, type Issue } from "./errors.ts";
import { encodeJson, fromText, fromTexts, isSameKind, toText, toTexts } from "./carry.ts";
import {
  checkTexts,
  fitBytes,
  formFields,
  formValue,
  groupFields,
  isBytes,
  isFile,
  objectOfTexts,
  pairs,
  queryOfObject,
  type EncodedCall,
  type FieldValue,
} from "./binder-fields.ts";
import { isPlainJsonObject, joinPath, ownValue, show, withKey } from "./json.ts";
import type { Parameter, Signature } from "./manifest.ts";
import type { Route } from "./routes.ts";
import { closeObject, isKnownKey, propertyNames, unknownKey, type JsonSchema } from "./schema.ts";
import { objectSchema, sourcesOf, type Bound, type Source } from "./binder-sources.ts";
import { sentence } from "./issues.ts";
import { MAX_ISSUES } from "./validator.ts";

export type { EncodedCall } from "./binder-fields.ts";
export type { Source } from "./binder-sources.ts";

/** The part of a request that arguments come from. */
export interface RequestParts {
  path: Readonly<Record<string, string>>;
  query: URLSearchParams;
  body:
    | { kind: "none" }
    | { kind: "json"; value: unknown }
    /** Form data, multipart or URL-encoded: text fields and files. */
    | { kind: "form"; fields: readonly (readonly [name: string, value: string | Blob])[] };
  /** Handed to `request` parameters. */
  request?: unknown;
}

export class Binder {
  readonly #signature: Signature;
  readonly #route: Route | undefined;
  readonly #bound: readonly Bound[];
  /** Name of the parameter that is the whole body, query or input. */
  readonly single: string | undefined;

  constructor(signature: Signature, route?: Route) {
    this.#signature = signature;
    this.#route = route;
    const { bound, single } = sourcesOf(signature, route);
    this.#bound = bound;
    this.single = single;
  }

  /**
   * Maps positional arguments to a request.
   * Throws `INVALID_INPUT` for surplus, missing or wrong arguments, `NOT_SERIALIZABLE` for values
   * that cannot be carried; both name the parameter.
   */
  encode(args: readonly unknown[]): EncodedCall {
    const values = this.#encodeArguments(args);
    const call: EncodedCall = { path: {}, query: [], body: { kind: "none" } };
    const named: Record<string, unknown> = {};
    const form: [string, string | Uint8Array | Blob][] = [];
    for (const { parameter, source, schema } of this.#bound) {
      const { name } = parameter;
      if (!values.has(name)) continue;
      const value = values.get(name);
      if (source === "path") withKey(call.path, name, toText(value, schema));
      else if (source === "query") call.query.push(...pairs(name, toTexts(value, schema)));
      else if (source === "form") form.push(...formFields(name, value, parameter));
      else if (source === "body") withKey(named, name, value);
      else if (this.#isQueryFirst())
        call.query.push(...queryOfObject(ownKeys(value, schema), schema));
      else call.body = { kind: "json", value: ownKeys(value, schema) };
    }
    if (form.length > 0) call.body = { kind: "form", fields: form };
    else if (this.#route === undefined || this.#bound.some(({ source }) => source === "body")) {
      if (call.body.kind === "none") call.body = { kind: "json", value: named };
    }
    checkTexts(call);
    return call;
  }

  /** Maps positional arguments to a queue endpoint's `input`. Throws as {@link encode}. */
  encodeInput(args: readonly unknown[]): Record<string, unknown> {
    const { body } = this.encode(args);
    return body.kind === "json" ? (body.value as Record<string, unknown>) : {};
  }

  /**
   * The arguments of a request, validated. Throws `INVALID_INPUT` with every issue found. Bytes
   * arrive as File or Blob out of a form, as Uint8Array out of base64 text.
   */
  decode(parts: RequestParts): unknown[] {
    const issues: Issue[] = [];
    const named =
      this.single === undefined ? this.#namedValues(parts, issues) : new Map<string, unknown>();
    const args = this.#bound.map((bound) => {
      const { parameter, source, schema, validate } = bound;
      const { name } = parameter;
      if (source === "request") return parts.request;
      if (source === "whole") return this.#decodeWhole(bound, parts, issues);
      const text = source === "path" ? ownValue(parts.path, name) : undefined;
      const value = text === undefined ? named.get(name) : fromText(text, schema);
      if (value !== undefined) {
        return isFile(value, parameter) ? value : validate(value, name, issues);
      }
      if (parameter.required && parameter.rest !== true) {
        issues.push({ path: name, message: "is required" });
      }
      return undefined;
    });
    if (issues.length > 0) throw this.#invalid(issues, parts);
    return this.#spread(args);
  }

  /** As {@link decode}, with bytes as the parameter's type has them: Uint8Array, or File and Blob. */
  async receive(parts: RequestParts): Promise<unknown[]> {
    const { parameters } = this.#signature;
    const args = this.decode(parts);
    if (!parameters.some(({ carrier }) => carrier === "bytes")) return args;
    return Promise.all(
      args.map((value, index) => {
        const parameter = parameters[Math.min(index, parameters.length - 1)];
        return parameter?.carrier === "bytes" ? fitBytes(value, parameter) : value;
      }),
    );
  }

  /** The arguments of a queue endpoint's `input`. Throws `INVALID_INPUT`. */
  decodeInput(input: unknown): unknown[] {
    return this.decode(inputParts(input));
  }

  /** What is wrong with a queue endpoint's `input`: empty when it would be accepted. */
  checkInput(input: unknown): Issue[] {
    try {
      this.decodeInput(input);
      return [];
    } catch (error) {
      if (FlashError.is(error) && error.issues !== undefined) return error.issues;
      throw error;
    }
  }

  /** Where each parameter comes from, for API descriptions; on DELETE, where clients send it. */
  sources(): readonly { parameter: Parameter; source: Source }[] {
    return this.#bound.map(({ parameter, source }) => ({ parameter, source }));
  }

  /** Schema of the JSON body or queue input; undefined when there is none. */
  bodySchema(): JsonSchema | undefined {
    const whole = this.#bound.find(({ source }) => source === "whole");
    if (whole !== undefined) return this.#isQueryFirst() ? undefined : closeObject(whole.schema);
    const inBody = this.#bound.filter(({ source }) => source === "body");
    return inBody.length === 0 ? undefined : objectSchema(inBody);
  }

  /** GET takes its values from the query only; DELETE too, unless it has a body. */
  #isQueryFirst(): boolean {
    return this.#route?.method === "GET" || this.#route?.method === "DELETE";
  }

  #isInQuery({ body }: RequestParts): boolean {
    return this.#route?.method === "GET" || (this.#isQueryFirst() && body.kind === "none");
  }

  #encodeArguments(args: readonly unknown[]): Map<string, unknown> {
    this.#checkCount(args.length);
    const unfit: Issue[] = [];
    const issues: Issue[] = [];
    const values = new Map<string, unknown>();
    for (const [index, bound] of this.#bound.entries()) {
      const { parameter, source } = bound;
      const { name } = parameter;
      const value = parameter.rest === true ? args.slice(index) : args[index];
      if (value === undefined || (parameter.rest === true && index >= args.length)) {
        const isNeeded = parameter.required && parameter.rest !== true;
        if (isNeeded || source === "path") issues.push({ path: name, message: "is required" });
      } else if (source === "request") {
        issues.push({ path: name, message: "is a Request: call this route over HTTP instead" });
      } else if (source === "form" && parameter.carrier === "bytes") {
        if (!isBytes(value)) issues.push({ path: name, message: "must be bytes or a file" });
        values.set(name, value);
      } else values.set(name, encodeArgument(bound, value, { unfit, issues }));
    }
    if (unfit.length > 0) {
      throw new FlashError("NOT_SERIALIZABLE", `JSON serialization error: ${sentence(unfit)}`, {
        issues: unfit,
      });
    }
    if (issues.length > 0) {
      const named = issues.map(({ path, message }) => ({
        path: path || (this.single ?? ""),
        message,
      }));
      throw new FlashError("INVALID_INPUT", sentence(named), { issues });
    }
    return values;
  }

  #checkCount(given: number): void {
    const { parameters } = this.#signature;
    if (parameters.at(-1)?.rest === true || given <= parameters.length) return;
    throw new FlashError(
      "INVALID_INPUT",
      `Too many arguments: expected at most ${parameters.length}, got ${given}.`,
      { hint: `Parameters: ${parameters.map(({ name }) => name).join(", ") || "none"}.` },
    );
  }

  /** Values by parameter name, from query, form or JSON body. */
  #namedValues(parts: RequestParts, issues: Issue[]): Map<string, unknown> {
    const { body } = parts;
    if (this.#isInQuery(parts)) return this.#fromQuery(parts.query);
    const given =
      body.kind === "form" ? groupFields(body.fields) : this.#bodyEntries(parts, issues);
    const values = new Map<string, unknown>();
    const free = this.#bound.filter(({ source }) => source !== "path" && source !== "request");
    for (const [key, value] of given) {
      if (issues.length >= MAX_ISSUES) break;
      const bound = free.find(({ parameter }) => parameter.name === key);
      if (bound !== undefined) {
        const isForm = body.kind === "form";
        values.set(key, isForm ? formValue(value as FieldValue[], bound, issues) : value);
      } else if (!this.#isInPath(key)) {
        const known = free.map(({ parameter }) => parameter.name);
        issues.push({ path: joinPath("", key), message: unknownKey(known) });
      }
    }
    return values;
  }

  #fromQuery(query: URLSearchParams): Map<string, unknown> {
    const values = new Map<string, unknown>();
    for (const { parameter, source, schema } of this.#bound) {
      if (source === "path" || source === "request") continue;
      const texts = query.getAll(parameter.name);
      if (texts.length > 0) values.set(parameter.name, fromTexts(texts, schema));
    }
    return values;
  }

  #bodyEntries({ body }: RequestParts, issues: Issue[]): [string, unknown][] {
    const value = body.kind === "json" ? body.value : undefined;
    if (isPlainJsonObject(value)) return Object.entries(value);
    if (value !== null && value !== undefined) {
      const message = `${this.#bodyWord()} must be an object of parameters, got ${show(value)}`;
      issues.push({ path: "", message });
    }
    return [];
  }

  #decodeWhole(bound: Bound, parts: RequestParts, issues: Issue[]): unknown {
    const { parameter, schema, validate } = bound;
    const value = this.#wholeValue(schema, parts);
    // An absent body means {} if the type allows it, as it does when every property is optional.
    const isAbsent = value === undefined || value === null;
    if (!isAbsent && !isPlainJsonObject(value)) return validate(value, "", issues);
    const whole: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value ?? {})) {
      if (issues.length >= MAX_ISSUES) break;
      if (isKnownKey(key, schema, schema)) withKey(whole, key, item);
      else if (!this.#isInQuery(parts) && !this.#isInPath(key)) {
        const message = unknownKey(propertyNames(schema, schema));
        issues.push({ path: joinPath("", key), message });
      }
    }
    const isEmpty = Object.keys(whole).length === 0;
    return isEmpty && !parameter.required ? undefined : validate(whole, "", issues);
  }

  #wholeValue(schema: JsonSchema, parts: RequestParts): unknown {
    const { body, query } = parts;
    if (this.#isInQuery(parts)) return objectOfTexts([...query], schema);
    if (body.kind === "json") return body.value;
    if (body.kind === "none") return undefined;
    const texts = body.fields.filter((field) => typeof field[1] === "string");
    return objectOfTexts(texts as [string, string][], schema);
  }

  #isInPath(name: string): boolean {
    return this.#bound.some(
      ({ parameter, source }) => source === "path" && parameter.name === name,
    );
  }

  #spread(args: unknown[]): unknown[] {
    if (this.#signature.parameters.at(-1)?.rest !== true) return args;
    const rest = args.at(-1) as unknown[] | undefined;
    return [...args.slice(0, -1), ...(rest ?? [])];
  }

  #bodyWord(): "input" | "body" {
    return this.#route === undefined ? "input" : "body";
  }

  #invalid(issues: Issue[], parts: RequestParts): FlashError {
    const hint = this.#wrappedFormHint(parts);
    return new FlashError("INVALID_INPUT", sentence(issues), {
      issues,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** `{"user": {…}}` where the object itself was wanted is the commonest mistake, and so is `input` twice. */
  #wrappedFormHint({ body }: RequestParts): string | undefined {
    if (body.kind !== "json" || !isPlainJsonObject(body.value)) return undefined;
    const [key = "", ...more] = Object.keys(body.value);
    const inner = ownValue(body.value, key);
    if (more.length > 0 || !isPlainJsonObject(inner)) return undefined;
    const what = this.#bodyWord();
    if (key === this.single) {
      return `'${key}' is the only parameter, so the ${what} is that object itself: send ${show(inner)}.`;
    }
    if (key !== "input") return undefined;
    return `The ${what} holds the parameters themselves: send ${show(inner)}.`;
  }
}

function encodeArgument(
  { parameter, source, schema, validate, isRich }: Bound,
  value: unknown,
  { unfit, issues }: { unfit: Issue[]; issues: Issue[] },
): unknown {
  const before = unfit.length + issues.length;
  const json = encodeJson(value, schema, parameter.name, unfit);
  if (unfit.length > 0) return json;
  // Issues name places as whoever decodes names them: an object that is the body itself has no name.
  const back = validate(json, source === "whole" ? "" : parameter.name, issues);
  if (isRich && unfit.length + issues.length === before && !isSameKind(value, back)) {
    unfit.push({
      path: parameter.name,
      message: "would arrive as another type, because its own type allows both; narrow the type",
    });
  }
  return json;
}

/** A queue input as the parts that {@link Binder.decode} and {@link Binder.receive} read. */
export function inputParts(input: unknown): RequestParts {
  let value = input;
  if (isPlainJsonObject(input) && Object.hasOwn(input, "__empty")) {
    // The platform drops empty inputs, so the original's clients mark them.
    const { __empty: _, ...rest } = input;
    value = rest;
  }
  return {
    path: {},
    query: new URLSearchParams(),
    body: value === undefined ? { kind: "none" } : { kind: "json", value },
  };
}

/** The object without keys its type does not name: a value may be wider than its type. */
function ownKeys(value: unknown, schema: JsonSchema): Record<string, unknown> {
  const entries = Object.entries(value as Record<string, unknown>);
  return Object.fromEntries(entries.filter(([key]) => isKnownKey(key, schema, schema)));
}
