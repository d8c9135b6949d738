/**
 * The corpus through every channel: the same verdict everywhere, the same values at the function, and
 * for refusals the same places in the same words.
 */

import assert from "node:assert/strict";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { OpenApiDocument } from "../../src/contract/openapi.ts";
import { freePort, Sandbox, type Deployment } from "../support/flash.ts";
import { run } from "../support/program.ts";
import { until } from "../support/until.ts";
import { callJob, callRoute, DocumentJudge, type Send, type Verdict } from "./channels.ts";
import { ALL, corpusProject, inQueue, onRoutes, routesOf, type NamedCase } from "./project.ts";
import type { ScriptOutcome } from "./sdk-calls.ts";
import { seen } from "./seen.ts";
import { bodyOf, namedOf, wholeOf, wirePlace, type Kind, type Named } from "./wire.ts";

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
let judge: DocumentJudge;
let outcomes: Record<string, ScriptOutcome>;
const closing: (() => void | Promise<void>)[] = [];

before(async () => {
  sandbox = await Sandbox.open({ after: (close) => void closing.push(close) });
  const folder = sandbox.project(corpusProject(), "corpus");
  deployment = await sandbox.deploy(folder);
  const port = await freePort();
  devUrl = `http://127.0.0.1:${port}`;
  const dev = sandbox.start(folder, "run", "--port", String(port));
  await until(async () => dev.isRunning && (await fetch(`${devUrl}/ping`)).ok, {
    what: `flash run at ${devUrl}; it said:\n${dev.output}`,
    withinMs: 60_000,
  });
  document = (await (await fetch(`${devUrl}/openapi.json`)).json()) as OpenApiDocument;
  judge = new DocumentJudge(document);
  outcomes = await callFromScript(folder);
});

after(async () => {
  for (const close of closing.reverse()) await close();
});

describe("the corpus", () => {
  test("holds at least 60 signatures, each with two valid and two invalid calls", () => {
    assert.ok(ALL.length >= 60, String(ALL.length));
    for (const { title, valid, invalid, strange = [] } of ALL) {
      assert.ok(valid.length >= 1 && valid.length + invalid.length + strange.length >= 3, title);
    }
  });
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
      checkCalls(one, "lb", (named) => callRoute(sendTo(routesOf(one)), one, named)),
    );
    eachCase(inQueue, "as a job of a class:", (one) =>
      checkCalls(one, "qb", (named) => callJob(sendTo("queue"), bodyOf(named), one.id)),
    );
    eachCase(isAlone, "as a job:", (one) =>
      checkCalls(one, "qb", (named) =>
        callJob(sendTo(`alone-${one.id}`), bodyOf(named), undefined),
      ),
    );
  });
}

describe("ajv with our OpenAPI document", () => {
  eachCase(isDescribed, "agrees on a route:", (one) =>
    checkJudge(one, "lb", (named) => judge.route(one, named)),
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

async function checkCalls(
  one: NamedCase,
  kind: Kind,
  send: (named: Named) => Promise<Verdict>,
): Promise<void> {
  for (const expected of callsOf(one, kind)) assertVerdict(await send(expected.named), expected);
}

function assertVerdict(verdict: Verdict, { named, received, paths }: Expected): void {
  const call = show(named);
  if (verdict.kind === "other") assert.fail(`${call}: ${verdict.what}`);
  if (received !== undefined) {
    assert.deepEqual(verdict, { kind: "accepted", received }, call);
    return;
  }
  assert.equal(verdict.kind, "refused", call);
  const found = verdict.kind === "refused" ? verdict.issues : [];
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

function checkScript(via: "lb" | "qb" | "alone", one: NamedCase): void {
  const calls = callsOf(one, via === "lb" ? "lb" : "qb");
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
  if ("issues" in outcome) return { kind: "refused", issues: outcome.issues };
  return { kind: "other", what: outcome.error };
}

function devSend(endpoint: string): Send {
  return (target, init) => fetch(`${devUrl}/${endpoint}${target}`, init);
}

function deployedSend(endpoint: string): Send {
  return (target, init) => sandbox.fetch(`${deployment.endpoint(endpoint).url}${target}`, init);
}

async function callFromScript(folder: string): Promise<Record<string, ScriptOutcome>> {
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
  return JSON.parse(stdout) as Record<string, ScriptOutcome>;
}

function show(named: Named): string {
  return JSON.stringify(named.values);
}
