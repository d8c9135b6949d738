/**
 * The control plane as a table: each route with its parameters, its body, its answer and who may use
 * it. The server's handlers are typed by its names, so a route without a handler does not compile.
 * To add a route: a row here, its document in control-schemas, a handler in server/control.
 */

import type { Access, Level, Verb } from "./access.ts";
import type { DocumentName } from "./control-schemas.ts";
import { LIMITS } from "./limits.ts";
import { LOG_LEVELS } from "./logs.ts";
import type { JsonSchema } from "./schema.ts";

export interface QueryParameter {
  name: string;
  description: string;
  required: boolean;
  schema: JsonSchema;
  /** It names a part of what the route touches. */
  names?: Exclude<Level, "server">;
}

export type RequestBody =
  | { kind: "json"; document: DocumentName; /** Default 64 KiB. */ maxBytes?: number }
  | { kind: "bytes"; mediaType: string; description: string };

export type RouteAnswer =
  | { kind: "json"; document: DocumentName; status?: 200 | 201 | 202 }
  /** The handler writes the answer itself. */
  | { kind: "stream"; mediaType: string; document?: DocumentName };

export interface ControlRoute {
  plane: "control";
  methods: readonly ["GET" | "POST" | "PUT" | "DELETE"];
  path: string;
  summary: string;
  access: Access;
  touches: Level;
  /** The narrowest key that opens it; the answer then holds only what that key may see. Default: `touches`. */
  narrowest?: Level;
  query?: readonly QueryParameter[];
  body?: RequestBody;
  answer: RouteAnswer;
  /** It changes something: it is written into the audit trail. */
  changes?: true;
  /** The answer holds a secret: no cache may keep it. */
  isSecret?: true;
}

const STRING: JsonSchema = { type: "string" };

const WHOLE = { schema: { type: "integer" } } as const;

const APP = part("app", "app", true);
const ENVIRONMENT = part("environment", "environment", true);
const ENDPOINT = part("endpoint", "endpoint", true);
const ENDPOINT_NAME = part("name", "endpoint", true);

function part(
  name: string,
  names: NonNullable<QueryParameter["names"]>,
  required: boolean,
): QueryParameter {
  return { name, description: `Name of the ${names}.`, required, schema: STRING, names };
}

const DIGEST = parameter("digest", "SHA-256 of the whole artifact, hex.", { required: true });
const SECRET = parameter("name", "Name of the secret.", { required: true });

function optional(parameter: QueryParameter, description: string): QueryParameter {
  return { ...parameter, required: false, description };
}

function parameter(
  name: string,
  description: string,
  more: Partial<QueryParameter> = {},
): QueryParameter {
  return { name, description, required: false, schema: STRING, ...more };
}

const READ: Access = { verbs: ["read", "deploy"] };
const DEPLOY: Access = { verbs: ["deploy"] };
const ADMIN: Access = { verbs: ["admin"] };
const ANY: Access = { verbs: ["read", "call", "deploy"] as readonly Verb[] };

const UPLOAD = { access: DEPLOY, touches: "app", narrowest: "environment" } as const;

function json(document: DocumentName): RouteAnswer {
  return { kind: "json", document };
}

type Details = Omit<ControlRoute, "plane" | "methods" | "path" | "summary">;

function control(
  method: ControlRoute["methods"][0],
  path: string,
  summary: string,
  details: Details,
): ControlRoute {
  return { plane: "control", methods: [method], path: `/api/v1${path}`, summary, ...details };
}

