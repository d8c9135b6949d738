/**
 * Endpoints as an OpenAPI 3.1 document: of one endpoint for the worker, of a whole app for `flash run`
 * and the server. Routes are described through the binder, so the document says what is accepted.
 */

import { Binder } from "./binder.ts";
import { ERRORS, PROBLEM_TYPE, type Issue } from "./errors.ts";
import { withKey } from "./json.ts";
import type { EndpointManifest, FunctionManifest, Parameter } from "./manifest.ts";
import { conflictKey, pathParameters, type Route } from "./routes.ts";
import { sampleValue } from "./sample.ts";
import { Definitions, alternatives, type JsonSchema } from "./schema.ts";
import { FAILURE_KINDS } from "./job-failure.ts";
import { JOB_STATES } from "./states.ts";
import { compileSchema } from "./validator.ts";

export interface OpenApiInfo {
  title: string;
  version: string;
  description?: string;
  servers?: { url: string; description?: string }[];
  /** What the endpoint's paths start with, such as `/name`. Default: nothing. */
  prefix?: (endpoint: EndpointManifest) => string;
  /** True where no key is needed, as under `flash run` on loopback. */
  isOpen?: boolean;
}

/** A JSON object of the document, as the specification lays it out. */
export type OpenApiObject = { [key: string]: unknown };

export interface OpenApiDocument extends OpenApiObject {
  openapi: "3.1.0";
  info: OpenApiObject;
  paths: Record<string, Record<string, OpenApiObject>>;
  components: {
    schemas: Record<string, JsonSchema>;
    responses: Record<string, OpenApiObject>;
    securitySchemes?: Record<string, OpenApiObject>;
  };
}

/** The description of these endpoints. Same endpoints, same document, byte for byte. */
export function openApiOf(
  endpoints: readonly EndpointManifest[],
  info: OpenApiInfo,
): OpenApiDocument {
  const writer = new Writer(info, endpoints);
  for (const endpoint of endpoints) writer.add(endpoint);
  return writer.document();
}

const SCHEMAS = "#/components/schemas/";

class Writer {
  readonly #info: OpenApiInfo;
  readonly #schemas = new Definitions(SCHEMAS);
  readonly #paths: OpenApiDocument["paths"] = {};
  /** Template of each path by its shape: `/users/{id}` and `/users/{uid}` are one path. */
  readonly #templates = new Map<string, string>();
  readonly #operationIds = new Set<string>();
  readonly #tags: readonly { name: string }[];

  constructor(info: OpenApiInfo, endpoints: readonly EndpointManifest[]) {
    this.#info = info;
    this.#tags = endpoints.map(({ name }) => ({ name }));
    // Before any type of the user's: theirs gets another name where it is the same.
    this.#schemas.set("Problem", PROBLEM);
    if (!endpoints.some(({ kind }) => kind === "qb")) return;
    for (const [name, schema] of Object.entries(JOB_SCHEMAS)) this.#schemas.set(name, schema);
  }

  add(endpoint: EndpointManifest): void {
    if (endpoint.kind === "qb") this.#addQueue(endpoint);
    for (const fn of endpoint.functions) {
      if (endpoint.kind === "lb" && fn.route !== undefined) this.#addRoute(endpoint, fn, fn.route);
    }
  }

