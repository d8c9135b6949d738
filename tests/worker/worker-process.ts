/** The real worker program as a child process, and requests to it over its socket. */

import { spawn, type ChildProcess } from "node:child_process";
import http, { type IncomingHttpHeaders } from "node:http";
import path from "node:path";
import { WORKER_ENV } from "../../src/contract/worker-env.ts";
import { ROOT, temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";

const MAIN = path.join(ROOT, "src", "worker", "main.ts");

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** The body as JSON; undefined when it is none. */
  json: any; // oxlint-disable-line typescript/no-explicit-any -- tests look into it freely
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** Sent as JSON. */
  json?: unknown;
}

export interface StartOptions {
  env?: Record<string, string>;
  /** Default: the program's source. */
  program?: string;
}

export class WorkerProcess {
  readonly child: ChildProcess;
  readonly socketPath: string;
  readonly exited: Promise<Exit>;
  stdout = "";
  stderr = "";
  #isReady = false;

  private constructor(child: ChildProcess, socketPath: string) {
    this.child = child;
    this.socketPath = socketPath;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    child.on("message", (message) => {
      if ((message as { type?: unknown }).type === "ready") this.#isReady = true;
    });
    this.exited = new Promise((resolve) => {
      // Not at "close": after an explicit disconnect() of the channel that never comes.
      child.once("exit", (code, signal) => {
        const outputs = [child.stdout, child.stderr].map(
          (stream) =>
            new Promise((over) =>
              stream?.closed === false ? stream.once("close", over) : over(true),
            ),
        );
        void Promise.all(outputs).then(() => resolve({ code, signal }));
      });
    });
  }

  /** Starts a worker of the artifact's endpoint `demo`; it ends with the test. */
  static start(
    owner: Owner,
    artifactDir: string,
    { env = {}, program = MAIN }: StartOptions = {},
  ): WorkerProcess {
    const socketPath = path.join(temporaryFolder(owner, "flash-sock"), "w.sock");
    const child = spawn(process.execPath, [program], {
      env: {
        PATH: process.env.PATH ?? "",
        [WORKER_ENV.artifactDir]: artifactDir,
        [WORKER_ENV.endpoint]: "demo",
        [WORKER_ENV.socket]: socketPath,
        [WORKER_ENV.workerId]: "w1",
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    const worker = new WorkerProcess(child, socketPath);
    owner.after(async () => {
      child.kill("SIGKILL");
      await worker.exited;
    });
    return worker;
  }

  static async startReady(
    owner: Owner,
    artifactDir: string,
    options: StartOptions = {},
  ): Promise<WorkerProcess> {
    const worker = WorkerProcess.start(owner, artifactDir, options);
    await worker.ready();
    return worker;
  }

  async ready(): Promise<void> {
    await until(
      () => {
        if (this.child.exitCode !== null) throw new Error(`the worker ended: ${this.stderr}`);
        return this.#isReady;
      },
      { what: "the worker to be ready" },
    );
  }

  /** JSON lines of stderr or stdout; other lines are left out. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  lines(stream: "stdout" | "stderr"): Record<string, any>[] {
    return this[stream].split("\n").flatMap((line) => {
      if (!line.startsWith("{")) return [];
      return [JSON.parse(line) as Record<string, unknown>];
    });
  }

  open(url: string, options: RequestOptions = {}): http.ClientRequest {
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    const request = http.request({
      socketPath: this.socketPath,
      path: url,
      method: options.method ?? (body === undefined ? "GET" : "POST"),
      headers: {
        ...(options.json === undefined ? {} : { "content-type": "application/json" }),
        ...options.headers,
      },
      agent: false,
    });
    request.end(body);
    return request;
  }

  async fetch(url: string, options: RequestOptions = {}): Promise<Answer> {
    const request = this.open(url, options);
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once("response", resolve);
      request.once("error", reject);
    });
    response.setEncoding("utf8");
    let text = "";
    for await (const chunk of response) text += chunk as string;
    return { status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) };
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
