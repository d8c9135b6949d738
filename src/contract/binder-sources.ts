/** Where each parameter of a signature comes from in a request or job input, and what it is there as JSON. */

import type { Parameter, Signature } from "./manifest.ts";
import { withKey } from "./json.ts";
import { pathParameters, type Route } from "./routes.ts";
import { BASE64, Definitions, holdsRich, isObjectSchema, type JsonSchema } from "./schema.ts";
import { compileSchema, type Validator } from "./validator.ts";

/** Where a parameter comes from; `whole` is the object that is the body, query or input itself. */
export type Source = "path" | "query" | "body" | "whole" | "form" | "request";

export interface Bound {
  parameter: Parameter;
  source: Source;
  /** What the parameter is as JSON: base64 text for bytes. */
  schema: JsonSchema;
  validate: Validator;
  /** Decoding changes some values, which must then be told apart from plain ones. */
  isRich: boolean;
}

/** The parameters in order, and the name of the one that is the whole body, query or input. */
export function sourcesOf(
  signature: Signature,
  route: Route | undefined,
): { bound: readonly Bound[]; single: string | undefined } {
  const single = singleOf(signature, route);
  const bound = signature.parameters.map((parameter) => {
    const schema = parameter.carrier === "bytes" ? base64Schema(parameter) : parameter.schema;
    return {
      parameter,
      source: sourceOf(parameter, { signature, route, single }),
      schema,
      validate: compileSchema(schema),
      isRich: holdsRich(schema, schema),
    };
  });
  return { bound, single };
}

/** The one parameter left for the body, when it is an object. */
function singleOf(signature: Signature, route: Route | undefined): string | undefined {
  const inPath = pathParameters(route?.path ?? "/");
  const free = signature.parameters.filter(
    ({ name, carrier }) => carrier !== "request" && !inPath.includes(name),
  );
  const [only] = free;
  if (free.length !== 1 || only === undefined || only.rest === true) return undefined;
  if (only.carrier === "bytes") return undefined;
  return isObjectSchema(only.schema, only.schema) ? only.name : undefined;
}

function sourceOf(
  parameter: Parameter,
  {
    signature,
    route,
    single,
  }: { signature: Signature; route: Route | undefined; single: string | undefined },
): Source {
  if (parameter.carrier === "request") return "request";
  if (route !== undefined && pathParameters(route.path).includes(parameter.name)) return "path";
  if (parameter.name === single) return "whole";
  if (route === undefined) return "body";
  if (signature.parameters.some(({ carrier }) => carrier === "bytes")) return "form";
  return route.method === "GET" || route.method === "DELETE" ? "query" : "body";
}

function base64Schema({ schema, rest }: Parameter): JsonSchema {
  const isList = schema.type === "array" || rest === true;
  return isList ? { type: "array", items: BASE64 } : BASE64;
}

/** The schema of a JSON body or input that holds these by name. */
export function objectSchema(inBody: readonly Bound[]): JsonSchema {
  const definitions = new Definitions("#/$defs/");
  const properties: Record<string, JsonSchema> = {};
  for (const { parameter, schema } of inBody) {
    const { description } = parameter;
    const own = definitions.add(schema);
    withKey(properties, parameter.name, {
      ...own,
      ...(description === undefined ? {} : { description }),
    });
  }
  const $defs = definitions.all();
  return {
    type: "object",
    properties,
    required: inBody
      .filter(({ parameter }) => parameter.required && parameter.rest !== true)
      .map(({ parameter }) => parameter.name),
    additionalProperties: false,
    ...(Object.keys($defs).length === 0 ? {} : { $defs }),
  };
}
