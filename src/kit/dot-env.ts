/**
 * `.env`: variables for commands and scripts on this machine. They never override what is set, and
 * never reach a worker. Loads where there is no Node, and finds nothing there.
 */

export interface DotEnv {
  file: string;
  variables: Record<string, string>;
}

/**
 * The nearest `.env` from `folder` upward. Above `folder` only a file of this user counts: whoever else
 * can write to a folder above, as to `/tmp`, must not choose where a key is sent.
 */
export function nearestDotEnv(folder: string): DotEnv | undefined {
  // Node 18, where `flash init` works, and browsers do not have it.
  const node = globalThis.process as NodeJS.Process | undefined;
  if (typeof node?.getBuiltinModule !== "function") return undefined;
  const path = node.getBuiltinModule("node:path");
  const start = path.resolve(folder);
  for (let at = start; ; at = path.dirname(at)) {
    const file = path.join(at, ".env");
    const variables = readVariables(file, { isOwn: at !== start });
    if (variables !== undefined) return { file, variables };
    if (at === path.dirname(at)) return undefined;
  }
}

/** Undefined for what is no file, cannot be read or, with `isOwn`, is somebody else's. */
function readVariables(
  file: string,
  { isOwn }: { isOwn: boolean },
): Record<string, string> | undefined {
  const { readFileSync, statSync } = process.getBuiltinModule("node:fs");
  const { parseEnv } = process.getBuiltinModule("node:util");
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found?.isFile() !== true) return undefined;
    const user = process.getuid?.();
    if (isOwn && user !== undefined && found.uid !== user) return undefined;
    return parseEnv(readFileSync(file, "utf8")) as Record<string, string>;
  } catch {
    return undefined;
  }
}
