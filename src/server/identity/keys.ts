/**
 * Keys that people and machines are given. A key is shown once, when it is made; what is kept is its
 * digest. Nobody gives more than they have: not a wider scope (the route table sees to that), and
 * not a longer life.
 */

import type { Scope } from "../../contract/access.ts";
import { outOfScope, WHOLE_SERVER } from "../../contract/access.ts";
import type { KeyDocument, KeyRequest, NewKeyDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { KeyRow, KeyStore } from "../../contract/identity.ts";
import { checkName } from "../../contract/options.ts";
import type { Clock } from "../../kit/clock.ts";
import { newPrefixedId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import { digestOf, type Keyring } from "../gateway/auth.ts";
import type { Principal } from "../gateway/http.ts";
import { newKey } from "./key-text.ts";

const DAY_MS = 86_400_000;
/** A key lives this long unless something else is asked for. */
const DEFAULT_LIFE_MS = 90 * DAY_MS;
/** Void keys stay in the list this long, so that an audit trail can still be read. */
const KEEP_VOID_MS = 90 * DAY_MS;
/** When keys were last used is written down this often: a write for each request would be one too many. */
const NOTE_USES_MS = 60_000;
/** What a key has begun ends this long after the key has, at most, and a little. */
const END_VOID_MS = 1000;

export interface KeysOptions {
  store: KeyStore;
  keyring: Keyring;
  clock: Clock;
  log: Log;
}

export class Keys {
  readonly #options: KeysOptions;
  #noted = new Map<string, number>();
  #cancel: () => void = () => undefined;
  #cancelEnd: () => void = () => undefined;

  constructor(options: KeysOptions) {
    this.#options = options;
  }

  /** Makes the stored keys known to the keyring. */
  async load(): Promise<void> {
    const { store, keyring, clock } = this.#options;
    await store.dropVoid(clock.now() - KEEP_VOID_MS);
    for (const row of await store.list()) keyring.hold(row);
    this.#noted = keyring.lastUses();
    this.#noteLater();
    this.#endVoidLater();
  }

  /** Throws `INVALID_REQUEST`, `FORBIDDEN` for a life longer than its maker's, `CONFLICT` for a taken name. */
  async create(maker: Principal, request: KeyRequest): Promise<NewKeyDocument> {
    const { store, keyring, clock } = this.#options;
    const { name, verbs } = request;
    const wrong = checkName(name);
    if (wrong !== undefined) throw new FlashError("INVALID_REQUEST", `name ${wrong}`);
    const createdAt = clock.now();
    const key = newKey();
    const row: KeyRow = {
      id: newPrefixedId("key"),
      name,
      digest: digestOf(key),
      verbs: [...new Set(verbs)],
      scope: scopeOf(request),
      createdAt,
      createdBy: nameOf(maker),
      expiresAt: this.#expiry(maker, request, createdAt),
      revokedAt: null,
      lastUsedAt: null,
    };
    await store.add(row);
    keyring.hold(row);
    return { ...this.#document(row), key };
  }

  /** Newest first, as far as the caller may see. */
  async list(caller: Principal): Promise<KeyDocument[]> {
    const rows = await this.#options.store.list();
    return rows.filter((row) => mayManage(caller, row)).map((row) => this.#document(row));
  }

  /** By id, or by the name of a key that is not void. The key opens nothing from then on. Throws `NOT_FOUND`. */
  async revoke(caller: Principal, idOrName: string): Promise<KeyDocument> {
    const { store, keyring, clock } = this.#options;
    const rows = (await store.list()).filter((row) => mayManage(caller, row));
    const row =
      rows.find(({ id }) => id === idOrName) ??
      rows.find((one) => one.name === idOrName && this.#stateOf(one) === "active");
    if (row === undefined) {
      throw new FlashError("NOT_FOUND", `There is no key '${idOrName}'.`, {
        hint: "'flash keys list' shows the keys.",
      });
    }
    // Void in memory first: nothing that comes in meanwhile gets through.
    keyring.revoke(row.id);
    await store.revoke(row.id, clock.now());
    return this.#document({ ...row, revokedAt: row.revokedAt ?? clock.now() });
  }

  /** Writes down when keys were last used. */
  async close(): Promise<void> {
    this.#cancel();
    this.#cancelEnd();
    await this.#noteUses();
  }

  #expiry(maker: Principal, { expiresInS }: KeyRequest, now: number): number | null {
    const wanted =
      expiresInS === null
        ? null
        : now + (expiresInS === undefined ? DEFAULT_LIFE_MS : expiresInS * 1000);
    const limit = maker.kind === "key" ? this.#options.keyring.expiryOf(maker.id) : null;
    if (limit === null || (wanted !== null && wanted <= limit)) return wanted;
    if (expiresInS === undefined) return limit;
    const date = new Date(limit).toISOString();
    throw new FlashError("FORBIDDEN", `A key cannot outlive the key that makes it: ${date}.`);
  }

  #document(row: KeyRow): KeyDocument {
    const { id, name, verbs, scope, createdBy } = row;
    const lastUsedAt = this.#options.keyring.lastUses().get(id) ?? row.lastUsedAt;
    return {
      id,
      name,
      verbs,
      ...scope,
      state: this.#stateOf(row),
      createdAt: timeOf(row.createdAt),
      createdBy,
      expiresAt: row.expiresAt === null ? null : timeOf(row.expiresAt),
      lastUsedAt: lastUsedAt === null ? null : timeOf(lastUsedAt),
    };
  }

  #stateOf({ revokedAt, expiresAt }: KeyRow): KeyDocument["state"] {
    if (revokedAt !== null) return "revoked";
    return expiresAt !== null && expiresAt <= this.#options.clock.now() ? "expired" : "active";
  }

  #noteLater(): void {
    this.#cancel = this.#options.clock.after(NOTE_USES_MS, () => {
      void this.#noteUses().then(() => this.#noteLater());
    });
  }

  #endVoidLater(): void {
    const { clock, keyring } = this.#options;
    this.#cancelEnd = clock.after(END_VOID_MS, () => {
      keyring.endVoid();
      this.#endVoidLater();
    });
  }

  async #noteUses(): Promise<void> {
    const { store, keyring, log } = this.#options;
    const uses = keyring.lastUses();
    const fresh = new Map([...uses].filter(([id, at]) => this.#noted.get(id) !== at));
    if (fresh.size === 0) return;
    try {
      await store.noteUses(fresh);
      this.#noted = uses;
    } catch (error) {
      log.warn("the last uses of keys were not written down", { error: String(error) });
    }
  }
}

