/**
 * The authorization matrix, generated from the route table: every route of every plane × every kind of
 * caller. What is expected follows from a few rules that are written here a second time, by hand.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { VERBS, type Level, type Scope, type Verb } from "../../src/contract/access.ts";
import { apiRoutes, type ApiRoute } from "../../src/contract/api-routes.ts";
import type { ControlRoute } from "../../src/contract/control-routes.ts";
import type { KeyRow } from "../../src/contract/identity.ts";
import { digestOf } from "../../src/server/gateway/auth.ts";
import { newKey } from "../../src/server/identity/key-text.ts";
import { SqliteStore } from "../../src/server/server.ts";
import { temporaryFolder } from "../support/temp.ts";
import { backwards, TestServer, type RequestOptions } from "./server-support.ts";

type Verdict = "allowed" | 401 | 403;
type Route = ApiRoute | ControlRoute;

const PLACE: Scope = { app: "shop", environment: "production", endpoint: null };
const ANYWHERE: Scope = { app: null, environment: null, endpoint: null };

/** Bodies that fit, by the document that a route names. */
const BODIES: Record<string, unknown> = {
  LoginRequest: { client: "a test" },
  LoginPoll: { secret: "none" },
  LoginDecision: { code: "NONE", approve: true },
  SecretRequest: { value: "some-value" },
  DeployRequest: { app: "shop", environment: "production", build: "build_none" },
  KeyRequest: { name: "made", verbs: ["read"] },
  AppRequest: { app: "shop" },
  EnvironmentRequest: { app: "shop", environment: "production" },
  PlanRequest: { app: "shop", environment: "production", digest: "none", manifest: {} },
};

/** Answered only when something happens; that they open is the business of worker-api and job-link tests. */
const HELD = new Set(["worker job-take", "worker job-take-batch", "worker job-stop"]);
/** A call of somebody who may that is still not answered after this time has been let in, ms. */
const PATIENCE_MS = 5000;
/** A refusal comes at once, unless the machine has much else to do, ms. */
const REFUSAL_MS = 120_000;
/** An upgrade, which plain HTTP cannot ask for. */
const UPGRADES = new Set(["worker job-link"]);
/** What ends the things that the other routes need comes last, and only once. */
const LAST = new Set([
  "control apps.remove",
  "control environments.remove",
  "control endpoints.remove",
  "control server.stop",
]);

const owner = backwards({ after });
let server: TestServer;
/** Endpoint ids by kind, and the worker whose secret is used. */
let ids: Record<"qb" | "lb" | "worker", string>;
const keys = new Map<string, string>();

before(async () => {
  const home = temporaryFolder(owner, "flash-matrix");
  const store = new SqliteStore({ home, durability: "memory" });
  const expired = keyRow({ verbs: ["admin"], scope: ANYWHERE, expiresAt: Date.now() - 1 });
  await store.keys.add(expired.row);
  keys.set("expired", expired.key);
  // Behind a proxy, so that wrong keys come from many addresses and none has too many of them.
  server = await TestServer.start(owner, { home, store, trustProxy: true });
  const deployed = await server.deploy("shop", [
    { name: "api", kind: "lb" },
    { name: "queue", kind: "qb", form: "image" },
  ]);
  const idOf = (kind: string) => deployed.endpoints.find((one) => one.kind === kind)?.id ?? "";
  const added = await server.request(
    "/api/v1/workers?app=shop&environment=production&endpoint=queue",
    { method: "POST" },
  );
  ids = { qb: idOf("qb"), lb: idOf("lb"), worker: added.json.worker };
  keys.set("worker", added.json.env["RUNPOD_AI_API_KEY"]);
  const revoked = await makeKey([...VERBS], ANYWHERE);
  await server.request(`/api/v1/keys?key=${revoked.id}`, { method: "DELETE" });
  keys.set("revoked", revoked.key);
  keys.set("operator", server.server.key);
  keys.set("unknown", newKey());
});

