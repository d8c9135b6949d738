/** `flash logs`: what the workers wrote. */

import type { LogLine } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import type { Output } from "../output.ts";
import { openProject } from "../project.ts";
import {
  chooseEnvironment,
  openDestination,
  TARGET_OPTIONS,
  type TargetOptions,
} from "../target.ts";

interface Options extends TargetOptions {
  follow?: true;
  tail?: number;
}

const DEFAULT_TAIL = 100;

export const logs: CommandDefinition = {
  description:
    "Shows what the workers of an environment wrote. With --json every line is one JSON document (NDJSON).",
  examples: [
    ["flash logs", "the newest 100 lines of all endpoints"],
    ["flash logs user-service -f", "one endpoint, and what comes"],
    ["flash logs --json --tail 1000", "for programs"],
  ],
  arguments: [["[endpoint]", "name of an endpoint; default: all"]],
  options: [
    ["-f, --follow", "go on until Ctrl-C"],
    ["-n, --tail <lines>", `how many lines to begin with; default: ${DEFAULT_TAIL}`, parseTail],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { args, cwd, env, output, signal } = invocation;
    const { app, follow = false, tail = DEFAULT_TAIL } = invocation.options as Options;
    const [endpoint] = args;
    const project = openProject({ cwd, env, app });
    const { cloud } = await openDestination(invocation, project, { start: false });
    const { environment } = await chooseEnvironment(invocation, project, cloud);
    const lines = cloud.logs(
      { app: project.app, environment },
      { tail, follow, ...(endpoint === undefined ? {} : { endpoint }) },
      { signal },
    );
    for await (const line of lines) {
      output.data(output.json ? JSON.stringify(line) : lineText(line, output));
    }
  },
};

function lineText({ time, endpoint, worker, stream, message }: LogLine, output: Output): string {
  const { dim, red, yellow } = output.colors;
  const where = dim(`${time} ${endpoint} ${worker}`);
  if (stream === "system") return `${where} ${yellow(message)}`;
  return `${where} ${stream === "stderr" ? red(message) : message}`;
}

function parseTail(text: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new FlashError("INVALID_USAGE", `--tail is a number of lines, got '${text}'.`);
}
