/** `flash completion`: a script that teaches a shell the commands and options. */

import { FlashError } from "../../contract/errors.ts";
import { closest } from "../../contract/names.ts";
import type { CommandDefinition } from "../command.ts";
import { SHELLS } from "../completions.ts";

export const completion: CommandDefinition = {
  description:
    "Prints a script that completes commands and options in a shell. It knows those of this version.",
  examples: [
    ["source <(flash completion bash)", "in ~/.bashrc"],
    ["source <(flash completion zsh)", "in ~/.zshrc"],
    ["flash completion fish | source", "in ~/.config/fish/config.fish"],
  ],
  arguments: [["<shell>", SHELLS.join(", ")]],
  async run({ args, output }) {
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