  document(): OpenApiDocument {
    const { title, version, description, servers, isOpen } = this.#info;
    return {
      openapi: "3.1.0",
      info: { title, version, ...optional({ description }) },
      ...optional({ servers }),
      ...(isOpen === true ? {} : { security: [{ bearer: [] }] }),
      tags: this.#tags,
      paths: this.#paths,
      components: {
        schemas: this.#schemas.all(),
        responses: RESPONSES,
        ...(isOpen === true
          ? {}
          : { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } }),
      },
    };
  }

  #addRoute(endpoint: EndpointManifest, fn: FunctionManifest, route: Route): void {
    const path = `${this.#info.prefix?.(endpoint) ?? ""}${route.path}`;
    const template = this.#template({ method: route.method, path });
    const binder = new Binder(fn, route);
    const names = new Map(
      pathParameters(path).map((name, index) => [name, pathParameters(template)[index] ?? name]),
    );
    const parameters = [
      ...binder
        .sources()
        .filter(({ source }) => source === "path")
        .map(({ parameter }) => this.#pathParameter(parameter, names)),
      ...this.#queryParameters(binder, route),
    ];
    const hasInput = fn.parameters.some(({ carrier }) => carrier !== "request");
    this.#put(template, route.method.toLowerCase(), {
      ...this.#heading(endpoint, fn),
      ...(parameters.length === 0 ? {} : { parameters }),
      ...optional({ requestBody: this.#requestBody(binder, route) }),
      responses: {
        "200": this.#success(fn),
        ...(hasInput ? { "422": responseRef("InvalidInput") } : {}),
        "4XX": responseRef("Refused"),
        "500": responseRef("FunctionFailed"),
      },
    });
  }

  #heading(endpoint: EndpointManifest, fn: FunctionManifest): OpenApiObject {
    const { summary, description } = fn;
    return {
      operationId: this.#operationId(endpoint, fn.name),
      tags: [endpoint.name],
      ...optional({ summary, description }),
    };
  }

  #success(fn: FunctionManifest): OpenApiObject {
    const schema = fn.returns === undefined ? {} : this.#schemas.add(fn.returns);
    return fn.streams
      ? { description: "Values as they come", content: { "text/event-stream": { schema } } }
      : { description: "The result", content: { "application/json": { schema } } };
  }

  #pathParameter(parameter: Parameter, names: ReadonlyMap<string, string>): OpenApiObject {
    const { name, description } = parameter;
    return {
      name: names.get(name) ?? name,
      in: "path",
      required: true,
      ...optional({ description }),
      ...this.#textSchema(this.#schemas.add(parameter.schema), parameter.schema),
    };
  }

  #queryParameters(binder: Binder, route: Route): OpenApiObject[] {
    return binder.sources().flatMap(({ parameter, source }) => {
      const { name, description, schema, required, rest } = parameter;
      if (source === "query") {
        const isNeeded = required && rest !== true;
        return [this.#queryParameter({ name, schema, required: isNeeded, description })];
      }
      const isQuery = route.method === "GET" || route.method === "DELETE";
      return source === "whole" && isQuery ? this.#objectInQuery(parameter) : [];
    });
  }

  /** An object that is the query: a parameter for each property, where they are known. */
  #objectInQuery({ name, description, schema, required }: Parameter): OpenApiObject[] {
    const [object, ...more] = alternatives(schema, schema);
    if (object?.properties === undefined || more.length > 0) {
      const whole = {
        in: "query",
        style: "form",
        explode: true,
        schema: this.#schemas.add(schema),
      };
      return [{ name, required: false, ...optional({ description }), ...whole }];
    }
    const { $defs } = schema;
    const isNeeded = (key: string): boolean => required && (object.required ?? []).includes(key);
    return Object.entries(object.properties).map(([key, part]) =>
      this.#queryParameter({
        name: key,
        schema: $defs === undefined ? part : Object.assign({ $defs }, part),
        required: isNeeded(key),
        description: part.description,
      }),
    );
  }

  #queryParameter({
    name,
    schema,
    required,
    description,
  }: Pick<Parameter, "name" | "schema" | "required"> & {
    description: string | undefined;
  }): OpenApiObject {
    return {
      name,
      in: "query",
      required,
      ...optional({ description }),
      ...this.#textSchema(this.#schemas.add(schema), schema),
    };
  }

  /** Objects travel in a query or path as JSON text; everything else as OpenAPI expects anyway. */
  #textSchema(schema: JsonSchema, source: JsonSchema): OpenApiObject {
    const isObject = alternatives(source, source).some(({ type }) => type === "object");
    return isObject ? { content: { "application/json": { schema } } } : { schema };
  }

  #requestBody(binder: Binder, route: Route): OpenApiObject | undefined {
    const sources = binder.sources();
    const form = sources.filter(({ source }) => source === "form");
    if (form.length > 0) return this.#formBody(form.map(({ parameter }) => parameter));
    const schema = binder.bodySchema();
    if (schema !== undefined) {
      return {
        required: sources.some(
          ({ parameter, source }) =>
            (source === "body" || source === "whole") && parameter.required && !parameter.rest,
        ),
        content: {
          "application/json": { schema: this.#schemas.add(schema), ...exampleOf(schema) },
        },
      };
    }
    const isRaw = sources.some(({ source }) => source === "request");
    return isRaw && route.method !== "GET" ? { content: { "*/*": {} } } : undefined;
  }

  #formBody(parameters: readonly Parameter[]): OpenApiObject {
    const properties: Record<string, JsonSchema> = {};
    for (const { name, schema, carrier, description } of parameters) {
      const isList = schema.type === "array";
      const shape: JsonSchema =
        carrier !== "bytes"
          ? this.#schemas.add(schema)
          : isList
            ? { type: "array", items: FILE }
            : FILE;
      withKey(properties, name, { ...shape, ...optional({ description }) });
    }
    const required = parameters
      .filter((parameter) => parameter.required && parameter.rest !== true)
      .map(({ name }) => name);
    const schema: JsonSchema = { type: "object", properties, required };
    return { required: required.length > 0, content: { "multipart/form-data": { schema } } };
  }

  #addQueue(endpoint: EndpointManifest): void {
    const base = this.#info.prefix?.(endpoint) ?? "";
    const { summary, description } = endpoint.functions[0] ?? {};
    const heading = endpoint.functions.length === 1 ? optional({ summary, description }) : {};
    for (const operation of QUEUE_OPERATIONS) {
      const { path, method, answer, takesInput } = operation;
      const isSync = path === "/runsync";
      this.#put(`${base}${path}`, method, {
        operationId: this.#operationId(endpoint, operation.id),
        tags: [endpoint.name],
        summary: operation.summary,
        ...(takesInput === true ? { ...heading, requestBody: this.#jobBody(endpoint) } : {}),
        ...(path.includes("{") ? { parameters: [JOB_ID] } : {}),
        responses: {
          "200": {
            description: operation.answerWords,
            content: {
              "application/json": {
                schema: isSync ? this.#finishedJob(endpoint) : { $ref: `${SCHEMAS}${answer}` },
              },
            },
          },
          "4XX": responseRef("Refused"),
        },
      });
    }
  }

  #jobBody(endpoint: EndpointManifest): OpenApiObject {
    const schema = {
      type: "object",
      properties: {
        input: this.#inputSchema(endpoint),
        webhook: { type: "string", format: "uri", description: "Receives the finished job." },
        policy: { $ref: `${SCHEMAS}JobPolicy` },
      },
      required: ["input"],
    };
    const [only] = endpoint.functions;
    const input = only === undefined ? undefined : new Binder(only).bodySchema();
    const { example } =
      endpoint.functions.length === 1 && input !== undefined ? exampleOf(input) : {};
    return {
      required: true,
      content: {
        "application/json": {
          schema,
          ...(example === undefined ? {} : { example: { input: example } }),
        },
      },
    };
  }

  #inputSchema({ functions, form }: EndpointManifest): JsonSchema {
    if (form === "image") return { type: "object" };
    const inputs = functions.map((fn) => ({
      name: fn.name,
      schema: new Binder(fn).bodySchema() ?? { type: "object", additionalProperties: false },
    }));
    const [only] = inputs;
    if (inputs.length === 1 && only !== undefined) return this.#schemas.add(only.schema);
    return { oneOf: inputs.map(({ name, schema }) => this.#methodInput(name, schema)) };
  }

  /** A method's input with `method` beside its own keys. */
  #methodInput(name: string, schema: JsonSchema): JsonSchema {
    const { $defs, propertyNames } = schema;
    const branches = alternatives(schema, schema).map((branch) =>
      this.#schemas.add({
        ...branch,
        properties: { method: { const: name }, ...branch.properties },
        required: ["method", ...(branch.required ?? [])],
        ...optional({ $defs }),
      }),
    );
    const [only] = branches;
    const input = branches.length === 1 && only !== undefined ? only : { anyOf: branches };
    if (propertyNames === undefined) return input;
    return { ...input, propertyNames: { anyOf: [{ const: "method" }, propertyNames] } };
  }

  /** A job whose output is the function's result once it is there. */
  #finishedJob({ functions }: EndpointManifest): OpenApiObject {
    const job = { $ref: `${SCHEMAS}Job` };
    const [only] = functions;
    if (functions.length !== 1 || only?.returns === undefined || only.streams) return job;
    return {
      allOf: [job],
      if: { properties: { status: { const: "COMPLETED" } } },
      // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
      then: { properties: { output: this.#schemas.add(only.returns) } },
    };
  }

  #put(path: string, method: string, operation: OpenApiObject): void {
    const item = (this.#paths[path] ??= {});
    item[method] ??= operation;
  }

  #template(route: Route): string {
    const shape = conflictKey({ ...route, method: "GET" });
    const known = this.#templates.get(shape);
    if (known === undefined) this.#templates.set(shape, route.path);
    return known ?? route.path;
  }

  #operationId(endpoint: EndpointManifest, name: string): string {
    const isApp = this.#info.prefix !== undefined;
    const plain = (isApp ? `${endpoint.name}_${name}` : name).replaceAll(/[^A-Za-z0-9_.-]+/g, "_");
    let id = plain;
    for (let number = 2; this.#operationIds.has(id); number++) id = `${plain}_${number}`;
    this.#operationIds.add(id);
    return id;
  }
}

