/**
 * Who may come in: the server key, the keys that were made, and the secrets of the workers that live.
 * Keys are compared by their digests, so the time a comparison takes says nothing about the key.
 */

import { hash, timingSafeEqual } from "node:crypto";
import { hasVerb, outOfScope, type KeyAccess, type Resource } from "../../contract/access.ts";
import type { ApiRoute } from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import type { KeyRow } from "../../contract/identity.ts";
import type { Clock } from "../../kit/clock.ts";
import { proofOf } from "../control/key.ts";
import { isWholeKey, looksLikeKey } from "../identity/key-text.ts";
import { BegunRequests } from "./begun-requests.ts";
import { clientAddress, type Addressed } from "./client-address.ts";
import { FailedAttempts } from "./failed-attempts.ts";
import type { Principal } from "./http.ts";

/** What is looked at of a request. */
interface Keyed {
  headers: { readonly authorization?: string | undefined };
  socket: object;
}

const OPERATOR: Principal = { kind: "operator" };

/** A key that somebody made, as the ring holds it. */
interface HeldKey {
  digest: Buffer;
  principal: Principal & { kind: "key" };
  /** Epoch ms. */
  expiresAt: number | null;
  /** Epoch ms. */
  revokedAt: number | null;
  lastUsedAt: number | null;
}

/** What a connection has shown before, with the header it came in: it is sent every time. */
interface Proof {
  header: Buffer;
  /** Undefined: the server key. */
  key: HeldKey | undefined;
}

export interface KeyringOptions {
  serverKey: string;
  clock: Clock;
  /** See client-address. */
  trustsProxy?: boolean;
}

/** A request that is about to be answered when its key becomes void is not cut off, ms. */
const LAST_WORDS_MS = 2000;

export class Keyring {
  readonly #serverKey: Buffer;
  /** Answers a challenge (control/key). */
  readonly prove: (port: number, challenge: unknown) => string | undefined;
  readonly #clock: Clock;
  readonly #trustsProxy: boolean;
  readonly #failed: FailedAttempts;
  readonly #proven = new WeakMap<object, Proof>();
  readonly #workers = new Map<string, Principal & { kind: "worker" }>();
  readonly #keys = new Map<string, HeldKey>();
  readonly #begun = new BegunRequests();

  constructor({ serverKey, clock, trustsProxy = false }: KeyringOptions) {
    this.#trustsProxy = trustsProxy;
    this.#serverKey = digest(serverKey);
    this.prove = (port, challenge) => proofOf(serverKey, port, challenge);
    this.#clock = clock;
    this.#failed = new FailedAttempts(clock);
  }

