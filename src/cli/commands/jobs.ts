/** `flash jobs …`: the jobs of a queue endpoint; those that failed for good, and how they run again. */

import type { JobDocument } from "../../contract/job.ts";
import { FlashError } from "../../contract/errors.ts";
import { JOB_STATES, type JobState } from "../../contract/states.ts";
import type { Cloud, Target } from "../../contract/cloud.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { columns, type Output } from "../output.ts";
import { openProject } from "../project.ts";
import {
  chooseEnvironment,
  openDestination,
  TARGET_OPTIONS,
  type TargetOptions,
} from "../target.ts";

const DEFAULT_LIMIT = 20;
/** In one line of a list. */
const ERROR_WIDTH = 100;

const ENDPOINT: [string, string] = ["<endpoint>", "name of a queue endpoint"];
const JOB: [string, string] = ["<job>", "job id"];

interface ListOptions extends TargetOptions {
  state?: string;
  limit?: string;
}

export const jobsList: CommandDefinition = {
  description:
    "Lists the jobs of a queue endpoint, newest first. Those in state FAILED ran out of attempts: they are " +
    "kept for 30 minutes, and 'flash jobs retry' sends them on their way again.",
  examples: [
    ["flash jobs list analyze", "the newest ones"],
    ["flash jobs list analyze --state FAILED", "those that failed for good"],
    ["flash jobs list analyze --json", "for programs"],
  ],
  arguments: [ENDPOINT],
  options: [
    ["--state <states>", `only these, by commas: ${JOB_STATES.join(", ")}`],
    ["--limit <number>", `at most so many, up to 1000; default: ${DEFAULT_LIMIT}`],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { output, signal } = invocation;
    const { state, limit } = invocation.options as ListOptions;
    const { cloud, target, endpoint } = await open(invocation);
    const states = statesOf(state);
    const request = { endpoint, states, limit: limitOf(limit) };
    const document = await cloud.jobs(target, request, { signal });
    output.document(document);
    for (const job of document.requests) output.print(lineOf(job, output));
    output.say(`${document.requests.length} of ${document.total} jobs of ${endpoint}`);
  },
};

export const jobsShow: CommandDefinition = {
  description: "Shows one job: its state, its output or why it failed.",
  examples: [["flash jobs show analyze 0197…-u1", "with its error as the worker reported it"]],
  arguments: [ENDPOINT, JOB],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const { cloud, target, endpoint } = await open(invocation);
    const job = await cloud.job(target, { endpoint, job: args[1] ?? "" }, { signal });
    output.document(job);
    output.print(textOf(job));
  },
};

export const jobsRetry = move("retry", {
  description:
    "Sends a job that is FAILED or TIMED_OUT back into the queue, with all its attempts. '--all' does " +
    "so for every FAILED one of the endpoint.",
  examples: [
    ["flash jobs retry analyze 0197…-u1", "one job"],
    ["flash jobs retry analyze --all", "every one that failed for good"],
  ],
});

export const jobsCancel = move("cancel", {
  description: "Cancels a job: one that waits never starts, one that runs is told to stop.",
  examples: [["flash jobs cancel analyze 0197…-u1", "whatever its state, once is enough"]],
});

type Move = "retry" | "cancel";

function move(
  name: Move,
  { description, examples }: Pick<CommandDefinition, "description" | "examples">,
): CommandDefinition {
  const isRetry = name === "retry";
  return {
    description,
    examples,
    arguments: [ENDPOINT, isRetry ? ["[job]", "job id"] : JOB],
    options: [
      ...(isRetry ? ([["--all", "every FAILED job of the endpoint"]] as const) : []),
      ...TARGET_OPTIONS,
    ],
    async run(invocation) {
      const { output, signal } = invocation;
      const { cloud, target, endpoint } = await open(invocation);
      const ids = await chosen(invocation, { cloud, target, endpoint });
      const moved: { id: string; status: string }[] = [];
      for (const job of ids) {
        moved.push(await cloud.moveJob(target, { endpoint, job, move: name }, { signal }));
      }
      output.document({ jobs: moved });
      for (const { id, status } of moved) {
        output.print(`${output.colors.green("✓")} ${id} is ${status}`);
      }
      if (moved.length === 0) output.say(`no job of ${endpoint} has failed`);
    },
  };
}

interface Opened {
  cloud: Cloud;
  target: Target;
  endpoint: string;
}

async function open(invocation: Invocation): Promise<Opened> {
  const { args, cwd, env } = invocation;
  const { app } = invocation.options as TargetOptions;
  const project = openProject({ cwd, env, app });
  const { cloud } = await openDestination(invocation, project, { start: false });
  const { environment } = await chooseEnvironment(invocation, project, cloud);
  return { cloud, target: { app: project.app, environment }, endpoint: args[0] ?? "" };
}

/** Ids of the jobs to move. */
async function chosen(
  { args, options, signal }: Invocation,
  { cloud, target, endpoint }: Opened,
): Promise<string[]> {
  const [, job] = args;
  const isAll = (options as { all?: boolean }).all === true;
  if (isAll === (job !== undefined)) {
    throw new FlashError("INVALID_USAGE", "Name one job, or say --all.");
  }
  if (job !== undefined) return [job];
  const request = { endpoint, states: ["FAILED" as const], limit: 1000 };
  const { requests } = await cloud.jobs(target, request, { signal });
  return requests.map(({ id }) => id);
}

function statesOf(text: string | undefined): JobState[] {
  const states = (text ?? "").split(",").map((state) => state.trim().toUpperCase());
  const wrong = states.find((state) => state !== "" && !JOB_STATES.includes(state as JobState));
  if (wrong === undefined) return states.filter((state) => state !== "") as JobState[];
  throw new FlashError("INVALID_USAGE", `There is no job state '${wrong}'.`, {
    hint: `States are ${JOB_STATES.join(", ")}.`,
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

function lineOf({ id, status, error, retries }: JobDocument, { colors }: Output): string {
  const again = retries === undefined ? "" : `  ${retries} retries`;
  const why = error === undefined ? "" : `  ${colors.dim(summaryOf(error))}`;
  return `${id}  ${status}${again}${why}`;
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

function textOf(job: JobDocument): string {
  const { error, output, ...facts } = job;
  const rows = Object.entries(facts).map(([name, value]) => [name, String(value)]);
  const parts = [columns(rows, "")];
  if (error !== undefined) parts.push(tracebackOf(error));
  if (output !== undefined) parts.push(JSON.stringify(output, null, 2));
  return parts.join("\n\n");
}

function tracebackOf(error: string): string {
  try {
    const { error_traceback: stack } = JSON.parse(error) as { error_traceback?: unknown };
    return typeof stack === "string" && stack !== "" ? stack : summaryOf(error);
  } catch {
    return error;
  }
}
