/**
 * The corpus through every channel: the same verdict everywhere, the same values at the function, and
 * for refusals the same places in the same words.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as fc from "fast-check";
import { Binder } from "../../src/contract/binder.ts";
import type { ErrorReport } from "../../src/contract/errors.ts";
import {
  findEndpoint,
  MANIFEST_FILE,
  readManifest,
  type FunctionManifest,
} from "../../src/contract/manifest.ts";
import type { OpenApiDocument } from "../../src/contract/openapi.ts";
import { STRUCTURE } from "../contract/openapi-structure.ts";
import { freePort, Sandbox, type Deployment } from "../support/flash.ts";
import { run } from "../support/program.ts";
import { until } from "../support/until.ts";
import { callJob, callRoute, DocumentJudge, type Send, type Verdict } from "./channels.ts";
import { mutatedCalls } from "./mutations.ts";
import { ALL, corpusProject, inQueue, onRoutes, routesOf, type NamedCase } from "./project.ts";
import type { ScriptOutcome, ScriptResult } from "./sdk-calls.ts";
import { seen } from "./seen.ts";
import { bodyOf, namedOf, wholeOf, wirePlace, type Kind, type Named } from "./wire.ts";

/** As a route, as a method of the queue class, as a queue endpoint of its own. */
type Via = "lb" | "qb" | "alone";

/** One call of a case, and how it must end everywhere. */
interface Expected {
  named: Named;
  /** What the function tells; undefined when the call must be refused. */
  received: string | undefined;
  /** Where the issues must be. */
  paths: string[];
}

let sandbox: Sandbox;
let deployment: Deployment;
let devUrl: string;
let document: OpenApiDocument;
let queueFunctions: FunctionManifest[];
let judge: DocumentJudge;
let ownJudge: DocumentJudge;
let outcomes: Record<string, ScriptOutcome>;
let failures: ScriptResult["failures"];
const closing: (() => void | Promise<void>)[] = [];

before(async () => {
  sandbox = await Sandbox.open({ after: (close) => void closing.push(close) });
  const folder = sandbox.project(corpusProject(), "corpus");
  deployment = await sandbox.deploy(folder);
  const manifestFile = path.join(folder, ".flash", MANIFEST_FILE);
  const manifest = readManifest(readFileSync(manifestFile, "utf8"), manifestFile);
  queueFunctions = findEndpoint(manifest, "queue")?.functions ?? [];
  const port = await freePort();
  devUrl = `http://127.0.0.1:${port}`;
  const dev = sandbox.start(folder, "run", "--port", String(port));
  await until(async () => dev.isRunning && (await fetch(`${devUrl}/ping`)).ok, {
    what: `flash run at ${devUrl}; it said:\n${dev.output}`,
  });
  document = (await (await fetch(`${devUrl}/openapi.json`)).json()) as OpenApiDocument;
  judge = new DocumentJudge(document, "app");
  const own = await deployedSend("routes")("/openapi.json", {});
  ownJudge = new DocumentJudge((await own.json()) as OpenApiDocument, "endpoint");
  ({ outcomes, failures } = await callFromScript(folder));
});

after(async () => {
  for (const close of closing.reverse()) await close();
});

test("the corpus holds at least 60 signatures with two valid and two invalid calls each", () => {
  const full = ALL.filter(
    ({ valid, invalid, strange = [] }) => valid.length >= 2 && invalid.length + strange.length >= 2,
  );
  assert.ok(full.length >= 60, String(full.length));
});

describe("a call by the SDK", () => {
  eachCase(onRoutes, "is judged before it is sent, to a route:", (one) => checkScript("lb", one));
  eachCase(inQueue, "is judged before it is sent, as a job:", (one) => checkScript("qb", one));
  eachCase(isAlone, "is judged before it is sent, as a job of its own endpoint:", (one) =>
    checkScript("alone", one),
  );
});

for (const [where, sendTo] of [
  ["flash run", devSend],
  ["a deployment", deployedSend],
] as const) {
  describe(`a request to ${where}`, () => {
    eachCase(onRoutes, "to a route:", (one) =>
      checkCalls("lb", one, (named) => callRoute(sendTo(routesOf(one)), one, named)),
    );
    eachCase(inQueue, "as a job of a class:", (one) =>
      checkCalls("qb", one, (named) => callJob(sendTo("queue"), bodyOf(named), one.id)),
    );
    eachCase(isAlone, "as a job:", (one) =>
      checkCalls("alone", one, (named) =>
        callJob(sendTo(`alone-${one.id}`), bodyOf(named), undefined),
      ),
    );
  });
}

