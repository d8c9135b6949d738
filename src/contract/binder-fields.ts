/**
 * Values as fields of a query or a form: pairs of a name and a text, or a file; a name as often as it
 * has values.
 */

import { fromTexts, toTexts } from "./carry.ts";
import { FlashError, type Issue } from "./errors.ts";
import { sentence } from "./issues.ts";
import { withKey } from "./json.ts";
import type { Parameter } from "./manifest.ts";
import { alternativesWithParts, holdsRich, propertyParts, type JsonSchema } from "./schema.ts";

/** A call on its way out. */
export interface EncodedCall {
  path: Record<string, string>;
  query: [name: string, value: string][];
  body:
    | { kind: "none" }
    | { kind: "json"; value: unknown }
    | { kind: "form"; fields: [name: string, value: string | Uint8Array | Blob][] };
}

export type FieldValue = string | Blob;

export function groupFields<T>(fields: readonly (readonly [string, T])[]): [string, T[]][] {
  const groups = new Map<string, T[]>();
  for (const [name, value] of fields) {
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [value]);
    else group.push(value);
  }
  return [...groups];
}

export function pairs(name: string, texts: readonly string[]): [string, string][] {
  return texts.map((text) => [name, text]);
}

/** An object parameter as query pairs: one key a property. */
export function queryOfObject(
  value: Record<string, unknown>,
  schema: JsonSchema,
): [string, string][] {
  return Object.entries(value).flatMap(([key, item]) =>
    pairs(key, toTexts(item, propertySchema(schema, key), schema)),
  );
}

export function objectOfTexts(
  given: readonly (readonly [string, string])[],
  schema: JsonSchema,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, texts] of groupFields(given)) {
    withKey(result, key, fromTexts(texts, propertySchema(schema, key), schema));
  }
  return result;
}

/** What an object schema, or any of its alternatives, says about a property. */
function propertySchema(schema: JsonSchema, key: string): JsonSchema {
  const found = alternativesWithParts(schema, schema).flatMap((branch) =>
    propertyParts(branch, key),
  );
  const [only] = found;
  return found.length > 1 ? { anyOf: found } : (only ?? {});
}

export function formFields(
  name: string,
  value: unknown,
  parameter: Parameter,
): [string, string | Uint8Array | Blob][] {
  if (parameter.carrier !== "bytes") return pairs(name, toTexts(value, parameter.schema));
  const files = Array.isArray(value) ? value : [value];
  return files.map((file) => [name, file as Uint8Array | Blob]);
}

/** `schema`: what the parameter is as JSON. */
export function formValue(
  found: readonly FieldValue[],
  { parameter, schema }: { parameter: Parameter; schema: JsonSchema },
  issues: Issue[],
): unknown {
  const texts = found.filter((one) => typeof one === "string");
  if (parameter.carrier !== "bytes") {
    if (texts.length === found.length) return fromTexts(texts, schema);
    issues.push({ path: parameter.name, message: "must be a text field, not a file" });
    return undefined;
  }
  // Text in place of a file is a file that holds the text.
  const files = found.map((one) => (typeof one === "string" ? new Blob([one]) : one));
  return schema.type === "array" ? files : files.at(-1);
}

export function isBytes(value: unknown): boolean {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.every((one) => one instanceof Uint8Array || one instanceof Blob);
}

/** A file as a form brings it: not text that would have to be base64. */
export function isFile(value: unknown, { carrier }: Parameter): boolean {
  return carrier === "bytes" && typeof value === "object" && isBytes(value);
}

/** A file as the parameter's type has it: Uint8Array, or File and Blob. */
export async function fitBytes(value: unknown, parameter: Parameter): Promise<unknown> {
  if (Array.isArray(value)) return Promise.all(value.map((one) => fitBytes(one, parameter)));
  const { schema } = parameter;
  const isPlainBytes = holdsRich(schema, schema);
  if (isPlainBytes && value instanceof Blob) return new Uint8Array(await value.arrayBuffer());
  if (!isPlainBytes && value instanceof Uint8Array) {
    return new File([value as Uint8Array<ArrayBuffer>], parameter.name);
  }
  return value;
}

/** What JSON can carry but a URL cannot. Throws `INVALID_INPUT`. */
export function checkTexts({ path, query, body }: EncodedCall): void {
  const issues: Issue[] = [];
  for (const [name, text] of Object.entries(path)) {
    if (text === "") issues.push({ path: name, message: "must not be empty: it is in the path" });
    if (text === "." || text === "..") {
      issues.push({ path: name, message: `must not be "${text}": URLs give it a meaning` });
    }
  }
  const fields = body.kind === "form" ? body.fields : [];
  for (const [name, text] of [...Object.entries(path), ...query, ...fields]) {
    if (typeof text === "string" && !(text.isWellFormed() && name.isWellFormed())) {
      issues.push({ path: name, message: "holds half a surrogate pair, which a URL cannot carry" });
    }
  }
  if (issues.length > 0) throw new FlashError("INVALID_INPUT", sentence(issues), { issues });
}
