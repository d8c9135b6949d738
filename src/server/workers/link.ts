/**
 * The way to a load-balanced worker: kept-alive connections over its Unix socket or port, and beside
 * them, to workers of ours, one request link. Upgrades and health checks always take a connection.
 */

import http from "node:http";
import type { WorkerAddress } from "../../contract/compute.ts";
import { linkPathOf } from "../../contract/lb-link.ts";
import { RequestLink } from "./request-link.ts";

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
  #frames: RequestLink | undefined;
  #opening: Promise<void> | undefined;
  /** The request link has ended, and nobody here has ended it. */
  onBreak: () => void = () => undefined;
  #state: "unknown" | "known" | "closed" = "unknown";

  constructor(address: WorkerAddress) {
    this.#address = address;
  }

  /** Opens the request link ahead of time, where somebody listens already. */
  prepare(): void {
    void this.#open();
  }

  /**
   * The request link, once it is known whether there is one; to be asked when the worker listens. One
   * that broke is not opened again. Never rejects.
   */
  async opened(): Promise<RequestLink | undefined> {
    if (this.#state === "unknown") {
      await this.#open();
      if (this.#state === "unknown") this.#state = "known";
    }
    return this.frames;
  }

  /** The request link; undefined while there is none. */
  get frames(): RequestLink | undefined {
    return this.#frames?.isOpen === true ? this.#frames : undefined;
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
    this.#state = "closed";
    this.#agent.destroy();
    this.#frames?.close();
  }

  #open(): Promise<void> {
    if (this.#state !== "unknown" || !("socketPath" in this.#address)) return Promise.resolve();
    this.#opening ??= this.#connect(linkPathOf(this.#address.socketPath)).finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #connect(path: string): Promise<void> {
    const frames = await RequestLink.connect(path);
    if (frames === undefined) return;
    if (this.#state === "closed") {
      frames.close();
      return;
    }
    this.#state = "known";
    this.#frames = frames;
    void frames.ended.then(() => {
      if (this.#state !== "closed") this.onBreak();
    });
  }
}
