/**
 * Logins of command lines: a device asks, shows a short code, and polls; somebody with a key that may
 * admin looks at who asks, and approves or denies the code. The device then gets a key of its own, once.
 *
 *     PENDING --approve--> APPROVED --key told--> CONSUMED
 *        +-----deny-----> DENIED
 *     any of them, after ten minutes: EXPIRED
 *
 * The code is short because people type it; it opens nothing by itself. What the device polls with is
 * a secret that only the device has. All of it is in memory: a restart of the server ends logins, no key.
 */

import { randomInt } from "node:crypto";
import type {
  LoginDecision,
  LoginDocument,
  LoginRequest,
  LoginState,
  LoginStateDocument,
  PendingLoginDocument,
} from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { Clock } from "../../kit/clock.ts";
import { newSecret } from "../../kit/ids.ts";
import { digestOf } from "../gateway/auth.ts";
import type { Principal } from "../gateway/http.ts";
import type { Keys } from "./keys.ts";

const LIFE_MS = 10 * 60_000;
/** An answer with the key may be lost on its way: it is told again for so long, to the same device. */
const TELL_AGAIN_MS = 30_000;
/** Between two polls, s. */
const INTERVAL_S = 2;
/** Anybody may ask: of one address, and of all. */
const MAX_OF_ADDRESS = 10;
const MAX_LOGINS = 1000;
/** Letters and digits that nobody mistakes for others, and that make no words. */
const ALPHABET = "BCDFGHJKMPQRTVWXY2346789";
const DEFAULT_VERBS = ["read", "call", "deploy"] as const;

interface Login {
  code: string;
  client: string;
  from: string;
  /** Epoch ms. */
  expiresAt: number;
  state: Exclude<LoginState, "EXPIRED">;
  key: { text: string; name: string; id: string } | undefined;
  toldAt: number | undefined;
}

export class Logins {
  readonly #keys: Keys;
  readonly #clock: Clock;
  readonly #url: () => string;
  /** By the digest of the device's secret. */
  readonly #logins = new Map<string, Login>();

  /** `url`: the server's base URL for clients. */
  constructor(options: { keys: Keys; clock: Clock; url: () => string }) {
    this.#keys = options.keys;
    this.#clock = options.clock;
    this.#url = options.url;
  }

  /** Throws `OVERLOADED` when too many are open. */
  begin({ client }: LoginRequest, from: string): LoginDocument {
    this.#forgetOld();
    const own = [...this.#logins.values()].filter((login) => login.from === from);
    if (own.length >= MAX_OF_ADDRESS || this.#logins.size >= MAX_LOGINS) {
      throw new FlashError("OVERLOADED", "Too many logins are waiting for an approval.", {
        hint: "They expire after ten minutes.",
        details: { retryAfterS: 60 },
      });
    }
    const secret = newSecret("flashl");
    const expiresAt = this.#clock.now() + LIFE_MS;
    const code = newCode();
    // What a stranger says about itself is shown to an operator: one plain line of it.
    const shown = client.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 100);
    this.#logins.set(digestOf(secret), {
      code,
      client: shown,
      from,
      expiresAt,
      state: "PENDING",
      key: undefined,
      toldAt: undefined,
    });
    return {
      code,
      secret,
      url: `${this.#url()}/login?code=${code}`,
      expiresAt: new Date(expiresAt).toISOString(),
      intervalS: INTERVAL_S,
    };
  }

  /** How it stands; with the key, when it has been approved. */
  poll(secret: string): LoginStateDocument {
    const login = this.#logins.get(digestOf(secret));
    const now = this.#clock.now();
    if (login === undefined || login.expiresAt <= now) return { status: "EXPIRED", key: null };
    if (login.state !== "APPROVED") return { status: login.state, key: null };
    login.toldAt ??= now;
    if (now - login.toldAt <= TELL_AGAIN_MS) {
      return { status: "APPROVED", key: login.key?.text ?? null };
    }
    login.state = "CONSUMED";
    login.key = undefined;
    return { status: "CONSUMED", key: null };
  }

  /** Who asks with this code. Throws `NOT_FOUND`. */
  look(code: string): PendingLoginDocument {
    const { client, from, expiresAt } = this.#pending(code);
    return { code: tidy(code), client, from, expiresAt: new Date(expiresAt).toISOString() };
  }

  /** Throws `NOT_FOUND` when nobody waits with this code, and as {@link Keys.create}. */
  async decide(approver: Principal, decision: LoginDecision): Promise<PendingLoginDocument> {
    const login = this.#pending(decision.code);
    const document = this.look(decision.code);
    if (!decision.approve) {
      login.state = "DENIED";
      return document;
    }
    const { code: _, approve: __, verbs = [...DEFAULT_VERBS], ...grant } = decision;
    const name = `login-${login.code.toLowerCase()}`;
    const { key, id } = await this.#keys.create(approver, { ...grant, verbs, name });
    login.key = { text: key, name, id };
    login.state = "APPROVED";
    return document;
  }

  #pending(code: string): Login {
    const wanted = tidy(code);
    const now = this.#clock.now();
    for (const login of this.#logins.values()) {
      if (login.code === wanted && login.state === "PENDING" && login.expiresAt > now) return login;
    }
    throw new FlashError("NOT_FOUND", `No login waits with the code '${wanted}'.`, {
      hint: "Codes are good for ten minutes, and for one login: run 'flash login' again.",
    });
  }

  #forgetOld(): void {
    const now = this.#clock.now();
    for (const [digest, { expiresAt }] of this.#logins) {
      if (expiresAt <= now) this.#logins.delete(digest);
    }
  }
}

function newCode(): string {
  const letters = Array.from({ length: 8 }, () => ALPHABET[randomInt(ALPHABET.length)]);
  return `${letters.slice(0, 4).join("")}-${letters.slice(4).join("")}`;
}

/** As it was shown, however it was typed. */
function tidy(code: string): string {
  const letters = code
    .toUpperCase()
    .replaceAll(/[^A-Z0-9]/g, "")
    .slice(0, 8);
  return `${letters.slice(0, 4)}-${letters.slice(4)}`;
}
