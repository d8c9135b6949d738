/** What the parts of an OpenAPI document share: its types, the answers of every operation, examples. */

import { ERRORS, PROBLEM_TYPE, type Issue } from "./errors.ts";
import { sampleValue } from "./sample.ts";
import type { JsonSchema } from "./schema.ts";
import { compileSchema } from "./validator.ts";

/** A JSON object of the document, as the specification lays it out. */
export type OpenApiObject = { [key: string]: unknown };

/** Where the document keeps its schemas. */
export const SCHEMAS = "#/components/schemas/";

export const PROBLEM: JsonSchema = {
  type: "object",
  description: "What went wrong (RFC 9457).",
  properties: {
    type: { type: "string", format: "uri" },
    title: { type: "string" },
    status: { type: "integer" },
    code: { type: "string", enum: Object.keys(ERRORS) },
    detail: { type: "string" },
    hint: { type: "string", description: "The next step." },
    issues: {
      type: "array",
      items: {
        type: "object",
        properties: { path: { type: "string" }, message: { type: "string" } },
        required: ["path", "message"],
      },
    },
    error: {
      type: "object",
      description: "The function's own error.",
      properties: { name: { type: "string" }, message: { type: "string" } },
      required: ["name", "message"],
    },
  },
  required: ["type", "title", "status", "code", "detail"],
};

export const RESPONSES = {
  InvalidInput: problemResponse(ERRORS.INVALID_INPUT.title),
  FunctionFailed: problemResponse(ERRORS.FUNCTION_ERROR.title),
  Refused: problemResponse("The request was refused"),
};

function problemResponse(description: string): OpenApiObject {
  return { description, content: { [PROBLEM_TYPE]: { schema: { $ref: `${SCHEMAS}Problem` } } } };
}

export function responseRef(name: keyof typeof RESPONSES): OpenApiObject {
  return { $ref: `#/components/responses/${name}` };
}

/** The entries that have a value. */
export function optional<T extends object>(
  values: T,
): Partial<{ [K in keyof T]: NonNullable<T[K]> }> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as Partial<{ [K in keyof T]: NonNullable<T[K]> }>;
}

/** An example that the schema accepts; none where a sample cannot be made up. */
export function exampleOf(schema: JsonSchema): { example?: unknown } {
  const example = sampleValue(schema, "body");
  const issues: Issue[] = [];
  compileSchema(schema)(example, "", issues);
  return issues.length === 0 ? { example } : {};
}
