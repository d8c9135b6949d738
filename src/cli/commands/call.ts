/** `flash call`: one call of a deployed endpoint, with its result on stdout. */

import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import type { Cloud, Target } from "../../contract/cloud.ts";
import type { EndpointDescription, EndpointStatus } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import { closest } from "../../contract/names.ts";
import { HTTP_METHODS, pathParameters, RouteTable } from "../../contract/routes.ts";
import {
  followJob,
  mustComplete,
  queryOf,
  send,
  submitJob,
  valuesOf,
  type Line,
} from "../calling.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import type { Output } from "../output.ts";
import { openTarget, TARGET_OPTIONS, type TargetOptions } from "../target.ts";

interface Options extends TargetOptions {
  data?: string;
  wait: boolean;
  timeout?: number;
}

export const call: CommandDefinition = {
  description:
    "Calls a deployed endpoint and prints the result: a queue endpoint by its name, a route by method and " +
    "path. A stream is printed as it comes, a line for each value. The exit code tells the outcome: 0 the " +
    "function returned, 1 it failed, 2 the input was wrong, 3 no valid key, 4 it could not be reached.",
  examples: [
    [`flash call double --data '{"value": 21}'`, "a job, until it is done"],
    ["flash call double --data 21", "the same: it has one parameter"],
    ["flash call double -d @in.json --no-wait", "prints the id of the job"],
    ["flash call GET /users/1", "a route"],
    ["flash call shop POST /items -d @-", "of one endpoint, with a body from stdin"],
  ],
  arguments: [
    ["<what>", "queue endpoint, load-balanced endpoint, or method of a route"],
    ["[route]", "method of a route, or its path"],
    ["[path]", "path of the route"],
  ],
  options: [
    ["-d, --data <json>", "arguments as JSON; @file reads a file, @- stdin; default: none"],
    ["--no-wait", "submit the job and print its id"],
    ["--timeout <seconds>", "give up waiting; default: never", parseTimeout],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { args, signal } = invocation;
    const options = invocation.options as unknown as Options;
    const wanted = readWanted(args);
    const data = await readData(options.data);
    const { cloud, key, target } = await openTarget(invocation);
    const { endpoints } = await cloud.status(target, { signal });
    const endpoint = choose(wanted, endpoints);
    const limit =
      options.timeout === undefined ? [] : [AbortSignal.timeout(options.timeout * 1000)];
    const line: Line = {
      name: endpoint.name,
      url: endpoint.url,
      key,
      signal: AbortSignal.any([signal, ...limit]),
    };
    const description = await cloud.describe(target, endpoint.name, { signal });
    const use = { cloud, target, description, line, data };
    try {
      if (endpoint.kind === "qb") await callQueue(use, invocation);
      else await callRoute({ ...use, wanted }, invocation);
    } catch (error) {
      throw await withSample(timedOut(error, limit[0], endpoint.name), description);
    }
  },
};

/** What the words name: an endpoint, a route, or both. */
interface Wanted {
  endpoint: string | undefined;
  method: string | undefined;
  path: string | undefined;
}

function readWanted(args: Invocation["args"]): Wanted {
  const words = args.flatMap((arg) => arg?.trim().split(/\s+/) ?? []);
  const isMethod = (word: string | undefined): boolean =>
    (HTTP_METHODS as readonly string[]).includes(word?.toUpperCase() ?? "");
  const isPath = (word: string | undefined): boolean => word?.startsWith("/") === true;
  const [first, second, third] = words;
  if (isPath(first)) return { endpoint: undefined, method: undefined, path: first };
  if (isMethod(first) && isPath(second) && third === undefined) {
    return { endpoint: undefined, method: first?.toUpperCase(), path: second };
  }
  if (second === undefined) return { endpoint: first, method: undefined, path: undefined };
  if (isPath(second) && third === undefined) {
    return { endpoint: first, method: undefined, path: second };
  }
  if (isMethod(second) && isPath(third) && words.length === 3) {
    return { endpoint: first, method: second.toUpperCase(), path: third };
  }
  throw new FlashError(
    "INVALID_USAGE",
    `'${words.join(" ")}' is neither an endpoint nor a route.`,
    {
      hint: `Name an endpoint, or a route with its method: ${HTTP_METHODS.join(", ")} and a path that starts with '/'.`,
    },
  );
}

