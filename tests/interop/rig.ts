/** A real server with a project of ours on it, and what unmodified clients and workers need. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before } from "node:test";
import type { WorkerKeyDocument } from "../../src/contract/control.ts";
import { Sandbox, type Deployment, type JobAnswer } from "../support/flash.ts";
import { Program, run } from "../support/program.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";

const PROGRAMS = path.join(import.meta.dirname, "programs");

/** What the Python worker of these tests can do, an image endpoint each. */
export const HANDLERS = [
  "plain",
  "async",
  "generator",
  "aggregate",
  "async_generator",
  "progress",
  "concurrent",
  "refreshing",
] as const;
export type Handler = (typeof HANDLERS)[number];
/** Releases of the platform's SDK: the newest, and one from before most of the protocol. */
export type Release = "new" | "old";

const PROJECT: Readonly<Record<string, string>> = {
  "functions.ts": `
import { context, Endpoint } from "runpod-flash";
const small = { cpu: "cpu3c-1-2", idleTimeoutS: 5, retries: 0 } as const;

export const add = Endpoint({ name: "add", ...small }, async (x: number, y: number) => ({ sum: x + y }));

export const fail = Endpoint({ name: "fail", ...small }, async (message: string) => {
  throw new RangeError(message);
});

export const count = Endpoint({ name: "count", ...small }, async function* (to: number) {
  for (let index = 0; index < to; index++) yield { index };
});

/** Runs until it is cancelled. */
export const hang = Endpoint({ name: "hang", ...small }, async (label: string) => {
  const { signal } = context();
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  return label;
});
`,
  "images.ts": `
import { Endpoint } from "runpod-flash";
${HANDLERS.map(
  (name) =>
    `export const ${name} = Endpoint({ name: "py-${name}", image: "example/${name}:1", cpu: "cpu3c-1-2" });`,
).join("\n")}
`,
};

/** A folder that `npm run test:interop` has filled. */
export function installed(name: "INTEROP_JS" | "INTEROP_PYTHON" | "INTEROP_OLD_PYTHON"): string {
  const folder = process.env[name];
  assert.ok(folder !== undefined, `${name} is not set: run these tests with npm run test:interop`);
  return folder;
}

/** One rig for all tests of a suite; call it in the suite's body, and the result in its tests. */
export function suiteRig(): () => Rig {
  const steps: (() => void | Promise<void>)[] = [];
  let rig: Rig | undefined;
  before(async () => {
    rig = await Rig.open({ after: (run) => void steps.push(run) });
  });
  after(async () => {
    for (const step of steps.reverse()) await step();
  });
  return () => {
    assert.ok(rig !== undefined, "the suite's server has started");
    return rig;
  };
}

export class Rig {
  readonly sandbox: Sandbox;
  readonly deployment: Deployment;
  readonly #project: string;
  #server: Program;

  private constructor(rig: {
    sandbox: Sandbox;
    deployment: Deployment;
    project: string;
    server: Program;
  }) {
    this.#server = rig.server;
    this.sandbox = rig.sandbox;
    this.deployment = rig.deployment;
    this.#project = rig.project;
  }

  static async open(owner: Owner): Promise<Rig> {
    const sandbox = await Sandbox.open(owner);
    const project = sandbox.project(PROJECT);
    const server = await sandbox.serve();
    return new Rig({ server, sandbox, project, deployment: await sandbox.deploy(project) });
  }

  /** Base URL as clients are given it. */
  get base(): string {
    return `${this.sandbox.url}/v2`;
  }

  /** Ends the server; the workers in Python stay. */
  async stopServer(signal: NodeJS.Signals): Promise<void> {
    await this.#server.stop(signal);
  }

  async startServer(): Promise<void> {
    this.#server = await this.sandbox.serve();
  }

  id(name: string): string {
    return this.deployment.endpoint(name).id;
  }

  /** Runs a Python program of these tests to its end; returns the JSON it prints. */
  async python(program: string): Promise<Record<string, unknown>> {
    const given = {
      base: this.base,
      key: this.sandbox.key,
      ...Object.fromEntries(["add", "fail", "count", "hang"].map((name) => [name, this.id(name)])),
    };
    const python = path.join(installed("INTEROP_PYTHON"), "bin", "python");
    const command = [python, path.join(PROGRAMS, program), JSON.stringify(given)] as const;
    const finished = await run([...command], { cwd: PROGRAMS });
    assert.equal(finished.code, 0, finished.stderr);
    return JSON.parse(finished.stdout) as Record<string, unknown>;
  }

