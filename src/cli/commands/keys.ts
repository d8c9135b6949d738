/** `flash keys …`: keys for people and machines, narrower than the server key. */

import { VERBS, type Verb } from "../../contract/access.ts";
import type { KeyDocument, KeyRequest } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { lifetime, localTime, openIdentity, SERVER_OPTIONS } from "../identity.ts";
import { columns } from "../output.ts";

interface CreateOptions {
  verbs?: string;
  app?: string;
  env?: string;
  endpoint?: string;
  expires?: number | "never";
}

export const keysCreate: CommandDefinition = {
  description:
    "Makes a key and prints it, once: the server keeps only its digest. What it may do is a list of verbs: " +
    "read (look at deployments, logs, jobs), call (use endpoints), deploy (change what is deployed, secrets " +
    "included), admin (everything, keys included). Where it may do it is the whole server unless you name an app, " +
    "an environment of it, or an endpoint of that.",
  examples: [
    ["flash keys create ci --verbs deploy --app shop", "for a pipeline"],
    ["flash keys create web --verbs call --app shop --env production", "for a client"],
    ["flash keys create oncall --verbs read,call --expires 12h", "for a night"],
  ],
  arguments: [["<name>", "what you will call it; unique among the keys that open"]],
  options: [
    ["--verbs <list>", `by commas: ${VERBS.join(", ")}`],
    ["-a, --app <name>", "only this app"],
    ["-e, --env <name>", "only this environment of the app"],
    ["--endpoint <name>", "only this endpoint of the environment"],
    ["--expires <time>", "30m, 12h, 90d or never; default: 90d", lifetime],
    ...SERVER_OPTIONS,
  ],
  async run(invocation) {
    const { args, output } = invocation;
    const { verbs, app, env, endpoint, expires } = invocation.options as CreateOptions;
    const request: KeyRequest = {
      name: args[0] ?? "",
      verbs: verbsOf(verbs),
      ...(app === undefined ? {} : { app }),
      ...(env === undefined ? {} : { environment: env }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(expires === undefined ? {} : { expiresInS: expires === "never" ? null : expires }),
    };
    const { client } = await openIdentity(invocation);
    const document = await client.createKey(request);
    output.document(document);
    output.print(document.key);
    output.say(
      `${output.talkColors.green("✓")} made the key '${document.name}'  ${aboutOf(document)}`,
    );
    output.say("  Keep it now: it is not shown again. Clients send it as FLASH_API_KEY.");
  },
};

export const keysList: CommandDefinition = {
  description:
    "Lists the keys of a server, newest first: what they may do, where, and when they were last used. Void ones " +
    "stay in the list for 90 days. With a key that is no admin, only that key.",
  examples: [
    ["flash keys list", "of the server of this machine"],
    ["flash keys list --json", "for programs"],
  ],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { output } = invocation;
    const { client } = await openIdentity(invocation);
    const document = await client.keys();
    output.document(document);
    if (document.keys.length === 0) {
      output.say("no keys but the server key");
      output.say("  'flash keys create' makes one.");
      return;
    }
    const { dim } = output.colors;
    const rows = document.keys.map((key) => [
      key.name,
      key.id,
      key.state === "active" ? key.state : dim(key.state),
      key.verbs.join(","),
      scopeOf(key),
      localTime(key.expiresAt),
      localTime(key.lastUsedAt),
    ]);
    const head = ["name", "id", "state", "may", "where", "expires", "last used"];
    output.print(columns([head.map((word) => dim(word)), ...rows]));
  },
};

export const keysRevoke: CommandDefinition = {
  description:
    "Voids a key. From that moment no request with it is answered; streams that are open end by themselves.",
  examples: [["flash keys revoke ci", "by its name, or by its id"]],
  arguments: [["<key>", "name or id"]],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { args, output } = invocation;
    const { client } = await openIdentity(invocation);
    const document = await client.revokeKey(args[0] ?? "");
    output.document(document);
    output.print(`${output.colors.green("✓")} revoked the key '${document.name}'`);
  },
};

/** `deploy  app shop  until …`. */
function aboutOf(key: KeyDocument): string {
  const until = key.expiresAt === null ? "never expires" : `until ${localTime(key.expiresAt)}`;
  return `may ${key.verbs.join(", ")}  ${scopeOf(key)}  ${until}`;
}

function scopeOf({ app, environment, endpoint }: KeyDocument): string {
  const parts = [app, environment, endpoint].filter((part) => part !== null);
  return parts.length === 0 ? "everywhere" : parts.join("/");
}

/** Verbs by commas. Throws `INVALID_USAGE`. */
export function verbsOf(text: string | undefined): Verb[] {
  const words = (text ?? "").split(",").map((word) => word.trim().toLowerCase());
  const verbs = words.filter((word) => word !== "");
  const wrong = verbs.find((word) => !(VERBS as readonly string[]).includes(word));
  if (verbs.length > 0 && wrong === undefined) return verbs as Verb[];
  const message =
    wrong === undefined ? "--verbs is missing." : `There is no verb '${wrong}' for a key.`;
  throw new FlashError("INVALID_USAGE", message, {
    hint: `Verbs are ${VERBS.join(", ")}; several are separated by commas.`,
  });
}
