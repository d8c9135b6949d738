/** `flash completion`: a script that teaches a shell the commands and options, and the names it asks for. */

import { FlashError } from "../../contract/errors.ts";
import { closest } from "../../contract/names.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { NAME_KINDS, SHELLS, type NameKind } from "../completions.ts";
import { openProject } from "../project.ts";
import { openDestination, openTarget } from "../target.ts";

/** Somebody has pressed a key and waits, ms. */
const NAMES_MS = 1000;
/** Shells expand what they are offered: nothing but plain names is. */
const PLAIN_NAME = /^[\w.-]+$/;

export const completion: CommandDefinition = {
  description:
    "Prints a script that completes commands and options in a shell. It knows those of this version, and asks the " +
    "server for the names of apps, environments and endpoints.",
  examples: [
    ["source <(flash completion bash)", "in ~/.bashrc"],
    ["source <(flash completion zsh)", "in ~/.zshrc"],
    ["flash completion fish | source", "in ~/.config/fish/config.fish"],
  ],
  arguments: [["[shell]", SHELLS.join(", ")]],
  options: [["--names <kind>", `what the script asks for: ${NAME_KINDS.join(", ")}`]],
  async run(invocation) {
    const { args, output } = invocation;
    const { names } = invocation.options as { names?: string };
    if (names !== undefined) return await printNames(kindOf(names), invocation);
    const given = args[0] ?? "";
    const shell = SHELLS.find((one) => one === given);
    if (shell === undefined) {
      const near = closest(given, SHELLS);
      throw new FlashError("INVALID_USAGE", `There is no completion for '${given}'.`, {
        hint: near === undefined ? `Shells are ${SHELLS.join(", ")}.` : `Did you mean ${near}?`,
      });
    }
    const [{ completionScript }, { commandTree }] = await Promise.all([
      import("../completions.ts"),
      import("../tree.ts"),
    ]);
    const script = completionScript(shell, await commandTree());
    output.document({ shell, script });
    if (!output.json) process.stdout.write(script);
  },
};

function kindOf(text: string): NameKind {
  const kind = NAME_KINDS.find((one) => one === text);
  if (kind !== undefined) return kind;
  throw new FlashError("INVALID_USAGE", `--names is one of ${NAME_KINDS.join(", ")}.`);
}

/** Nothing at all when nobody can be asked: whoever types a line is not told of other troubles. */
async function printNames(kind: NameKind, invocation: Invocation): Promise<void> {
  const signal = AbortSignal.any([invocation.signal, AbortSignal.timeout(NAMES_MS)]);
  const asked = namesOf(kind, { ...invocation, signal }).catch((): string[] => []);
  const names = (await asked).filter((name) => PLAIN_NAME.test(name));
  invocation.output.document({ names });
  for (const name of names) invocation.output.print(name);
}

async function namesOf(kind: NameKind, invocation: Invocation): Promise<string[]> {
  const { cwd, env, signal } = invocation;
  if (kind === "endpoints") {
    const { cloud, target } = await openTarget(invocation);
    return (await cloud.status(target, { signal })).endpoints.map(({ name }) => name);
  }
  const project = openProject({ cwd, env, app: undefined });
  const { cloud } = await openDestination(invocation, project, { start: false });
  const found =
    kind === "apps"
      ? (await cloud.apps({ signal })).apps
      : (await cloud.environments(project.app, { signal })).environments;
  return found.map(({ name }) => name);
}
