/** The whole tree of commands with their definitions, for what describes it: completion, docs/CLI.md. */

import type { CommandDefinition, CommandEntry } from "./command.ts";
import { COMMANDS } from "./commands.ts";

export interface CommandNode {
  /** The words after `flash`: `["server", "start"]`. */
  words: readonly string[];
  entry: CommandEntry;
  /** Undefined for groups. */
  definition: CommandDefinition | undefined;
}

/** Every command, groups before their own. */
export async function commandTree(
  entries: readonly CommandEntry[] = COMMANDS,
  above: readonly string[] = [],
): Promise<CommandNode[]> {
  const nodes: CommandNode[] = [];
  for (const entry of entries) {
    const words = [...above, entry.name];
    nodes.push({ words, entry, definition: await entry.load?.() });
    nodes.push(...(await commandTree(entry.commands ?? [], words)));
  }
  return nodes;
}

/** `--env` and `-e` of `-e, --env <name>`. */
export function spellings(flags: string): string[] {
  return flags.split(/[\s,]+/).filter((part) => part.startsWith("-"));
}