  /** Makes a key known. Void ones too: their holders are told why they do not open any more. */
  hold(row: KeyRow): void {
    const { id, name, verbs, scope, expiresAt, lastUsedAt } = row;
    this.#keys.set(row.digest, {
      digest: Buffer.from(row.digest, "base64"),
      principal: { kind: "key", id, name, verbs, scope },
      expiresAt,
      revokedAt: row.revokedAt,
      lastUsedAt,
    });
  }

  /** From this moment on it opens nothing. */
  revoke(id: string): void {
    for (const key of this.#keys.values()) {
      if (key.principal.id === id) key.revokedAt ??= this.#clock.now();
    }
  }

  /**
   * Remembers a request until it is over: `end` is called when its key has become void meanwhile.
   * Returns what to call when it is over; undefined for callers whose keys do not become void.
   */
  begin(principal: Principal, end: () => void): (() => void) | undefined {
    return principal.kind === "key" ? this.#begun.begin(principal.id, end) : undefined;
  }

  /** Ends what void keys have begun and is still going on. To be called every second or so. */
  endVoid(): void {
    for (const { principal, revokedAt, expiresAt } of this.#keys.values()) {
      const voidAt = Math.min(revokedAt ?? Infinity, expiresAt ?? Infinity);
      const isOver = voidAt + LAST_WORDS_MS <= this.#clock.now();
      if (isOver && this.#begun.has(principal.id)) this.#begun.end(principal.id);
    }
  }

  /** When a key ends, epoch ms; null: never. */
  expiryOf(id: string): number | null {
    for (const { principal, expiresAt } of this.#keys.values()) {
      if (principal.id === id) return expiresAt;
    }
    return null;
  }

  /** When each key was last used, epoch ms. */
  lastUses(): Map<string, number> {
    const uses = new Map<string, number>();
    for (const { principal, lastUsedAt } of this.#keys.values()) {
      if (lastUsedAt !== null) uses.set(principal.id, lastUsedAt);
    }
    return uses;
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
    const key = keyOf(authorization);
    if (key === undefined) return undefined;
    const given = digest(key);
    if (timingSafeEqual(given, this.#serverKey)) return OPERATOR;
    const held = this.#held(given);
    if (held !== undefined)
      return this.#whyVoid(held) === undefined ? use(held, this.#clock) : undefined;
    return this.#workers.get(given.toString("base64"));
  }

  /** {@link find} for a request. Throws `UNAUTHORIZED`, and `OVERLOADED` after too many wrong keys. */
  require(request: Keyed & Addressed): Principal {
    const principal = this.recognise(request);
    if (principal !== undefined) return principal;
    const address = clientAddress(request, { trustsProxy: this.#trustsProxy });
    throw this.#refusal(request.headers.authorization, address);
  }

  /** {@link find} for a request, remembered for its connection. It refuses nobody, and counts no failure. */
  recognise({ headers: { authorization }, socket }: Keyed): Principal | undefined {
    const header = Buffer.from(authorization ?? "");
    const proof = this.#proven.get(socket);
    if (proof?.header.length === header.length && timingSafeEqual(proof.header, header)) {
      if (proof.key === undefined) return OPERATOR;
      if (this.#whyVoid(proof.key) === undefined) return use(proof.key, this.#clock);
    }
    const principal = this.find(authorization);
    if (principal === OPERATOR) this.#proven.set(socket, { header, key: undefined });
    if (principal?.kind === "key") {
      this.#proven.set(socket, { header, key: this.#held(digest(keyOf(authorization) ?? "")) });
    }
    return principal;
  }

  /** Found by its digest, which tells nothing about other keys; compared once more in constant time. */
  #held(given: Buffer): HeldKey | undefined {
    const held = this.#keys.get(given.toString("base64"));
    return held !== undefined && timingSafeEqual(held.digest, given) ? held : undefined;
  }

  #whyVoid({ revokedAt, expiresAt }: HeldKey): "revoked" | "expired" | undefined {
    if (revokedAt !== null) return "revoked";
    return expiresAt !== null && expiresAt <= this.#clock.now() ? "expired" : undefined;
  }

  #refusal(authorization: string | undefined, address: string): FlashError {
    const key = keyOf(authorization);
    if (key === undefined) return unauthorized("The request has no key.");
    const held = this.#held(digest(key));
    const why = held === undefined ? undefined : this.#whyVoid(held);
    if (held !== undefined && why !== undefined) {
      const { name } = held.principal;
      return unauthorized(
        `The key '${name}' ${why === "revoked" ? "has been revoked" : "has expired"}.`,
      );
    }
    this.#failed.note(address);
    if (looksLikeKey(key) && !isWholeKey(key)) {
      return unauthorized("The key is not whole: it was cut off or mistyped.");
    }
    return unauthorized("The key is not valid.");
  }
}

function use(held: HeldKey, clock: Clock): Principal {
  held.lastUsedAt = clock.now();
  return held.principal;
}

function unauthorized(message: string): FlashError {
  return new FlashError("UNAUTHORIZED", message, {
    hint: "Send 'Authorization: Bearer <key>'; 'flash token' prints the key of this server.",
  });
}

/** Throws `FORBIDDEN` when a route does not open to this caller, for this resource. */
export function authorize(
  principal: Principal,
  route: Pick<ApiRoute, "access" | "touches" | "narrowest">,
  resource: Resource,
): void {
  if (principal.kind === "operator" || route.access === "public") return;
  if (principal.kind === "nobody") throw unauthorized("The request has no key.");
  if (route.access === "worker") throw new FlashError("FORBIDDEN", "This is for workers only.");
  if (principal.kind === "worker") return authorizeWorker(principal, route.access, resource);
  const { verbs, scope, name } = principal;
  if (!hasVerb(verbs, route.access.verbs)) {
    const wanted = [...new Set([...route.access.verbs, "admin"])].join(" or ");
    throw new FlashError(
      "FORBIDDEN",
      `The key '${name}' may ${verbs.join(", ")}; this needs ${wanted}.`,
      { hint: "An operator can make another one: 'flash keys create --help'." },
    );
  }
  const part = outOfScope(scope, resource, route.narrowest ?? route.touches);
  if (part === undefined) return;
  throw new FlashError("FORBIDDEN", `The key '${name}' is for the ${part} '${scope[part]}' only.`, {
    hint: "Name that one, or use a key with a wider scope.",
  });
}

function authorizeWorker(
  { app, environment }: Principal & { kind: "worker" },
  access: KeyAccess,
  resource: Resource,
): void {
  if (access.workers !== true) {
    throw new FlashError("FORBIDDEN", "A worker's secret does not open the control API.");
  }
  if (app === resource.app && environment === resource.environment) return;
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
