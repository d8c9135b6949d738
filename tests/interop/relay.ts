/** Between a worker and the server: counts what passes, and fails what it is told to. */

import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Owner } from "../support/temp.ts";

export class Relay {
  /** Operations that have passed: `job-take`, `ping`, … */
  readonly passed: string[] = [];
  /** Answers to give instead of the server's, by operation; each is used once. */
  readonly failures = new Map<string, number[]>();
  readonly #server: http.Server;
  readonly #target: string;

  private constructor(server: http.Server, target: string) {
    this.#server = server;
    this.#target = target;
    server.on("request", (request, response) => this.#pass(request, response));
  }

  static async start(owner: Owner, target: string): Promise<Relay> {
    const server = http.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    owner.after(() => {
      server.close();
      server.closeAllConnections();
    });
    return new Relay(server, target);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  count(...operations: string[]): number {
    return this.passed.filter((operation) => operations.includes(operation)).length;
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    const [, , , operation = ""] = (request.url ?? "").split(/[/?]/);
    this.passed.push(operation);
    const failure = this.failures.get(operation)?.shift();
    if (failure !== undefined) {
      request.resume();
      response.writeHead(failure).end();
      return;
    }
    const { method, url, headers } = request;
    const forward = http.request(`${this.#target}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    forward.on("error", () => response.destroy());
    response.on("close", () => forward.destroy());
    request.pipe(forward);
  }
}
