/**
 * The one binder: from a call's arguments to a request or job input, and back. The client, the dev
 * server, the worker, the job gateway and the API description all use it, so a call means the same
 * thing everywhere.
 *
 *   named in the path                            path segment
 *   others, GET and bodiless DELETE              query string
 *   others, otherwise                            JSON body object, by name
 *   exactly one left and it is an object         the body (or query, or input) is that object
 *   bytes                                        multipart form data, the others are fields
 *   request                                      the raw Web Request
 */

import { FlashError, type Issue } from "./errors.ts";
import type { Parameter, Signature } from "./manifest.ts";
import { pathParameters, type Route } from "./routes.ts";
import { encodeJson, fromText, fromTexts, toText, toTexts } from "./carry.ts";
import {
  compileSchema,
  isObjectSchema,
  isPlainJsonObject,
  joinPath,
  show,
  unknownKey,
  type JsonSchema,
  type Validator,
} from "./schema.ts";

/** A call on its way out. */
export interface EncodedCall {
  path: Record<string, string>;
  query: [name: string, value: string][];
  body:
    | { kind: "none" }
    | { kind: "json"; value: unknown }
    | { kind: "form"; fields: [name: string, value: string | Uint8Array | Blob][] };
}

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

type Source = "path" | "query" | "body" | "whole" | "form" | "request";

