/**
 * `FLASH_HOME/credentials.json`: the keys of other servers, which `flash login` has got. Mode 0600,
 * written whole or not at all; one entry for each base URL. The SDK reads it too (sdk/connection).
 */

import { randomUUID } from "node:crypto";
import { open, readFile, rename, stat } from "node:fs/promises";
import path from "node:path";
import { FlashError } from "../contract/errors.ts";
import { makeFolder } from "../server/control/folders.ts";

export interface Credential {
  key: string;
  /** Name and id of the key on its server. */
  name: string;
  id: string;
  /** ISO 8601. */
  expiresAt: string | null;
}

interface Credentials {
  version: 1;
  /** By base URL without a slash at the end. */
  servers: Record<string, Credential>;
}

export function credentialsFile(home: string): string {
  return path.join(home, "credentials.json");
}

/** The key of a server; undefined when there is none. Throws `INVALID_CONFIG`. */
export async function findCredential(home: string, url: string): Promise<Credential | undefined> {
  const { servers } = await read(home);
  return Object.hasOwn(servers, url) ? servers[url] : undefined;
}

/** Keeps the key of a server; those of others stay. */
export async function saveCredential(home: string, url: string, one: Credential): Promise<void> {
  const { servers } = await read(home);
  await write(home, { version: 1, servers: { ...servers, [url]: one } });
}

/** False when there was none. */
export async function removeCredential(home: string, url: string): Promise<boolean> {
  const { servers } = await read(home);
  if (!Object.hasOwn(servers, url)) return false;
  const { [url]: _, ...rest } = servers;
  await write(home, { version: 1, servers: rest });
  return true;
}

async function read(home: string): Promise<Credentials> {
  const file = credentialsFile(home);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return { version: 1, servers: {} };
    throw unusable(`${file} cannot be read (${code}).`, cause);
  }
  if (process.platform !== "win32" && ((await stat(file)).mode & 0o077) !== 0) {
    throw unusable(`${file} can be read by others.`, undefined, `Run 'chmod 600 ${file}'.`);
  }
  try {
    const value = JSON.parse(text) as Credentials;
    if (typeof value.servers === "object" && value.servers !== null) return value;
  } catch (cause) {
    throw unusable(`${file} is not JSON.`, cause);
  }
  throw unusable(`${file} holds no keys.`);
}

async function write(home: string, credentials: Credentials): Promise<void> {
  makeFolder(home, 0o700);
  const draft = path.join(home, `.credentials-${randomUUID()}`);
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(credentials, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, credentialsFile(home));
}

function unusable(message: string, cause?: unknown, hint?: string): FlashError {
  return new FlashError("INVALID_CONFIG", message, {
    hint: hint ?? "Delete it and run 'flash login' again.",
    cause,
  });
}
