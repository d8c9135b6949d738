/**
 * The dev server's own HTTP face: names instead of ids, no key on loopback, the index, the API
 * description and its browser. Everything else is rewritten to the engine's own paths and handed to
 * it in this process, so a request takes the same way as in production, without a hop.
 *
 *   GET /                      what is served
 *   GET /ping                  health
 *   GET /openapi.json, /docs   the API description, and pages to try it
 *   /{endpoint}/run …          queue endpoints: the job API
 *   /{endpoint}{path}          load-balanced endpoints: their routes
 *   /v2/…, /lb/…, /api/v1/…    as a deployment has them, see `production`
 *   /{endpoint}/execute        under `flash run --remote` only: calls for live workers; GET describes the endpoint
 */

import { hash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { FlashError, PROBLEM_TYPE, problemOf } from "../contract/errors.ts";
import { findEndpoint, type EndpointManifest } from "../contract/manifest.ts";
import { declineUpgrade } from "../server/edge/declined-upgrade.ts";
import { answerHalfClosed } from "../server/edge/half-closed.ts";
import { Cors } from "../server/gateway/cors.ts";
import { isUpgrade } from "../server/gateway/lb-upgrade.ts";
import { checkLocal, isLoopback } from "./access.ts";
import { sendApiBrowser, apiBrowserPrefix } from "./api-browser.ts";
import { describeApi } from "./api.ts";
import { answerLive, liveEndpointOf, type LiveEndpoints } from "./live-route.ts";
import { listen, type ListenOptions } from "./port.ts";
import { takesProductionPath } from "./production.ts";
import type { Served } from "./served.ts";

/** What the front needs of the engine behind it. */
export interface FrontEngine {
  /** Undefined until a build has succeeded. */
  readonly served: Served | undefined;
  /** The mistakes of the newest build, when it failed. */
  readonly problem: string | undefined;
  /** Resolves when the first build has ended, well or badly. */
  readonly settled: Promise<void>;
  readonly key: string;
  /** Under `flash run --remote`. */
  readonly live: LiveEndpoints | undefined;
  handle(request: IncomingMessage, response: ServerResponse): void;
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** The one environment of a dev server. */
export const DEV_ENVIRONMENT = "dev";

const REQUEST_TIMEOUT_MS = 30 * 60_000;

export class Front {
  readonly #server: Server;
  readonly #engine: FrontEngine;
  /** A front end on another local port may read everything, refusals included; access keeps other pages out. */
  readonly #cors = new Cors(["local"]);
  /** No key is needed. */
  readonly isOpen: boolean;
  /** Base URL, without a slash at the end. */
  readonly url: string;
  readonly port: number;

  private constructor(server: Server, engine: FrontEngine, host: string, port: number) {
    this.#server = server;
    this.#engine = engine;
    this.isOpen = isLoopback(host);
    this.port = port;
    this.url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
    server.on("request", (request, response) => void this.#serve(request, response));
    // The engine decides whether it wants the body.
    server.on("checkContinue", (request, response) => void this.#serve(request, response));
    server.on("upgrade", (request, socket, head) => {
      if (isUpgrade(request)) void this.#upgrade(request, socket, head);
      else declineUpgrade(server, { request, socket, head });
    });
  }

  /** Throws `CONFLICT` when no port is free. */
  static async listen(engine: FrontEngine, options: ListenOptions): Promise<Front> {
    const server = createServer({ shouldUpgradeCallback: isUpgrade });
    answerHalfClosed(server);
    // Long enough for a slow upload of the largest body.
    server.requestTimeout = REQUEST_TIMEOUT_MS;
    const { host } = options;
    const address = host === "localhost" ? "127.0.0.1" : host;
    const port = await listen(server, { ...options, host: address });
    return new Front(server, engine, host, port);
  }

  /** Takes no new connections; call {@link end} when the engine has finished what runs. */
  stop(): void {
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  /** Ends every connection. */
  async end(): Promise<void> {
    const closed = this.#server.listening
      ? new Promise((resolve) => this.#server.close(resolve))
      : undefined;
    this.#server.closeAllConnections();
    await closed;
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { pathname } = targetOf(request);
      if (this.isOpen) checkLocal(request);
      if (this.#cors.answers(request, response)) return;
      if (pathname !== "/" && pathname !== "/ping") await this.#engine.settled;
      if (this.#answerOwn(pathname, request, response)) return;
      const { live } = this.#engine;
      const name = liveEndpointOf(pathname, live);
      const endpoint = name === undefined ? undefined : this.#endpoint(name);
      if (live !== undefined && endpoint !== undefined) {
        this.#requireKey(request);
        await answerLive(endpoint, live, { request, response });
        return;
      }
      this.#rewrite(request);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else sendProblem(response, error);
      return;
    }
    this.#engine.handle(request, response);
  }

  /** Never rejects. */
  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    try {
      if (this.isOpen) checkLocal(request);
      await this.#engine.settled;
      this.#rewrite(request);
    } catch (error) {
      const status = FlashError.is(error) ? error.status : 400;
      socket.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\n\r\n`);
      return;
    }
    this.#engine.handleUpgrade(request, socket, head);
  }

  /** Answers what is the dev server's own. False when the path is an endpoint's. */
  #answerOwn(pathname: string, request: IncomingMessage, response: ServerResponse): boolean {
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (!isRead) return false;
    if (pathname === "/") sendJson(response, this.#index());
    else if (pathname === "/ping") sendJson(response, { status: "healthy" });
    else if (pathname === "/openapi.json") {
      sendJson(
        response,
        describeApi(this.#served(), { url: this.#urlFor(request), isOpen: this.isOpen }),
      );
    } else if (pathname === "/docs" || pathname.startsWith(apiBrowserPrefix)) {
      sendApiBrowser(response, pathname);
    } else return false;
    return true;
  }

  /** As the client names it: a page on `127.0.0.1` may not call `localhost`. */
  #urlFor({ headers: { host } }: IncomingMessage): string {
    return host === undefined ? this.url : `http://${host}`;
  }

  #index(): Record<string, unknown> {
    const { served, problem } = this.#engine;
    return {
      message: "Flash Dev Server",
      docs: "/docs",
      status: problem === undefined ? "healthy" : "build-failed",
      ...(problem === undefined ? {} : { problem }),
      endpoints: (served?.manifest.endpoints ?? []).map((endpoint) => ({
        name: endpoint.name,
        kind: endpoint.kind,
        url: `${this.url}/${endpoint.name}`,
        routes: endpoint.functions.flatMap(({ route }) => route ?? []),
      })),
    };
  }

  /** Turns `/{endpoint}{rest}` into the engine's own path, with its key; that of a deployment stays. */
  #rewrite(request: IncomingMessage): void {
    if (takesProductionPath(request, this.#engine.served, DEV_ENVIRONMENT)) {
      this.#authorize(request);
      return;
    }
    const { pathname, search } = targetOf(request);
    const [, name = "", rest = ""] = /^\/([^/]*)(.*)$/s.exec(pathname) ?? [];
    const endpoint = this.#endpoint(name);
    const id = this.#served().ids.get(name) ?? "";
    request.url = `${endpoint.kind === "qb" ? `/v2/${id}` : `/lb/${id}`}${rest}${search}`;
    // The engine reads `headers`, workers get `rawHeaders`. It answers for this machine's name only,
    // and would take `x.localhost` for the endpoint with the id x.
    if (!isPlainLocal(request.headers.host)) request.headers.host = "localhost";
    this.#authorize(request);
  }

  /** Programs of this machine need no key here; the engine wants one from everybody. */
  #authorize({ headers }: IncomingMessage): void {
    if (this.isOpen) headers.authorization = `Bearer ${this.#engine.key}`;
  }

  #endpoint(name: string): EndpointManifest {
    const { manifest, ids } = this.#served();
    const endpoint = findEndpoint(manifest, name);
    if (endpoint !== undefined && ids.has(name)) return endpoint;
    throw unknownEndpoint(name, manifest.endpoints);
  }

  /** For what the engine, which asks for the key itself, does not see. */
  #requireKey({ headers: { authorization = "" } }: IncomingMessage): void {
    if (this.isOpen) return;
    const given = digest(authorization.replace(/^bearer +/i, ""));
    if (timingSafeEqual(given, digest(this.#engine.key))) return;
    throw new FlashError("UNAUTHORIZED", "The request has no valid key.", {
      hint: "Send 'Authorization: Bearer <key>' with the key that 'flash run' names.",
    });
  }

  #served(): Served {
    const { served, problem } = this.#engine;
    if (served !== undefined) return served;
    throw new FlashError("UNAVAILABLE", "The project has not been built yet.", {
      hint:
        problem === undefined
          ? "Try again in a moment."
          : `Fix this, and save:\n\n${problem.trim()}`,
    });
  }
}

function digest(key: string): Buffer {
  return hash("sha256", key, "buffer");
}

function isPlainLocal(host: string | undefined): boolean {
  return host === undefined || /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(host);
}

function unknownEndpoint(name: string, endpoints: readonly EndpointManifest[]): FlashError {
  const known = endpoints.map((endpoint) => `/${endpoint.name}`).join(", ");
  return new FlashError("ENDPOINT_NOT_FOUND", `There is no endpoint '${name}' in this project.`, {
    hint: `Known endpoints: ${known}.`,
  });
}

/** Path and query of a request. Throws `INVALID_REQUEST` for a target that is none of ours. */
function targetOf(request: IncomingMessage): { pathname: string; search: string } {
  const target = request.url ?? "/";
  if (!target.startsWith("/")) {
    throw new FlashError("INVALID_REQUEST", `The request target '${target}' is not a path.`);
  }
  const at = target.indexOf("?");
  return at === -1
    ? { pathname: target, search: "" }
    : { pathname: target.slice(0, at), search: target.slice(at) };
}

export function sendJson(response: ServerResponse, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(body);
}

function sendProblem(response: ServerResponse, thrown: unknown): void {
  const error = FlashError.is(thrown)
    ? thrown
    : new FlashError("INTERNAL", "The dev server failed.", { cause: thrown });
  response.writeHead(error.status, { "content-type": PROBLEM_TYPE, "cache-control": "no-store" });
  response.end(JSON.stringify(problemOf(error)));
}