interface Bound {
  parameter: Parameter;
  source: Source;
  validate: Validator;
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
    const inPath = new Set(route === undefined ? [] : pathParameters(route.path));
    const free = signature.parameters.filter(
      (parameter) => parameter.carrier === "value" && !inPath.has(parameter.name),
    );
    const hasBytes = signature.parameters.some((parameter) => parameter.carrier === "bytes");
    const [only] = free;
    this.single =
      free.length === 1 &&
      only !== undefined &&
      !hasBytes &&
      only.rest !== true &&
      isObjectSchema(only.schema, only.schema)
        ? only.name
        : undefined;
    this.#bound = signature.parameters.map((parameter) => ({
      parameter,
      source: sourceOf(parameter, inPath, hasBytes, this.single, route),
      validate: compileSchema(parameter.schema),
    }));
  }

  /**
   * Maps positional arguments to a request.
   * Throws `INVALID_INPUT` for surplus, missing or wrong arguments, `NOT_SERIALIZABLE` for values
   * that JSON cannot carry; both name the parameter.
   */
  encode(args: readonly unknown[]): EncodedCall {
    const values = this.#encodeArguments(args);
    const call: EncodedCall = { path: {}, query: [], body: { kind: "none" } };
    const named: Record<string, unknown> = {};
    const form: [string, string | Uint8Array | Blob][] = [];
    let whole: unknown;
    for (const { parameter, source } of this.#bound) {
      const { name, schema } = parameter;
      if (!values.has(name)) continue;
      const value = values.get(name);
      if (source === "path") call.path[name] = toText(value, schema);
      else if (source === "query") {
        for (const text of toTexts(value, schema)) call.query.push([name, text]);
      } else if (source === "whole") whole = value;
      else if (source === "form") form.push(...formFields(name, value, parameter));
      else if (source === "body") Object.defineProperty(named, name, { value, enumerable: true });
    }
    if (whole !== undefined) {
      if (this.#usesQuery()) call.query.push(...queryOfObject(whole, this.#wholeSchema()));
      else call.body = { kind: "json", value: whole };
    } else if (form.length > 0) call.body = { kind: "form", fields: form };
    else if (
      !this.#usesQuery() &&
      this.#route !== undefined &&
      this.#bound.some(({ source }) => source === "body")
    ) {
      call.body = { kind: "json", value: named };
    } else if (this.#route === undefined) call.body = { kind: "json", value: named };
    return call;
  }

  /** Maps positional arguments to a queue endpoint's `input`. Throws as {@link encode}. */
  encodeInput(args: readonly unknown[]): Record<string, unknown> {
    const { body } = this.encode(args);
    return body.kind === "json" ? (body.value as Record<string, unknown>) : {};
  }

  /** The arguments of a request, validated. Throws `INVALID_INPUT` with every issue found. */
  decode(parts: RequestParts): unknown[] {
    const issues: Issue[] = [];
    const named = this.#namedValues(parts, issues);
    const args = this.#bound.map(({ parameter, source, validate }) => {
      const { name, schema } = parameter;
      if (source === "request") return parts.request;
      if (source === "path") {
        return validate(fromText(parts.path[name] ?? "", schema), name, issues);
      }
      if (source === "whole") return this.#decodeWhole(parts, parameter, validate, issues);
      if (!named.has(name)) {
        if (parameter.required && parameter.rest !== true)
          issues.push({ path: name, message: "is required" });
        return undefined;
      }
      const value = named.get(name);
      return parameter.carrier === "bytes" ? value : validate(value, name, issues);
    });
    if (issues.length > 0) throw this.#invalid(issues, parts);
    return this.#spread(args);
  }

  /** The arguments of a queue endpoint's `input`. Throws `INVALID_INPUT`. */
  decodeInput(input: unknown): unknown[] {
    return this.decode(this.#inputParts(input));
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

  /** Where each parameter comes from, for API descriptions. */
  sources(): readonly { parameter: Parameter; source: Source }[] {
    return this.#bound.map(({ parameter, source }) => ({ parameter, source }));
  }

  /** Schema of the JSON body or queue input; undefined when there is none. */
  bodySchema(): JsonSchema | undefined {
    if (this.single !== undefined) return this.#wholeSchema();
    const inBody = this.#bound.filter(({ source }) => source === "body");
    if (inBody.length === 0) return undefined;
    const definitions = Object.assign(
      {},
      ...inBody.map(({ parameter }) => parameter.schema.$defs ?? {}),
    ) as Record<string, JsonSchema>;
    return {
      type: "object",
      properties: Object.fromEntries(
        inBody.map(({ parameter: { name, schema, description } }) => {
          const { $defs: _, ...rest } = schema;
          return [name, { ...rest, ...(description === undefined ? {} : { description }) }];
        }),
      ),
      required: inBody
        .filter(({ parameter }) => parameter.required && parameter.rest !== true)
        .map(({ parameter }) => parameter.name),
      additionalProperties: false,
      ...(Object.keys(definitions).length === 0 ? {} : { $defs: definitions }),
    };
  }

  #encodeArguments(args: readonly unknown[]): Map<string, unknown> {
    const { parameters } = this.#signature;
    const last = parameters.at(-1);
    if (last?.rest !== true && args.length > parameters.length) {
      throw new FlashError(
        "INVALID_INPUT",
        `Too many arguments: expected at most ${parameters.length}, got ${args.length}.`,
        { hint: `Parameters: ${parameters.map(({ name }) => name).join(", ") || "none"}.` },
      );
    }
    const unfit: Issue[] = [];
    const issues: Issue[] = [];
    const values = new Map<string, unknown>();
    for (const [index, { parameter, source, validate }] of this.#bound.entries()) {
      const value = parameter.rest === true ? args.slice(index) : args[index];
      if (source === "request") {
        issues.push({
          path: parameter.name,
          message: "is a Request: call this route over HTTP instead",
        });
      } else if (value === undefined) {
        if (parameter.required && parameter.rest !== true)
          issues.push({ path: parameter.name, message: "is required" });
      } else if (parameter.carrier === "bytes") values.set(parameter.name, value);
      else {
        const json = encodeJson(value, parameter.schema, parameter.name, unfit);
        if (unfit.length === 0) validate(json, parameter.name, issues);
        values.set(parameter.name, json);
      }
    }
    if (unfit.length > 0) {
      throw new FlashError("NOT_SERIALIZABLE", `JSON serialization error: ${sentence(unfit)}`, {
        issues: unfit,
      });
    }
    if (issues.length > 0) throw new FlashError("INVALID_INPUT", sentence(issues), { issues });
    return values;
  }

  /** Values by parameter name, from query, body or form. */
  #namedValues(parts: RequestParts, issues: Issue[]): Map<string, unknown> {
    const values = new Map<string, unknown>();
    const { body } = parts;
    if (this.single !== undefined) return values;
    if (body.kind === "form") {
      for (const { parameter, source } of this.#bound) {
        if (source !== "form" && source !== "body") continue;
        const found = body.fields
          .filter(([name]) => name === parameter.name)
          .map(([, value]) => value);
        if (found.length > 0) values.set(parameter.name, formValue(found, parameter));
      }
      return values;
    }
    for (const { parameter, source } of this.#bound) {
      // A DELETE may carry its values either way.
      if (source !== "query" && !(source === "body" && this.#mayUseQuery() && body.kind === "none"))
        continue;
      const texts = parts.query.getAll(parameter.name);
      if (texts.length > 0) values.set(parameter.name, fromTexts(texts, parameter.schema));
    }
    // A DELETE may have a body, which then wins; a GET has none.
    if (body.kind !== "json" || this.#route?.method === "GET") return values;
    const named = this.#bodyObject(body.value, issues);
    const inPath = new Set(Object.keys(parts.path));
    const known = this.#bound
      .filter(({ source }) => source !== "path")
      .map(({ parameter }) => parameter.name);
    for (const [key, value] of Object.entries(named)) {
      if (known.includes(key)) values.set(key, value);
      else if (!inPath.has(key))
        issues.push({ path: joinPath("", key), message: unknownKey(known) });
    }
    return values;
  }

  #bodyObject(value: unknown, issues: Issue[]): Record<string, unknown> {
    if (isPlainJsonObject(value)) return value;
    // A null body means the same as none: every parameter may still be optional.
    if (value !== null && value !== undefined) {
      const what = this.#route === undefined ? "input" : "body";
      issues.push({
        path: "",
        message: `${what} must be an object of parameters, got ${show(value)}`,
      });
    }
    return {};
  }

  #decodeWhole(
    parts: RequestParts,
    parameter: Parameter,
    validate: Validator,
    issues: Issue[],
  ): unknown {
    const { body } = parts;
    let value: unknown;
    if (body.kind === "json") value = body.value;
    else if (body.kind === "form")
      value = objectOfTexts(body.fields.filter(isTextField), parameter.schema);
    else if (this.#mayUseQuery() && [...parts.query.keys()].length > 0) {
      value = objectOfTexts([...parts.query], parameter.schema);
    }
    // An absent body means {} if the type allows it, as it does when every property is optional.
    const isAbsent = value === undefined || value === null || isEmptyObject(value);
    if (isAbsent && !parameter.required) return undefined;
    return validate(isAbsent ? {} : value, "", issues);
  }

  #spread(args: unknown[]): unknown[] {
    if (this.#signature.parameters.at(-1)?.rest !== true) return args;
    const rest = args.pop();
    return [...args, ...((rest as unknown[] | undefined) ?? [])];
  }

  #inputParts(input: unknown): RequestParts {
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

  #invalid(issues: Issue[], parts: RequestParts): FlashError {
    const hint = this.#wrappedFormHint(parts);
    return new FlashError("INVALID_INPUT", sentence(issues), {
      issues,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** `{"user": {…}}` where the object itself was wanted is the commonest mistake. */
  #wrappedFormHint(parts: RequestParts): string | undefined {
    const { body } = parts;
    if (this.single === undefined || body.kind !== "json" || !isPlainJsonObject(body.value))
      return undefined;
    const keys = Object.keys(body.value);
    if (keys.length !== 1 || keys[0] !== this.single) return undefined;
    const inner = body.value[this.single];
    if (!isPlainJsonObject(inner)) return undefined;
    const what = this.#route === undefined ? "input" : "body";
    return `'${this.single}' is the only parameter, so the ${what} is that object itself: send ${show(inner)}.`;
  }

  #usesQuery(): boolean {
    return this.#route?.method === "GET" || this.#route?.method === "DELETE";
  }

  #mayUseQuery(): boolean {
    return this.#usesQuery();
  }

  #wholeSchema(): JsonSchema {
    return this.#bound.find(({ source }) => source === "whole")?.parameter.schema ?? {};
  }
}

