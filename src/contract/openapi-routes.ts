/** A route of a load-balanced endpoint as an OpenAPI operation: what the binder takes, and what comes back. */

import { Binder } from "./binder.ts";
import { withKey } from "./json.ts";
import type { FunctionManifest, Parameter } from "./manifest.ts";
import { exampleOf, optional, responseRef, type OpenApiObject } from "./openapi-parts.ts";
import { pathParameters, type Route } from "./routes.ts";
import { alternatives, type Definitions, type JsonSchema } from "./schema.ts";

const FILE: JsonSchema = { type: "string", format: "binary" };

/** A function and where the document has it. */
export interface PlacedRoute {
  fn: FunctionManifest;
  route: Route;
  /** The route's path in the document. */
  path: string;
  /** The same with the parameter names that the first route of this shape has given. */
  template: string;
}

/** Parameters, body and answers. */
export function routeOperation(
  { fn, route, path, template }: PlacedRoute,
  schemas: Definitions,
): OpenApiObject {
  const binder = new Binder(fn, route);
  const names = new Map(
    pathParameters(path).map((name, index) => [name, pathParameters(template)[index] ?? name]),
  );
  const parameters = [
    ...binder
      .sources()
      .filter(({ source }) => source === "path")
      .map(({ parameter }) => pathParameter(parameter, names, schemas)),
    ...queryParameters(binder, route, schemas),
  ];
  const hasInput = fn.parameters.some(({ carrier }) => carrier !== "request");
  return {
    ...(parameters.length === 0 ? {} : { parameters }),
    ...optional({ requestBody: requestBody(binder, route, schemas) }),
    responses: {
      "200": success(fn, schemas),
      ...(hasInput ? { "422": responseRef("InvalidInput") } : {}),
      "4XX": responseRef("Refused"),
      "500": responseRef("FunctionFailed"),
    },
  };
}

function pathParameter(
  parameter: Parameter,
  names: ReadonlyMap<string, string>,
  schemas: Definitions,
): OpenApiObject {
  const { name, description } = parameter;
  return {
    name: names.get(name) ?? name,
    in: "path",
    required: true,
    ...optional({ description }),
    ...textSchema(schemas.add(parameter.schema), parameter.schema),
  };
}

function queryParameters(binder: Binder, route: Route, schemas: Definitions): OpenApiObject[] {
  return binder.sources().flatMap(({ parameter, source }) => {
    const { name, description, schema, required, rest } = parameter;
    if (source === "query") {
      const isNeeded = required && rest !== true;
      return [queryParameter({ name, schema, required: isNeeded, description }, schemas)];
    }
    const isQuery = route.method === "GET" || route.method === "DELETE";
    return source === "whole" && isQuery ? objectInQuery(parameter, schemas) : [];
  });
}

/** An object that is the query: a parameter for each property, where they are known. */
function objectInQuery(
  { name, description, schema, required }: Parameter,
  schemas: Definitions,
): OpenApiObject[] {
  const [object, ...more] = alternatives(schema, schema);
  if (object?.properties === undefined || more.length > 0) {
    const whole = { in: "query", style: "form", explode: true, schema: schemas.add(schema) };
    return [{ name, required: false, ...optional({ description }), ...whole }];
  }
  const { $defs } = schema;
  const isNeeded = (key: string): boolean => required && (object.required ?? []).includes(key);
  return Object.entries(object.properties).map(([key, part]) => {
    const whole = $defs === undefined ? part : Object.assign({ $defs }, part);
    const property = { name: key, schema: whole, required: isNeeded(key) };
    return queryParameter({ ...property, description: part.description }, schemas);
  });
}

function queryParameter(
  {
    name,
    schema,
    required,
    description,
  }: Pick<Parameter, "name" | "schema" | "required"> & { description: string | undefined },
  schemas: Definitions,
): OpenApiObject {
  return {
    name,
    in: "query",
    required,
    ...optional({ description }),
    ...textSchema(schemas.add(schema), schema),
  };
}

/** Objects travel in a query or path as JSON text; everything else as OpenAPI expects anyway. */
function textSchema(schema: JsonSchema, source: JsonSchema): OpenApiObject {
  const isObject = alternatives(source, source).some(({ type }) => type === "object");
  return isObject ? { content: { "application/json": { schema } } } : { schema };
}

function requestBody(
  binder: Binder,
  route: Route,
  schemas: Definitions,
): OpenApiObject | undefined {
  const sources = binder.sources();
  const form = sources.filter(({ source }) => source === "form");
  if (form.length > 0) {
    return formBody(
      form.map(({ parameter }) => parameter),
      schemas,
    );
  }
  const schema = binder.bodySchema();
  if (schema !== undefined) {
    return {
      required: sources.some(
        ({ parameter, source }) =>
          (source === "body" || source === "whole") && parameter.required && !parameter.rest,
      ),
      content: { "application/json": { schema: schemas.add(schema), ...exampleOf(schema) } },
    };
  }
  const isRaw = sources.some(({ source }) => source === "request");
  return isRaw && route.method !== "GET" ? { content: { "*/*": {} } } : undefined;
}

function formBody(parameters: readonly Parameter[], schemas: Definitions): OpenApiObject {
  const properties: Record<string, JsonSchema> = {};
  for (const { name, schema, carrier, description } of parameters) {
    const isList = schema.type === "array";
    const shape: JsonSchema =
      carrier !== "bytes" ? schemas.add(schema) : isList ? { type: "array", items: FILE } : FILE;
    withKey(properties, name, { ...shape, ...optional({ description }) });
  }
  const required = parameters
    .filter((parameter) => parameter.required && parameter.rest !== true)
    .map(({ name }) => name);
  const schema: JsonSchema = { type: "object", properties, required };
  return { required: required.length > 0, content: { "multipart/form-data": { schema } } };
}

function success(fn: FunctionManifest, schemas: Definitions): OpenApiObject {
  const schema = fn.returns === undefined ? {} : schemas.add(fn.returns);
  return fn.streams
    ? { description: "Values as they come", content: { "text/event-stream": { schema } } }
    : { description: "The result", content: { "application/json": { schema } } };
}
