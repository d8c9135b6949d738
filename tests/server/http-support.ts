/** The job API and the worker protocol behind a real HTTP server with the smallest possible dispatch. */

import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import type { EndpointManifest, Parameter } from "../../src/contract/manifest.ts";
import { resolveOptions } from "../../src/contract/options.ts";
import { handleJobApi } from "../../src/server/gateway/job-api.ts";
import type { ServedEndpoint } from "../../src/server/gateway/job-call.ts";
import { originOf } from "../../src/server/gateway/origin.ts";
import { sendProblem } from "../../src/server/gateway/http.ts";
import { handleWorkerApi } from "../../src/server/gateway/worker-api.ts";
import { Batches } from "../../src/server/jobs/batches.ts";
import { silentLog } from "../../src/kit/log.ts";
import { setUp, TARGET, type Setting } from "./jobs-support.ts";

export interface Answer {
  status: number;
  /** Parsed, undefined when the body is empty. */
  json: unknown;
  text: string;
  headers: IncomingMessage["headers"];
}

export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  /** Sent as it is when it is text or bytes, as JSON otherwise. */
  body?: unknown;
  /** Ends the connection. */
  signal?: AbortSignal;
}

export interface Api extends Setting {
  batches: Batches;
  base: string;
  ask: (path: string, asked?: Asked) => Promise<Answer>;
  /** `ask` that fails on anything but 200 and returns the document. */
  ok: (path: string, asked?: Asked) => Promise<Record<string, unknown>>;
  /** Requests that have arrived so far. */
  arrived: () => number;
  /** Requests whose answer is neither complete nor given up. */
  open: () => number;
  seen: string[];
  unhealthy: string[];
}

/** A request with this header loses its connection in the moment it is answered. */
export const CUT_HEADER = "x-test-cut";

function cutAtAnswer(request: IncomingMessage, response: ServerResponse): void {
  const writeHead = response.writeHead.bind(response) as (...args: unknown[]) => ServerResponse;
  response.writeHead = (...args: unknown[]) => {
    request.socket.destroy();
    return writeHead(...args);
  };
}

const COUNTS = { idle: 1, initializing: 0, ready: 1, running: 0, throttled: 0, unhealthy: 0 };

const WORKER_OPERATION = /^(job-|ping)/;

/** Serves `/v2/{endpoint}/…`; workers are recognised by the key `secret-of-{worker}`. */
export async function serveApi(
  t: TestContext,
  options: { parameters?: Parameter[]; retries?: number; isCode?: boolean } = {},
): Promise<Api> {
  const setting = await setUp(t, options);
  const { store, jobs, clock } = setting;
  const batches = new Batches({
    store,
    jobs,
    clock,
    log: silentLog,
    targetOf: () => ({ ...TARGET, retries: options.retries ?? 2, capacity: 1 }),
  });
  t.after(() => batches.close());
  const seen: string[] = [];
  const unhealthy: string[] = [];
  let arrived = 0;
  let open = 0;
  const server = createServer((request, response) => {
    arrived++;
    open++;
    response.once("close", () => open--);
    if (request.headers[CUT_HEADER] !== undefined) cutAtAnswer(request, response);
    const [, , endpointId = "", ...operation] = (request.url ?? "")
      .split("?", 1)
      .join("")
      .split("/")
      .map(decodeURIComponent);
    const [, secretOf] = /^secret-of-(.*)$/.exec(request.headers.authorization ?? "") ?? [];
    const worker = { id: secretOf ?? "", secretOk: secretOf !== undefined };
    const onSeen = (id: string): number => seen.push(id);
    const onUnhealthy = (id: string, { check }: { check: string }): number =>
      unhealthy.push(`${id} ${check}`);
    const handled = WORKER_OPERATION.test(operation[0] ?? "")
      ? handleWorkerApi(
          { jobs, endpointId, releaseId: "rel_1", worker, onSeen, onUnhealthy },
          operation,
          request,
          response,
        )
      : handleJobApi(
          {
            jobs,
            batches,
            batchStore: store.batches,
            endpoint: endpoint(endpointId, options.parameters),
            principal: { kind: "operator" },
            origin: () => originOf(request, undefined),
          },
          operation,
          request,
          response,
        );
    handled.catch((error: unknown) => sendProblem(response, error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/ep1`;
  const ask = (path: string, asked: Asked = {}): Promise<Answer> => send(`${base}${path}`, asked);
  return {
    ...setting,
    batches,
    base,
    ask,
    arrived: () => arrived,
    open: () => open,
    seen,
    unhealthy,
    async ok(path, asked) {
      const { status, json, text } = await ask(path, asked);
      if (status !== 200) throw new Error(`${path} answered ${status}: ${text}`);
      return json as Record<string, unknown>;
    },
  };
}

/** A function endpoint; without parameters given it is an image, which takes any input. */
function endpoint(id: string, parameters: Parameter[] | undefined): ServedEndpoint {
  const manifest = {
    name: "analyze",
    kind: "qb",
    form: parameters === undefined ? "image" : "function",
    options: resolveOptions({}, "qb", "analyze"),
    functions:
      parameters === undefined
        ? []
        : [{ name: "analyze", parameters, streams: false, checked: true }],
  };
  return {
    row: { id, app: "shop", environment: "production", name: "analyze", kind: "qb", createdAt: 0 },
    releaseId: "rel_1",
    manifest: manifest as unknown as EndpointManifest,
    workerCounts: () => COUNTS,
    readyWorkers: () => ["wk1"],
  };
}

/** By hand, since `fetch` cannot send what some of the real clients send. */
async function send(url: string, { method, headers = {}, body, signal }: Asked): Promise<Answer> {
  const request = httpRequest(url, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers,
    agent: false,
    ...(signal === undefined ? {} : { signal }),
  });
  const isRaw = typeof body === "string" || Buffer.isBuffer(body);
  request.end(body === undefined ? undefined : isRaw ? body : JSON.stringify(body));
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let text = "";
  for await (const part of response.setEncoding("utf8")) text += part as string;
  const json: unknown = text === "" ? undefined : JSON.parse(text);
  return { status: response.statusCode ?? 0, json, text, headers: response.headers };
}
