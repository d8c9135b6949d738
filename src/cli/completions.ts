/** Completion scripts for shells, written from the tree of commands. */

import { GLOBAL_OPTIONS } from "./global-options.ts";
import { spellings, type CommandNode } from "./tree.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

const HELP = ["-h, --help", "explain the command"] as const;

/** What can follow some words. */
interface Place {
  /** `server start`; empty for `flash` itself. */
  path: string;
  commands: { name: string; summary: string }[];
  options: { names: string[]; description: string; takesValue: boolean }[];
}

export function completionScript(shell: Shell, tree: readonly CommandNode[]): string {
  const places = placesOf(tree);
  switch (shell) {
    case "bash":
      return bash(places);
    case "zsh":
      return zsh(places);
    case "fish":
      return fish(places);
  }
}

function placesOf(tree: readonly CommandNode[]): Place[] {
  const root: Place = { path: "", commands: childrenOf(tree, []), options: optionsOf([]) };
  root.options.push({
    names: ["-v", "--version"],
    description: "print the version",
    takesValue: false,
  });
  const places = tree.flatMap(({ words, entry, definition }) => {
    const path = words.join(" ");
    const place = {
      path,
      commands: childrenOf(tree, words),
      options: optionsOf(definition?.options ?? []),
    };
    return entry.alias === undefined
      ? [place]
      : [place, { ...place, path: [...words.slice(0, -1), entry.alias].join(" ") }];
  });
  return [root, ...places];
}

function childrenOf(tree: readonly CommandNode[], above: readonly string[]): Place["commands"] {
  return tree
    .filter(
      ({ words }) =>
        words.length === above.length + 1 && above.every((word, at) => words[at] === word),
    )
    .flatMap(({ entry: { name, alias, summary } }) =>
      alias === undefined
        ? [{ name, summary }]
        : [
            { name, summary },
            { name: alias, summary },
          ],
    );
}

function optionsOf(own: readonly (readonly [string, string, ...unknown[]])[]): Place["options"] {
  return [...own, ...GLOBAL_OPTIONS, HELP].map(([flags, description]) => ({
    names: spellings(flags),
    description,
    takesValue: flags.includes("<"),
  }));
}

/** Words in the order in which they were typed; files where nothing else fits. */
function bash(places: readonly Place[]): string {
  const paths = places.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  const cases = places.map(({ path, commands, options }) => {
    const words = [...commands.map(({ name }) => name), ...options.flatMap(({ names }) => names)];
    return `    ${quote(path)}) words="${words.join(" ")}" ;;`;
  });
  const taking = [...new Set(places.flatMap(({ options }) => valued(options)))];
  return `# Completion of 'flash' in bash. Load it with:  source <(flash completion bash)
_flash() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local at="" word words="" index
  COMPREPLY=()
  # The value of an option is no command: files are offered.
  case "$previous" in ${taking.join("|")}) return ;; esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    case "\${at:+$at }$word" in
      ${paths.join("|")}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at" in
${cases.join("\n")}
  esac
  if [[ "$current" != -* ]]; then
    words=" $words "
    while [[ "$words" =~ \\ (-[^\\ ]*)\\  ]]; do words="\${words/ \${BASH_REMATCH[1]} / }"; done
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _flash flash
`;
}

function zsh(places: readonly Place[]): string {
  const paths = places.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  const cases = places.map(({ path, commands, options }) => {
    const own = commands.map(({ name, summary }) =>
      quote(`${name}:${summary.replaceAll(":", "\\:")}`),
    );
    const flags = options.flatMap(({ names, description }) =>
      names.map((name) => quote(`${name}:${description.replaceAll(":", "\\:")}`)),
    );
    return `    ${quote(path)}) commands=(${own.join(" ")}); options=(${flags.join(" ")}) ;;`;
  });
  return `#compdef flash
# Completion of 'flash' in zsh. Put it into a folder of $fpath as _flash, or load it with:
#   source <(flash completion zsh)
_flash() {
  local at="" word
  local -a commands options
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${at:+$at }$word" in
      ${paths.join("|")}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at" in
${cases.join("\n")}
  esac
  if [[ "$PREFIX" == -* ]]; then _describe 'option' options
  elif (( \${#commands} )); then _describe 'command' commands
  else _files; fi
}
if [[ "$funcstack[1]" == _flash ]]; then _flash "$@"; else compdef _flash flash; fi
`;
}

function fish(places: readonly Place[]): string {
  const paths = places.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  const lines = places.flatMap(({ path, commands, options }) => {
    const here = `complete -c flash -n '__flash_at ${quote(path).replaceAll("'", "\\'")}'`;
    return [
      ...commands.map(({ name, summary }) => `${here} -f -a ${name} -d ${quote(summary)}`),
      ...options.map(({ names, description, takesValue }) => {
        const flags = names.map((name) =>
          name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
        );
        return `${here} ${flags.join(" ")}${takesValue ? " -r" : ""} -d ${quote(description)}`;
      }),
    ];
  });
  return `# Completion of 'flash' in fish. Load it with:  flash completion fish | source
function __flash_at
  set -l at
  for word in (commandline -opc)[2..]
    if contains -- (string join ' ' $at $word) ${paths.join(" ")}
      set at $at $word
    end
  end
  test (string join ' ' $at) = $argv[1]
end
${lines.join("\n")}
`;
}

function valued(options: Place["options"]): string[] {
  return options.filter(({ takesValue }) => takesValue).flatMap(({ names }) => names);
}

/** For a shell, between single quotes. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
