/**
 * The vault: what seals secrets. AES-256-GCM with a random nonce for every value; where a secret
 * belongs (app, environment, name) is authenticated with it, so that no row of the database can
 * stand in for another. The master key is in `FLASH_HOME/secrets.key`, mode 0600: a copy of the
 * database alone is worth nothing, a backup needs both.
 *
 * The file has one key a line, the one in use first. While secrets are sealed anew with another one
 * it has both: whenever the server is killed, every secret can be opened.
 */

import { createCipheriv, createDecipheriv, hash, randomBytes, randomUUID } from "node:crypto";
import { open, readFile, rename, stat } from "node:fs/promises";
import path from "node:path";
import { FlashError } from "../../contract/errors.ts";
import type { SecretRow } from "../../contract/identity.ts";

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Where a secret belongs. */
export type SecretPlace = Pick<SecretRow, "app" | "environment" | "name">;

interface MasterKey {
  /** Tells which key has sealed a row, and nothing about the key. */
  id: string;
  bytes: Buffer;
}

export class Vault {
  readonly #file: string;
  #keys: MasterKey[] = [];

  constructor(home: string) {
    this.#file = path.join(home, "secrets.key");
  }

  /** Reads the master key, if there is one. Throws `INVALID_CONFIG` for a file that holds none. */
  async load(): Promise<void> {
    const text = await readFile(this.#file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw this.#unusable(`cannot be read (${error.code})`);
    });
    if (text === "") return;
    const { mode } = await stat(this.#file);
    if ((mode & 0o077) !== 0)
      throw this.#unusable("can be read by others", "Run 'chmod 600' on it.");
    this.#keys = text
      .trim()
      .split("\n")
      .map((line) => this.#read(line));
  }

  /** Throws `INVALID_CONFIG` when the key that has sealed it is not there. */
  open(row: SecretPlace & Pick<SecretRow, "keyId" | "sealed">): string {
    const key = this.#keys.find(({ id }) => id === row.keyId);
    if (key === undefined) {
      throw this.#unusable(
        `does not hold the key of the secret '${row.name}' of ${row.app}/${row.environment}`,
        "Restore the file that belongs to this FLASH_HOME, or set the secret again.",
      );
    }
    const sealed = Buffer.from(row.sealed);
    const opener = createDecipheriv(CIPHER, key.bytes, sealed.subarray(0, NONCE_BYTES));
    opener.setAAD(placeBytes(row));
    opener.setAuthTag(sealed.subarray(-TAG_BYTES));
    try {
      const value = opener.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES));
      return Buffer.concat([value, opener.final()]).toString("utf8");
    } catch (cause) {
      const where = `${row.app}/${row.environment}`;
      throw new FlashError("INTERNAL", `The secret '${row.name}' of ${where} is damaged.`, {
        hint: "Set it again with 'flash secrets set'.",
        cause,
      });
    }
  }

  /** Makes a master key on first use. */
  async seal(place: SecretPlace, value: string): Promise<Pick<SecretRow, "keyId" | "sealed">> {
    if (this.#keys.length === 0) await this.#write([newMasterKey()]);
    return this.sealNow(place, value);
  }

  /** {@link seal} with the key there is. */
  sealNow(place: SecretPlace, value: string): Pick<SecretRow, "keyId" | "sealed"> {
    const [key] = this.#keys;
    if (key === undefined) throw this.#unusable("holds no key");
    const nonce = randomBytes(NONCE_BYTES);
    const sealer = createCipheriv(CIPHER, key.bytes, nonce);
    sealer.setAAD(placeBytes(place));
    const text = Buffer.concat([sealer.update(value, "utf8"), sealer.final()]);
    return { keyId: key.id, sealed: Buffer.concat([nonce, text, sealer.getAuthTag()]) };
  }

  /** A new master key, which `reseal` puts on everything; then the earlier ones are forgotten. */
  async rotate(reseal: () => Promise<number>): Promise<number> {
    await this.#write([newMasterKey(), ...this.#keys]);
    const count = await reseal();
    await this.#write(this.#keys.slice(0, 1));
    return count;
  }

  /** Whole or not at all, and on disk before anything is sealed with it. */
  async #write(keys: MasterKey[]): Promise<void> {
    const draft = `${this.#file}.${randomUUID()}`;
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(keys.map(({ bytes }) => `${bytes.toString("base64")}\n`).join(""));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, this.#file);
    const folder = await open(path.dirname(this.#file), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    this.#keys = keys;
  }

  #read(line: string): MasterKey {
    const bytes = Buffer.from(line.trim(), "base64");
    if (bytes.length !== KEY_BYTES) throw this.#unusable("does not hold a key");
    return { id: idOf(bytes), bytes };
  }

  #unusable(what: string, hint = "Restore it from a backup of this FLASH_HOME."): FlashError {
    return new FlashError("INVALID_CONFIG", `The master key file ${this.#file} ${what}.`, { hint });
  }
}

function newMasterKey(): MasterKey {
  const bytes = randomBytes(KEY_BYTES);
  return { id: idOf(bytes), bytes };
}

function idOf(key: Buffer): string {
  return hash("sha256", key).slice(0, 16);
}

/** Names hold no `/`. */
function placeBytes({ app, environment, name }: SecretPlace): Buffer {
  return Buffer.from(`${app}/${environment}/${name}`);
}
