/**
 * How a command ends when it fails: words for people on stderr, one problem document on stderr with
 * `--json`, and the exit code.
 */

import { exitCodeOf, FlashError, problemOf, type Problem } from "../contract/errors.ts";
import type { Output } from "./output.ts";

/** Exit code after Ctrl-C: 128 + SIGINT. */
export const INTERRUPTED = 130;

/** The table of `flash --help`. */
export const EXIT_CODES = `Exit codes:
  0    done
  1    the work failed: build, deploy, something not found
  2    used wrongly: unknown command or flag, mistake in flash.toml
  3    no valid key
  4    the server or the network failed; try again
  130  interrupted by Ctrl-C`;

/** What to do about a mistake in the use of a command, `server start`; empty: `flash` itself. */
export function adviceFor(command: string): string {
  return `'${["flash", command, "--help"].filter(Boolean).join(" ")}' shows what there is.`;
}

/** Every mistake in the use of a command says where to read on. */
export function withAdvice(error: unknown, command: string): unknown {
  if (!FlashError.is(error) || error.code !== "INVALID_USAGE" || error.hint !== undefined) {
    return error;
  }
  const { message, details, issues } = error;
  return new FlashError("INVALID_USAGE", message, {
    hint: adviceFor(command),
    ...(details === undefined ? {} : { details }),
    ...(issues === undefined ? {} : { issues }),
    cause: error,
  });
}

/** Prints the error and returns the exit code. */
export function reportFailure(error: unknown, output: Output): number {
  if (output.json) process.stderr.write(`${JSON.stringify(failureDocument(error))}\n`);
  else process.stderr.write(`${failureText(error, output)}\n`);
  return exitCodeOf(error);
}

/** A problem document, with the build's diagnostics when there are any. */
export function failureDocument(error: unknown): Problem & { diagnostics?: unknown } {
  const known = FlashError.is(error) ? error : (refusedBySystem(error) ?? unexpected(error));
  const diagnostics = known.details?.diagnostics;
  return { ...problemOf(known), ...(diagnostics === undefined ? {} : { diagnostics }) };
}

function failureText(error: unknown, output: Output): string {
  const colors = output.talkColors;
  const known = FlashError.is(error) ? error : (refusedBySystem(error) ?? unexpected(error));
  // The mistakes of a project are many lines; what they amount to belongs below them.
  const lines =
    known.code === "BUILD_FAILED"
      ? [known.message, `${colors.red("✗")} Build failed`]
      : [`${colors.red("✗")} ${known.message}`];
  for (const { path, message } of known.issues ?? []) {
    const line = `${path} ${message}`.trim();
    if (!known.message.includes(line)) lines.push(`  ${line}`);
  }
  if (known.hint !== undefined) lines.push(`  ${colors.dim(known.hint)}`);
  // A stack helps whoever mends Flash, not whoever mistyped a flag.
  const showsStack = output.verbose || known.code === "INTERNAL";
  if (showsStack) lines.push(colors.dim(stackOf(known)));
  return lines.join("\n");
}

/** What the file system says to a path that the user chose, and to a full disk: no mistake of ours. */
const REFUSALS = new Set([
  "EACCES",
  "EPERM",
  "EROFS",
  "EISDIR",
  "ENOTDIR",
  "EEXIST",
  "ENOSPC",
  "EDQUOT",
]);

function refusedBySystem(error: unknown): FlashError | undefined {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  // Where nothing can be made, as below /proc, nothing that is to be made is found.
  const isRefusal = REFUSALS.has(code ?? "") || (code === "ENOENT" && syscall === "mkdir");
  if (!(error instanceof Error) || syscall === undefined || !isRefusal) return undefined;
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  return new FlashError("CONFLICT", `The file system refuses it: ${error.message}.`, {
    hint: isFull
      ? "Make room on the disk, then try again."
      : "Check the path, its owner and its mode; FLASH_HOME names the folder of the server's state.",
    cause: error,
  });
}

function unexpected(error: unknown): FlashError {
  const message = error instanceof Error ? error.message : String(error);
  return new FlashError("INTERNAL", `Flash failed unexpectedly: ${message}`, {
    cause: error,
    hint: "This is a mistake in Flash. Please report it with the lines below.",
  });
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\nCaused by: ${stackOf(error.cause)}` : "";
  return `${error.stack ?? error.message}${cause}`;
}
