/** `flash server status`: whether the Flash server of this machine runs, and where. */

import type { CommandDefinition } from "../command.ts";
import { flashHome } from "../home.ts";
import { columns } from "../output.ts";

export const serverStatus: CommandDefinition = {
  description: "Says whether the Flash server of this machine runs, and where.",
  examples: [
    ["flash server status", "for people"],
    ["flash server status --json", "for programs"],
  ],
  async run({ env, output, signal }) {
    const { LocalServer } = await import("../local-server.ts");
    const local = new LocalServer(flashHome(env));
    const document = await local.running(signal);
    output.document(
      document === undefined
        ? { running: false, home: local.home }
        : { running: true, ...document },
    );
    if (document === undefined) {
      output.print(`no Flash server runs for ${local.home}`);
      output.say("Start it with 'flash server start'.");
      return;
    }
    const { url, pid, version, durability, home, startedAt } = document;
    output.print(`${output.colors.green("✓")} running at ${url}`);
    const rows = Object.entries({ version, process: String(pid), durability, home, startedAt });
    output.print(columns(rows, "  "));
  },
};
