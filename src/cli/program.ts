/**
 * Turns the command line into one call: Commander knows the whole tree of names, and the flags of the
 * one command that is used. That keeps `flash --help` as fast as Node itself.
 */

import { Command, CommanderError } from "commander";
import { FlashError } from "../contract/errors.ts";
import type { CommandDefinition, CommandEntry } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { adviceFor, EXIT_CODES, withAdvice } from "./failure.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";

/** What is to be done. */
export type Plan =
  | { kind: "text"; text: string }
  | {
      kind: "command";
      /** `deploy`, `server start`. */
      name: string;
      definition: CommandDefinition;
      args: (string | undefined)[];
      options: Record<string, unknown>;
      help: string;
    };

/** Examples and their meaning stay within a line of 80 columns; a longer example pushes its meaning out. */
const MAX_EXAMPLE = 38;

const DESCRIPTION = `Write functions in TypeScript, get autoscaling endpoints.

Examples:
  flash init demo            create a project
  flash run                  run it here, reloading on every save
  flash deploy               put it on the Flash server of this machine
  flash status --json        what is deployed, for programs`;

const NOTES = `
With --json, stdout is one JSON document. When a command fails, stdout stays empty
and the last line of stderr is a problem document (RFC 9457). The findings of
'doctor' are its result, also when a check failed.

${EXIT_CODES}

'flash <command> --help' explains a command.`;

