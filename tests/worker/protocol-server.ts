/** A small server of the worker protocol on loopback, with knobs. Records everything it is told. */

import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ATTEMPT_HEADER, workerEnvironment } from "../../src/contract/worker-env.ts";
import type { Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";

export interface Posted {
  kind: "done" | "stream";
  jobId: string;
  isStream: boolean;
  attempt: string | undefined;
  body: any; // oxlint-disable-line typescript/no-explicit-any -- tests look into it freely
}

export interface Job {
  id: string;
  input: unknown;
  [extra: string]: unknown;
}

interface Poll {
  response: ServerResponse;
  limit: number;
}

export class ProtocolServer {
  readonly posts: Posted[] = [];
  /** Job ids of every ping, with the time it came. */
  readonly pings: { ids: string[]; at: number; version: string }[] = [];
  /** Query of every take. */
  readonly takes: URLSearchParams[] = [];
  readonly keys = new Set<string | undefined>();
  /** Decides the status of a post; undefined means 200. */
  onPost: (post: Posted) => number | undefined = () => undefined;
  /** Decides the status of a take before it is held; undefined means it is held. */
  onTake: () => number | undefined = () => undefined;
  port = 0;
  #server: http.Server | undefined;
  #jobs: Job[] = [];
  #takePolls: Poll[] = [];
  #stopPolls: ServerResponse[] = [];

  static async start(owner: Owner): Promise<ProtocolServer> {
    const server = new ProtocolServer();
    await server.listen();
    owner.after(() => server.close());
    return server;
  }

  /** The worker's environment, with pings every second. */
  get env(): Record<string, string> {
    const identity = {
      serverUrl: `http://127.0.0.1:${this.port}`,
      app: "tests",
      environment: "production",
      endpointId: "ep1",
      endpointName: "demo",
      releaseId: "rel1",
      workerId: "w1",
      secret: "worker-secret",
    };
    return { ...workerEnvironment(identity, "qb"), FLASH_SOCKET: "", FLASH_JOB_LINK: "" };
  }

  async listen(): Promise<void> {
    const server = http.createServer((request, response) => void this.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(this.port, "127.0.0.1", resolve));
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Goes away as a killed process does: connections included. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    [this.#takePolls, this.#stopPolls] = [[], []];
    await closed;
  }

  give(...jobs: Job[]): void {
    this.#jobs.push(...jobs);
    this.#deliver();
  }

  stop(...ids: string[]): void {
    for (const poll of this.#stopPolls.splice(0)) sendJson(poll, { jobsToStop: ids });
  }

  get openTakes(): number {
    return this.#takePolls.length;
  }

  get openStops(): number {
    return this.#stopPolls.length;
  }

  /** The final post of a job. */
  async done(jobId: string, withinMs?: number): Promise<Posted> {
    const isDone = (post: Posted): boolean =>
      post.kind === "done" && post.jobId === jobId && post.body.status !== "IN_PROGRESS";
    return await until(() => this.posts.find(isDone), {
      what: `the result of ${jobId}`,
      ...(withinMs === undefined ? {} : { withinMs }),
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://server");
    this.keys.add(request.headers.authorization);
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk as string;
    const [, , , operation, , jobId = ""] = url.pathname.split("/");
    if (operation === "job-take" || operation === "job-take-batch") this.#take(url, response);
    else if (operation === "job-stop") this.#hold(this.#stopPolls, response);
    else if (operation === "ping") this.#ping(url, response);
    else if (operation === "job-done" || operation === "job-stream") {
      const post: Posted = {
        kind: operation === "job-done" ? "done" : "stream",
        jobId,
        isStream: url.searchParams.get("isStream") === "true",
        attempt: request.headers[ATTEMPT_HEADER] as string | undefined,
        body: JSON.parse(text),
      };
      const status = this.onPost(post) ?? 200;
      if (status === 200) this.posts.push(post);
      response.writeHead(status).end();
    } else response.writeHead(404).end();
  }

  #take(url: URL, response: ServerResponse): void {
    this.takes.push(url.searchParams);
    const status = this.onTake();
    if (status !== undefined) {
      response.writeHead(status).end();
      return;
    }
    const limit = Number(url.searchParams.get("batch_size") ?? 1);
    const poll = { response, limit };
    this.#takePolls.push(poll);
    response.once("close", () => {
      this.#takePolls = this.#takePolls.filter((one) => one !== poll);
    });
    this.#deliver();
  }

  #hold(polls: ServerResponse[], response: ServerResponse): void {
    polls.push(response);
    response.once("close", () => {
      const index = polls.indexOf(response);
      if (index !== -1) polls.splice(index, 1);
    });
  }

  #ping(url: URL, response: ServerResponse): void {
    const ids = url.searchParams.get("job_id")?.split(",") ?? [];
    const version = url.searchParams.get("runpod_version") ?? "";
    this.pings.push({ ids, at: performance.now(), version });
    response.end();
  }

  #deliver(): void {
    while (this.#jobs.length > 0) {
      const poll = this.#takePolls.shift();
      if (poll === undefined) return;
      const jobs = this.#jobs.splice(0, poll.limit);
      sendJson(poll.response, poll.limit > 1 ? jobs : jobs[0]);
    }
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}