function choose(
  { endpoint, method, path }: Wanted,
  all: readonly EndpointStatus[],
): EndpointStatus {
  if (endpoint !== undefined) {
    const found = all.find((one) => one.name === endpoint || one.id === endpoint);
    if (found !== undefined) return mustFit(found, path);
    const names = all.map(({ name }) => name);
    const near = closest(endpoint, names);
    throw new FlashError("ENDPOINT_NOT_FOUND", `There is no endpoint '${endpoint}'.`, {
      hint: `${near === undefined ? "" : `Did you mean '${near}'? `}Deployed are ${names.join(", ") || "none"}.`,
    });
  }
  const having = all.filter((one) => routeOf(one, method, path ?? "") !== undefined);
  const [only, another] = having;
  if (only !== undefined && another === undefined) return only;
  const what = `${method === undefined ? "" : `${method} `}${path}`;
  if (only !== undefined) {
    throw new FlashError("CONFLICT", `Several endpoints have the route ${what}.`, {
      hint: `Name one first: ${having.map(({ name }) => name).join(", ")}.`,
    });
  }
  throw noRoute(what, all);
}

function mustFit(found: EndpointStatus, path: string | undefined): EndpointStatus {
  if ((found.kind === "lb") === (path !== undefined)) return found;
  throw new FlashError(
    "WRONG_ENDPOINT_KIND",
    path === undefined
      ? `'${found.name}' is load-balanced: name a route of it.`
      : `'${found.name}' is a queue endpoint: it has no routes.`,
    {
      hint:
        path === undefined
          ? `Its routes: ${routesText([found])}.`
          : `Leave the route out: 'flash call ${found.name}'.`,
    },
  );
}

function noRoute(what: string, endpoints: readonly EndpointStatus[]): FlashError {
  return new FlashError("ROUTE_NOT_FOUND", `No endpoint has the route ${what}.`, {
    hint: `Deployed are ${routesText(endpoints) || "no routes"}.`,
  });
}

function routesText(endpoints: readonly EndpointStatus[]): string {
  return endpoints
    .flatMap(({ routes }) => routes.map(({ method, path }) => `${method} ${path}`))
    .join(", ");
}

/** The route of a path, which may be written with its parameters in braces. */
function routeOf(
  { routes }: EndpointStatus,
  method: string | undefined,
  path: string,
): { method: string; path: string } | undefined {
  const [plain = ""] = path.split("?");
  const written = routes.find((one) => one.path === plain && one.method === (method ?? one.method));
  if (written !== undefined) return written;
  const table = new RouteTable<{ method: string; path: string }>();
  for (const route of routes) table.add(route, route);
  for (const one of method === undefined ? HTTP_METHODS : [method]) {
    const match = table.find(one, plain);
    if (match.kind === "match") return match.value;
  }
  return undefined;
}

/** Throws `INVALID_USAGE` for what is no JSON, or no file. */
async function readData(given: string | undefined): Promise<unknown> {
  if (given === undefined) return undefined;
  const text = given.startsWith("@") ? await readSource(given.slice(1)) : given;
  try {
    return JSON.parse(text);
  } catch (cause) {
    const what = given.startsWith("@") ? given.slice(1) : text.slice(0, 60);
    throw new FlashError("INVALID_USAGE", `--data is no JSON: ${what}`, {
      hint: `${(cause as Error).message}. Text needs quotes of its own: --data '"text"'.`,
      cause,
    });
  }
}

