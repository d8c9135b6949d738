/**
 * The way to a load-balanced worker: kept-alive connections over its Unix socket or port. Requests,
 * upgrades and health checks go through here, so the hop can become another without its users.
 */

import http from "node:http";
import type { WorkerAddress } from "../../contract/compute.ts";

/** What a health check has found. `silent`: no answer in time; `absent`: nobody listens. */
export type Health = "healthy" | "loading" | "unhealthy" | "silent" | "absent";

export interface LinkRequest {
  method: string;
  path: string;
  /** Flat list of names and values, in order, as node:http reads and writes them. */
  headers: readonly string[];
}

export class WorkerLink {
  readonly #address: WorkerAddress;
  readonly #agent = new http.Agent({ keepAlive: true, maxFreeSockets: 256, scheduling: "lifo" });

  constructor(address: WorkerAddress) {
    this.#address = address;
  }

  /** A request whose head is sent with the first byte of the body, or with `end()`. */
  request(request: LinkRequest): http.ClientRequest {
    return http.request({ ...this.#address, ...request, agent: this.#agent, setHost: false });
  }

  /** A request on a connection of its own, to become something else. */
  upgrade(request: LinkRequest): http.ClientRequest {
    return http.request({ ...this.#address, ...request, agent: false, setHost: false });
  }

  /** Never rejects. Source of the codes: spec/load-balancing.md A2. */
  checkHealth(path: string, timeoutMs: number): Promise<Health> {
    return new Promise((resolve) => {
      const request = http.request({
        ...this.#address,
        agent: false,
        path,
        headers: { host: "worker", connection: "close" },
        signal: AbortSignal.timeout(timeoutMs),
      });
      request.once("response", (response) => {
        response.resume();
        const { statusCode } = response;
        resolve(statusCode === 200 ? "healthy" : statusCode === 204 ? "loading" : "unhealthy");
      });
      // Stays on: resetting after the answer is no finding of its own.
      request.on("error", (error: NodeJS.ErrnoException) => {
        const isAbsent = error.code === "ENOENT" || error.code === "ECONNREFUSED";
        resolve(isAbsent ? "absent" : error.name === "AbortError" ? "silent" : "unhealthy");
      });
      request.end();
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