/** How the audit trail and lists call a caller. */
export function nameOf(principal: Principal): string {
  if (principal.kind === "key") return principal.name;
  return principal.kind === "worker" ? `worker ${principal.workerId}` : principal.kind;
}

function mayManage(caller: Principal, { id, scope }: KeyRow): boolean {
  if (caller.kind !== "key") return caller.kind === "operator";
  // Everybody knows and may give up their own.
  if (caller.id === id) return true;
  // A key that reaches further than the caller's own is not theirs to see or to void.
  const isWithin = outOfScope(caller.scope, known(scope), "server") === undefined;
  return caller.verbs.includes("admin") && isWithin;
}

function known({ app, environment, endpoint }: Scope): Record<string, string> {
  return {
    ...(app === null ? {} : { app }),
    ...(environment === null ? {} : { environment }),
    ...(endpoint === null ? {} : { endpoint }),
  };
}

function scopeOf(request: KeyRequest): Scope {
  const { app, environment, endpoint } = { ...WHOLE_SERVER, ...request };
  if (environment !== null && app === null) {
    throw new FlashError("INVALID_REQUEST", "A key for an environment needs its app.");
  }
  if (endpoint !== null && environment === null) {
    throw new FlashError("INVALID_REQUEST", "A key for an endpoint needs its app and environment.");
  }
  for (const [what, name] of Object.entries({ app, environment, endpoint })) {
    const wrong = name === null ? undefined : checkName(name);
    if (wrong !== undefined) throw new FlashError("INVALID_REQUEST", `${what} ${wrong}`);
  }
  return { app, environment, endpoint };
}

function timeOf(at: number): string {
  return new Date(at).toISOString();
}
