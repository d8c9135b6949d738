/**
 * Inputs and results under a Standard Schema (zod, valibot, …) of the endpoint's options, which wins
 * over the types. The parts of a request are still found by the one binder; only the judgement is
 * the schema's.
 */

import { Binder, type RequestParts } from "../contract/binder.ts";
import { sentence } from "../contract/issues.ts";
import { fromText, fromTexts } from "../contract/carry.ts";
import { FlashError, type Issue } from "../contract/errors.ts";
import type { FunctionManifest, Parameter } from "../contract/manifest.ts";
import type { StandardSchema } from "../contract/options.ts";
import { joinPath } from "../contract/json.ts";
import { isObjectSchema, type JsonSchema } from "../contract/schema.ts";

/** Accepts several texts of one query key as well as a single one. */
const ANYTHING: JsonSchema = { anyOf: [{ type: "array", items: {} }, {}] };

export class SchemaBinder {
  readonly #schema: StandardSchema;
  readonly #binder: Binder;
  readonly #parameters: readonly Parameter[];

  constructor(manifest: FunctionManifest, schema: StandardSchema) {
    this.#schema = schema;
    this.#parameters = manifest.parameters;
    const { single } = new Binder(manifest, manifest.route);
    // Beside the one object there can be parameters in the path: those are judged by their types.
    const parameters = manifest.parameters.map((parameter) =>
      single === undefined || parameter.name === single ? unjudged(parameter) : parameter,
    );
    this.#binder = new Binder({ ...manifest, parameters }, manifest.route);
  }

  /** The arguments of a call. Throws `INVALID_INPUT` with the schema's issues. */
  async decode(parts: RequestParts): Promise<unknown[]> {
    const raw = await this.#binder.receive(parts);
    return this.#spread(raw, await this.#judge(raw, parts));
  }

  /** The same for arguments that have been found elsewhere. */
  async judge(raw: readonly unknown[]): Promise<unknown[]> {
    const { value, issues } = await check(this.#schema, this.#subject(raw));
    if (issues.length > 0) throw new FlashError("INVALID_INPUT", sentence(issues), { issues });
    return this.#spread(raw, value);
  }

  /** What the schema has made of the arguments, as arguments. */
  #spread(raw: readonly unknown[], result: unknown): unknown[] {
    const { single } = this.#binder;
    return this.#parameters.flatMap((parameter, index) => {
      if (parameter.name === single) return [result];
      if (parameter.carrier !== "value" || single !== undefined) return [raw[index]];
      const own = (result as Record<string, unknown> | null)?.[parameter.name];
      return parameter.rest === true && Array.isArray(own) ? (own as unknown[]) : [own];
    });
  }

  /**
   * Path and query hold text. Whether the schema wants it as it is or as the value the type names,
   * only the schema knows: text first, because a schema that takes it converts it as it likes.
   */
  async #judge(raw: unknown[], parts: RequestParts): Promise<unknown> {
    const plain = await check(this.#schema, this.#subject(raw));
    if (plain.issues.length === 0) return plain.value;
    const typed = raw.map((value, index) => this.#typed(value, this.#parameters[index], parts));
    const second = await check(this.#schema, this.#subject(typed));
    if (second.issues.length === 0) return second.value;
    throw new FlashError("INVALID_INPUT", sentence(second.issues), { issues: second.issues });
  }

  /** What the schema judges: the one object parameter itself, or the parameters by name. */
  #subject(values: readonly unknown[]): unknown {
    const named: Record<string, unknown> = {};
    for (const [index, { name, carrier }] of this.#parameters.entries()) {
      if (carrier !== "value" || values[index] === undefined) continue;
      if (name === this.#binder.single) return values[index];
      named[name] = values[index];
    }
    return named;
  }

  #typed(value: unknown, parameter: Parameter | undefined, parts: RequestParts): unknown {
    if (parameter === undefined || parts.body.kind === "json") return value;
    if (parameter.name === this.#binder.single) return typedProperties(value, parameter.schema);
    if (this.#binder.single !== undefined) return value;
    if (typeof value === "string") return fromTexts([value], parameter.schema);
    return Array.isArray(value) ? fromTexts(value as string[], parameter.schema) : value;
  }
}

/** The result as the schema wants it. Throws `INVALID_OUTPUT`. */
export async function throughSchema(value: unknown, schema: StandardSchema): Promise<unknown> {
  const { value: checked, issues } = await check(schema, value);
  if (issues.length === 0) return checked;
  const placed = issues.map(({ path, message }) => ({ path: joinPath("result", path), message }));
  throw new FlashError("INVALID_OUTPUT", sentence(placed), { issues: placed });
}

async function check(
  schema: StandardSchema,
  value: unknown,
): Promise<{ value: unknown; issues: Issue[] }> {
  const result = await schema["~standard"].validate(value);
  if (result.issues === undefined) return { value: result.value, issues: [] };
  return {
    value: undefined,
    issues: result.issues.map(({ message, path = [] }) => ({ path: pathOf(path), message })),
  };
}

function pathOf(keys: readonly (PropertyKey | { readonly key: PropertyKey })[]): string {
  return keys.reduce<string>((path, part) => {
    const key = typeof part === "object" ? part.key : part;
    return typeof key === "number" ? `${path}[${key}]` : joinPath(path, String(key));
  }, "");
}

function unjudged(parameter: Parameter): Parameter {
  if (parameter.carrier !== "value") return parameter;
  const isObject = isObjectSchema(parameter.schema, parameter.schema);
  // A rest arrives as the list that the schema judges.
  const isAnything = { required: false, rest: false };
  return { ...parameter, ...isAnything, schema: isObject ? { type: "object" } : ANYTHING };
}

function typedProperties(value: unknown, schema: JsonSchema): unknown {
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const own = schema.properties?.[key] ?? {};
      return [key, typeof item === "string" ? fromText(item, own, schema) : (item as unknown)];
    }),
  );
}