export const CONTROL_ROUTES = {
  "uploads.read": control("GET", "/uploads", "How much of an artifact has come", {
    ...UPLOAD,
    query: [APP, DIGEST],
    answer: json("UploadDocument"),
  }),
  "uploads.append": control("PUT", "/uploads", "Goes on with an artifact, at its offset", {
    ...UPLOAD,
    query: [
      APP,
      DIGEST,
      parameter("offset", "Bytes that have come before.", { ...WHOLE, required: true }),
      parameter("bytes", "Size of the whole artifact.", { ...WHOLE, required: true }),
    ],
    body: { kind: "bytes", mediaType: "application/octet-stream", description: "A part of it." },
    answer: json("UploadDocument"),
  }),
  "uploads.complete": control("POST", "/uploads/complete", "Checks it and makes it a build", {
    ...UPLOAD,
    query: [APP, DIGEST],
    answer: json("BuildDocument"),
    changes: true,
  }),
  "apps.list": control("GET", "/apps", "All apps", {
    access: ANY,
    touches: "server",
    narrowest: "endpoint",
    answer: json("AppsDocument"),
  }),
  "apps.create": control("POST", "/apps", "Registers an app", {
    access: DEPLOY,
    touches: "app",
    body: { kind: "json", document: "AppRequest" },
    answer: { kind: "json", document: "AppDocument", status: 201 },
    changes: true,
  }),
  "apps.read": control("GET", "/app", "An app with its environments and builds", {
    access: READ,
    touches: "app",
    query: [APP],
    answer: json("AppDocument"),
  }),
  "apps.remove": control("DELETE", "/app", "Removes an app and all that belongs to it", {
    access: DEPLOY,
    touches: "app",
    query: [APP],
    answer: json("AppRemovalDocument"),
    changes: true,
  }),
  "builds.list": control("GET", "/builds", "Builds of an app, newest first, and what keeps them", {
    access: READ,
    touches: "app",
    query: [APP],
    answer: json("BuildsDocument"),
  }),
  "builds.prune": control("DELETE", "/builds", "Removes builds that no release can come back to", {
    access: DEPLOY,
    touches: "app",
    query: [APP],
    answer: json("PruneDocument"),
    changes: true,
  }),
  "plans.create": control("POST", "/plans", "What a deployment would change; changes nothing", {
    access: READ,
    touches: "environment",
    body: { kind: "json", document: "PlanRequest", maxBytes: LIMITS.manifestBytes },
    answer: json("PlanDocument"),
  }),
  "deployments.create": control("POST", "/deployments", "Makes a build the active release", {
    access: DEPLOY,
    touches: "environment",
    body: { kind: "json", document: "DeployRequest" },
    answer: json("DeploymentDocument"),
    changes: true,
  }),
  "environments.list": control("GET", "/environments", "Environments of an app", {
    access: ANY,
    touches: "app",
    narrowest: "endpoint",
    query: [APP],
    answer: json("EnvironmentsDocument"),
  }),
  "environments.create": control(
    "POST",
    "/environments",
    "Adds an environment, without a release",
    {
      access: DEPLOY,
      touches: "environment",
      body: { kind: "json", document: "EnvironmentRequest" },
      answer: { kind: "json", document: "EnvironmentDocument", status: 201 },
      changes: true,
    },
  ),
  "environments.read": control("GET", "/environment", "An environment with its endpoints", {
    access: READ,
    touches: "environment",
    query: [APP, ENVIRONMENT],
    answer: json("EnvironmentDocument"),
  }),
  "environments.remove": control("DELETE", "/environment", "Removes an environment", {
    access: DEPLOY,
    touches: "environment",
    query: [APP, ENVIRONMENT],
    answer: json("AppRemovalDocument"),
    changes: true,
  }),
  "releases.list": control("GET", "/releases", "Releases of an environment, newest first", {
    access: READ,
    touches: "environment",
    query: [APP, ENVIRONMENT],
    answer: json("ReleasesDocument"),
  }),
  "status.read": control("GET", "/status", "What is deployed and how it does", {
    access: ANY,
    touches: "environment",
    narrowest: "endpoint",
    query: [APP, ENVIRONMENT],
    answer: json("StatusDocument"),
  }),
  "endpoints.describe": control("GET", "/endpoints", "What a client needs to call an endpoint", {
    access: { verbs: ["read", "call", "deploy"], workers: true },
    touches: "endpoint",
    query: [APP, ENVIRONMENT, ENDPOINT_NAME],
    answer: json("EndpointDescription"),
  }),
  "endpoints.remove": control("DELETE", "/endpoints", "Removes an endpoint, or all", {
    access: DEPLOY,
    touches: "environment",
    query: [APP, ENVIRONMENT, optional(ENDPOINT_NAME, "Default: all of the environment.")],
    answer: json("RemovalDocument"),
    changes: true,
  }),
  "logs.read": control("GET", "/logs", "What workers wrote, oldest first", {
    access: READ,
    touches: "environment",
    query: [
      APP,
      ENVIRONMENT,
      optional(ENDPOINT, "Default: all of the environment."),
      parameter("tail", "Newest lines that fit; 100 by default, 10000 with `since`.", {
        schema: { type: "integer" },
      }),
      parameter("since", "Nothing older: ISO 8601 or epoch ms."),
      parameter("worker", "Lines of one worker."),
      parameter("job", "Lines of one job."),
      parameter("request", "Lines of one request, as `X-Request-Id` names it."),
      parameter("level", "Lines of at least this level.", { schema: { enum: [...LOG_LEVELS] } }),
      parameter("follow", "`1`: further lines as they are written."),
    ],
    answer: { kind: "stream", mediaType: "application/x-ndjson", document: "LogLine" },
  }),
  "events.read": control("GET", "/events", "What happens, oldest first", {
    access: READ,
    touches: "server",
    narrowest: "endpoint",
    query: [
      optional(APP, "Default: all that the key may see."),
      optional(ENVIRONMENT, "Default: all of the app."),
      optional(ENDPOINT, "Default: all of the environment."),
      parameter("worker", "Events of one worker."),
      parameter("kind", "A kind, such as `release.active`, or the first part of some: `worker`."),
      parameter("tail", "Newest events that fit; 100 by default, 10000 with `since` or `after`.", {
        schema: { type: "integer" },
      }),
      parameter("since", "Nothing older: ISO 8601 or epoch ms."),
      parameter("after", "Only what came after the event with this id."),
      parameter("follow", "`1`: further events as they happen."),
    ],
    answer: { kind: "stream", mediaType: "application/x-ndjson", document: "EventDocument" },
  }),
  "scaling.explain": control("GET", "/scaling", "The newest scaling decisions", {
    access: READ,
    touches: "endpoint",
    query: [APP, ENVIRONMENT, ENDPOINT_NAME],
    answer: json("ScalingDocument"),
  }),
  "workers.add": control("POST", "/workers", "A key for a worker that the caller starts", {
    access: DEPLOY,
    touches: "endpoint",
    query: [
      APP,
      ENVIRONMENT,
      ENDPOINT,
      parameter("url", "The server as the worker reaches it.", { schema: STRING }),
    ],
    answer: json("WorkerKeyDocument"),
    changes: true,
    isSecret: true,
  }),
  "workers.remove": control("DELETE", "/workers", "Voids the key of such a worker", {
    access: DEPLOY,
    touches: "endpoint",
    query: [APP, ENVIRONMENT, ENDPOINT, parameter("worker", "Worker id.", { required: true })],
    answer: json("WorkerRemovalDocument"),
    changes: true,
  }),
  "server.read": control("GET", "/server", "The server itself", {
    access: ANY,
    touches: "server",
    narrowest: "endpoint",
    answer: json("ServerDocument"),
  }),
  "server.stop": control("POST", "/server/stop", "Ends the server", {
    access: ADMIN,
    touches: "server",
    answer: { kind: "json", document: "StoppingDocument", status: 202 },
    changes: true,
  }),
  "keys.list": control("GET", "/keys", "Keys, newest first, without the keys themselves", {
    access: ANY,
    touches: "server",
    narrowest: "endpoint",
    answer: json("KeysDocument"),
  }),
  "keys.create": control("POST", "/keys", "Makes a key; the answer is the only one that has it", {
    access: ADMIN,
    touches: "server",
    body: { kind: "json", document: "KeyRequest" },
    answer: json("NewKeyDocument"),
    changes: true,
    isSecret: true,
  }),
  "keys.revoke": control("DELETE", "/keys", "Voids a key at once; everybody may void their own", {
    access: ANY,
    touches: "server",
    narrowest: "endpoint",
    query: [parameter("key", "Id, or name.", { required: true })],
    answer: json("KeyDocument"),
    changes: true,
  }),
  "audit.list": control("GET", "/audit", "Who changed what, newest first", {
    access: ADMIN,
    touches: "server",
    narrowest: "endpoint",
    query: [
      optional(APP, "Default: all."),
      optional(ENVIRONMENT, "Default: all."),
      parameter("before", "Only entries before the one with this id.", WHOLE),
      parameter("limit", "100 by default, at most 1000.", WHOLE),
    ],
    answer: json("AuditDocument"),
  }),
  "secrets.list": control("GET", "/secrets", "Secrets of an environment, without their values", {
    access: READ,
    touches: "environment",
    query: [APP, ENVIRONMENT],
    answer: json("SecretsDocument"),
  }),
  "secrets.set": control("PUT", "/secrets", "Sets a secret; workers that use it are replaced", {
    access: DEPLOY,
    touches: "environment",
    query: [APP, ENVIRONMENT, SECRET],
    body: { kind: "json", document: "SecretRequest" },
    answer: json("SecretChangeDocument"),
    changes: true,
  }),
  "secrets.remove": control("DELETE", "/secrets", "Removes a secret that no endpoint refers to", {
    access: DEPLOY,
    touches: "environment",
    query: [APP, ENVIRONMENT, SECRET],
    answer: json("SecretChangeDocument"),
    changes: true,
  }),
  "secrets.rotate": control("POST", "/secrets/rotate-key", "Seals all secrets with a new key", {
    access: ADMIN,
    touches: "server",
    answer: json("SecretRotationDocument"),
    changes: true,
  }),
  "logins.begin": control("POST", "/logins", "Asks for a key; somebody has to approve", {
    access: "public",
    touches: "server",
    body: { kind: "json", document: "LoginRequest" },
    answer: json("LoginDocument"),
    isSecret: true,
  }),
  "logins.poll": control("POST", "/logins/poll", "How such a request stands", {
    access: "public",
    touches: "server",
    body: { kind: "json", document: "LoginPoll" },
    answer: json("LoginStateDocument"),
    isSecret: true,
  }),
  "logins.read": control("GET", "/logins", "Who asks with a code", {
    access: ADMIN,
    touches: "server",
    narrowest: "endpoint",
    query: [parameter("code", "As it was shown.", { required: true })],
    answer: json("PendingLoginDocument"),
  }),
  "logins.decide": control("POST", "/logins/decide", "Approves or denies; by default for 90 days", {
    access: ADMIN,
    touches: "server",
    body: { kind: "json", document: "LoginDecision" },
    answer: json("PendingLoginDocument"),
    changes: true,
  }),
  "openapi.read": control("GET", "/openapi.json", "This document", {
    access: ANY,
    touches: "server",
    narrowest: "endpoint",
    answer: json("OpenApiDocument"),
  }),
} as const satisfies Record<string, ControlRoute>;

export type ControlRouteName = keyof typeof CONTROL_ROUTES;

/** Every route at a path, by method. */
export function controlRoutesAt(path: string): Map<string, ControlRouteName> {
  const found = new Map<string, ControlRouteName>();
  for (const [name, route] of Object.entries<ControlRoute>(CONTROL_ROUTES)) {
    if (route.path === path) found.set(route.methods[0], name as ControlRouteName);
  }
  return found;
}
