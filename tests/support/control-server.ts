/** A small real HTTP server that speaks the control API, with knobs for what can go wrong on the way. */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { FlashError, PROBLEM_TYPE, problemOf } from "../../src/contract/errors.ts";
import type { Owner } from "./temp.ts";

export interface SeenRequest {
  method: string;
  path: string;
  query: Record<string, string>;
  authorization: string | undefined;
  body: Buffer;
}

type Handler = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

export class ControlServer {
  readonly requests: SeenRequest[] = [];
  /** Answers by `METHOD /path`. */
  readonly routes = new Map<string, Handler>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections that are cut before anything is answered. */
  cuts = 0;

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    server.on("request", (request, response) => void this.#answer(request, response));
  }

  static async start(owner: Owner): Promise<ControlServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const control = new ControlServer(server);
    owner.after(() => control.close());
    return control;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  json(route: string, value: unknown, status = 200): void {
    this.routes.set(route, (_, response) => sendJson(response, value, status));
  }

  fail(route: string, error: FlashError): void {
    this.routes.set(route, (_, response) => {
      response.writeHead(error.status, { "content-type": PROBLEM_TYPE });
      response.end(JSON.stringify(problemOf(error)));
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.cuts > 0) {
      this.cuts -= 1;
      request.socket.destroy();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const url = new URL(request.url ?? "/", this.url);
    const seen: SeenRequest = {
      method: request.method ?? "",
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      authorization: request.headers.authorization,
      body: Buffer.concat(chunks),
    };
    this.requests.push(seen);
    const handler = this.routes.get(`${seen.method} ${seen.path}`);
    if (handler === undefined) sendJson(response, { error: "no such route" }, 404);
    else await handler(seen, response);
  }
}

export function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
