/**
 * The crash campaign: a server under load is killed over and over. Clients keep a ledger of what was
 * acknowledged to them, flushed to disk before they go on, as somebody does who relies on it.
 */

import { build } from "esbuild";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { Readable } from "node:stream";
import { MANIFEST_FILE, WORKER_FILE } from "../../../src/contract/manifest.ts";
import { SqliteStore } from "../../../src/server/server.ts";
import { freePort } from "../../support/flash.ts";
import { Random } from "../../support/random.ts";
import { temporaryFolder, type Owner } from "../../support/temp.ts";
import { until } from "../../support/until.ts";
import { backwards, manifestOf, pack, TestServer } from "../server-support.ts";

const CLIENTS = 3;
/** A client that is refused or cut off tries again after this, ms. */
const CLIENT_PAUSE_MS = 5;
/** Requests at once in the final look at everything. */
const LOOKERS = 8;
/** Jobs that are looked at after every restart. */
const SAMPLE = 20;

interface Accepted {
  n: number;
  /** The output that somebody has been shown as the final one. */
  shown: string | undefined;
}

interface JobAnswer {
  status: string;
  output?: { square: number };
}

export interface CampaignOptions {
  seed: number;
  rounds: number;
  /** Longest time from the moment a server serves, or has acknowledged something, to its end, ms. */
  longestMs: number;
  /** The fault that the campaign should notice. */
  commitDelayMs?: number;
}

export interface Report {
  seed: number;
  /** Servers that were killed, and how many of them had acknowledged something for certain. */
  rounds: number;
  heard: number;
  acknowledged: number;
  /** Acknowledged and not found, or not come to its end. */
  lost: string[];
  /** Ended twice, or with two results, or with a wrong one. */
  wrong: string[];
  executions: number;
  /** Of these, executions between two kills. */
  underFire: number;
  /** Executions beyond the first of their job: running jobs at a kill run again. */
  repeated: number;
  /** From the start of the process until it serves, ms. */
  restartMs: { median: number; worst: number };
}

export class Campaign {
  readonly #options: CampaignOptions;
  readonly #random: Random;
  readonly #home: string;
  readonly #port: number;
  readonly #program: string;
  readonly #agent = new http.Agent({ keepAlive: true });
  readonly #accepted = new Map<string, Accepted>();
  readonly #ledger: number;
  readonly #lost = new Set<string>();
  readonly #wrong = new Set<string>();
  readonly #restartsMs: number[] = [];
  /** Resolves at the next acknowledgement. */
  #acknowledgement = Promise.withResolvers<void>();
  #rounds = 0;
  #heard = 0;
  #endpoint = "";
  #key = "";
  #server: ChildProcess | undefined;
  #isOver = false;
  #next = 0;
  /** Jobs without a key that may have been accepted, or not. */
  #unanswered = 0;
  #underFire = 0;