function sourceOf(
  parameter: Parameter,
  inPath: ReadonlySet<string>,
  hasBytes: boolean,
  single: string | undefined,
  route: Route | undefined,
): Source {
  if (parameter.carrier === "request") return "request";
  if (inPath.has(parameter.name)) return "path";
  if (hasBytes) return "form";
  if (parameter.name === single) return "whole";
  return route?.method === "GET" || route?.method === "DELETE" ? "query" : "body";
}

function formFields(
  name: string,
  value: unknown,
  parameter: Parameter,
): [string, string | Uint8Array | Blob][] {
  if (parameter.carrier !== "bytes")
    return toTexts(value, parameter.schema).map((text) => [name, text]);
  const files = Array.isArray(value) ? value : [value];
  return files.map((file) => [name, file as Uint8Array | Blob]);
}

function formValue(found: readonly (string | Blob)[], parameter: Parameter): unknown {
  if (parameter.carrier === "bytes") {
    return parameter.schema.type === "array" ? found : found.at(-1);
  }
  return fromTexts(
    found.filter((one) => typeof one === "string"),
    parameter.schema,
  );
}

function isTextField(field: readonly [string, string | Blob]): field is readonly [string, string] {
  return typeof field[1] === "string";
}

/** An object parameter as query pairs: one key a property. */
function queryOfObject(value: unknown, schema: JsonSchema): [string, string][] {
  return Object.entries(value as Record<string, unknown>).flatMap(([key, item]) =>
    toTexts(item, propertySchema(schema, key), schema).map((text): [string, string] => [key, text]),
  );
}

function objectOfTexts(
  pairs: readonly (readonly [string, string])[],
  schema: JsonSchema,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const key of new Set(pairs.map(([name]) => name))) {
    const texts = pairs.filter(([name]) => name === key).map(([, text]) => text);
    const value = fromTexts(texts, propertySchema(schema, key), schema);
    Object.defineProperty(result, key, {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return result;
}

function propertySchema(schema: JsonSchema, key: string): JsonSchema {
  const own = schema.properties?.[key];
  if (own !== undefined) return own;
  return typeof schema.additionalProperties === "object" ? schema.additionalProperties : {};
}

function isEmptyObject(value: unknown): boolean {
  return isPlainJsonObject(value) && Object.keys(value).length === 0;
}

/** All issues as one sentence. */
export function sentence(issues: readonly Issue[]): string {
  return `${issues.map(({ path, message }) => (path === "" ? message : `${path} ${message}`)).join("; ")}.`;
}
