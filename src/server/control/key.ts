/**
 * The server key in `FLASH_HOME/key`: whoever can read the file may use the server. The server makes
 * it on its first start; `flash token` may come earlier and makes it the same way.
 */

import { createHash, createHmac, randomUUID } from "node:crypto";
import { link, readFile, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { FlashError } from "../../contract/errors.ts";
import { proofText } from "../../contract/server-proof.ts";
import { makeFolder } from "./folders.ts";
import { newSecret } from "../../kit/ids.ts";

/** What a server answers to a challenge (contract/server-proof). Undefined when it is no challenge. */
export function proofOf(key: string, port: number, challenge: unknown): string | undefined {
  if (typeof challenge !== "string" || !/^[0-9a-f]{64}$/.test(challenge)) return undefined;
  const secret = createHash("sha256").update(key).digest();
  return createHmac("sha256", secret).update(proofText(port, challenge)).digest("hex");
}

/** Path of the key file of a home. */
export function keyFile(home: string): string {
  return path.join(home, "key");
}

/** The key of a home, or undefined when it has none yet. Throws `INVALID_CONFIG` for an unusable file. */
export async function readKey(home: string): Promise<string | undefined> {
  const file = keyFile(home);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new FlashError("INVALID_CONFIG", `The key file ${file} cannot be read (${code}).`, {
      hint: "Run as the user who owns it, or set FLASH_API_KEY.",
      cause,
    });
  }
  const key = text.trim();
  // A header value cannot hold anything else, and an empty key would let everybody in.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new FlashError("INVALID_CONFIG", `The key file ${file} does not hold a key.`, {
      hint: "Delete it: the next start makes a new one.",
    });
  }
  return key;
}

/** The key of a home, made on first use with mode 0600. Safe when several processes come at once. */
export async function readOrCreateKey(home: string): Promise<string> {
  const known = await readKey(home);
  if (known !== undefined) return known;
  makeFolder(home, 0o700);
  // Written whole under another name and linked into place: a reader never sees half a key, and
  // link() refuses when another process was faster, which then is the one that counts.
  const draft = path.join(home, `.key-${randomUUID()}`);
  await writeFile(draft, `${newSecret("flash")}\n`, { mode: 0o600, flag: "wx" });
  try {
    await link(draft, keyFile(home));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
  } finally {
    await unlink(draft);
  }
  const made = await readKey(home);
  if (made === undefined) throw new FlashError("INTERNAL", `The key file of ${home} vanished.`);
  return made;
}