  static async open(owner: Owner, options: CampaignOptions): Promise<Campaign> {
    const steps = backwards(owner);
    const folder = temporaryFolder(steps, "flash-crash");
    const program = path.join(folder, "server.mjs");
    // One file starts several times faster than the sources do.
    await build({
      entryPoints: [path.join(import.meta.dirname, "server.ts")],
      outfile: program,
      bundle: true,
      platform: "node",
      format: "esm",
      banner: {
        js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);",
      },
      logLevel: "error",
    });
    const campaign = new Campaign({ options, folder, program, port: await freePort() });
    steps.after(() => campaign.close());
    await campaign.#deploy();
    return campaign;
  }

  private constructor(place: {
    options: CampaignOptions;
    folder: string;
    program: string;
    port: number;
  }) {
    this.#options = place.options;
    this.#random = new Random(place.options.seed);
    this.#home = path.join(place.folder, "home");
    this.#program = place.program;
    this.#port = place.port;
    this.#ledger = openSync(path.join(place.folder, "ledger"), "a");
  }

  async run(): Promise<Report> {
    const { rounds, commitDelayMs } = this.#options;
    const clients = Array.from({ length: CLIENTS }, () => this.#submitForever());
    for (; this.#rounds < rounds; this.#rounds++) {
      await this.#start(commitDelayMs);
      const killed = this.#killLater();
      await this.#lookAtSome(killed);
      await killed;
    }
    this.#isOver = true;
    await Promise.all(clients);
    this.#underFire = this.#readExecutions().length;
    await this.#start();
    await this.#lookAtAll();
    return this.#report();
  }

  /** Most servers are killed while they recover and accept, some when their workers have work. */
  #lifeMs(): number {
    const { longestMs } = this.#options;
    return this.#random.between(5, this.#random.chance(0.25) ? longestMs : longestMs / 4);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#server?.kill("SIGKILL");
    this.#agent.destroy();
    closeSync(this.#ledger);
  }

  // --- the server

  async #deploy(): Promise<void> {
    const steps: (() => void | Promise<void>)[] = [];
    const owner = { after: (run: () => void | Promise<void>) => void steps.push(run) };
    const store = new SqliteStore({ home: this.#home });
    const { server } = await TestServer.start(owner, { home: this.#home, store });
    const worker = readFileSync(path.join(import.meta.dirname, "worker.mjs"));
    const env = { EXECUTIONS: this.#executions };
    const options = { workers: [2, 2] as const, retries: 0, env };
    const manifest = manifestOf("crash", [{ name: "square", kind: "qb", options }]);
    const artifact = await pack([
      { target: MANIFEST_FILE, content: JSON.stringify(manifest) },
      { target: WORKER_FILE, content: worker },
      { target: "endpoints/square/index.mjs", content: "export {};" },
    ]);
    const build = await server.control.putBuild("crash", Readable.from([artifact]));
    const request = { app: "crash", environment: "production", build: build.id };
    const { endpoints } = await server.control.deploy(request);
    this.#endpoint = endpoints[0]?.id ?? "";
    this.#key = server.key;
    for (const step of steps) await step();
  }

  get #executions(): string {
    return path.join(this.#home, "executions");
  }

  async #start(commitDelayMs?: number): Promise<void> {
    const failpoint = commitDelayMs === undefined ? [] : [String(commitDelayMs)];
    const args = [this.#program, this.#home, String(this.#port), ...failpoint];
    const startedAt = performance.now();
    const server = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_COMPILE_CACHE: path.join(this.#home, "compiled") },
    });
    this.#server = server;
    const [said] = (await Promise.race([once(server.stdout, "data"), once(server, "exit")])) as [
      unknown,
    ];
    if (String(said) !== "ready\n") throw new Error(`the server did not start: ${String(said)}`);
    this.#restartsMs.push(performance.now() - startedAt);
  }

  /**
   * Every other one some time after it has acknowledged something: on a slow machine those that are killed some
   * time after their start may never get there. A fault in what is acknowledged shows in no others.
   */
  async #killLater(): Promise<void> {
    const server = this.#server as ChildProcess;
    const exited = once(server, "exit");
    const { commitDelayMs } = this.#options;
    const ms = this.#lifeMs();
    if (this.#rounds % 2 === 0 || commitDelayMs !== undefined) {
      this.#acknowledgement = Promise.withResolvers();
      await Promise.race([this.#acknowledgement.promise, exited]);
      if (server.exitCode !== null) throw new Error("the server has ended by itself");
      this.#heard += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, ms));
    server.kill("SIGKILL");
    await exited;
  }

  // --- clients

  async #submitForever(): Promise<void> {
    while (!this.#isOver) {
      const n = this.#next++;
      // Until there is an answer, nobody knows whether the job was accepted: a key makes it one job.
      const isKeyed = n % 2 === 0;
      while (!(await this.#submit(n, isKeyed)) && !this.#isOver) {
        if (isKeyed) continue;
        this.#unanswered++;
        break;
      }
    }
  }

  async #submit(n: number, isKeyed: boolean): Promise<boolean> {
    const body = JSON.stringify({ input: { n } });
    const headers = isKeyed ? { "idempotency-key": `n-${n}` } : {};
    const answer = await this.#request("POST", "run", { body, headers });
    if (answer === undefined) {
      await new Promise((resolve) => setTimeout(resolve, CLIENT_PAUSE_MS));
      return false;
    }
    const { id } = JSON.parse(answer) as { id: string };
    writeSync(this.#ledger, `${id} ${n}\n`);
    fsyncSync(this.#ledger);
    this.#accepted.set(id, { n, shown: undefined });
    this.#acknowledgement.resolve();
    return true;
  }

  // --- looking

  /** Right after a start, while the server lives. */
  async #lookAtSome(killed: Promise<void>): Promise<void> {
    const life = { isOver: false };
    void killed.then(() => (life.isOver = true));
    const ids = [...this.#accepted.keys()];
    for (let count = 0; count < SAMPLE && ids.length > 0 && !life.isOver; count++) {
      await this.#look(this.#random.pick(ids) ?? "");
    }
  }

  /** Until every accepted job has ended, or is known to be lost. */
  async #lookAtAll(): Promise<void> {
    const left = [...this.#accepted.keys()];
    const lookers = Array.from({ length: LOOKERS }, async () => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) await this.#untilOver(id);
    });
    await Promise.all(lookers);
    const { jobs } = JSON.parse((await this.#request("GET", "health")) ?? "{}") as {
      jobs: { completed: number };
    };
    const completed = [...this.#accepted.values()].filter(({ shown }) => shown !== undefined);
    // A job whose acknowledgement was lost and that no client asked for again is not in the ledger.
    const most = completed.length + this.#unanswered + CLIENTS;
    if (jobs.completed > most) this.#wrong.add(`${jobs.completed} ends of ${most} jobs`);
  }

  async #untilOver(id: string): Promise<void> {
    const isOver = async (): Promise<boolean> => (await this.#look(id)) === "over";
    await until(isOver, { what: `job ${id} to end`, withinMs: 120_000 });
  }

  async #look(id: string): Promise<"open" | "over"> {
    const job = this.#accepted.get(id);
    const text = await this.#request("GET", `status/${id}`);
    if (job === undefined || text === undefined) return "open";
    const { status, output } = JSON.parse(text) as JobAnswer;
    if (status === "404") this.#lost.add(id);
    else if (status === "COMPLETED") this.#compare(id, job, output);
    else if (status === "FAILED" || status === "TIMED_OUT") this.#wrong.add(`${id} is ${status}`);
    else return "open";
    return "over";
  }

  #compare(id: string, job: Accepted, output: JobAnswer["output"]): void {
    const shown = JSON.stringify(output);
    if (output?.square !== job.n ** 2) this.#wrong.add(`${id} has ${shown} for ${job.n}`);
    if (shown !== (job.shown ?? shown)) this.#wrong.add(`${id} had ${job.shown}, now ${shown}`);
    job.shown = shown;
  }

  /** The body of the answer; undefined when there was none. */
  async #request(
    method: string,
    operation: string,
    { body, headers = {} }: { body?: string; headers?: Record<string, string> } = {},
  ): Promise<string | undefined> {
    const request = http.request({
      host: "127.0.0.1",
      port: this.#port,
      path: `/v2/${this.#endpoint}/${operation}`,
      method,
      agent: this.#agent,
      headers: { authorization: `Bearer ${this.#key}`, ...headers },
    });
    try {
      request.end(body);
      const [response] = (await once(request, "response")) as [http.IncomingMessage];
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part as string;
      if (response.statusCode === 404) return '{"status":"404"}';
      return response.statusCode === 200 ? text : undefined;
    } catch {
      return undefined;
    }
  }

  /** Job ids, one for each execution. */
  #readExecutions(): string[] {
    const file = this.#executions;
    const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
    return lines.map((line) => line.split(" ")[0] ?? "");
  }

  #report(): Report {
    const { seed } = this.#options;
    const executed = this.#readExecutions();
    const sorted = this.#restartsMs.toSorted((a, b) => a - b).map(Math.round);
    return {
      seed,
      rounds: this.#rounds,
      heard: this.#heard,
      acknowledged: this.#accepted.size,
      lost: [...this.#lost],
      wrong: [...this.#wrong],
      executions: executed.length,
      underFire: this.#underFire,
      repeated: executed.length - new Set(executed).size,
      restartMs: { median: sorted[sorted.length >> 1] ?? 0, worst: sorted.at(-1) ?? 0 },
    };
  }
}
