/** The real `flash` command, against a home and a port of its own. */

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import path from "node:path";
import type {
  DeploymentDocument,
  EndpointDocument,
  EndpointStatus,
  StatusDocument,
} from "../../src/contract/control.ts";
import { Program, run, type Finished } from "./program.ts";
import {
  orderedOwner,
  readFiles,
  ROOT,
  temporaryFolder,
  writeProject,
  type Owner,
} from "./temp.ts";
import { until } from "./until.ts";

const FLASH = path.join(ROOT, "bin", "flash.js");

/** Ports that the system does not take for outgoing connections. */
const PORTS = { from: 10_240, to: 32_768, block: 32 };

/** Ports of this process's block that nobody has asked for yet. */
let portsLeft: number[] = [];

/**
 * A free port of the loopback interface that nobody else gets, before a server listens there or between
 * two lives of one: test processes have blocks of ports, and who listens on the first has the others.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    if (portsLeft.length === 0) portsLeft = await claimBlock();
    const port = portsLeft.shift() ?? 0;
    const server = await listenOn(port);
    if (server === undefined) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

async function claimBlock(): Promise<number[]> {
  const { from, to, block } = PORTS;
  for (;;) {
    const first = from + block * randomInt((to - from) / block);
    const guard = await listenOn(first);
    if (guard === undefined) continue;
    guard.unref();
    return Array.from({ length: block - 1 }, (_, index) => first + 1 + index);
  }
}

async function listenOn(port: number): Promise<Server | undefined> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

/** One FLASH_HOME and one port: a machine of its own, as far as Flash can see. */
export class Sandbox {
  readonly home: string;
  readonly port: number;
  readonly #owner: Owner;

  private constructor(owner: Owner, port: number) {
    this.#owner = owner;
    this.home = temporaryFolder(owner, "flash-home");
    this.port = port;
    // Registered after the folder, so that it runs before the folder is removed.
    owner.after(() => this.stop());
  }