const FILE: JsonSchema = { type: "string", format: "binary" };

const PROBLEM: JsonSchema = {
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

const RESPONSES = {
  InvalidInput: problemResponse(ERRORS.INVALID_INPUT.title),
  FunctionFailed: problemResponse(ERRORS.FUNCTION_ERROR.title),
  Refused: problemResponse("The request was refused"),
};

function problemResponse(description: string): OpenApiObject {
  return { description, content: { [PROBLEM_TYPE]: { schema: { $ref: `${SCHEMAS}Problem` } } } };
}

function responseRef(name: keyof typeof RESPONSES): OpenApiObject {
  return { $ref: `#/components/responses/${name}` };
}

const COUNT: JsonSchema = { type: "integer", minimum: 0 };

const JOB_SCHEMAS = {
  Job: {
    type: "object",
    properties: {
      id: { type: "string" },
      status: { type: "string", enum: [...JOB_STATES] },
      delayTime: { ...COUNT, description: "Wait in the queue, ms." },
      executionTime: { ...COUNT, description: "Run time, ms." },
      output: { description: "The result; while the job runs, its newest progress value." },
      error: { type: "string" },
      retries: COUNT,
      workerId: { type: "string" },
      flash: { $ref: `${SCHEMAS}JobFacts` },
    },
    required: ["id", "status"],
  },
  JobFacts: {
    type: "object",
    description: "What the platform has no field for.",
    properties: {
      key: { type: "string" },
      failure: { $ref: `${SCHEMAS}JobFailure` },
      attempts: {
        type: "array",
        items: {
          type: "object",
          properties: {
            attempt: COUNT,
            workerId: { type: "string" },
            startedAt: { type: "string", format: "date-time" },
            endedAt: { type: "string", format: "date-time" },
            failure: { $ref: `${SCHEMAS}JobFailure` },
            counted: { type: "boolean", description: "False: not counted against `retries`." },
          },
          required: ["attempt", "workerId", "startedAt"],
        },
      },
    },
  },
  JobFailure: {
    type: "object",
    properties: {
      kind: { type: "string", enum: [...FAILURE_KINDS] },
      message: { type: "string" },
      exitCode: { type: "integer" },
      signal: { type: "string" },
      peakMemoryBytes: COUNT,
      memoryLimitBytes: { ...COUNT, description: "When it was ended for using more." },
      logTail: { type: "array", items: { type: "string" } },
      neighbours: { ...COUNT, description: "Jobs beside it when its worker was lost." },
    },
    required: ["kind", "message"],
  },
  JobPolicy: {
    type: "object",
    properties: {
      executionTimeout: { ...COUNT, description: "Longest run of an attempt, ms." },
      ttl: { ...COUNT, description: "Whole life from submission, ms." },
      lowPriority: { type: "boolean", description: "Never starts a worker." },
      delayMs: { ...COUNT, description: "Starts that much later at the earliest, ms." },
      runAt: {
        oneOf: [{ type: "integer" }, { type: "string", format: "date-time" }],
        description: "Starts then at the earliest: epoch ms or ISO 8601.",
      },
      key: {
        type: "string",
        minLength: 1,
        maxLength: 255,
        description:
          "Jobs with the same key run one at a time, or as many as `keyConcurrency` says.",
      },
    },
  },
  JobStream: {
    type: "object",
    properties: {
      status: { type: "string", enum: [...JOB_STATES] },
      stream: {
        type: "array",
        items: { type: "object", properties: { output: {} }, required: ["output"] },
      },
    },
    required: ["status", "stream"],
  },
  EndpointHealth: {
    type: "object",
    properties: {
      jobs: { type: "object", additionalProperties: COUNT },
      workers: { type: "object", additionalProperties: COUNT },
    },
    required: ["jobs", "workers"],
  },
} satisfies Record<string, JsonSchema>;

interface QueueOperation {
  id: string;
  method: "get" | "post";
  path: string;
  summary: string;
  answer: keyof typeof JOB_SCHEMAS;
  answerWords: string;
  takesInput?: boolean;
}

/** The Runpod job API. Source: spec/job-api.md 2. */
const QUEUE_OPERATIONS: readonly QueueOperation[] = [
  {
    id: "run",
    method: "post",
    path: "/run",
    summary: "Submit a job",
    answer: "Job",
    answerWords: "The job is accepted",
    takesInput: true,
  },
  {
    id: "runsync",
    method: "post",
    path: "/runsync",
    summary: "Submit a job and wait for its result",
    answer: "Job",
    answerWords: "The job, finished unless the wait was too short",
    takesInput: true,
  },
  {
    id: "status",
    method: "get",
    path: "/status/{job_id}",
    summary: "How a job is doing",
    answer: "Job",
    answerWords: "The job",
  },
  {
    id: "cancel",
    method: "post",
    path: "/cancel/{job_id}",
    summary: "Cancel a job",
    answer: "Job",
    answerWords: "The job as it is now",
  },
  {
    id: "stream",
    method: "get",
    path: "/stream/{job_id}",
    summary: "The next values a job has streamed",
    answer: "JobStream",
    answerWords: "Values that no request has got yet",
  },
  {
    id: "health",
    method: "get",
    path: "/health",
    summary: "Counts of jobs and workers",
    answer: "EndpointHealth",
    answerWords: "The counts",
  },
];

const JOB_ID: OpenApiObject = {
  name: "job_id",
  in: "path",
  required: true,
  schema: { type: "string" },
};

/** The entries that have a value. */
function optional<T extends object>(values: T): Partial<{ [K in keyof T]: NonNullable<T[K]> }> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as Partial<{ [K in keyof T]: NonNullable<T[K]> }>;
}

/** An example that the schema accepts; none where a sample cannot be made up. */
function exampleOf(schema: JsonSchema): { example?: unknown } {
  const example = sampleValue(schema, "body");
  const issues: Issue[] = [];
  compileSchema(schema)(example, "", issues);
  return issues.length === 0 ? { example } : {};
}
