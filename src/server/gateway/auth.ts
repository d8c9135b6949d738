/**
 * Who may come in: the server key, and the secrets of the workers that live. Keys are compared by
 * their digests, so the time a comparison takes says nothing about the key.
 */

import { hash, timingSafeEqual } from "node:crypto";
import { FlashError } from "../../contract/errors.ts";
import type { Principal } from "./http.ts";

/** Headers whose digests are kept; workers come and go, so it starts over when it is full. */
const MAX_DIGESTS = 1000;

interface Digest {
  bytes: Buffer;
  /** The same, base64. */
  text: string;
}

export class Keyring {
  readonly #serverKey: Buffer;
  readonly #workers = new Map<string, Principal & { kind: "worker" }>();
  /**
   * Digests of headers that held a valid key: hashing costs more than all the rest of finding out who
   * calls. Only whole headers are looked up, so how long it takes tells nothing about part of a key.
   */
  readonly #digests = new Map<string, Digest>();

  constructor(serverKey: string) {
    this.#serverKey = digest(serverKey);
  }

  /** Makes a worker's secret valid. */
  admit(secret: string, worker: Omit<Principal & { kind: "worker" }, "kind">): void {
    this.#workers.set(digest(secret).toString("base64"), { kind: "worker", ...worker });
  }

  /** Makes it void. */
  expel(secret: string): void {
    this.#workers.delete(digest(secret).toString("base64"));
  }

  /** Makes the secret with this digest (SHA-256, base64) valid for a worker that others start. */
  admitGuest(
    secretDigest: string,
    worker: Omit<Principal & { kind: "worker" }, "kind" | "isGuest">,
  ): void {
    this.#workers.set(secretDigest, { kind: "worker", isGuest: true, ...worker });
  }

  expelGuest(secretDigest: string): void {
    this.#workers.delete(secretDigest);
  }

  expelGuestsOf(endpointIds: readonly string[]): void {
    for (const [digest, { endpointId, isGuest }] of this.#workers) {
      if (isGuest === true && endpointIds.includes(endpointId)) this.#workers.delete(digest);
    }
  }

  /** Who has the key of an `Authorization` header, with or without a scheme; undefined for nobody. */
  find(authorization: string | undefined): Principal | undefined {
    if (authorization === undefined) return undefined;
    const known = this.#digests.get(authorization);
    if (known !== undefined) return this.#whoHas(known);
    const key = keyOf(authorization);
    if (key === undefined) return undefined;
    const bytes = digest(key);
    const given = { bytes, text: bytes.toString("base64") };
    const principal = this.#whoHas(given);
    if (principal !== undefined) this.#remember(authorization, given);
    return principal;
  }

  /** Asked every time: a key that was valid may have become void. */
  #whoHas({ bytes, text }: Digest): Principal | undefined {
    if (timingSafeEqual(bytes, this.#serverKey)) return { kind: "operator" };
    return this.#workers.get(text);
  }

  #remember(authorization: string, given: Digest): void {
    if (this.#digests.size >= MAX_DIGESTS) this.#digests.clear();
    this.#digests.set(authorization, given);
  }

  /** Like {@link find}. Throws `UNAUTHORIZED`. */
  require(authorization: string | undefined): Principal {
    const principal = this.find(authorization);
    if (principal !== undefined) return principal;
    throw new FlashError(
      "UNAUTHORIZED",
      keyOf(authorization) === undefined ? "The request has no key." : "The key is not valid.",
      { hint: "Send 'Authorization: Bearer <key>'; 'flash token' prints the key of this server." },
    );
  }
}

/** Throws `FORBIDDEN` when a worker reaches outside its app and environment. */
export function requireScope(
  principal: Principal,
  target: { app: string; environment: string },
): void {
  if (principal.kind === "operator") return;
  if (principal.app === target.app && principal.environment === target.environment) return;
  throw new FlashError(
    "FORBIDDEN",
    "A worker may only call endpoints of its own app and environment.",
  );
}

function keyOf(authorization: string | undefined): string | undefined {
  const key = authorization?.trim().replace(/^bearer(\s+|$)/i, "");
  return key === undefined || key === "" ? undefined : key;
}

/** How a secret is written down. */
export function digestOf(secret: string): string {
  return digest(secret).toString("base64");
}

function digest(key: string): Buffer {
  return hash("sha256", key, "buffer");
}
