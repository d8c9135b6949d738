/** Mistakes in flash.toml, each with its line: the parser does not keep positions, so they are found again. */

import { FlashError } from "../contract/errors.ts";

export const CONFIG_FILE = "flash.toml";

/** Where a key is: `["endpoints", "api", "workers"]`. */
export type KeyPath = readonly string[];

export interface Mistake {
  at: KeyPath;
  message: string;
  hint?: string;
}

/** All mistakes of the file as one error. `text` is the file's. */
export function configError(mistakes: readonly Mistake[], text: string): FlashError {
  const lines = linesOfKeys(text);
  const diagnostics = mistakes.map(({ at, message, hint }) => ({
    file: CONFIG_FILE,
    line: lineOf(at, lines),
    message,
    ...(hint === undefined ? {} : { hint }),
  }));
  const source = text.split("\n");
  const shown = diagnostics.map(({ file, line, message, hint }) =>
    [
      `${file}:${line}: ${message}`,
      `    ${line} | ${source[line - 1]?.trimEnd() ?? ""}`,
      ...(hint === undefined ? [] : [`    ${hint}`]),
    ].join("\n"),
  );
  return new FlashError("INVALID_CONFIG", shown.join("\n  "), { details: { diagnostics } });
}

/** The line that writes the key down, in camelCase or in snake_case. */
export function lineOfKey(at: KeyPath, text: string): number {
  const lines = linesOfKeys(text);
  const snake = at.map((key) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
  const exact = [at, [...at.slice(0, -1), snake.at(-1) ?? ""]].find((one) =>
    lines.has(JSON.stringify(one)),
  );
  return lineOf(exact ?? at, lines);
}

/** The line of the key, or of the innermost table around it that the file writes down. */
function lineOf(at: KeyPath, lines: ReadonlyMap<string, number>): number {
  for (let length = at.length; length > 0; length--) {
    const line = lines.get(JSON.stringify(at.slice(0, length)));
    if (line !== undefined) return line;
  }
  return 1;
}

/** The first line of every key path. The parser has accepted the text; it does not keep positions. */
function linesOfKeys(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  let table: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$/.exec(line)?.[1];
    const key = /^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=/.exec(line)?.[1];
    if (header !== undefined) table = keyPath(header);
    else if (key === undefined) continue;
    const full = header === undefined ? [...table, ...keyPath(key ?? "")] : table;
    for (let length = 1; length <= full.length; length++) {
      const prefix = JSON.stringify(full.slice(0, length));
      if (!lines.has(prefix)) lines.set(prefix, index + 1);
    }
  }
  return lines;
}

/** `endpoints."my.api".env` → its three keys. */
function keyPath(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)/g)].map(
    ([, double, single, bare]) => double ?? single ?? bare ?? "",
  );
}
