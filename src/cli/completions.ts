/** Completion scripts for shells, written from the tree of commands. */

import { GLOBAL_OPTIONS } from "./global-options.ts";
import { spellings, type CommandNode } from "./tree.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** Names that only a server knows: scripts ask for them with `flash completion --names`. */
export const NAME_KINDS = ["apps", "environments", "endpoints"] as const;
export type NameKind = (typeof NAME_KINDS)[number];

/** What the first argument of a command is the name of. */
export const ARGUMENTS: Readonly<Record<NameKind, readonly string[]>> = {
  apps: ["app get", "app delete"],
  environments: ["env get", "env delete"],
  endpoints: [
    "logs",
    "events",
    "undeploy",
    "open",
    "call",
    "config",
    "scale explain",
    "worker env",
    "worker remove",
    "jobs list",
    "jobs show",
    "jobs retry",
    "jobs replay",
    "jobs cancel",
  ],
};
/** What the value of an option is the name of, wherever it stands. */
const VALUES = { apps: ["-a", "--app"], environments: ["-e", "--env"] } as const;

const HELP = ["-h, --help", "explain the command"] as const;

/** What can follow some words. */
interface Place {
  /** `server start`; empty for `flash` itself. */
  path: string;
  commands: { name: string; summary: string }[];
  options: { names: string[]; description: string; takesValue: boolean }[];
  /** The first argument is one of these. */
  kind: NameKind | undefined;
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
  const root: Place = {
    path: "",
    commands: childrenOf(tree, []),
    options: optionsOf([]),
    kind: undefined,
  };
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
      kind: NAME_KINDS.find((kind) => ARGUMENTS[kind].includes(path)),
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
  const cases = places.map(({ path, commands, options, kind }) => {
    const words = [...commands.map(({ name }) => name), ...options.flatMap(({ names }) => names)];
    const of = kind === undefined ? "" : ` kind=${kind}`;
    return `    ${quote(path)}) words="${words.join(" ")}"${of} ;;`;
  });
  const taking = [...new Set(places.flatMap(({ options }) => valued(options)))];
  return `# Completion of 'flash' in bash. Load it with:  source <(flash completion bash)
_flash() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local at="" word words="" index kind=""
  COMPREPLY=()
  case "$previous" in
${valueCases((kind) => `kind=${kind}`)}
  esac
  if [[ -n "$kind" ]]; then
    COMPREPLY=($(compgen -W "$("\${COMP_WORDS[0]}" completion --names "$kind" 2>/dev/null)" -- "$current"))
    return
  fi
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
    if [[ -n "$kind" ]]; then
      words+=" $("\${COMP_WORDS[0]}" completion --names "$kind" 2>/dev/null)"
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _flash flash
`;
}

function zsh(places: readonly Place[]): string {
  const paths = places.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  const cases = places.map(({ path, commands, options, kind = "" }) => {
    const own = commands.map(({ name, summary }) =>
      quote(`${name}:${summary.replaceAll(":", "\\:")}`),
    );
    const flags = options.flatMap(({ names, description }) =>
      names.map((name) => quote(`${name}:${description.replaceAll(":", "\\:")}`)),
    );
    return `    ${quote(path)}) commands=(${own.join(" ")}); options=(${flags.join(" ")}); kind=${quote(kind)} ;;`;
  });
  return `#compdef flash
# Completion of 'flash' in zsh. Put it into a folder of $fpath as _flash, or load it with:
#   source <(flash completion zsh)
_flash() {
  local at="" word kind=""
  local -a commands options
  case "\${words[CURRENT-1]}" in
${valueCases((kind) => `_flash_names ${kind}; return`)}
  esac
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
  elif [[ -n "$kind" ]]; then _flash_names "$kind"
  else _files; fi
}
_flash_names() {
  compadd -- \${(f)"$(\${words[1]} completion --names "$1" 2>/dev/null)"}
}
if [[ "$funcstack[1]" == _flash ]]; then _flash "$@"; else compdef _flash flash; fi
`;
}

function fish(places: readonly Place[]): string {
  const paths = places.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  const lines = places.flatMap(({ path, commands, options, kind }) => {
    const here = `complete -c flash -n '__flash_at ${quote(path).replaceAll("'", "\\'")}'`;
    return [
      ...commands.map(({ name, summary }) => `${here} -f -a ${name} -d ${quote(summary)}`),
      ...(kind === undefined ? [] : [`${here} -f -a ${namesInFish(kind)}`]),
      ...options.map(({ names, description, takesValue }) => {
        const flags = names.map((name) =>
          name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
        );
        const of = valueKind(names);
        const value = of === undefined ? " -r" : ` -x -a ${namesInFish(of)}`;
        return `${here} ${flags.join(" ")}${takesValue ? value : ""} -d ${quote(description)}`;
      }),
    ];
  });
  return `# Completion of 'flash' in fish. Load it with:  flash completion fish | source
function __flash_at
  set -l at
  for word in (commandline -opc)[2..]
    if contains -- (string join -- ' ' $at $word) ${paths.join(" ")}
      set at $at $word
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join("\n")}
`;
}

function namesInFish(kind: NameKind): string {
  return quote(`(flash completion --names ${kind} 2>/dev/null)`);
}

/** Lines of a `case` about the word before: what is done when that is an option with a name as its value. */
function valueCases(act: (kind: NameKind) => string): string {
  return Object.entries(VALUES)
    .map(([kind, names]) => `    ${names.join("|")}) ${act(kind as NameKind)} ;;`)
    .join("\n");
}

function valueKind(names: readonly string[]): NameKind | undefined {
  const found = Object.entries(VALUES).find(([, own]) => own.some((name) => names.includes(name)));
  return found?.[0] as NameKind | undefined;
}

function valued(options: Place["options"]): string[] {
  return options.filter(({ takesValue }) => takesValue).flatMap(({ names }) => names);
}

/** For a shell, between single quotes. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
