/**
 * The documents of the control API as JSON Schemas: what `control.ts` has as types. Bodies are checked
 * with them, the OpenAPI document is made of them, and the tests hold every answer against them, with
 * no member too many.
 */

import { VERBS } from "./access.ts";
import { EVENT_KINDS } from "./events.ts";
import { LOG_LEVELS } from "./logs.ts";
import { CHANGE_ACTIONS } from "./plan.ts";
import type { JsonSchema } from "./schema.ts";
import { RELEASE_STATES, WORKER_STATES } from "./states.ts";

const STRING: JsonSchema = { type: "string" };
const INTEGER: JsonSchema = { type: "integer" };
const NUMBER: JsonSchema = { type: "number" };
const BOOLEAN: JsonSchema = { type: "boolean" };
const TIME: JsonSchema = { type: "string", format: "date-time" };
const KIND: JsonSchema = { enum: ["qb", "lb"] };
const ANY_OBJECT: JsonSchema = { type: "object" };

function list(items: JsonSchema): JsonSchema {
  return { type: "array", items };
}

function nullable(schema: JsonSchema): JsonSchema {
  return { anyOf: [schema, { type: "null" }] };
}

/** An object with exactly these members. A name with `?` at its end may be missing. */
function object(members: Readonly<Record<string, JsonSchema>>): JsonSchema {
  const entries = Object.entries(members);
  return {
    type: "object",
    properties: Object.fromEntries(
      entries.map(([name, schema]) => [name.replace(/\?$/, ""), schema]),
    ),
    required: entries.map(([name]) => name).filter((name) => !name.endsWith("?")),
    additionalProperties: false,
  };
}

function counts(names: readonly string[]): JsonSchema {
  return object(Object.fromEntries(names.map((name) => [name, INTEGER])));
}

const ENDPOINT = {
  name: STRING,
  kind: KIND,
  id: STRING,
  url: STRING,
  routes: list(object({ method: STRING, path: STRING })),
};

const PLACE = { app: STRING, environment: STRING };

const DEPLOYED = { ...PLACE, build: STRING, release: STRING, target: STRING };

const VERB_LIST: JsonSchema = { type: "array", items: { enum: [...VERBS] }, minItems: 1 };

const PARTS = { app: nullable(STRING), environment: nullable(STRING), endpoint: nullable(STRING) };

/** Where a key is to open things, and for how long. */
const GRANT = {
  "app?": STRING,
  "environment?": STRING,
  "endpoint?": STRING,
  "expiresInS?": nullable({ type: "integer", minimum: 1, maximum: 10 * 366 * 86_400 }),
};

const KEY = {
  id: STRING,
  name: STRING,
  verbs: VERB_LIST,
  ...PARTS,
  state: { enum: ["active", "expired", "revoked"] },
  createdAt: TIME,
  createdBy: STRING,
  expiresAt: nullable(TIME),
  lastUsedAt: nullable(TIME),
};

const SECRET = {
  name: STRING,
  version: INTEGER,
  createdAt: TIME,
  updatedAt: TIME,
  updatedBy: STRING,
};

const BUILD = {
  id: STRING,
  app: STRING,
  digest: STRING,
  bytes: INTEGER,
  unpackedBytes: INTEGER,
  createdAt: TIME,
};

const ENVIRONMENT = {
  name: STRING,
  state: { enum: ["PENDING", "DEPLOYING", "DEPLOYED", "FAILED", "DELETING"] },
  release: nullable(STRING),
  build: nullable(STRING),
  endpoints: INTEGER,
  createdAt: TIME,
};

const OPTION_CHANGES = list(object({ option: STRING, "from?": {}, "to?": {} }));

const CHANGES = list(
  object({
    name: STRING,
    kind: KIND,
    action: { enum: [...CHANGE_ACTIONS] },
    options: OPTION_CHANGES,
    code: BOOLEAN,
    interface: BOOLEAN,
  }),
);

const DRIFT = list(
  object({
    name: STRING,
    reason: { enum: ["missing", "files", "settings"] },
    options: OPTION_CHANGES,
  }),
);

