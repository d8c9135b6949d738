/**
 * `flash login`: a key for a remote server, got by showing a code that somebody with a key approves, in
 * a browser or with `flash login approve`. Texts: spec/cli.md 4.
 */

import { hostname, userInfo } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { VERBS } from "../../contract/access.ts";
import type { LoginDocument, LoginStateDocument } from "../../contract/control.ts";
import { ERRORS, FlashError } from "../../contract/errors.ts";
import { IdentityClient } from "../../clouds/clouds.ts";
import { canShow, show } from "../browser.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { credentialsFile, findCredential, saveCredential } from "../credentials.ts";
import { flashHome } from "../home.ts";
import { lifetime, openIdentity, SERVER_OPTIONS } from "../identity.ts";
import { ownVersion } from "../package.ts";
import { confirm } from "../prompt.ts";
import { remoteServer } from "../target.ts";
import { verbsOf } from "./keys.ts";

interface Options {
  open?: false;
  timeout?: number;
  force?: true;
  deny?: true;
  yes?: true;
  verbs?: string;
  app?: string;
  env?: string;
  expires?: number | "never";
}

const DEFAULT_TIMEOUT_S = 600;

export const login: CommandDefinition = {
  description:
    "Gets a key for a remote server. It shows a page and a code; whoever has a key of that server that may admin " +
    "approves the code there, or with 'flash login approve'. The key is kept in FLASH_HOME/credentials.json and used " +
    "for that server from then on, unless FLASH_API_KEY is set. The server of this machine needs no login.",
  examples: [
    ["flash login --target https://flash.example.com", "asks, and waits for the approval"],
    ["flash login approve BCDF-2346", "on the server's machine, or with an admin key"],
    ["flash login approve BCDF-2346 --verbs read --app shop", "with less than asked for"],
  ],
  arguments: [
    ["[approve]", "'approve', to let somebody in"],
    ["[code]", "the code that is shown where 'flash login' runs"],
  ],
  options: [
    ["--no-open", "print the address only"],
    ["--timeout <seconds>", `how long to wait; default: ${DEFAULT_TIMEOUT_S}`, parseSeconds],
    ["--force", "also when there is a key that works"],
    ["--deny", "with approve: refuse the code"],
    ["--yes", "with approve: without a question"],
    ["--verbs <list>", `with approve: ${VERBS.join(", ")}; default: read,call,deploy`],
    ["-a, --app <name>", "with approve: only this app"],
    ["-e, --env <name>", "with approve: only this environment of the app"],
    ["--expires <time>", "with approve: 12h, 90d or never; default: 90d", lifetime],
    ...SERVER_OPTIONS,
  ],
  async run(invocation) {
    const [word, code] = invocation.args;
    if (word === undefined) return await logIn(invocation);
    if (word === "approve" && code !== undefined) return await approve(invocation, code);
    throw new FlashError("INVALID_USAGE", "Write 'flash login', or 'flash login approve <code>'.");
  },
};

async function logIn(invocation: Invocation): Promise<void> {
  const { env, output, signal } = invocation;
  const { force, timeout = DEFAULT_TIMEOUT_S } = invocation.options as Options;
  const url = remoteServer(invocation);
  const home = flashHome(env);
  const known = await findCredential(home, url);
  if (known !== undefined && force !== true && (await works(url, known.key, signal))) {
    output.document({ url, name: known.name, file: credentialsFile(home), isNew: false });
    output.print(`already logged in to ${url} as '${known.name}'`);
    output.say("  '--force' logs in again.");
    return;
  }
  const client = new IdentityClient({ url, key: undefined, signal });
  const begun = await client.beginLogin(`flash ${ownVersion()}, ${personHere()}`).catch(notBegun);
  await present(begun, invocation);
  const key = await waitForKey(client, begun, { timeoutMs: timeout * 1000, signal });
  // Asking with the new key shows that it works, and what it is.
  const own = new IdentityClient({ url, key, signal });
  const [made] = (await own.keys()).keys;
  if (made === undefined) throw new FlashError("REMOTE_ERROR", `${url} does not know its new key.`);
  const { name, id, expiresAt } = made;
  await saveCredential(home, url, { key, name, id, expiresAt });
  output.document({ url, name, file: credentialsFile(home), isNew: true });
  output.print(`Logged in. Credentials saved to ${credentialsFile(home)}`);
  if (env.FLASH_API_KEY?.trim()) output.warn("FLASH_API_KEY is set and wins over the new key");
}

