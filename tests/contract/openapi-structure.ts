/**
 * The rules of OpenAPI 3.1.0 for the parts of a document that we write, as JSON Schema: which fields an
 * object may have, which it must have, and which exclude each other. Source: the specification at
 * https://spec.openapis.org/oas/v3.1.0.
 */

function object(properties: Record<string, unknown>, required: readonly string[] = []): object {
  return { type: "object", properties, required, additionalProperties: false };
}

function mapOf(values: unknown, keys?: string): object {
  return {
    type: "object",
    additionalProperties: values,
    ...(keys === undefined ? {} : { propertyNames: { pattern: keys } }),
  };
}

function listOf(items: unknown): object {
  return { type: "array", items };
}

function ref(name: string): object {
  return { $ref: `#/$defs/${name}` };
}

const STRING = { type: "string" };
const BOOLEAN = { type: "boolean" };
const COMPONENT_NAME = "^[a-zA-Z0-9._-]+$";
const MEDIA_TYPE = "^[^/\\s]+/[^/\\s]+$";

const OPERATIONS = ["get", "put", "post", "delete", "patch"];

export const STRUCTURE = {
  ...object(
    {
      openapi: { const: "3.1.0" },
      info: object({ title: STRING, version: STRING, description: STRING }, ["title", "version"]),
      servers: listOf(object({ url: STRING, description: STRING }, ["url"])),
      paths: mapOf(ref("pathItem"), "^/"),
      components: ref("components"),
      security: listOf(mapOf(listOf(STRING))),
      tags: listOf(object({ name: STRING, description: STRING }, ["name"])),
    },
    ["openapi", "info", "paths"],
  ),
  $defs: {
    components: object({
      schemas: mapOf(ref("schema"), COMPONENT_NAME),
      responses: mapOf(ref("response"), COMPONENT_NAME),
      securitySchemes: mapOf(
        object({ type: { const: "http" }, scheme: STRING, description: STRING }, [
          "type",
          "scheme",
        ]),
        COMPONENT_NAME,
      ),
    }),
    pathItem: object(Object.fromEntries(OPERATIONS.map((name) => [name, ref("operation")]))),
    operation: object(
      {
        tags: listOf(STRING),
        summary: STRING,
        description: STRING,
        operationId: STRING,
        parameters: { ...listOf(ref("parameter")), uniqueItems: true },
        requestBody: object({ description: STRING, content: ref("content"), required: BOOLEAN }, [
          "content",
        ]),
        responses: {
          ...mapOf(
            { anyOf: [ref("response"), ref("reference")] },
            "^([1-5][0-9][0-9]|[1-5]XX|default)$",
          ),
          minProperties: 1,
        },
        deprecated: BOOLEAN,
        security: listOf(mapOf(listOf(STRING))),
      },
      ["responses"],
    ),
    parameter: {
      ...object(
        {
          name: STRING,
          in: { enum: ["query", "path", "header", "cookie"] },
          description: STRING,
          required: BOOLEAN,
          deprecated: BOOLEAN,
          style: { enum: ["form", "simple", "label", "matrix", "deepObject"] },
          explode: BOOLEAN,
          schema: ref("schema"),
          content: { ...ref("content"), minProperties: 1, maxProperties: 1 },
        },
        ["name", "in"],
      ),
      // Either a schema or a content, and what is in the path is always needed.
      oneOf: [{ required: ["schema"] }, { required: ["content"] }],
      if: { properties: { in: { const: "path" } } },
      // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
      then: { properties: { required: { const: true } }, required: ["required"] },
    },
    content: {
      ...mapOf(object({ schema: ref("schema"), example: {}, encoding: {} }), MEDIA_TYPE),
      minProperties: 1,
    },
    response: object({ description: STRING, content: ref("content") }, ["description"]),
    reference: object({ $ref: STRING, summary: STRING, description: STRING }, ["$ref"]),
    schema: {
      anyOf: [{ type: "boolean" }, { $ref: "https://json-schema.org/draft/2020-12/schema" }],
    },
  },
};