function keyRow({ verbs, scope, expiresAt }: Pick<KeyRow, "verbs" | "scope" | "expiresAt">) {
  const key = newKey();
  const name = `key-${keys.size}-${key.slice(-5).replaceAll(/\W/g, "")}`;
  const row: KeyRow = {
    id: name,
    name,
    digest: digestOf(key),
    verbs,
    scope,
    createdAt: 0,
    createdBy: "test",
    expiresAt,
    revokedAt: null,
    lastUsedAt: null,
  };
  return { key, row };
}

const made = new Map<string, Promise<{ key: string; id: string }>>();

function makeKey(verbs: readonly Verb[], scope: Scope): Promise<{ key: string; id: string }> {
  const what = JSON.stringify([verbs, scope]);
  const known = made.get(what);
  if (known !== undefined) return known;
  const parts = Object.fromEntries(Object.entries(scope).filter(([, value]) => value !== null));
  const body = JSON.stringify({ name: `key-${made.size}`, verbs, ...parts });
  const answer = server.request("/api/v1/keys", { method: "POST", body }).then(({ json, text }) => {
    assert.ok(json.key, text);
    return json as { key: string; id: string };
  });
  made.set(what, answer);
  return answer;
}

/** Every caller with the verdict that the rules give; see the head of this file. */
async function callersOf(
  name: string,
  route: Route,
): Promise<[who: string, key: string | null, Verdict][]> {
  const { access, plane } = route;
  const known = (who: string): string => keys.get(who) ?? assert.fail(who);
  if (access === "public") {
    return ["expired", "revoked", "unknown"].map((who) => [who, known(who), "allowed"]);
  }
  const callers: [string, string | null, Verdict][] = [
    ["no key", null, 401],
    ["unknown", known("unknown"), 401],
    ["expired", known("expired"), 401],
    ["revoked", known("revoked"), 401],
  ];
  if (access === "worker") {
    // Everything but the worker's own secret is no key at all to the worker protocol.
    const admin = await makeKey(["admin"], ANYWHERE);
    callers.push(["admin", admin.key, 401], ["operator", known("operator"), 401]);
    if (!HELD.has(name)) callers.push(["its worker", known("worker"), "allowed"]);
    return callers;
  }
  const { verbs } = access;
  const wrong = VERBS.filter((verb) => verb !== "admin" && !verbs.includes(verb));
  if (wrong.length > 0) callers.push(["wrong verbs", (await makeKey(wrong, ANYWHERE)).key, 403]);
  callers.push(["operator", known("operator"), "allowed"]);
  callers.push(["worker", known("worker"), access.workers === true ? "allowed" : 403]);
  for (const verb of new Set([...verbs, "admin" as const])) {
    callers.push([`${verb} anywhere`, (await makeKey([verb], ANYWHERE)).key, "allowed"]);
  }
  const needed = [verbs[0] ?? "admin"];
  for (const [who, scope, verdict] of scopesOf(route, plane)) {
    callers.push([who, (await makeKey(needed, scope)).key, verdict]);
  }
  return callers;
}

/** Scoped keys: what a route touches may be named by them, or lie inside of what they name. */
function scopesOf(route: Route, plane: Route["plane"]): [who: string, scope: Scope, Verdict][] {
  const { touches, narrowest = touches } = route;
  const levels: Level[] = ["server", "app", "environment", "endpoint"];
  const reaches = (level: Level): Verdict =>
    levels.indexOf(level) <= levels.indexOf(narrowest) ? "allowed" : 403;
  const own = plane === "lb" ? "api" : "queue";
  const foreign = (level: Level): Verdict =>
    // A list of the server shows such a key its own part, which may be empty.
    levels.indexOf(level) > levels.indexOf(touches) ? reaches(level) : 403;
  return [
    ["its app", { ...ANYWHERE, app: "shop" }, reaches("app")],
    ["its environment", PLACE, reaches("environment")],
    ["its endpoint", { ...PLACE, endpoint: own }, reaches("endpoint")],
    ["other app", { ...ANYWHERE, app: "blog" }, foreign("app")],
    ["other environment", { ...PLACE, environment: "staging" }, foreign("environment")],
    ["other endpoint", { ...PLACE, endpoint: "neighbour" }, foreign("endpoint")],
  ];
}

