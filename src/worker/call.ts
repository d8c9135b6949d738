/**
 * One running call: its context, its signal and its deadline. A call ends once, by its function, by
 * the clock, or by someone who no longer wants it; whoever waits is told at once, even when the
 * function pays no attention to its signal.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import type { ChildProcess } from "node:child_process";
import { encodeJson } from "../contract/carry.ts";
import {
  outerContext,
  provideContextStorage,
  type Context,
  type ContextLog,
} from "../contract/context.ts";
import { sentence } from "../contract/issues.ts";
import { FlashError, reportOf, type Issue } from "../contract/errors.ts";
import { LOG_LEVELS, type LineFacts, type LogLevel } from "../contract/logs.ts";
import type { Origin } from "../contract/origin.ts";
import type { Trace } from "../contract/trace.ts";
import { systemClock, type Clock } from "../kit/clock.ts";
import { newSpanId, newTrace } from "../kit/ids.ts";
import { Children, type Parent } from "./children.ts";
import { writeEntry, writeSpan } from "./output.ts";

export interface CallOptions {
  /** Names the call in every line that is written for it: the job and attempt, or the request. */
  who: LineFacts;
  /** Where the call comes from; the last of its chain is the function itself. Asked for when somebody wants to know. */
  origin?: () => Origin;
  attempt?: number;
  job?: { id: string; endpoint: string };
  /** Made when somebody asks for it. */
  request?: (signal: AbortSignal) => Request;
  /**
   * Time from now after which the call is over, ms, and what is then said. `at` is the same as a time of
   * day, epoch ms, where somebody else has set it: it is passed on as it came.
   */
  limit?: { ms: number; at?: number; error: () => FlashError } | undefined;
  /** Receives progress values as JSON. */
  onProgress?: (value: unknown) => void;
  clock?: Clock;
}

/** Somebody keeps traces. */
let isTraced = false;

/** From now on calls within a trace that is kept tell of themselves. */
export function traceCalls(): void {
  isTraced = true;
}

const storage = provideContextStorage(() => new AsyncLocalStorage<Context>());

export class Call implements Parent {
  readonly context: Context;
  readonly #options: CallOptions;
  readonly #running: RunningContext;
  readonly #cancelTimer: (() => void) | undefined;
  /** Made when somebody asks for the signal: most calls end without anybody having done so. */
  #controller: AbortController | undefined;
  #ended: { because: unknown } | undefined;
  /** The function, or its answer, has come to its end. */
  #isOver = false;
  #children: Children | undefined;
  /** Whoever waits for the result. */
  #reject: ((reason: unknown) => void) | undefined;
  #unsettled: Promise<unknown> | undefined;
  readonly #startMs = isTraced ? epochMs() : 0;
  #error: unknown;

  constructor(options: CallOptions) {
    const { limit, clock = systemClock } = options;
    this.#options = options;
    const deadline = limit === undefined ? undefined : (limit.at ?? clock.now() + limit.ms);
    this.#running = new RunningContext(this, options, deadline);
    this.context = this.#running;
    this.#cancelTimer =
      limit === undefined
        ? undefined
        : clock.after(Math.max(0, limit.ms), () => this.abort(limit.error()));
  }

  /** The call that the running code belongs to, when it is known. */
  static current(): Call | undefined {
    let context = storage.getStore();
    // A function that runs in the process of its caller has a context of its own, within this one.
    while (context !== undefined && !(context instanceof RunningContext)) {
      context = outerContext(context);
    }
    return context?.call;
  }

  /** Runs `work`, which other calls will have something of, as no call's. */
  static outside<T>(work: () => T): T {
    return storage.exit(work);
  }

