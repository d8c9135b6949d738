/**
 * A script as a user writes one: imports the deployed project's functions and calls all of them with
 * all arguments of the corpus. Prints what became of each call.
 *
 *   node --experimental-transform-types sdk-calls.ts <project folder>
 */

import path from "node:path";
import { pathToFileURL } from "node:url";
import type { Issue } from "../../src/contract/errors.ts";
import { ALL, inQueue, onRoutes } from "./project.ts";

/** One call's end, by `via case number-of-call`. */
export type ScriptOutcome =
  | { received: unknown }
  | { code: string; issues: Issue[]; requests: number }
  | { error: string };

/** How a call of a function that throws has failed. */
export interface ScriptFailure {
  code: string;
  cause: { name: string; message: string };
  deeper: { name: string; message: string };
}

export interface ScriptResult {
  outcomes: Record<string, ScriptOutcome>;
  failures: Record<"route" | "job", ScriptFailure>;
}

type Callable = (...args: readonly unknown[]) => Promise<unknown>;

let requests = 0;
const { fetch } = globalThis;
globalThis.fetch = (input, init) => {
  const url = input instanceof Request ? input.url : String(input);
  if (!url.includes("/api/v1/")) requests++;
  return fetch(input, init);
};

async function outcomeOf(call: Callable, args: readonly unknown[]): Promise<ScriptOutcome> {
  const before = requests;
  try {
    return { received: await call(...args) };
  } catch (error) {
    const { code, issues, message } = error as Error & { code: string; issues?: Issue[] };
    if (issues === undefined) return { error: message };
    return { code, issues, requests: requests - before };
  }
}

async function failureOf(call: Callable | undefined): Promise<ScriptFailure> {
  try {
    return await Promise.reject(new Error(`returned ${JSON.stringify(await call?.("ann"))}`));
  } catch (error) {
    const { code, cause } = error as Error & { code: string; cause: Error };
    const { name, message } = cause;
    const { name: innerName, message: innerMessage } = cause.cause as Error;
    return { code, cause: { name, message }, deeper: { name: innerName, message: innerMessage } };
  }
}

async function load(name: string): Promise<Record<string, Callable>> {
  const file = path.join(process.argv[2] ?? "", name);
  return (await import(pathToFileURL(file).href)) as Record<string, Callable>;
}

const routes = await load("routes.ts");
const { queue } = (await load("queue.ts")) as unknown as { queue: Record<string, Callable> };
const alone = await load("alone.ts");

const outcomes: Record<string, ScriptOutcome> = {};
for (const one of ALL) {
  const ways: [string, Callable | undefined][] = [
    ["lb", onRoutes(one) ? routes[one.id] : undefined],
    ["qb", inQueue(one) ? queue[one.id] : undefined],
    ["alone", one.isAlone ? alone[one.id] : undefined],
  ];
  for (const [via, call] of ways) {
    if (call === undefined) continue;
    for (const [index, { args }] of [...one.valid, ...one.invalid].entries()) {
      outcomes[`${via} ${one.id} ${index}`] = await outcomeOf(call, args);
    }
  }
}
const { route, job } = await load("failing.ts");
const failures = { route: await failureOf(route), job: await failureOf(job) };
process.stdout.write(JSON.stringify({ outcomes, failures } satisfies ScriptResult));
