/** `flash jobs …`: the jobs of a queue endpoint; those that failed for good, and how they run again. */

import type { JobDocument } from "../../contract/job.ts";
import { FlashError } from "../../contract/errors.ts";
import {
  FAILURE_KINDS,
  type FailureKind,
  type JobAttempt,
  type JobFailure,
} from "../../contract/job-failure.ts";
import { JOB_STATES } from "../../contract/states.ts";
import type { Cloud, JobMove, Target } from "../../contract/cloud.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { columns, count, seconds, type Output } from "../output.ts";
import { openTarget, TARGET_OPTIONS, type TargetOptions } from "../target.ts";

const DEFAULT_LIMIT = 20;
/** In one line of a list. */
const ERROR_WIDTH = 100;
const MIB = 1024 * 1024;

const ENDPOINT: [string, string] = ["<endpoint>", "name of a queue endpoint"];
const JOB: [string, string] = ["<job>", "job id"];

interface FilterOptions extends TargetOptions {
  state?: string;
  kind?: string;
  key?: string;
}

interface ListOptions extends FilterOptions {
  limit?: string;
}

const FILTER_OPTIONS: NonNullable<CommandDefinition["options"]> = [
  ["--kind <kinds>", `failed with one of these causes: ${FAILURE_KINDS.join(", ")}`],
  ["--key <key>", "failed, and with this key"],
];

export const jobsList: CommandDefinition = {
  description:
    "Lists the jobs of a queue endpoint, newest first. Those in state FAILED ran out of attempts: they are " +
    "kept for a week (flash server start --keep-failed), and 'flash jobs retry' sends them on their way again.",
  examples: [
    ["flash jobs list analyze", "the newest ones"],
    ["flash jobs list analyze --state FAILED", "those that failed for good"],
    ["flash jobs list analyze --kind signal,exit", "those whose workers died"],
    ["flash jobs list analyze --json", "for programs"],
  ],
  arguments: [ENDPOINT],
  options: [
    ["--state <states>", `only these, by commas: ${JOB_STATES.join(", ")}`],
    ...FILTER_OPTIONS,
    ["--limit <number>", `at most so many, up to 1000; default: ${DEFAULT_LIMIT}`],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { output, signal } = invocation;
    const { state, limit, ...filter } = invocation.options as ListOptions;
    const states = wordsOf(state?.toUpperCase(), JOB_STATES, "job state");
    const request = { states, limit: limitOf(limit), ...filterOf(filter) };
    const { cloud, target, endpoint } = await open(invocation);
    const document = await cloud.jobs(target, { endpoint, ...request }, { signal });
    output.document(document);
    for (const job of document.requests) output.print(lineOf(job, output));
    output.say(`${document.requests.length} of ${document.total} jobs of ${endpoint}`);
  },
};

export const jobsShow: CommandDefinition = {
  description:
    "Shows one job: its state, its output, or how each of its attempts failed: cause, worker, exit code " +
    "or signal, memory, last output.",
  examples: [["flash jobs show analyze 0197…-u1", "with its error as the worker reported it"]],
  arguments: [ENDPOINT, JOB],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const { cloud, target, endpoint } = await open(invocation);
    const job = await cloud.job(target, { endpoint, job: args[1] ?? "" }, { signal });
    output.document(job);
    output.print(textOf(job, output));
  },
};

export const jobsRetry: CommandDefinition = {
  description:
    "Sends a job that is FAILED or TIMED_OUT back into the queue, with all its attempts, on the release " +
    "that accepted it. '--all' does so for every one of the endpoint, or those that --kind and --key mean.",
  examples: [
    ["flash jobs retry analyze 0197…-u1", "one job"],
    ["flash jobs retry analyze --all", "every one that failed for good"],
    ["flash jobs retry analyze --all --kind lease-lost,signal", "those that lost their workers"],
  ],
  arguments: [ENDPOINT, ["[job]", "job id"]],
  options: [["--all", "every failed job of the endpoint"], ...FILTER_OPTIONS, ...TARGET_OPTIONS],
  async run(invocation) {
    const { args, output, signal } = invocation;
    const { all, ...options } = invocation.options as FilterOptions & { all?: boolean };
    const filter = filterOf(options);
    const isFiltered = Object.keys(filter).length > 0;
    const isAll = all === true;
    if (isAll === (args[1] !== undefined) || (isFiltered && !isAll)) {
      throw new FlashError("INVALID_USAGE", "Name one job, or say --all.");
    }
    if (!isAll) return await moveOne(invocation, "retry");
    const { cloud, target, endpoint } = await open(invocation);
    const { moved } = await cloud.redriveJobs(target, { endpoint, ...filter }, { signal });
    output.document({ moved });
    if (moved === 0) output.say(`no such job of ${endpoint} has failed`);
    else output.print(`${output.colors.green("✓")} ${count(moved, "job")} back in the queue`);
  },
};

export const jobsReplay: CommandDefinition = {
  description:
    "Runs the input of a job again, as a new job of the present release, whatever became of the first. " +
    "'retry' instead goes on with the same job on the release that accepted it.",
  examples: [["flash jobs replay analyze 0197…-u1", "with the code as it is deployed now"]],
  arguments: [ENDPOINT, JOB],
  options: TARGET_OPTIONS,
  run: (invocation) => moveOne(invocation, "replay"),
};

