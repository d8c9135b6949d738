/** The OpenAPI 3.1 document of the control API, made from its table. */

import { CONTROL_ROUTES, type ControlRoute } from "../../contract/control-routes.ts";
import { DOCUMENTS, type DocumentName } from "../../contract/control-schemas.ts";
import { PROBLEM_TYPE } from "../../contract/errors.ts";
import type { OpenApiObject } from "../../contract/openapi.ts";

const PROBLEM = {
  description: "A problem document (RFC 9457); `code` is stable.",
  content: { [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" } } },
};

/** `url`: the server's base URL. */
export function controlOpenApi({ version, url }: { version: string; url: string }): OpenApiObject {
  const paths: Record<string, Record<string, OpenApiObject>> = {};
  for (const [name, route] of Object.entries<ControlRoute>(CONTROL_ROUTES)) {
    const methods = (paths[route.path] ??= {});
    methods[route.methods[0].toLowerCase()] = operation(name, route);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Flash control API",
      version,
      description:
        "Apps, environments, builds, releases, endpoints, keys and logs of a Flash server.",
    },
    servers: [{ url }],
    security: [{ key: [] }],
    paths,
    components: {
      schemas: { ...DOCUMENTS, Problem: problemSchema() },
      securitySchemes: {
        key: {
          type: "http",
          scheme: "bearer",
          description: "The server key, or a key made by it.",
        },
      },
    },
  };
}

function operation(name: string, route: ControlRoute): OpenApiObject {
  const { summary, query = [], body, access } = route;
  const verbs = typeof access === "string" ? [] : access.verbs;
  return {
    operationId: name,
    summary,
    tags: [name.split(".")[0]],
    ...(access === "public" ? { security: [] } : {}),
    ...(verbs.length === 0
      ? {}
      : { description: `Needs a key that may ${[...verbs, "admin"].join(" or ")}.` }),
    ...(query.length === 0
      ? {}
      : {
          parameters: query.map(({ name, description, required, schema }) => ({
            name,
            in: "query",
            description,
            required,
            schema,
          })),
        }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: contentOf(body) } }),
    responses: { ...answers(route), default: PROBLEM },
  };
}

function contentOf(body: NonNullable<ControlRoute["body"]>): OpenApiObject {
  if (body.kind === "json") return { "application/json": { schema: reference(body.document) } };
  return { [body.mediaType]: { schema: { type: "string", description: body.description } } };
}

function answers({ answer, summary }: ControlRoute): OpenApiObject {
  const response = (mediaType: string, schema: OpenApiObject): OpenApiObject => ({
    description: summary,
    content: { [mediaType]: { schema } },
  });
  if (answer.kind === "stream") {
    const line = answer.document;
    const schema = line === undefined ? { type: "string" } : reference(line);
    return { "200": response(answer.mediaType, schema) };
  }
  const status = String(answer.status ?? 200);
  return { [status]: response("application/json", reference(answer.document)) };
}

function reference(name: DocumentName): OpenApiObject {
  return { $ref: `#/components/schemas/${name}` };
}

function problemSchema(): OpenApiObject {
  const text = { type: "string" };
  return {
    type: "object",
    properties: {
      type: text,
      title: text,
      status: { type: "integer" },
      code: text,
      detail: text,
      hint: text,
    },
    required: ["type", "title", "status", "code", "detail"],
  };
}
