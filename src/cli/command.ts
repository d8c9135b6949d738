/** What a command is: its words, its flags, and one function. Parse, call, print. */

import type { Output } from "./output.ts";

/** A command's place in the table; everything else about it is loaded when it is used. */
export interface CommandEntry {
  name: string;
  alias?: string;
  /** One line for the list of commands. */
  summary: string;
  load?: () => Promise<CommandDefinition>;
  /** A group: it has commands of its own and does nothing itself. */
  commands?: readonly CommandEntry[];
  /** Examples of a group. */
  examples?: CommandDefinition["examples"];
}

export interface CommandDefinition {
  /** A paragraph for `--help`. */
  description: string;
  /** Shown first in `--help`. */
  examples: readonly (readonly [line: string, meaning: string])[];
  /** Commander's notation: `<name>` required, `[name]` optional. */
  arguments?: readonly (readonly [notation: string, description: string])[];
  options?: readonly OptionDefinition[];
  run: (invocation: Invocation) => Promise<void>;
}

export type OptionDefinition = readonly [
  /** Commander's notation: `-e, --env <name>`. */
  flags: string,
  description: string,
  /** Turns the text into a value. Throws `INVALID_USAGE`. */
  parse?: (text: string) => unknown,
];

/** One use of a command. */
export interface Invocation {
  args: readonly (string | undefined)[];
  /** By name in camelCase. A command reads them as the type that its own definition makes true. */
  options: Readonly<Record<string, unknown>>;
  output: Output;
  /** The shell's variables, and below them those of the nearest `.env`. */
  env: NodeJS.ProcessEnv;
  /** The shell's alone: for the server of this machine, which serves other projects as well. */
  shellEnv: NodeJS.ProcessEnv;
  /** What `.env` adds to the shell's: for user code that is evaluated on this machine. */
  dotEnv: Readonly<Record<string, string>>;
  cwd: string;
  /** Aborts on Ctrl-C. */
  signal: AbortSignal;
  /** Hands Ctrl-C and SIGTERM to the command: servers stop in an orderly way and exit with 0. */
  ownSignals: () => void;
  /** Ends with this exit code although the command has its result: a check that found something. */
  endWith: (exitCode: number) => void;
  /** The text of `--help`. */
  help: string;
}
