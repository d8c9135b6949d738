/** Real programs as child processes: their output, their end, and no leftovers. */

import { spawn, type ChildProcess } from "node:child_process";
import type { Owner } from "./temp.ts";

export interface ProgramOptions {
  cwd: string;
  env?: NodeJS.ProcessEnv;
  /** Written to the program's standard input, which is closed then. */
  input?: string;
}

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A program that has not ended by then does not end, however much else the machine has to do. */
const GRACE_MS = 60_000;

/** A running program. */
export class Program {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly finished: Promise<Finished>;
  #hasFinished = false;
  #watchers = new Set<() => void>();

  constructor(command: string, args: readonly string[], options: ProgramOptions) {
    this.child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ["pipe", "pipe", "pipe"],
      // A process group of its own, so that signals reach all of it, as Ctrl-C in a terminal does.
      detached: true,
    });
    // A program that ends before it has read everything is the test's business, by its exit.
    this.child.stdin?.on("error", () => undefined);
    this.child.stdin?.end(options.input ?? "");
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    this.finished = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("close", (code, signal) => {
        this.#hasFinished = true;
        this.#wake();
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Starts a program that is ended with the test when it still runs. */
  static start(
    owner: Owner,
    [command, ...args]: readonly [string, ...string[]],
    options: ProgramOptions,
  ): Program {
    const program = new Program(command, args, options);
    owner.after(async () => {
      if (program.isRunning) await program.stop("SIGTERM");
    });
    return program;
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Everything written so far. */
  get output(): string {
    return this.stdout + this.stderr;
  }

  /** Resolves with the match as soon as the output holds `pattern`. */
  async says(pattern: RegExp, withinMs = 120_000): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        done();
        reject(new Error(`${why} before it wrote ${String(pattern)}:\n${this.output}`));
      };
      const timer = setTimeout(() => fail(`Program waited ${withinMs} ms`), withinMs);
      const look = (): void => {
        const found = pattern.exec(this.output);
        if (found !== null) {
          done();
          resolve(found);
          return;
        }
        // Not at its exit: what it wrote last may come after that.
        if (this.#hasFinished) fail(`Program ended with ${String(this.child.exitCode)}`);
      };
      const done = (): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Sends `signal` to the program; SIGKILL, to its whole group, after `graceMs`, which no machine needs. */
  stop(signal: NodeJS.Signals, graceMs = GRACE_MS): Promise<Finished> {
    this.child.kill(signal);
    return this.#ended(graceMs);
  }

  /** Ctrl-C in a terminal: SIGINT to the program and to all that it runs in its group. */
  interrupt(graceMs = GRACE_MS): Promise<Finished> {
    this.#signalGroup("SIGINT");
    return this.#ended(graceMs);
  }

  async #ended(graceMs: number): Promise<Finished> {
    const timer = setTimeout(() => this.#signalGroup("SIGKILL"), graceMs);
    try {
      return await this.finished;
    } finally {
      clearTimeout(timer);
    }
  }

  #signalGroup(signal: NodeJS.Signals): void {
    const { pid } = this.child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // It has just ended.
    }
  }

  #wake(): void {
    for (const look of this.#watchers) look();
  }
}

/** Runs a program to its end. */
export async function run(
  [command, ...args]: readonly [string, ...string[]],
  options: ProgramOptions,
): Promise<Finished> {
  return new Program(command, args, options).finished;
}
