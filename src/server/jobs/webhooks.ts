/**
 * Webhooks: tells the URL that came with a job how it ended. What is still to be told lies in the
 * store, so a restart goes on where this one stopped. Delivery is at least once.
 *
 * Signed as Standard Webhooks describes: `webhook-id`, `webhook-timestamp` and `webhook-signature`
 * (`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`). The secret is the setting
 * {@link WEBHOOK_SECRET}.
 */

import { createHmac, randomBytes } from "node:crypto";
import { lookup } from "node:dns";
import http from "node:http";
import https from "node:https";
import type { LookupFunction } from "node:net";
import type { Store, WebhookRow } from "../../contract/store.ts";
import { backoffMs } from "../../kit/backoff.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import { isPrivateAddress, isPrivateHost } from "./private-address.ts";

/** Setting with the key of signatures: `whsec_` and base64. Made at the first delivery. */
export const WEBHOOK_SECRET = "webhook-secret";

/** Source: the official SDK's development server. */
const TIMEOUT_MS = 10_000;
/** The first two repetitions are 10 s apart, as on the platform; then it gets patient. */
const BACKOFF = { baseMs: 10_000, factor: 2, capMs: 30 * 60_000, jitter: 0.1 };
/** A receiver that is down for longer than this does not hear of the job any more. */
const GIVE_UP_MS = 6 * 60 * 60_000;
/** Deliveries under way at once. */
const MAX_OPEN = 16;

export interface WebhooksOptions {
  store: Store;
  clock: Clock;
  log: Log;
  allowPrivate: boolean;
}

export class Webhooks {
  readonly #options: WebhooksOptions;
  /** Row ids whose delivery is under way. */
  readonly #open = new Map<number, Promise<void>>();
  readonly #closing = new AbortController();
  #secret: Promise<Buffer> | undefined;
  #cancelTimer: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;

  constructor(options: WebhooksOptions) {
    this.#options = options;
  }

  /** Looks for deliveries whose time has come. Cheap; call it after every end of a job with a webhook. */
  kick(): void {
    if (this.#closing.signal.aborted) return;
    this.#lookAgain = true;
    this.#looking ??= this.#look()
      .catch((error: unknown) =>
        this.#options.log.error("webhooks stopped", { error: String(error) }),
      )
      .finally(() => (this.#looking = undefined));
  }

  /** Gives up what is under way; it is tried again after the next start. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#cancelTimer?.();
    await this.#looking;
    await Promise.all(this.#open.values());
  }

  async #look(): Promise<void> {
    const { store, clock } = this.#options;
    while (this.#lookAgain && !this.#closing.signal.aborted) {
      this.#lookAgain = false;
      // Rows under way are still due, so they must not hide the ones behind them.
      const rows = await store.webhooks.due(clock.now(), MAX_OPEN * 2);
      for (const row of rows) {
        if (this.#open.has(row.id) || this.#open.size >= MAX_OPEN) continue;
        const delivery = this.#deliver(row).finally(() => {
          this.#open.delete(row.id);
          this.kick();
        });
        this.#open.set(row.id, delivery);
      }
      await this.#arm();
    }
  }

  async #arm(): Promise<void> {
    const { store, clock } = this.#options;
    const nextAt = await store.webhooks.nextAt();
    this.#cancelTimer?.();
    if (nextAt === undefined || nextAt <= clock.now()) return;
    this.#cancelTimer = clock.after(nextAt - clock.now(), () => this.kick());
  }

  async #deliver(row: WebhookRow): Promise<void> {
    const { store, clock, log } = this.#options;
    try {
      const problem = await this.#post(row);
      if (this.#closing.signal.aborted) return;
      if (problem === undefined) await store.webhooks.remove(row.id);
      else if (clock.now() - row.createdAt >= GIVE_UP_MS) {
        log.warn("webhook given up", { job: row.jobId, tries: row.tries + 1, problem });
        await store.webhooks.remove(row.id);
      } else {
        const delayMs = backoffMs(BACKOFF, Math.max(0, row.tries - 1));
        await store.webhooks.postpone(row.id, clock.now() + delayMs);
      }
    } catch (error) {
      log.error("webhook not recorded", { job: row.jobId, error: String(error) });
    }
  }

  /** What went wrong, or undefined. */
  async #post(row: WebhookRow): Promise<string | undefined> {
    const { clock, allowPrivate } = this.#options;
    const url = new URL(row.url);
    // An address in the URL itself is never looked up, so it has to be judged here.
    if (!allowPrivate && isPrivateHost(url.hostname)) return "the address is private";
    const timestamp = Math.floor(clock.now() / 1000);
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(row.body),
      "user-agent": "runpod-flash",
      "webhook-id": `msg_${row.jobId}`,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": await this.#sign(`msg_${row.jobId}.${timestamp}.${row.body}`),
    };
    const timeout = new AbortController();
    const cancel = clock.after(TIMEOUT_MS, () => timeout.abort());
    const signal = AbortSignal.any([timeout.signal, this.#closing.signal]);
    try {
      const status = await send(url, { headers, body: row.body, signal, allowPrivate });
      return status >= 200 && status < 300 ? undefined : `the receiver answered ${status}`;
    } catch (error) {
      return timeout.signal.aborted ? `no answer within ${TIMEOUT_MS} ms` : String(error);
    } finally {
      cancel();
    }
  }

  async #sign(content: string): Promise<string> {
    this.#secret ??= this.#readSecret();
    return `v1,${createHmac("sha256", await this.#secret)
      .update(content)
      .digest("base64")}`;
  }

  async #readSecret(): Promise<Buffer> {
    const { control } = this.#options.store;
    const known = await control.readSetting(WEBHOOK_SECRET);
    if (known !== undefined) return Buffer.from(known.replace(/^whsec_/, ""), "base64");
    const secret = randomBytes(32);
    await control.writeSetting(WEBHOOK_SECRET, `whsec_${secret.toString("base64")}`);
    return secret;
  }
}

interface Delivery {
  headers: http.OutgoingHttpHeaders;
  body: string;
  signal: AbortSignal;
  allowPrivate: boolean;
}

/** The status of the answer. Redirects are not followed: they would lead around the address check. */
function send(url: URL, { headers, body, signal, allowPrivate }: Delivery): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const request = (url.protocol === "https:" ? https : http).request(url, {
    method: "POST",
    headers,
    signal,
    agent: false,
    ...(allowPrivate ? {} : { lookup: lookupPublic }),
  });
  request.once("error", reject);
  request.once("response", (response) => {
    response.resume();
    response.once("error", () => undefined);
    resolve(response.statusCode ?? 0);
  });
  request.end(body);
  return promise;
}

/** Refuses private addresses at the moment of connecting, so that a name cannot change in between. */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return callback(error, "", 0);
    const bad = addresses.find(({ address }) => isPrivateAddress(address));
    const [first] = addresses;
    if (bad !== undefined || first === undefined) {
      return callback(new Error(`${hostname} has the private address ${bad?.address}`), "", 0);
    }
    if (options.all === true) return callback(null, addresses);
    return callback(null, first.address, first.family);
  });
};
