/**
 * A peer that plays the Flash server: real HTTP on loopback. It answers descriptions and jobs like the
 * real one, keeps every request it got, and misbehaves on demand.
 */

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { EndpointDescription } from "../../src/contract/control.ts";
import type { JobDocument } from "../../src/contract/job.ts";
import type { FunctionManifest, Parameter } from "../../src/contract/manifest.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import type { Owner } from "../support/temp.ts";

export interface Seen {
  method: string;
  /** Path and query as they arrived. */
  url: string;
  headers: IncomingMessage["headers"];
  body: string;
}

export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  /** Sent as JSON unless it is a string or bytes. */
  body?: unknown;
}

type Behaviour = (seen: Seen) => Reply | "hang-up" | "silence" | "break-off";

export const KEY = "flash_test_key";

export class FakeServer {
  readonly seen: Seen[] = [];
  /** Descriptions by endpoint name. */
  readonly endpoints = new Map<string, Partial<EndpointDescription>>();
  /** Answers, first match wins: `POST /v2/flash/runsync`, or a path without its query. */
  readonly #behaviours = new Map<string, Behaviour[]>();
  readonly #server: Server;
  url = "";

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async open(owner: Owner): Promise<FakeServer> {
    const fake = new FakeServer();
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    fake.url = `http://127.0.0.1:${(fake.#server.address() as AddressInfo).port}`;
    owner.after(() => fake.close());
    return fake;
  }

  /** Queues answers of one operation; the last one is given for ever. */
  on(operation: string, ...behaviours: (Reply | Behaviour)[]): this {
    const steps = behaviours.map((one) => (typeof one === "function" ? one : () => one));
    this.#behaviours.set(operation, steps);
    return this;
  }

  describe(name: string, description: Partial<EndpointDescription>): this {
    this.endpoints.set(name, description);
    return this;
  }

  /** Requests of one operation, in order. */
  requests(operation: string): Seen[] {
    return this.seen.filter((one) => operationOf(one) === operation);
  }

  last(operation: string): Seen {
    const found = this.requests(operation).at(-1);
    assert.ok(found, `${operation} among ${this.seen.map(operationOf).join(", ")}`);
    return found;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = "", url = "", headers } = request;
    const seen = { method, url, headers, body: Buffer.concat(chunks).toString("latin1") };
    this.seen.push(seen);
    const reply = this.#replyTo(seen);
    if (reply === "silence") return;
    if (reply === "hang-up") request.socket.destroy();
    else if (reply === "break-off") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n", () => request.socket.destroy());
    } else send(response, reply);
  }

  #replyTo(seen: Seen): Reply | "hang-up" | "silence" | "break-off" {
    const steps = this.#behaviours.get(operationOf(seen));
    const step = steps !== undefined && steps.length > 1 ? steps.shift() : steps?.[0];
    if (step !== undefined) return step(seen);
    const url = new URL(seen.url, this.url);
    if (url.pathname === "/api/v1/endpoints" && seen.method === "GET") {
      const description = this.endpoints.get(url.searchParams.get("name") ?? "");
      return description === undefined
        ? problem(404, "ENDPOINT_NOT_FOUND", "no such endpoint")
        : { body: description };
    }
    return problem(404, "NOT_FOUND", `nothing at ${seen.url}`);
  }
}

export function problem(status: number, code: string, detail: string, more: object = {}): Reply {
  return {
    status,
    headers: { "content-type": "application/problem+json" },
    body: { type: "x", title: "x", status, code, detail, ...more },
  };
}

export function job(fields: Partial<JobDocument> = {}): Reply {
  return { body: { id: "job-1", status: "COMPLETED", delayTime: 1, executionTime: 1, ...fields } };
}

export function parameter(name: string, schema: JsonSchema, required = true): Parameter {
  return { name, schema, required, carrier: "value" };
}

export function signature(fields: Partial<FunctionManifest> = {}): FunctionManifest {
  return { name: "fn", parameters: [], streams: false, checked: true, ...fields };
}

/** Sets variables for one test. */
export function setVariables(owner: Owner, variables: Record<string, string | undefined>): void {
  const before = Object.keys(variables).map((name): [string, string | undefined] => [
    name,
    process.env[name],
  ]);
  const assign = ([name, value]: [string, string | undefined]): void => {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  };
  Object.entries(variables).forEach(assign);
  owner.after(() => before.forEach(assign));
}

/** Variables of a script that calls endpoints on `fake`. */
export function remoteVariables(fake: FakeServer): Record<string, string | undefined> {
  return {
    FLASH_MODE: "remote",
    FLASH_URL: fake.url,
    FLASH_API_KEY: KEY,
    FLASH_APP: "shop",
    FLASH_ENV: "staging",
    FLASH_SENTINEL_TIMEOUT: undefined,
    RUNPOD_API_KEY: undefined,
    RUNPOD_ENDPOINT_BASE_URL: undefined,
  };
}

function operationOf({ method, url }: Seen): string {
  return `${method} ${url.split("?")[0]}`;
}

function send(response: ServerResponse, { status = 200, headers, body }: Reply): void {
  if (body === undefined) {
    response.writeHead(status, headers).end();
  } else if (typeof body === "string" || body instanceof Uint8Array) {
    response.writeHead(status, { "content-type": "text/plain", ...headers }).end(body);
  } else {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  }
}