  /** `flash worker env …` for one more worker of a handler's endpoint. */
  async key(handler: Handler, ...flags: string[]): Promise<WorkerKeyDocument> {
    const words = ["worker", "env", `py-${handler}`, "--json", ...flags];
    const finished = await this.sandbox.flash(this.#project, ...words);
    assert.equal(finished.code, 0, finished.stderr);
    return JSON.parse(finished.stdout) as WorkerKeyDocument;
  }

  /** `flash worker remove …`. */
  async remove(worker: PythonWorker): Promise<void> {
    const { endpoint, worker: id } = worker.key;
    const finished = await this.sandbox.flash(this.#project, "worker", "remove", endpoint, id);
    assert.equal(finished.code, 0, finished.stderr);
  }

  /** Starts a Python worker with a key of its own; it ends with the test. */
  async worker(
    owner: Owner,
    handler: Handler,
    options: { release?: Release; env?: Record<string, string>; url?: string } = {},
  ): Promise<PythonWorker> {
    const { url, ...rest } = options;
    const key = await this.key(handler, ...(url === undefined ? [] : ["--url", url]));
    return PythonWorker.start(owner, { handler, key, ...rest });
  }

  async submit(handler: Handler, input: unknown, operation = "run"): Promise<JobAnswer> {
    const answer = await this.deployment.call(`py-${handler}`, `POST /${operation}`, { input });
    assert.equal(answer.status, 200, answer.text);
    return answer.json as JobAnswer;
  }

  /** Submits, waits for the end, and returns the job's document. */
  async job(handler: Handler, input: unknown): Promise<JobAnswer> {
    const { id } = await this.submit(handler, input);
    return this.deployment.finished(`py-${handler}`, id);
  }

  async status(handler: Handler, id: string): Promise<JobAnswer> {
    return (await this.deployment.call(`py-${handler}`, `GET /status/${id}`)).json as JobAnswer;
  }

  /** Every chunk of a stream, collected as the platform's clients do it. */
  async drain(handler: Handler, id: string): Promise<unknown[]> {
    const seen: unknown[] = [];
    for (;;) {
      const answer = await this.deployment.call(`py-${handler}`, `GET /stream/${id}`);
      assert.equal(answer.status, 200, answer.text);
      const { status, stream } = answer.json as { status: string; stream: { output: unknown }[] };
      seen.push(...stream.map(({ output }) => output));
      if (!status.startsWith("IN_") && stream.length === 0) return seen;
    }
  }

  async untilStatus(handler: Handler, id: string, status: string): Promise<JobAnswer> {
    return until(
      async () => {
        const job = await this.status(handler, id);
        return job.status === status && job;
      },
      { what: `job ${id} to be ${status}` },
    );
  }
}

/** One process of the platform's worker. */
export class PythonWorker {
  readonly handler: Handler;
  readonly key: WorkerKeyDocument;
  readonly program: Program;
  readonly #notes: string;

  private constructor(
    { handler, key }: { handler: Handler; key: WorkerKeyDocument },
    program: Program,
    notes: string,
  ) {
    this.handler = handler;
    this.key = key;
    this.program = program;
    this.#notes = notes;
  }

  static start(
    owner: Owner,
    options: {
      handler: Handler;
      key: WorkerKeyDocument;
      release?: Release;
      env?: Record<string, string>;
    },
  ): PythonWorker {
    const { handler, key, release = "new", env = {} } = options;
    const notes = path.join(temporaryFolder(owner, "flash-notes"), "notes");
    const folder = installed(release === "new" ? "INTEROP_PYTHON" : "INTEROP_OLD_PYTHON");
    const command = [
      path.join(folder, "bin", "python"),
      "-u",
      path.join(PROGRAMS, "worker.py"),
    ] as const;
    const [file, ...args] = command;
    const program = new Program(file, args, {
      cwd: PROGRAMS,
      // Nothing of this process's environment but what a container would have.
      env: {
        PATH: process.env.PATH,
        HOME: "/nonexistent",
        HANDLER: handler,
        NOTES: notes,
        ...key.env,
        ...env,
      },
    });
    const worker = new PythonWorker(options, program, notes);
    owner.after(() => worker.kill());
    return worker;
  }

  /** Ends it at once, with its heartbeat process, as the end of its container does. */
  async kill(): Promise<void> {
    const { pid } = this.program.child;
    try {
      if (pid !== undefined) process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended before.
    }
    await this.program.finished;
  }

  /** What the handler wrote down, in order. */
  get notes(): string[] {
    return existsSync(this.#notes) ? readFileSync(this.#notes, "utf8").trim().split("\n") : [];
  }

  async untilNoted(note: string): Promise<void> {
    await until(() => this.notes.includes(note), { what: `'${note}'\n${this.program.output}` });
  }
}
