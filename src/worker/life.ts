/**
 * The life of the worker's process: how it ends.
 *
 *   SIGTERM, SIGINT           drain, then exit 0; the same signal again: exit at once
 *   the server's channel closes   exit at once: a worker without a server is an orphan
 *   unhandled rejection       logged; the worker stays
 *   uncaught exception        its call fails, the others finish, then exit 1: the process may be in
 *                             any state, and a fresh one costs little
 */

import { reportOf } from "../contract/errors.ts";
import { systemClock } from "../kit/clock.ts";
import type { Log } from "../kit/log.ts";
import { Call } from "./call.ts";
import type { Service } from "./service.ts";
import { cleanReport, type StackStyle } from "./stack.ts";

/** After an uncaught exception the others get this long, ms. */
const CRASH_GRACE_MS = 5000;

const SIGNAL_NUMBERS = { SIGTERM: 15, SIGINT: 2 } as const;
type EndSignal = keyof typeof SIGNAL_NUMBERS;

export class Life {
  readonly #log: Log;
  readonly #seen = new Set<EndSignal>();
  readonly #onEnd: (() => Promise<void>)[] = [];
  #service: Service | undefined;
  #style: StackStyle | undefined;
  #ending: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => this.#onSignal(signal));
    }
    if (process.send !== undefined) process.on("disconnect", () => process.exit(1));
    process.on("unhandledRejection", (thrown) => this.#report("unhandled rejection", thrown));
    process.on("uncaughtException", (thrown) => this.#onUncaught(thrown));
    // The reader of our output is gone; what is written about that would only fail again.
    for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  }

  /** From here on ending means draining this. */
  serve(service: Service): void {
    this.#service = service;
  }

  /** How stacks are cleaned, once it is known whose they are. */
  showStacksAs(style: StackStyle): void {
    this.#style = style;
  }

  /** Runs when the work is over, before the exit. */
  onEnd(run: () => Promise<void>): void {
    this.#onEnd.push(run);
  }

  /** Finishes the running work and exits. */
  end(exitCode: number): Promise<void> {
    this.#ending ??= this.#end(exitCode);
    return this.#ending;
  }

  async #end(exitCode: number): Promise<void> {
    try {
      await this.#service?.drain();
      for (const run of this.#onEnd) await run();
    } catch (error) {
      this.#report("the worker could not end cleanly", error);
    }
    process.exit(exitCode);
  }

  #onSignal(signal: EndSignal): void {
    // Ctrl-C reaches the whole terminal, and is followed by the parent's SIGTERM: that is no second wish.
    if (this.#seen.has(signal)) process.exit(128 + SIGNAL_NUMBERS[signal]);
    this.#seen.add(signal);
    void this.end(0);
  }

  #onUncaught(thrown: unknown): void {
    this.#report("uncaught exception: the worker finishes its work and exits", thrown);
    Call.current()?.abort(thrown);
    systemClock.after(CRASH_GRACE_MS, () => process.exit(1));
    void this.end(1);
  }

  #report(message: string, thrown: unknown): void {
    const report = reportOf(thrown);
    const error = this.#style === undefined ? report : cleanReport(report, this.#style);
    this.#log.error(message, { ...Call.current()?.who, error });
  }
}
