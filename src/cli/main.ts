/**
 * The command line: what a person types. Commands parse, call one function and print; decisions are
 * made in the rooms below.
 *
 *   main          this file: one command from start to exit code
 *   program       arguments → the command and its options
 *   commands      the table of commands; commands/ has a file for each
 *   command       what a command is
 *   output        stdout, stderr, colours, columns; progress: what long work is doing
 *   lost-output   readers that leave, disks that are full
 *   failure       errors in words, exit codes
 *   interrupt     Ctrl-C
 *   stop-signals  Ctrl-C and SIGTERM for commands that run until stopped
 *   package       our own package: folder, version
 *   prompt        questions, and what happens without a terminal; select: a list to choose from
 *   changes       plans and drift in words; dates: times in words
 *   server-options  where commands about an app go
 *   project       project root, app name; surroundings: variables, with those of .env
 *   config        flash.toml; config-schema: its keys; config-mistakes: what is wrong with it, and where
 *   settings      each value with its origin, for flash config
 *   checks        what flash doctor looks at
 *   registry      versions at npm; update-notice, update-check: word of a newer one
 *   tree          all commands with their definitions; completions: scripts for shells; reference: docs/CLI.md
 *   target        which cloud, which key, which environment
 *   home          FLASH_HOME
 *   local-server  the server of this machine: find, start, stop
 *   background    starting it as a process of its own
 *   server-record   how a running server is found again
 *   server-process  the server itself, composed
 *   compile       the build that `build` and `deploy` share
 *   curl          sample calls of an endpoint, with sample values from sample
 *   calling       calls of endpoints, for flash call
 *   explanations  error codes at length, for flash explain
 *   template      what `init` writes
 *   machine-node  which Node the machine has
 */

import { INTERRUPTED, reportFailure, withAdvice } from "./failure.ts";
import { Interrupt, Interrupted } from "./interrupt.ts";
import { endWithOutput } from "./lost-output.ts";
import { Output } from "./output.ts";
import { ownVersion } from "./package.ts";
import { plan, type Plan } from "./program.ts";
import { readSurroundings } from "./surroundings.ts";

endWithOutput();
process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  let output = outputFor({
    json: argv.includes("--json"),
    quiet: argv.includes("--quiet"),
    verbose: argv.includes("--verbose"),
  });
  try {
    const planned = await plan(argv, ownVersion());
    if (planned.kind === "text") {
      output.data(planned.text);
      return 0;
    }
    output = outputFor(planned.options);
    const exitCode = await runCommand(planned, output).finally(() => output.progress.clear());
    await tellOfNewVersion(planned.name);
    return exitCode;
  } catch (error) {
    return reportFailure(error, output);
  }
}

async function runCommand(
  planned: Extract<Plan, { kind: "command" }>,
  output: Output,
): Promise<number> {
  const { definition, name, args, options, help } = planned;
  const interrupt = new Interrupt();
  let exitCode = 0;
  try {
    const work = definition.run({
      args,
      options,
      help,
      output,
      ...readSurroundings(process.cwd(), process.env),
      cwd: process.cwd(),
      signal: interrupt.signal,
      ownSignals: () => interrupt.release(),
      endWith: (code) => (exitCode = code),
    });
    await interrupt.guard(work);
    return exitCode;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw withAdvice(error, name);
    output.progress.clear();
    process.stderr.write(`${output.talkColors.red("✗")} ${titleCase(name)} cancelled by user\n`);
    // Whatever still runs was given its chance to end.
    process.exit(INTERRUPTED);
  } finally {
    interrupt.release();
  }
}

/** Only a person is told, so that what a program starts loads nothing more. */
async function tellOfNewVersion(command: string): Promise<void> {
  if (!process.stdout.isTTY && !process.stderr.isTTY) return;
  const { tellOfUpdate, wantsNotice } = await import("./update-notice.ts");
  if (wantsNotice(command, process.env)) await tellOfUpdate(process.env);
}

function outputFor(flags: Readonly<Record<string, unknown>>): Output {
  return new Output({
    json: flags.json === true,
    quiet: flags.quiet === true,
    verbose: flags.verbose === true,
    env: process.env,
  });
}

function titleCase(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