function requestOf(route: Route, method: string): { path: string; options: RequestOptions } {
  const endpoint = route.plane === "lb" ? ids.lb : ids.qb;
  const path = route.path
    .replace("{endpoint}", endpoint)
    .replace("{worker}", ids.worker)
    .replace("{path*}", "pid")
    .replaceAll(/\{[^}]+\}/g, "none");
  const query = new URLSearchParams({ wait: "1000" });
  const { query: parameters = [], body } = route as ControlRoute;
  for (const { name, names, required } of parameters) {
    if (!required) continue;
    const values = { app: "shop", environment: "production", endpoint: "queue" };
    query.set(name, names === undefined ? "none" : values[names]);
  }
  const document = body?.kind === "json" ? BODIES[body.document] : undefined;
  if (body?.kind === "json") assert.ok(document, `the matrix needs a ${body.document}`);
  const text =
    document === undefined ? (hasBody(method) ? "{}" : undefined) : JSON.stringify(document);
  return {
    path: `${path}?${query}`,
    options: { method, ...(text === undefined ? {} : { body: text }) },
  };
}

function hasBody(method: string): boolean {
  return method === "POST" || method === "PUT" || method === "PATCH";
}

let asked = 0;

/** Of a refusal every word is waited for; who is let in may be held for ever. */
async function verdictOf(
  route: Route,
  method: string,
  { key, wanted }: { key: string | null; wanted: Verdict },
): Promise<Verdict> {
  const { path, options } = requestOf(route, method);
  asked += 1;
  const headers = { "x-forwarded-for": `10.0.${asked >> 8}.${asked & 255}` };
  const signal = AbortSignal.timeout(wanted === "allowed" ? PATIENCE_MS : REFUSAL_MS);
  const answer = await server
    .request(path, { ...options, headers, key, signal })
    .catch((error: unknown) => {
      if (signal.aborted) return { status: 0 };
      throw error;
    });
  return answer.status === 401 || answer.status === 403 ? answer.status : "allowed";
}

const routes = [...apiRoutes()].filter(([name]) => !UPGRADES.has(name));
const ordered = [
  ...routes.filter(([name]) => !LAST.has(name)),
  ...routes.filter(([name]) => LAST.has(name)),
];

describe("the authorization matrix", () => {
  test("refuses whoever may not", async () => {
    const checks = ordered.flatMap(([name, route]) =>
      route.methods.map(async (method) => {
        for (const [who, key, verdict] of await callersOf(name, route)) {
          if (verdict === "allowed") continue;
          assert.equal(
            await verdictOf(route, method, { key, wanted: verdict }),
            verdict,
            `${method} ${name}: ${who}`,
          );
        }
      }),
    );
    await Promise.all(checks);
    assert.ok(checks.length >= 45, `only ${checks.length} routes`);
  });

  test("a control: a rule that is not kept is noticed", async () => {
    const [name, route] =
      ordered.find(([one]) => one === "control scaling.explain") ?? assert.fail();
    const loose: Route = { ...route, access: { verbs: ["call"] } };
    const callers = await callersOf(name, loose);
    const verdicts = await Promise.all(
      callers.map(
        async ([, key, wanted]) => (await verdictOf(route, "GET", { key, wanted })) === wanted,
      ),
    );
    assert.ok(verdicts.includes(false));
  });

  for (const [name, route] of ordered) {
    test(`opens to whoever may: ${name}`, async () => {
      for (const method of route.methods) {
        const callers = (await callersOf(name, route)).filter(
          ([, , verdict]) => verdict === "allowed",
        );
        const asked = LAST.has(name)
          ? callers.filter(([who]) => who === "admin anywhere")
          : callers;
        await Promise.all(
          asked.map(async ([who, key]) => {
            assert.equal(
              await verdictOf(route, method, { key, wanted: "allowed" }),
              "allowed",
              `${method} ${name}: ${who}`,
            );
          }),
        );
      }
    });
  }
});