export const jobsCancel: CommandDefinition = {
  description: "Cancels a job: one that waits never starts, one that runs is told to stop.",
  examples: [["flash jobs cancel analyze 0197…-u1", "whatever its state, once is enough"]],
  arguments: [ENDPOINT, JOB],
  options: TARGET_OPTIONS,
  run: (invocation) => moveOne(invocation, "cancel"),
};

async function moveOne(invocation: Invocation, move: JobMove): Promise<void> {
  const { args, output, signal } = invocation;
  const { cloud, target, endpoint } = await open(invocation);
  const request = { endpoint, job: args[1] ?? "", move };
  const moved = await cloud.moveJob(target, request, { signal });
  output.document(moved);
  output.print(`${output.colors.green("✓")} ${moved.id} is ${moved.status}`);
}

interface Opened {
  cloud: Cloud;
  target: Target;
  endpoint: string;
}

async function open(invocation: Invocation): Promise<Opened> {
  const { cloud, target } = await openTarget(invocation);
  return { cloud, target, endpoint: invocation.args[0] ?? "" };
}

function filterOf({ kind, key }: FilterOptions): { kinds?: FailureKind[]; key?: string } {
  return {
    ...(kind === undefined ? {} : { kinds: wordsOf(kind, FAILURE_KINDS, "cause") }),
    ...(key === undefined ? {} : { key }),
  };
}

/** Words that an option lists by commas. */
function wordsOf<T extends string>(
  text: string | undefined,
  known: readonly T[],
  what: string,
): T[] {
  const words = (text ?? "").split(",").flatMap((word) => word.trim() || []);
  const wrong = words.find((word) => !(known as readonly string[]).includes(word));
  if (wrong === undefined) return words as T[];
  throw new FlashError("INVALID_USAGE", `There is no ${what} '${wrong}'.`, {
    hint: `Known are ${known.join(", ")}.`,
  });
}

function limitOf(text: string | undefined): number {
  const limit = Number(text ?? DEFAULT_LIMIT);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1000) return limit;
  throw new FlashError(
    "INVALID_USAGE",
    `--limit takes a whole number from 1 to 1000, got ${text}.`,
  );
}

function lineOf({ id, status, error, retries, flash }: JobDocument, { colors }: Output): string {
  const again = retries === undefined ? "" : `  ${retries} ${retries === 1 ? "retry" : "retries"}`;
  const kind = flash?.failure === undefined ? "" : `  ${flash.failure.kind}`;
  const why = error === undefined ? "" : `  ${colors.dim(summaryOf(error))}`;
  return `${id}  ${status}${again}${kind}${why}`;
}

/** The worker's report is JSON; its message says enough for a line. */
function summaryOf(error: string): string {
  let text = error;
  try {
    const report = JSON.parse(error) as { error_type?: unknown; error_message?: unknown };
    if (typeof report.error_message === "string") {
      text = `${String(report.error_type)}: ${report.error_message}`;
    }
  } catch {
    // Plain text.
  }
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > ERROR_WIDTH ? `${line.slice(0, ERROR_WIDTH)}…` : line;
}

function textOf(job: JobDocument, { colors }: Output): string {
  const { error, output, flash = {}, ...facts } = job;
  const { key, failure, attempts = [] } = flash;
  const rows = Object.entries(facts).map(([name, value]) => [name, String(value)]);
  if (key !== undefined) rows.push(["key", key]);
  if (failure !== undefined) rows.push(["cause", causeOf(failure)]);
  const parts = [columns(rows)];
  if (attempts.length > 0) {
    const lines = columns(attempts.map(attemptRow), "  ");
    parts.push(`${colors.bold("attempts")}\n${lines}`);
  }
  const { logTail = [] } = failure ?? {};
  if (logTail.length > 0) {
    const lines = logTail.map((line) => `  ${line}`).join("\n");
    parts.push(`${colors.bold("last output of its worker")}\n${lines}`);
  }
  if (error !== undefined && logTail.length === 0) parts.push(tracebackOf(error));
  if (output !== undefined) parts.push(JSON.stringify(output, null, 2));
  return parts.join("\n\n");
}

function causeOf({ kind, message, peakMemoryBytes, neighbours }: JobFailure): string {
  const used =
    peakMemoryBytes === undefined ? "" : `, used up to ${Math.round(peakMemoryBytes / MIB)} MiB`;
  const beside = neighbours === undefined ? "" : `, ${count(neighbours, "other job")} beside it`;
  return `${kind}: ${message}${used}${beside}`;
}

function attemptRow({
  attempt,
  workerId,
  startedAt,
  endedAt,
  failure,
  counted,
}: JobAttempt): string[] {
  const took =
    endedAt === undefined ? "running" : seconds(Date.parse(endedAt) - Date.parse(startedAt));
  const free = counted === false ? " (does not count)" : "";
  const how = failure === undefined ? "" : `${causeOf(failure)}${free}`;
  return [String(attempt), startedAt, took, workerId, how];
}

function tracebackOf(error: string): string {
  try {
    const { error_traceback: stack } = JSON.parse(error) as { error_traceback?: unknown };
    return typeof stack === "string" && stack !== "" ? stack : summaryOf(error);
  } catch {
    return error;
  }
}
