/** Questions to a person. Without a terminal nothing is asked: the command fails and says which flag helps. */

import { createInterface, type Interface } from "node:readline/promises";
import { Writable } from "node:stream";
import { FlashError } from "../contract/errors.ts";
import type { Invocation } from "./command.ts";

/** True when a person can answer. */
export function hasTerminal(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** True when `--yes` or `--force` has answered already. */
export function isForced({ options: { yes, force } }: Invocation): boolean {
  return yes === true || force === true;
}

/** Yes or no; Enter alone means no. Throws `INVALID_USAGE` without a terminal. */
export async function confirm(question: string, options: PromptOptions): Promise<boolean> {
  const answer = await ask(`${question} [y/N] `, options);
  return /^y(es)?$/i.test(answer);
}

/** True when exactly `phrase` was typed. Throws `INVALID_USAGE` without a terminal. */
export async function confirmPhrase(phrase: string, options: PromptOptions): Promise<boolean> {
  return (await ask(`type '${phrase}' to confirm: `, options)) === phrase;
}

export interface PromptOptions {
  /** What is about to be done, for the error: `Deleting 2 endpoints`. */
  action: string;
  /** The flag that answers instead. */
  flag: string;
  signal: AbortSignal;
}

async function ask(question: string, { action, flag, signal }: PromptOptions): Promise<string> {
  if (!hasTerminal()) {
    throw new FlashError(
      "INVALID_USAGE",
      `${action} needs a confirmation, and there is no terminal.`,
      {
        hint: `Confirm with ${flag}.`,
      },
    );
  }
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  return (await answerOf(reader, question, signal)).trim();
}

/** A text that nobody looking on may read. Empty when the input ends. Needs a terminal. */
export async function secretAnswer(question: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(question);
  // What readline would show goes nowhere.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await answerOf(reader, "", signal);
  } finally {
    process.stderr.write("\n");
  }
}

/** One line; empty when the input ends. Throws the signal's reason. */
async function answerOf(reader: Interface, question: string, signal: AbortSignal): Promise<string> {
  const closed = new AbortController();
  // End of input means no answer. Without this the question would wait for ever.
  reader.on("close", () => closed.abort());
  // A terminal in raw mode turns Ctrl-C into a key; the command's own handling must see it.
  reader.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  try {
    return await reader.question(question, { signal: AbortSignal.any([signal, closed.signal]) });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (closed.signal.aborted) return "";
    throw error;
  } finally {
    reader.close();
  }
}