async function present({ url, code }: LoginDocument, invocation: Invocation): Promise<void> {
  const { env, output } = invocation;
  const { open } = invocation.options as Options;
  output.say("Authorize flash in your browser:");
  output.say(`  ${output.talkColors.cyan(url)}`);
  output.say(`  code ${output.talkColors.bold(code)}, or: flash login approve ${code}`);
  if (open !== false && canShow(env)) await show(url, env);
  output.say("Waiting for authorization...");
}

async function waitForKey(
  client: IdentityClient,
  begun: LoginDocument,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<string> {
  const life = Date.parse(begun.expiresAt) - Date.now();
  const endsAt = performance.now() + Math.min(timeoutMs, Math.max(life, begun.intervalS * 1000));
  while (performance.now() < endsAt) {
    const state = await client.pollLogin(begun.secret).catch(passing);
    if (state?.key != null) return state.key;
    if (state !== undefined && state.status !== "PENDING") {
      throw ended(`login failed: ${state.status.toLowerCase()}`);
    }
    const left = endsAt - performance.now();
    await pause(Math.max(0, Math.min(begun.intervalS * 1000, left)), undefined, { signal });
  }
  throw ended("login timed out");
}

/** The network may fail for a moment; the login waits on the server. */
function passing(error: unknown): LoginStateDocument | undefined {
  if (FlashError.is(error) && ERRORS[error.code].retry) return undefined;
  throw error;
}

function notBegun(cause: unknown): never {
  if (FlashError.is(cause) && cause.code !== "REMOTE_ERROR") throw cause;
  throw new FlashError("REMOTE_ERROR", "auth request failed to initialize", {
    hint: "Is this the address of a Flash server?",
    cause,
  });
}

function ended(message: string): FlashError {
  return new FlashError("CANCELLED", message, { hint: "Run 'flash login' again." });
}

async function works(url: string, key: string, signal: AbortSignal): Promise<boolean> {
  return await new IdentityClient({ url, key, signal }).keys().then(
    () => true,
    (error: unknown) => {
      if (FlashError.is(error) && error.code === "UNAUTHORIZED") return false;
      throw error;
    },
  );
}

async function approve(invocation: Invocation, code: string): Promise<void> {
  const { output, signal } = invocation;
  const { verbs, app, env, expires, deny, yes } = invocation.options as Options;
  const { client } = await openIdentity(invocation);
  const { client: who, from } = await client.login(code);
  output.say(`${who} at ${from}`);
  if (deny !== true && yes !== true) {
    const options = { action: "Letting somebody in", flag: "--yes", signal };
    if (!(await confirm(`give it a key to ${client.url}?`, options))) {
      output.say("cancelled");
      return;
    }
  }
  const document = await client.decideLogin({
    code,
    approve: deny !== true,
    ...(verbs === undefined ? {} : { verbs: verbsOf(verbs) }),
    ...(app === undefined ? {} : { app }),
    ...(env === undefined ? {} : { environment: env }),
    ...(expires === undefined ? {} : { expiresInS: expires === "never" ? null : expires }),
  });
  output.document(document);
  output.print(
    `${output.colors.green("✓")} ${deny === true ? "denied" : "approved"} ${document.code}`,
  );
}

/** Shown to whoever approves. */
function personHere(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return hostname();
  }
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d{1,6}$/.test(text) && seconds > 0) return seconds;
  throw new FlashError("INVALID_USAGE", `--timeout takes seconds, got '${text}'.`);
}