  static async open(owner: Owner): Promise<Sandbox> {
    return new Sandbox(orderedOwner(owner), await freePort());
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get env(): NodeJS.ProcessEnv {
    const { FLASH_URL: _, FLASH_API_KEY: __, NODE_TEST_CONTEXT: ___, ...rest } = process.env;
    return {
      ...rest,
      FLASH_HOME: this.home,
      FLASH_PORT: String(this.port),
      NO_COLOR: "1",
      CI: "1",
    };
  }

  get key(): string {
    return readFileSync(path.join(this.home, "key"), "utf8").trim();
  }

  /** A new project folder with these files. */
  project(files: Readonly<Record<string, string>>, name = "app"): string {
    const folder = path.join(temporaryFolder(this.#owner, "flash-project"), name);
    writeProject(folder, files);
    return folder;
  }

  /** A copy of an example, so that tests which run at once do not share its `.flash`. */
  example(name: string): string {
    return this.project(readFiles(path.join(ROOT, "examples", name)), name);
  }

  /** Runs `flash …` to its end. */
  flash(cwd: string, ...args: string[]): Promise<Finished> {
    return run([process.execPath, FLASH, ...args], { cwd, env: this.env });
  }

  /** Starts `flash …` and leaves it running. */
  start(cwd: string, ...args: string[]): Program {
    return Program.start(this.#owner, [process.execPath, FLASH, ...args], { cwd, env: this.env });
  }

  /** `flash deploy --json`; fails the test when it fails. */
  async deploy(cwd: string, ...args: string[]): Promise<Deployment> {
    const finished = await this.flash(cwd, "deploy", "--json", ...args);
    assert.equal(finished.code, 0, finished.stderr);
    return new Deployment(this, JSON.parse(finished.stdout) as DeploymentDocument);
  }

  /** `flash status --json`. */
  async status(cwd: string, ...args: string[]): Promise<StatusDocument> {
    const finished = await this.flash(cwd, "status", "--json", ...args);
    assert.equal(finished.code, 0, finished.stderr);
    return JSON.parse(finished.stdout) as StatusDocument;
  }

  /** Starts the server in the foreground of this test, so that it can be killed. */
  async serve(): Promise<Program> {
    const server = this.start(ROOT, "server", "start", "--foreground");
    const ended = server.finished.then(({ stderr }) => {
      throw new Error(`The server ended before it was ready: ${stderr}`);
    });
    const ready = until(() => this.#isReady(), { what: `a server at ${this.url}` });
    await Promise.race([ready, ended]);
    return server;
  }

  /** A request with the key. */
  async fetch(url: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${this.key}`);
    return fetch(url, { ...init, headers });
  }

  /** Stops the server of this home, if one runs. */
  async stop(): Promise<void> {
    if (!existsSync(path.join(this.home, "key"))) return;
    await this.flash(ROOT, "server", "stop");
  }

  async #isReady(): Promise<boolean> {
    return (await fetch(`${this.url}/readyz`)).ok;
  }
}

/** What `flash deploy` said, and calls to it. */
export class Deployment {
  readonly document: DeploymentDocument;
  readonly #sandbox: Sandbox;

  constructor(sandbox: Sandbox, document: DeploymentDocument) {
    this.#sandbox = sandbox;
    this.document = document;
  }

  endpoint(name: string): EndpointDocument {
    const found = this.document.endpoints.find((endpoint) => endpoint.name === name);
    assert.ok(found, `${name} is among ${JSON.stringify(this.document.endpoints)}`);
    return found;
  }

  /** A request to `{url}{rest}` of an endpoint, JSON in, JSON out. */
  async call(name: string, request: string, body?: unknown): Promise<Answer> {
    const [method = "GET", rest = ""] = request.split(" ");
    const response = await this.#sandbox.fetch(`${this.endpoint(name).url}${rest}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    return Answer.of(response);
  }

  /** Status of one endpoint as the control API tells it. */
  async status(name: string): Promise<EndpointStatus> {
    const { app, environment, target } = this.document;
    const url = `${target}/api/v1/status?app=${app}&environment=${environment}`;
    const document = (await (await this.#sandbox.fetch(url)).json()) as StatusDocument;
    const found = document.endpoints.find((endpoint) => endpoint.name === name);
    assert.ok(found, `${name} has a status`);
    return found;
  }

  /** Waits until a job has ended, and returns its document. */
  async finished(name: string, id: string, withinMs = 120_000): Promise<JobAnswer> {
    return until(
      async () => {
        const { json } = await this.call(name, `GET /status/${id}`);
        const job = json as JobAnswer;
        return ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].includes(job.status)
          ? job
          : undefined;
      },
      { what: `job ${id} to end`, withinMs, everyMs: 50 },
    );
  }
}

export interface JobAnswer {
  id: string;
  status: string;
  output?: unknown;
  error?: string;
  retries?: number;
}

/** A whole HTTP answer. */
export class Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;

  constructor(status: number, headers: Headers, text: string) {
    this.status = status;
    this.headers = headers;
    this.text = text;
  }

  static async of(response: Response): Promise<Answer> {
    return new Answer(response.status, response.headers, await response.text());
  }

  /** The answer to a request such as `POST /adder/runsync`, with this as its JSON body. */
  static async to(url: string, request: string, body?: unknown): Promise<Answer> {
    const [method = "GET", rest = ""] = request.split(" ");
    const json = { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    return Answer.of(await fetch(`${url}${rest}`, { method, ...(body === undefined ? {} : json) }));
  }

  get json(): unknown {
    try {
      return JSON.parse(this.text);
    } catch {
      throw new Error(`Not JSON (status ${this.status}): ${this.text}`);
    }
  }
}

/** The worker processes of an endpoint of a home, by their titles. Linux only. */
export function workerPids(home: string, endpointId: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const title = readOrNothing(`/proc/${pid}/cmdline`);
      const variables = readOrNothing(`/proc/${pid}/environ`);
      return title.startsWith(`flash-worker ${endpointId} `) && variables.includes(home);
    });
}

function readOrNothing(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // The process has ended, or is not ours.
    return "";
  }
}
