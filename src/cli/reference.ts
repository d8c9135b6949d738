/** docs/CLI.md, written from the tree of commands: `npm run docs` writes it, a test compares it. */

import type { CommandNode } from "./tree.ts";
import { EXIT_CODES } from "./failure.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";

const HEAD = `# The command line

Written from the commands themselves by \`npm run docs\`; \`flash <command> --help\` says the same.

- **stdout is data, stderr is talk.** Results go to stdout; progress, warnings and errors to stderr.
- **\`--json\`**: stdout is one JSON document, or one for each line where a command follows something
  (\`logs\`, streams of \`call\`). When a command fails, stdout stays empty and the last line of stderr is a
  problem document (RFC 9457) with a \`code\` that \`flash explain <code>\` explains. The findings of
  \`doctor\` are its result, also when a check failed.
- **Colours** only in a terminal; \`NO_COLOR\`, \`FORCE_COLOR\`, \`TERM=dumb\` and \`CI\` are respected.
- **No question without a terminal**: what needs a confirmation fails and names the flag that gives it.
- **The strongest setting counts**: flag, environment variable, flash.toml, code, default. \`flash config\`
  prints each with its origin.
- **Ctrl-C** ends a command with 130, a second one at once; servers stop in an orderly way.
- A newer version is told of once a day, in a terminal only, never in CI; \`FLASH_NO_UPDATE_CHECK=1\`
  turns it off. Nothing else is sent anywhere.
`;

export function cliReference(tree: readonly CommandNode[]): string {
  const codes = EXIT_CODES.replace("Exit codes:\n", "").replaceAll(/^ {2}/gm, "");
  const parts = [
    HEAD,
    `## Exit codes\n\n\`\`\`\n${codes}\n\`\`\`\n`,
    `## Options of every command\n\n${table(GLOBAL_OPTIONS)}\n`,
    ...tree.map(section),
  ];
  return parts.join("\n");
}

function section({ words, entry, definition }: CommandNode): string {
  const name = `flash ${words.join(" ")}`;
  if (definition === undefined) {
    const own = (entry.commands ?? []).map((one) => `\`${name} ${one.name}\``).join(", ");
    return `## \`${name}\`\n\nCommands to ${entry.summary}: ${own}.\n`;
  }
  const alias = entry.alias === undefined ? "" : `\nThe same: \`flash ${entry.alias}\`.\n`;
  const notations = (definition.arguments ?? []).map(([notation]) => ` ${notation}`).join("");
  const width = Math.max(...definition.examples.map(([line]) => line.length));
  const examples = definition.examples.map(
    ([line, meaning]) => `${line.padEnd(width)}  # ${meaning}`,
  );
  const rows = [...(definition.arguments ?? []), ...(definition.options ?? [])];
  return [
    `## \`${name}${notations}\`\n`,
    `${definition.description}\n${alias}`,
    `\`\`\`sh\n${examples.join("\n")}\n\`\`\`\n`,
    ...(rows.length === 0 ? [] : [`${table(rows)}\n`]),
  ].join("\n");
}

function table(rows: readonly (readonly [string, string, ...unknown[]])[]): string {
  const cells = rows.map(([name, text]) => [`\`${name}\``, text].map(escapePipes));
  const widths = [0, 1].map((at) => Math.max(...cells.map((row) => row[at]?.length ?? 0), 7));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(["option", "meaning"]), rule, ...cells.map(line)].join("\n");
}

function escapePipes(text: string): string {
  return text.replaceAll("|", "\\|");
}
