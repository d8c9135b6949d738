/** `flash secrets …`: values that workers get and nobody else sees. */

import { isUtf8 } from "node:buffer";
import { FlashError } from "../../contract/errors.ts";
import type { Target } from "../../contract/cloud.ts";
import { SECRET_BYTES } from "../../contract/secrets.ts";
import type { IdentityClient } from "../../clouds/clouds.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { localTime, openIdentity, SERVER_OPTIONS } from "../identity.ts";
import { columns, count } from "../output.ts";
import { hasTerminal, secretAnswer } from "../prompt.ts";
import { chooseEnvironment, TARGET_OPTIONS } from "../target.ts";

/** More than this is no secret; the server says how much is. */
const MAX_INPUT_BYTES = 1024 * 1024;

export const secretsSet: CommandDefinition = {
  description:
    "Sets a secret of an environment, or gives it another value. The value is read from stdin, or asked for in a " +
    "terminal; it is never an argument, which other users of the machine and the shell's history would see. " +
    'Endpoints refer to it with secret("NAME") in their env. Workers that use it are replaced.',
  examples: [
    ["flash secrets set OPENAI_API_KEY", "asks for the value"],
    ["flash secrets set DB_URL --env staging < url.txt", "from a file"],
    ["pass show stripe | flash secrets set STRIPE_KEY", "from another program"],
  ],
  arguments: [["<name>", "letters, digits and _"]],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, output } = invocation;
    const name = nameOnly(args[0] ?? "");
    // The first secret may well come before the first deployment.
    const { client, target } = await open(invocation, { start: true });
    const value = await readValue(name, invocation);
    const document = await client.setSecret(target, name, value);
    output.document(document);
    const { green } = output.colors;
    output.print(`${green("✓")} set ${name} of ${target.app}/${target.environment}`);
    if (document.rolled.length > 0) output.say(`  new workers for ${document.rolled.join(", ")}`);
  },
};

/** Throws `INVALID_USAGE` for `NAME=value`, whose value it does not repeat. */
function nameOnly(text: string): string {
  const [name = "", value] = text.split("=");
  if (value === undefined) return text;
  throw new FlashError(
    "INVALID_USAGE",
    `The value of ${name} cannot be an argument: others on this machine could read it, and the shell keeps it.`,
    { hint: `Run 'flash secrets set ${name}', which asks for the value, or reads stdin.` },
  );
}

export const secretsList: CommandDefinition = {
  description: "Lists the secrets of an environment. Values are never shown, by nobody.",
  examples: [
    ["flash secrets list", "of the only environment, or production"],
    ["flash secrets list --env staging --json", "for programs"],
  ],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { output } = invocation;
    const { client, target } = await open(invocation);
    const document = await client.secrets(target);
    output.document(document);
    if (document.secrets.length === 0) {
      output.say(`no secrets for ${target.app}/${target.environment}`);
      output.say("  'flash secrets set NAME' adds one.");
      return;
    }
    const rows = document.secrets.map(({ name, updatedAt, updatedBy }) => [
      name,
      localTime(updatedAt),
      updatedBy,
    ]);
    const head = ["name", "set", "by"].map((word) => output.colors.dim(word));
    output.print(columns([head, ...rows]));
  },
};

export const secretsRemove: CommandDefinition = {
  description: "Removes a secret that no deployed endpoint refers to.",
  examples: [["flash secrets remove OLD_KEY --env staging", "for good"]],
  arguments: [["<name>", "name of the secret"]],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, output } = invocation;
    const { client, target } = await open(invocation);
    const document = await client.removeSecret(target, args[0] ?? "");
    output.document(document);
    const { green } = output.colors;
    output.print(`${green("✓")} removed ${document.name} of ${target.app}/${target.environment}`);
  },
};

export const secretsRotateKey: CommandDefinition = {
  description:
    "Seals every secret of the server with a new master key (FLASH_HOME/secrets.key) and forgets the earlier one. " +
    "Values do not change, workers go on. Back up the file together with the database: one is worth nothing " +
    "without the other.",
  examples: [["flash secrets rotate-key", "after somebody has seen the file, or once a year"]],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { output } = invocation;
    const { client } = await openIdentity(invocation);
    const document = await client.rotateSecrets();
    output.document(document);
    output.print(
      `${output.colors.green("✓")} sealed ${count(document.sealed, "secret")} with a new key`,
    );
  },
};

async function open(
  invocation: Invocation,
  options: { start: boolean } = { start: false },
): Promise<{ client: IdentityClient; target: Target }> {
  const { client, project, cloud } = await openIdentity(invocation, options);
  const { environment } = await chooseEnvironment(invocation, project, cloud);
  return { client, target: { app: project.app, environment } };
}

async function readValue(name: string, { signal }: Invocation): Promise<string> {
  if (hasTerminal()) return await secretAnswer(`${name}: `, signal);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_INPUT_BYTES) {
      throw new FlashError(
        "INVALID_USAGE",
        `The value of ${name} is larger than a secret may be.`,
        {
          hint: `At most ${SECRET_BYTES} bytes: keep the data elsewhere, and its key as the secret.`,
        },
      );
    }
    chunks.push(chunk);
  }
  // Of a file or of echo; a value that ends with a line feed needs two.
  const value = textOf(Buffer.concat(chunks), name).replace(/\r?\n$/, "");
  if (value !== "") return value;
  throw new FlashError("INVALID_USAGE", `There is no value for ${name} on stdin.`, {
    hint: `Pipe it in, as in 'flash secrets set ${name} < file', or run the command in a terminal.`,
  });
}

/** Throws `INVALID_USAGE` for bytes that are no text: replaced by question marks they would open nothing. */
function textOf(bytes: Buffer, name: string): string {
  if (isUtf8(bytes)) return bytes.toString("utf8");
  throw new FlashError("INVALID_USAGE", `The value of ${name} is not text in UTF-8.`, {
    hint: `A variable holds text only: 'base64 file | flash secrets set ${name}'.`,
  });
}