describe("a function that throws", () => {
  const thrown = { name: "QuotaError", message: "no quota left for ann" };
  const deeper = { name: "RangeError", message: "0 of 5" };

  test("is told by its class, message and cause to a caller of the SDK", () => {
    const expected = { code: "FUNCTION_ERROR", cause: thrown, deeper };
    assert.deepEqual(failures, { route: expected, job: expected });
  });

  for (const [where, sendTo] of [
    ["flash run", devSend],
    ["a deployment", deployedSend],
  ] as const) {
    test(`is told by ${where} over HTTP, and as a job with its place in the source`, async () => {
      const init = {
        method: "POST",
        body: JSON.stringify({ user: "ann" }),
        headers: { "content-type": "application/json" },
      };
      const response = await sendTo("failing-route")("/fail", init);
      assert.equal(response.status, 500);
      const problem = (await response.json()) as { code: string; error: ErrorReport };
      assert.equal(problem.code, "FUNCTION_ERROR");
      assertReport(problem.error);
      const body = JSON.stringify({ input: { user: "ann" } });
      const job = await sendTo("failing-job")("/runsync?wait=60000", { ...init, body });
      const { status, error } = (await job.json()) as { status: string; error: string };
      assert.equal(status, "FAILED");
      assert.match(error, /QuotaError/);
      assert.match(error, /no quota left for ann/);
      assert.match(error, /failing\.ts:6/);
    });
  }

  function assertReport({ name, message, cause }: ErrorReport): void {
    assert.deepEqual({ name, message }, thrown);
    assert.deepEqual({ name: cause?.name, message: cause?.message }, deeper);
  }
});

describe("our OpenAPI document", () => {
  test("has the structure that the specification asks for", () => {
    const ajv = new Ajv2020({ strict: false });
    ajv.validate(STRUCTURE, document);
    assert.equal(ajv.errorsText(), "No errors");
  });

  test("passes an independent validator", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors, null, 1));
  });
});

describe("ajv with our OpenAPI document", () => {
  test("agrees on thousands of inputs that are nearly those of the corpus", () => {
    const binders = new Map(queueFunctions.map((fn) => [fn.name, new Binder(fn)]));
    fc.assert(
      fc.property(mutatedCalls, ({ one, input }) => {
        const issues = binders.get(one.id)?.checkInput(input);
        const complaints = judge.job("queue", input, one.id);
        assert.equal(
          issues?.length === 0,
          complaints.length === 0,
          JSON.stringify({ input, issues, complaints }),
        );
      }),
      { numRuns: 3000 },
    );
  });

  eachCase(isDescribed, "agrees on a route:", (one) =>
    checkJudge(one, "lb", (named) => judge.route(one, named)),
  );
  eachCase(isOnMainRoutes, "agrees by the endpoint's own document:", (one) =>
    checkJudge(one, "lb", (named) => ownJudge.route(one, named)),
  );
  eachCase(inQueue, "agrees on a job of a class:", (one) =>
    checkJudge(one, "qb", (named) => judge.job("queue", bodyOf(named), one.id)),
  );
  eachCase(isAlone, "agrees on a job:", (one) =>
    checkJudge(one, "qb", (named) => judge.job(`alone-${one.id}`, bodyOf(named), undefined)),
  );
});

function eachCase(
  isMeant: (one: NamedCase) => boolean,
  words: string,
  check: (one: NamedCase) => void | Promise<void>,
): void {
  for (const one of ALL.filter(isMeant)) test(`${words} ${one.title}`, () => check(one));
}

function isDescribed(one: NamedCase): boolean {
  return onRoutes(one) && one.isMute !== true;
}

function isOnMainRoutes(one: NamedCase): boolean {
  return onRoutes(one) && routesOf(one) === "routes";
}

function isAlone(one: NamedCase): boolean {
  return one.isAlone === true;
}