  /** Names this call in logs. */
  get who(): LineFacts {
    return this.#options.who;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#ended !== undefined) this.#controller.abort(this.#ended.because);
    }
    return this.#controller.signal;
  }

  /** The id of the call's trace, unless there is none that anybody else could know. */
  get knownTrace(): string | undefined {
    return this.#running.knownTrace;
  }

  get isAborted(): boolean {
    return this.#ended !== undefined;
  }

  /** Ends the call with this reason. The first one counts. */
  abort(reason: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { because: reason };
    // What a function that has ended left behind was left on purpose.
    const stopChildren = this.#isOver ? undefined : this.#children?.stop();
    // Listeners of the signal are user code of this call, whoever ends it.
    if (this.#controller !== undefined) this.enter(() => this.#controller?.abort(reason));
    stopChildren?.();
    this.#reject?.(reason);
  }

  /** Code of this call starts a child process, which ends when the call is aborted. */
  started(child: ChildProcess): void {
    const isAborted = this.#ended !== undefined;
    if (this.#isOver && !isAborted) return;
    if (this.#children === undefined) {
      this.#children = new Children(this.#options.clock ?? systemClock);
      if (isAborted) this.#children.stop();
    }
    this.#children.add(child);
  }

  /** Runs `work` with the context. Rejects with the reason as soon as the call is aborted. */
  run<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      const running = this.enter(work);
      this.#unsettled = running;
      // Listening to it all the same: its own failure later must not count as unhandled.
      running.then(resolve, reject);
      if (this.#ended !== undefined) reject(this.#ended.because);
    });
  }

  /** Runs `work` with the context; `work` minds the signal itself. */
  enter<T>(work: () => T): T {
    return storage.run(this.context, work);
  }

  /** Resolves when the function itself has come to an end. */
  async settled(): Promise<void> {
    await this.#unsettled?.catch(() => undefined);
  }

  /** It has failed; told to those who keep traces. */
  fail(error: unknown): void {
    this.#error = error;
  }

  /** The call is over: its deadline no longer matters, and what it has started is left alone. */
  end(): void {
    this.#isOver = true;
    this.#cancelTimer?.();
    if (isTraced) this.#tell();
  }

  #tell(): void {
    const { trace, parentId, chain } = this.#running;
    if (!trace.isSampled) return;
    const { traceId, spanId } = trace;
    writeSpan({
      traceId,
      spanId,
      ...(parentId === undefined ? {} : { parentId }),
      name: chain.at(-1) ?? "function",
      startMs: this.#startMs,
      endMs: epochMs(),
      ...(this.#error === undefined ? {} : { error: reportOf(this.#error).message }),
    });
  }
}

/** Parts that most functions never ask for are made when they do. */
class RunningContext implements Context {
  readonly attempt: number;
  declare readonly job?: { id: string; endpoint: string };
  declare readonly deadline?: number;
  readonly #call: Call;
  readonly #options: CallOptions;
  #log: ContextLog | undefined;
  #request: Request | undefined;
  #origin: Origin | undefined;
  #trace: Trace | undefined;

  constructor(call: Call, options: CallOptions, deadline: number | undefined) {
    const { job, attempt = 1 } = options;
    this.#call = call;
    this.#options = options;
    this.attempt = attempt;
    if (job !== undefined) this.job = job;
    if (deadline !== undefined) this.deadline = deadline;
  }

  get call(): Call {
    return this.#call;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get log(): ContextLog {
    return (this.#log ??= this.#createLog());
  }

  get request(): Request {
    // Only there where there is one, as the type says.
    return (this.#request ??= this.#options.request?.(this.signal)) as Request;
  }

  get trace(): Trace {
    return (this.#trace ??= this.#ownTrace());
  }

  /** The span that this call is part of. */
  get parentId(): string | undefined {
    return this.#from.trace?.spanId;
  }

  get caller(): string | undefined {
    return this.#from.caller;
  }

  get chain(): readonly string[] {
    return this.#from.chain;
  }

  get progress(): (value: unknown) => void {
    return (value) => {
      const issues: Issue[] = [];
      const json = encodeJson(value ?? null, {}, "progress", issues);
      if (issues.length > 0) {
        throw new FlashError("NOT_SERIALIZABLE", `JSON serialization error: ${sentence(issues)}`, {
          issues,
        });
      }
      if (!this.#call.isAborted) this.#options.onProgress?.(json);
    };
  }

  /** The trace id, unless there is none that anybody else could know. */
  get knownTrace(): string | undefined {
    return (this.#trace ?? this.#from.trace)?.traceId;
  }

  get #from(): Origin {
    return (this.#origin ??= this.#options.origin?.() ?? NOWHERE);
  }

  #ownTrace(): Trace {
    const { trace } = this.#from;
    if (trace === undefined) return newTrace();
    // What nobody keeps is passed on as it came.
    return isTraced && trace.isSampled ? { ...trace, spanId: newSpanId() } : trace;
  }

  #createLog(): ContextLog {
    const { who } = this.#options;
    const write =
      (level: LogLevel) =>
      (message: string, fields?: Record<string, unknown>): void =>
        writeEntry({ level, message, who, fields, trace: this.knownTrace, stream: "stdout" });
    const [debug, info, warn, error] = LOG_LEVELS.map(write);
    return { debug, info, warn, error } as ContextLog;
  }
}

/** With fractions. */
function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

const NOWHERE: Origin = { chain: [] };
