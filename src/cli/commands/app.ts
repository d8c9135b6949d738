/** `flash app`: the apps of a server. */

import type { AppDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { localTime } from "../dates.ts";
import { columns, count } from "../output.ts";
import { mustBeName } from "../project.ts";
import { confirmPhrase, isForced } from "../prompt.ts";
import { environmentRow } from "./env.ts";
import { openForApp, SERVER_OPTIONS } from "../server-options.ts";

/** Builds that `app get` shows. */
const SHOWN_BUILDS = 3;

export const appList: CommandDefinition = {
  description: "Lists the apps of the server, with how many environments and builds they have.",
  examples: [["flash app list", "all apps"]],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { output, signal } = invocation;
    const { cloud } = await openForApp(invocation);
    const document = await cloud.apps({ signal });
    output.document(document);
    if (document.apps.length === 0) {
      output.print("no apps found\n  run flash deploy to create one");
      return;
    }
    const rows = document.apps.map(({ name, environments, builds }) => [
      name,
      count(environments, "env"),
      count(builds, "build"),
    ]);
    output.print(columns(rows));
  },
};

export const appCreate: CommandDefinition = {
  description:
    "Registers an app's name before its first deployment, for example from CI. 'flash deploy' does it by itself.",
  examples: [["flash app create shop", "register the name"]],
  arguments: [["<name>", "name of the app"]],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const name = args[0] ?? "";
    mustBeName("app", name);
    const { cloud } = await openForApp(invocation, { start: true });
    output.document(await cloud.createApp(name, { signal }));
    output.print(`${output.colors.green("✓")} created app ${name}`);
  },
};

export const appGet: CommandDefinition = {
  description: "Shows an app: its environments with state and build, and its newest builds.",
  examples: [["flash app get shop", "environments and builds"]],
  arguments: [["[name]", "default: the project in this folder"]],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const { cloud, app } = await openForApp(invocation);
    const document = await cloud.app(args[0] ?? app, { signal });
    output.document(document);
    if (!output.json) output.print(appText(document, output.colors.bold));
  },
};

export const appDelete: CommandDefinition = {
  description:
    "Removes an app with everything that belongs to it: environments, endpoints, their jobs, builds. Asks " +
    "for the app's name first.",
  examples: [
    ["flash app delete shop", "asks for the name"],
    ["flash app delete shop --yes", "in a script"],
  ],
  arguments: [["<name>", "name of the app"]],
  options: [["-y, --yes", "do not ask"], ["-f, --force", "the same as --yes"], ...SERVER_OPTIONS],
  async run(invocation) {
    const { args, output, signal } = invocation;
    const name = args[0] ?? "";
    const { cloud } = await openForApp(invocation);
    // Unknown names are told before anybody is asked.
    const app = await cloud.app(name, { signal });
    if (!isForced(invocation)) {
      output.say(appText(app, output.talkColors.bold));
      const action = `Deleting the app '${name}'`;
      if (!(await confirmPhrase(name, { action, flag: "--yes", signal }))) {
        throw new FlashError("CANCELLED", "cancelled");
      }
    }
    const removed = await cloud.deleteApp(name, { signal });
    output.document(removed);
    const { green } = output.colors;
    if (removed.endpoints.length > 0) {
      output.print(`${green("✓")} undeployed ${count(removed.endpoints.length, "endpoint")}`);
    }
    output.print(`${green("✓")} deleted app ${name}`);
  },
};

function appText(app: AppDocument, bold: (text: string) => string): string {
  const rows = app.environments.map(environmentRow);
  const environments = rows.length === 0 ? "  no environments" : columns(rows, "  ");
  const shown = app.builds
    .slice(0, SHOWN_BUILDS)
    .map(({ id, createdAt }) => [id.slice(0, 12), localTime(createdAt)]);
  const more = app.builds.length - shown.length;
  return [
    bold(app.name),
    environments,
    `  ${count(app.builds.length, "build")}`,
    ...(shown.length === 0 ? [] : [columns(shown, "    ")]),
    ...(more > 0 ? [`    + ${more} more`] : []),
  ].join("\n");
}