/** The calls of a case, those that the SDK cannot make at the end. */
function callsOf(one: NamedCase, kind: Kind): Expected[] {
  const whole = wholeOf(one, kind);
  const pathsOf = (places: readonly string[]): string[] =>
    places.map((place) => wirePlace(place, whole)).sort();
  return [
    ...one.valid.map(({ args, receives }) => ({
      named: namedOf(one, args, kind),
      received: seen(...receives),
      paths: [],
    })),
    ...one.invalid.map(({ args, places }) => ({
      named: namedOf(one, args, kind),
      received: undefined,
      paths: pathsOf(places),
    })),
    ...(one.strange ?? []).map(({ body, places }) => ({
      named: { values: whole === undefined ? body : { [whole]: body }, whole },
      received: undefined,
      paths: pathsOf(places),
    })),
  ];
}

/** Over the wire, a refusal has the words and the code with which the SDK refuses. */
async function checkCalls(
  via: Via,
  one: NamedCase,
  send: (named: Named) => Promise<Verdict>,
): Promise<void> {
  for (const [index, expected] of callsOf(one, kindOf(via)).entries()) {
    const verdict = await send(expected.named);
    assertVerdict(verdict, expected);
    const outcome = outcomes[`${via} ${one.id} ${index}`];
    // A Standard Schema has words of its own, which only the worker knows.
    if (outcome === undefined || verdict.kind !== "refused" || one.input !== undefined) continue;
    const { issues, code } = verdict;
    assert.deepEqual({ kind: "refused", issues, code }, verdictOf(outcome), show(expected.named));
  }
}

function assertVerdict(verdict: Verdict, { named, received, paths }: Expected): void {
  const call = show(named);
  if (verdict.kind === "other") assert.fail(`${call}: ${verdict.what}`);
  if (received !== undefined) {
    assert.deepEqual(verdict, { kind: "accepted", received }, call);
    return;
  }
  if (verdict.kind !== "refused") assert.fail(`${call} was accepted`);
  const found = verdict.issues;
  assert.equal(verdict.code, "INVALID_INPUT", call);
  assert.deepEqual(
    found.map((issue) => issue.path).sort(),
    paths,
    `${call} ${JSON.stringify(found)}`,
  );
}

function checkJudge(one: NamedCase, kind: Kind, complaintsOf: (named: Named) => string[]): void {
  for (const { named, received } of callsOf(one, kind)) {
    const complaints = complaintsOf(named);
    assert.equal(
      complaints.length === 0,
      received !== undefined,
      `${show(named)} ${complaints.join("; ")}`,
    );
  }
}

function kindOf(via: Via): Kind {
  return via === "lb" ? "lb" : "qb";
}

function checkScript(via: Via, one: NamedCase): void {
  const calls = callsOf(one, kindOf(via));
  for (const [index, expected] of calls.slice(0, one.valid.length + one.invalid.length).entries()) {
    const outcome = outcomes[`${via} ${one.id} ${index}`];
    assert.ok(outcome !== undefined);
    assertVerdict(verdictOf(outcome), expected);
    const requests = one.isMute === true ? 1 : 0;
    if ("issues" in outcome)
      assert.equal(outcome.requests, requests, `${show(expected.named)} sent`);
  }
}

function verdictOf(outcome: ScriptOutcome): Verdict {
  if ("received" in outcome) return { kind: "accepted", received: outcome.received };
  if ("issues" in outcome) {
    return { kind: "refused", issues: outcome.issues, code: outcome.code };
  }
  return { kind: "other", what: outcome.error };
}

function devSend(endpoint: string): Send {
  return (target, init) => fetch(`${devUrl}/${endpoint}${target}`, init);
}

function deployedSend(endpoint: string): Send {
  return (target, init) => sandbox.fetch(`${deployment.endpoint(endpoint).url}${target}`, init);
}

async function callFromScript(folder: string): Promise<ScriptResult> {
  const script = path.join(import.meta.dirname, "sdk-calls.ts");
  // The corpus holds real enums, which plain type stripping refuses.
  const command = [
    process.execPath,
    "--experimental-transform-types",
    "--no-warnings",
    script,
    folder,
  ] as const;
  const env = { ...sandbox.env, FLASH_URL: sandbox.url, FLASH_API_KEY: sandbox.key };
  const { code, stdout, stderr } = await run([...command], { cwd: folder, env });
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as ScriptResult;
}

function show(named: Named): string {
  return JSON.stringify(named.values);
}
