/** `flash logs`: what the workers wrote. */

import type { LogLine } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { isLogLevel, LOG_LEVELS, type LogLevel } from "../../contract/logs.ts";
import { entryText } from "../../kit/log.ts";
import type { CommandDefinition } from "../command.ts";
import { follow, MOST_LINES, parseSince, parseTail, type FollowOptions } from "../follow.ts";
import type { Output } from "../output.ts";
import { TARGET_OPTIONS } from "../target.ts";

interface Options extends FollowOptions {
  worker?: string;
  job?: string;
  request?: string;
  level?: LogLevel;
}

const DEFAULT_TAIL = 100;

export const logs: CommandDefinition = {
  description:
    "Shows what the workers of an environment wrote. With --json every line is one JSON document (NDJSON).",
  examples: [
    ["flash logs", "the newest 100 lines of all endpoints"],
    ["flash logs user-service -f", "one endpoint, and what comes"],
    ["flash logs analyze --job 0198f2c1-… --since 1h", "what one job wrote"],
    ["flash logs --level error --since 30m", "what went wrong lately"],
    ["flash logs --json --tail 1000", "for programs"],
  ],
  arguments: [["[endpoint]", "name of an endpoint; default: all"]],
  options: [
    ["-f, --follow", "go on until Ctrl-C"],
    [
      "-n, --tail <lines>",
      `how many lines to begin with; default: ${DEFAULT_TAIL}, with --since all (up to ${MOST_LINES})`,
      parseTail,
    ],
    ["--since <time>", "nothing older: 30s, 10m, 2h, 3d, or an ISO 8601 time", parseSince],
    ["--worker <id>", "lines of one worker"],
    ["--job <id>", "lines of one job"],
    ["--request <id>", "lines of one request: what its X-Request-Id header says"],
    ["--level <level>", `lines of at least this level: ${LOG_LEVELS.join(", ")}`, parseLevel],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { worker, job, request, level } = invocation.options as Options;
    const filter = {
      ...(worker === undefined ? {} : { worker }),
      ...(job === undefined ? {} : { job }),
      ...(request === undefined ? {} : { request }),
      ...(level === undefined ? {} : { level }),
    };
    await follow(invocation, {
      what: "lines",
      tail: DEFAULT_TAIL,
      read: (cloud, target, { range, options }) =>
        cloud.logs(target, { ...range, ...filter }, options),
      text: lineText,
    });
  },
};

function lineText(line: LogLine, output: Output): string {
  const { time, endpoint, worker, job, request, stream, level, message, fields = {} } = line;
  const { dim, red, yellow } = output.colors;
  const where = [time, endpoint, worker, job ?? request].filter((part) => part).join(" ");
  const text = entryText(message, fields) + (line.cut === true ? "…" : "");
  const paint = level === "error" ? red : stream === "system" || level === "warn" ? yellow : String;
  return `${dim(where)} ${paint(text)}`;
}

function parseLevel(text: string): LogLevel {
  const level = text.toLowerCase();
  if (isLogLevel(level)) return level;
  throw new FlashError(
    "INVALID_USAGE",
    `--level is one of ${LOG_LEVELS.join(", ")}, got '${text}'.`,
  );
}