export const DOCUMENTS = {
  AppRequest: object({ app: STRING }),
  EnvironmentRequest: object(PLACE),
  AppsDocument: object({
    apps: list(object({ name: STRING, environments: INTEGER, builds: INTEGER, createdAt: TIME })),
  }),
  AppDocument: object({
    name: STRING,
    createdAt: TIME,
    environments: list(object(ENVIRONMENT)),
    builds: list(object(BUILD)),
  }),
  AppRemovalDocument: object({
    app: STRING,
    environments: list(STRING),
    endpoints: list(STRING),
    builds: INTEGER,
  }),
  EnvironmentDocument: object({
    ...ENVIRONMENT,
    app: STRING,
    version: nullable(INTEGER),
    deployments: list(object({ ...ENDPOINT, options: ANY_OBJECT })),
  }),
  BuildsDocument: object({
    app: STRING,
    builds: list(
      object({ ...BUILD, endpoints: INTEGER, active: list(STRING), kept: list(STRING) }),
    ),
    unpackedBytes: INTEGER,
    keepReleases: INTEGER,
  }),
  PruneDocument: object({
    app: STRING,
    releases: INTEGER,
    builds: list(object({ id: STRING, bytes: INTEGER })),
    freedBytes: INTEGER,
  }),
  PlanRequest: object({ ...PLACE, digest: STRING, manifest: ANY_OBJECT }),
  PlanDocument: object({
    ...PLACE,
    target: STRING,
    isNew: BOOLEAN,
    release: nullable(STRING),
    makesRelease: BOOLEAN,
    uploads: BOOLEAN,
    changes: CHANGES,
    drift: DRIFT,
    missingSecrets: list(object({ secret: STRING, endpoint: STRING })),
  }),
  BuildDocument: object(BUILD),
  UploadDocument: object({
    app: STRING,
    digest: STRING,
    offset: INTEGER,
    build: nullable(object(BUILD)),
  }),
  DeployRequest: object({ ...PLACE, build: STRING }),
  DeploymentDocument: object({ ...DEPLOYED, endpoints: list(object(ENDPOINT)), changes: CHANGES }),
  EnvironmentsDocument: object({
    app: STRING,
    exists: BOOLEAN,
    environments: list(object(ENVIRONMENT)),
  }),
  ReleasesDocument: object({
    ...PLACE,
    releases: list(
      object({
        id: STRING,
        version: INTEGER,
        build: STRING,
        state: { enum: [...RELEASE_STATES] },
        createdAt: TIME,
      }),
    ),
  }),
  StatusDocument: object({
    ...DEPLOYED,
    drift: DRIFT,
    endpoints: list(
      object({
        ...ENDPOINT,
        state: { enum: ["idle", "starting", "ready", "unhealthy"] },
        workers: counts(WORKER_STATES),
        jobs: counts(["completed", "failed", "inProgress", "inQueue", "retried"]),
        "problem?": STRING,
      }),
    ),
  }),
  EndpointDescription: object({
    ...ENDPOINT,
    ...PLACE,
    form: { enum: ["function", "class", "routes", "image"] },
    fingerprint: STRING,
    functions: list(ANY_OBJECT),
  }),
  RemovalDocument: object({ ...PLACE, removed: list(STRING) }),
  LogLine: object({
    time: TIME,
    endpoint: STRING,
    worker: STRING,
    stream: { enum: ["stdout", "stderr", "system"] },
    level: { enum: [...LOG_LEVELS] },
    message: STRING,
    "job?": STRING,
    "attempt?": NUMBER,
    "request?": STRING,
    "trace?": STRING,
    "fields?": { type: "object" },
    "cut?": BOOLEAN,
  }),
  EventDocument: object({
    id: STRING,
    time: TIME,
    kind: { enum: [...EVENT_KINDS] },
    message: STRING,
    "app?": STRING,
    "environment?": STRING,
    "endpoint?": STRING,
    "worker?": STRING,
    "release?": STRING,
    "details?": ANY_OBJECT,
  }),
  ScalingDocument: object({
    ...PLACE,
    endpoint: STRING,
    decisions: list(
      object({
        time: TIME,
        targets: list(
          object({
            releaseId: STRING,
            isActive: BOOLEAN,
            waiting: NUMBER,
            oldestWaitMs: NUMBER,
            running: NUMBER,
            workers: NUMBER,
            ready: NUMBER,
            target: NUMBER,
            reason: STRING,
          }),
        ),
      }),
    ),
  }),
  WorkerKeyDocument: object({
    ...PLACE,
    endpoint: STRING,
    worker: STRING,
    env: { type: "object", additionalProperties: STRING },
  }),
  WorkerRemovalDocument: object({ ...PLACE, endpoint: STRING, worker: STRING }),
  ServerDocument: object({
    version: STRING,
    pid: INTEGER,
    url: STRING,
    localUrl: STRING,
    port: INTEGER,
    home: STRING,
    durability: { enum: ["strict", "relaxed", "memory"] },
    platform: object({ os: STRING, cpu: STRING, libc: { enum: ["glibc", "musl", null] } }),
    startedAt: TIME,
  }),
  StoppingDocument: object({ status: { const: "stopping" } }),
  KeyRequest: object({
    name: STRING,
    verbs: VERB_LIST,
    ...GRANT,
  }),
  KeyDocument: object(KEY),
  NewKeyDocument: object({ ...KEY, key: STRING }),
  KeysDocument: object({ keys: list(object(KEY)) }),
  AuditDocument: object({
    entries: list(
      object({
        id: INTEGER,
        time: TIME,
        actor: STRING,
        actorName: STRING,
        action: STRING,
        ...PARTS,
        subject: nullable(STRING),
        from: STRING,
        result: STRING,
      }),
    ),
  }),
  SecretRequest: object({ value: STRING }),
  SecretsDocument: object({ ...PLACE, secrets: list(object(SECRET)) }),
  SecretChangeDocument: object({ ...PLACE, ...SECRET, rolled: list(STRING) }),
  SecretRotationDocument: object({ sealed: INTEGER }),
  LoginRequest: object({ client: STRING }),
  LoginDocument: object({
    code: STRING,
    secret: STRING,
    url: STRING,
    expiresAt: TIME,
    intervalS: INTEGER,
  }),
  LoginPoll: object({ secret: STRING }),
  LoginStateDocument: object({
    status: { enum: ["PENDING", "APPROVED", "DENIED", "CONSUMED", "EXPIRED"] },
    key: nullable(STRING),
  }),
  LoginDecision: object({ code: STRING, approve: BOOLEAN, "verbs?": VERB_LIST, ...GRANT }),
  PendingLoginDocument: object({ code: STRING, client: STRING, from: STRING, expiresAt: TIME }),
  OpenApiDocument: ANY_OBJECT,
} as const satisfies Record<string, JsonSchema>;

export type DocumentName = keyof typeof DOCUMENTS;