async function readSource(name: string): Promise<string> {
  if (name === "-") return await readAll(process.stdin);
  try {
    return await readFile(name, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new FlashError("INVALID_USAGE", `--data: ${name} cannot be read (${code}).`, { cause });
  }
}

interface Use {
  cloud: Cloud;
  target: Target;
  description: EndpointDescription;
  line: Line;
  data: unknown;
}

async function callQueue({ description, line, data }: Use, invocation: Invocation): Promise<void> {
  const { output, signal } = invocation;
  const options = invocation.options as unknown as Options;
  const job = await submitJob(line, inputOf(data, description));
  const { id } = job;
  if (!options.wait) {
    output.document(job);
    output.print(id);
    return;
  }
  const goesOn = (): void =>
    output.say(`The job goes on: 'flash jobs show ${line.name} ${id}' looks at it.`);
  signal.addEventListener("abort", goesOn, { once: true });
  const streams = description.functions.some((one) => one.streams);
  for await (const news of followJob(line, id)) {
    if (news.kind === "restart") output.say("the attempt failed; another one begins");
    else if (news.kind === "chunk") printChunk(news.value, output);
    else {
      mustComplete(news.job, line.name);
      if (streams) printEnd(news.job, output);
      else {
        output.document(news.job);
        if (!output.json) printValue(news.job.output, output);
      }
    }
  }
  signal.removeEventListener("abort", goesOn);
}

/** A value alone stands for the one parameter that there is. */
function inputOf(data: unknown, { name, form, functions }: EndpointDescription): unknown {
  if (data === undefined) return {};
  if (isPlainJsonObject(data)) return data;
  const [first] = functions;
  const [only, another] = first?.parameters ?? [];
  if (form === "function" && only !== undefined && another === undefined) {
    return { [only.name]: data };
  }
  throw new FlashError(
    "INVALID_USAGE",
    `--data must be an object: '${name}' takes its arguments by name.`,
  );
}

async function callRoute(
  { line, data, wanted, description }: Use & { wanted: Wanted },
  { output }: Invocation,
): Promise<void> {
  const { path = "/" } = wanted;
  const routes = description.functions.flatMap(({ route }) => route ?? []);
  const asked = { ...description, routes, state: "ready" } as unknown as EndpointStatus;
  const route = routeOf(asked, wanted.method ?? methodFor(data, routes, path), path);
  if (route === undefined) {
    throw noRoute(`${wanted.method ?? ""} ${path}`.trim(), [asked]);
  }
  const filled = fill(path, data);
  const isBodiless = route.method === "GET" || route.method === "DELETE";
  const response = await send(line, {
    method: route.method,
    path: filled.path + (isBodiless ? queryOf(filled.rest) : ""),
    ...(isBodiless || filled.rest === undefined ? {} : { json: filled.rest }),
  });
  const isStream = /^text\/event-stream\b/.test(response.headers.get("content-type") ?? "");
  const { status } = response;
  for await (const value of valuesOf(response)) {
    if (isStream) printChunk(value, output);
    else if (!output.json) printValue(value, output);
    else if (value instanceof Uint8Array) {
      output.document({ status, base64: Buffer.from(value).toString("base64") });
    } else output.document({ status, body: value });
  }
}

/** As curl does: a body means POST. */
function methodFor(
  data: unknown,
  routes: readonly { method: string; path: string }[],
  path: string,
): string | undefined {
  const [plain = ""] = path.split("?");
  const methods = routes.filter((one) => one.path === plain).map(({ method }) => method);
  if (methods.length === 1) return methods[0];
  return data === undefined ? "GET" : "POST";
}

/** Parameters in braces are taken out of the data. */
function fill(path: string, data: unknown): { path: string; rest: unknown } {
  const names = pathParameters(path.split("?")[0] ?? "");
  if (names.length === 0 || !isPlainJsonObject(data)) return { path, rest: data };
  const rest = { ...data };
  let filled = path;
  for (const name of names) {
    if (rest[name] === undefined) continue;
    const value = rest[name];
    filled = filled.replace(
      `{${name}}`,
      encodeURIComponent(typeof value === "string" ? value : JSON.stringify(value)),
    );
    delete rest[name];
  }
  return { path: filled, rest: Object.keys(rest).length === 0 ? undefined : rest };
}

/** Text as it is, bytes as they are, everything else as JSON. */
function printValue(value: unknown, output: Output): void {
  if (value instanceof Uint8Array) process.stdout.write(value);
  else if (typeof value === "string") output.data(value);
  else if (value !== undefined) output.data(JSON.stringify(value, null, 2));
}

/** One line, whatever it is. */
function printChunk(value: unknown, output: Output): void {
  if (output.json) output.data(JSON.stringify({ chunk: value }));
  else output.data(typeof value === "string" ? value : JSON.stringify(value));
}

function printEnd(job: { id: string; status: string }, output: Output): void {
  if (output.json) output.data(JSON.stringify({ ...job, output: undefined }));
}

function timedOut(error: unknown, limit: AbortSignal | undefined, name: string): unknown {
  if (limit?.aborted !== true) return error;
  return new FlashError("CALL_TIMEOUT", `${name} has not answered within --timeout.`, {
    hint: `A job goes on meanwhile: 'flash jobs list ${name}'.`,
    cause: error,
  });
}

/** Whoever sent the wrong input is shown a right one. */
async function withSample(error: unknown, description: EndpointDescription): Promise<unknown> {
  const isWrongInput =
    FlashError.is(error) && ["INVALID_INPUT", "NOT_ACCEPTED"].includes(error.code);
  if (!isWrongInput || description.kind !== "qb") return error;
  const { queueBody } = await import("../curl.ts");
  const { input } = queueBody(description);
  const { code, message, issues, details, hint } = error;
  return new FlashError(code, message, {
    hint: `${hint === undefined ? "" : `${hint} `}A right one: --data '${JSON.stringify(input)}'`,
    ...(issues === undefined ? {} : { issues }),
    ...(details === undefined ? {} : { details }),
    cause: error,
  });
}

function parseTimeout(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 604_800) return seconds;
  throw new FlashError("INVALID_USAGE", `--timeout is a number of seconds, got '${text}'.`);
}