/** Reads the arguments (without `node` and the file). Throws `INVALID_USAGE`. */
export async function plan(argv: readonly string[], version: string): Promise<Plan> {
  let planned: Plan | undefined;
  const program = root(version);
  await addCommands(program, COMMANDS, wordsOf(argv), (next) => (planned = next));
  const printed: string[] = [];
  const complained: string[] = [];
  forEachCommand(program, (command) => {
    command
      .exitOverride()
      .configureHelp({ subcommandTerm: (one) => [one.name(), ...one.aliases()].join(", ") })
      .configureOutput({
        writeOut: (text) => printed.push(text),
        writeErr: (text) => complained.push(text),
      });
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw withAdvice(error, pathOf(argv));
    // A group without a command: Commander takes that for a mistake, we explain the group.
    if (error.code === "commander.help") {
      if (argv.includes("--json")) throw commandMissing(argv);
      printed.push(...complained);
    } else if (error.exitCode !== 0) throw usageError(error, argv);
  }
  if (planned !== undefined && printed.length === 0) return planned;
  return { kind: "text", text: printed.join("").trimEnd() };
}

function root(version: string): Command {
  const program = new Command("flash")
    .usage("[--json] [--quiet] [--verbose] <command>")
    .description(DESCRIPTION)
    .version(`Runpod Flash CLI v${version}`, "-v, --version", "print the version")
    .helpOption("-h, --help", "explain the command")
    .addHelpText("after", NOTES)
    .enablePositionalOptions();
  return withGlobalOptions(program);
}

function withGlobalOptions(command: Command): Command {
  for (const [flags, description] of GLOBAL_OPTIONS) command.option(flags, description);
  return command;
}

async function addCommands(
  parent: Command,
  entries: readonly CommandEntry[],
  words: readonly string[],
  onPlan: (planned: Plan) => void,
): Promise<void> {
  for (const entry of entries) {
    const command = parent.command(entry.name).description(entry.summary).summary(entry.summary);
    command.helpOption("-h, --help", "explain the command");
    if (entry.alias !== undefined) command.alias(entry.alias);
    const isUsed = isNamed(entry, words[0]);
    if (entry.commands !== undefined) {
      withGlobalOptions(command.usage("<command>"));
      command.description(describe(`Commands to ${entry.summary}.`, entry.examples ?? []));
      await addCommands(command, entry.commands, isUsed ? words.slice(1) : [], onPlan);
    } else if (isUsed && entry.load !== undefined) define(command, await entry.load(), onPlan);
  }
}

function isNamed({ name, alias }: CommandEntry, word: string | undefined): boolean {
  return word !== undefined && (word === name || word === alias);
}

function define(
  command: Command,
  definition: CommandDefinition,
  onPlan: (planned: Plan) => void,
): void {
  command.description(describe(definition.description, definition.examples));
  for (const [notation, description] of definition.arguments ?? []) {
    command.argument(notation, description);
  }
  for (const [flags, description, parse] of definition.options ?? []) {
    const parseValue = /[<[]/.test(flags) ? checkedValue(command, flags, parse) : parse;
    if (parseValue === undefined) command.option(flags, description);
    else command.option(flags, description, parseValue);
  }
  withGlobalOptions(command);
  command.action(() => {
    checkArguments(command);
    onPlan({
      kind: "command",
      name: nameOf(command),
      definition,
      args: command.processedArgs as (string | undefined)[],
      options: command.optsWithGlobals(),
      help: command.helpInformation().trimEnd(),
    });
  });
}

/** Commander takes whatever comes next for an option's value, `--json` in `--app --json` too. */
function checkedValue(
  command: Command,
  flags: string,
  parse: (text: string) => unknown = String,
): (text: string) => unknown {
  return (text) => {
    if (!command.options.some(({ short, long }) => text === short || text === long)) {
      return parse(text);
    }
    const name = flags.split(" ").find((word) => word.startsWith("--"));
    throw new FlashError("INVALID_USAGE", `${name} needs a value, and '${text}' is an option.`);
  };
}

/** An empty argument is a variable of the shell that was never set: no command means it. */
function checkArguments(command: Command): void {
  const index = command.processedArgs.indexOf("");
  if (index === -1) return;
  const name = command.registeredArguments[index]?.name() ?? "argument";
  throw new FlashError("INVALID_USAGE", `The argument '${name}' is empty.`, {
    hint: "Is a variable of the shell not set? Leave the argument out, or give it a value.",
  });
}

/** A description with its examples, which come first in `--help`. */
function describe(description: string, examples: CommandDefinition["examples"]): string {
  const width = Math.min(MAX_EXAMPLE, Math.max(...examples.map(([line]) => line.length)));
  const lines = examples.map(([line, meaning]) => `  ${line.padEnd(width)}   ${meaning}`);
  return `${description}\n\nExamples:\n${lines.join("\n")}`;
}

/** `deploy`, `server start`: the path below `flash`. */
function nameOf(command: Command): string {
  const { parent } = command;
  return parent?.parent ? `${nameOf(parent)} ${command.name()}` : command.name();
}

/** The words that name the command. The global flags, which may come first, take no value. */
function wordsOf(argv: readonly string[]): string[] {
  const words = argv.filter((arg) => !arg.startsWith("-"));
  return words[0] === "help" ? words.slice(1) : words;
}

function forEachCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) forEachCommand(child, visit);
}

/** Commander's words, as an error of ours: `error: unknown option '--fro'\n(Did you mean --force?)`. */
function usageError(error: CommanderError, argv: readonly string[]): FlashError {
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = rest.join(" ").replace(/^\((.*)\)$/, "$1");
  const advice = adviceFor(pathOf(argv));
  return new FlashError("INVALID_USAGE", `${first.charAt(0).toUpperCase()}${first.slice(1)}`, {
    hint: suggestion === "" ? advice : `${suggestion} ${advice}`,
    cause: error,
  });
}

/** `flash app --json`: a page for people is no document. */
function commandMissing(argv: readonly string[]): FlashError {
  const where = pathOf(argv);
  const entries = COMMANDS.find(({ name }) => name === where)?.commands ?? COMMANDS;
  const names = entries.map(({ name }) => name).join(", ");
  return new FlashError("INVALID_USAGE", `A command is missing: one of ${names}.`, {
    hint: adviceFor(where),
  });
}

/** The path of the command that is meant, below `flash`, as far as it exists. */
function pathOf(argv: readonly string[]): string {
  const words = wordsOf(argv);
  const entry = COMMANDS.find((one) => isNamed(one, words[0]));
  const nested = entry?.commands?.some(({ name }) => name === words[1]) === true ? words[1] : "";
  return [entry?.name, nested].filter(Boolean).join(" ");
}
