/** `flash worker env`: what a container needs to work for an image endpoint. */

import type { CommandDefinition } from "../command.ts";
import { openTarget, TARGET_OPTIONS, type TargetOptions } from "../target.ts";

interface Options extends TargetOptions {
  url?: string;
}

export const workerEnv: CommandDefinition = {
  description:
    "Makes a worker id and a key for an endpoint with an image, and prints the environment of its " +
    "container as shell commands. One for each container: the key is told once and opens this one " +
    "worker's part of the protocol. Any worker that speaks the Runpod protocol can use it.",
  examples: [
    ['eval "$(flash worker env whisper)" && python handler.py', "on this machine"],
    ["flash worker env whisper --url http://10.0.0.5:4747", "for a container elsewhere"],
    ["flash worker env whisper --json", "for programs"],
  ],
  arguments: [["<endpoint>", "name of an endpoint with an image"]],
  options: [
    ["--url <url>", "the server as the container reaches it; default: as this command does"],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { args, output, signal } = invocation;
    const { url } = invocation.options as Options;
    const { cloud, target } = await openTarget(invocation);
    const request = { endpoint: args[0] ?? "", url: url ?? cloud.target };
    const document = await cloud.addWorker(target, request, { signal });
    output.document(document);
    const lines = Object.entries(document.env).map(([name, value]) => exportLine(name, value));
    output.print(lines.join("\n"));
    output.say(`worker ${document.worker} of ${document.endpoint}: the key is not shown again`);
  },
};

/** In single quotes nothing is special but the quote itself; the templates hold a `$`. */
function exportLine(name: string, value: string): string {
  return `export ${name}='${value.replaceAll("'", `'\\''`)}'`;
}
