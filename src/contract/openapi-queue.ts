/** The job API of a queue endpoint as OpenAPI operations, and the schemas of what it takes and answers. */

import { Binder } from "./binder.ts";
import { FAILURE_KINDS } from "./job-failure.ts";
import type { EndpointManifest } from "./manifest.ts";
import { exampleOf, optional, responseRef, SCHEMAS, type OpenApiObject } from "./openapi-parts.ts";
import { alternatives, type Definitions, type JsonSchema } from "./schema.ts";
import { JOB_STATES } from "./states.ts";

const COUNT: JsonSchema = { type: "integer", minimum: 0 };

export const JOB_SCHEMAS = {
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

export interface QueueOperation {
  id: string;
  method: "get" | "post";
  path: string;
  summary: string;
  answer: keyof typeof JOB_SCHEMAS;
  answerWords: string;
  takesInput?: boolean;
}

/** The Runpod job API. Source: spec/job-api.md 2. */
export const QUEUE_OPERATIONS: readonly QueueOperation[] = [
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

/** Body, parameters and answers of one operation. */
export function queueOperation(
  operation: QueueOperation,
  endpoint: EndpointManifest,
  schemas: Definitions,
): OpenApiObject {
  const { path, answer, answerWords, takesInput } = operation;
  const { summary, description } = endpoint.functions[0] ?? {};
  const heading = endpoint.functions.length === 1 ? optional({ summary, description }) : {};
  const isSync = path === "/runsync";
  return {
    summary: operation.summary,
    ...(takesInput === true ? { ...heading, requestBody: jobBody(endpoint, schemas) } : {}),
    ...(path.includes("{") ? { parameters: [JOB_ID] } : {}),
    responses: {
      "200": {
        description: answerWords,
        content: {
          "application/json": {
            schema: isSync ? finishedJob(endpoint, schemas) : { $ref: `${SCHEMAS}${answer}` },
          },
        },
      },
      "4XX": responseRef("Refused"),
    },
  };
}

function jobBody(endpoint: EndpointManifest, schemas: Definitions): OpenApiObject {
  const schema = {
    type: "object",
    properties: {
      input: inputSchema(endpoint, schemas),
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

function inputSchema({ functions, form }: EndpointManifest, schemas: Definitions): JsonSchema {
  if (form === "image") return { type: "object" };
  const inputs = functions.map((fn) => ({
    name: fn.name,
    schema: new Binder(fn).bodySchema() ?? { type: "object", additionalProperties: false },
  }));
  const [only] = inputs;
  if (inputs.length === 1 && only !== undefined) return schemas.add(only.schema);
  return { oneOf: inputs.map(({ name, schema }) => methodInput(name, schema, schemas)) };
}

/** A method's input with `method` beside its own keys. */
function methodInput(name: string, schema: JsonSchema, schemas: Definitions): JsonSchema {
  const { $defs, propertyNames } = schema;
  const branches = alternatives(schema, schema).map((branch) =>
    schemas.add({
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
function finishedJob({ functions }: EndpointManifest, schemas: Definitions): OpenApiObject {
  const job = { $ref: `${SCHEMAS}Job` };
  const [only] = functions;
  if (functions.length !== 1 || only?.returns === undefined || only.streams) return job;
  return {
    allOf: [job],
    if: { properties: { status: { const: "COMPLETED" } } },
    // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
    then: { properties: { output: schemas.add(only.returns) } },
  };
}
