/**
 * The audit trail: every change that somebody asked for over the control API, with its outcome. An
 * entry is on disk before the caller hears of the outcome. Values (of secrets, of keys) are in none.
 */

import type { Resource } from "../../contract/access.ts";
import type { AuditDocument } from "../../contract/control.ts";
import type { AuditFilter, AuditStore } from "../../contract/identity.ts";
import type { Clock } from "../../kit/clock.ts";
import type { Principal } from "../gateway/http.ts";
import { nameOf } from "./keys.ts";

export interface Deed {
  principal: Principal;
  action: string;
  resource: Resource;
  subject: string | undefined;
  from: string;
  result: string;
}

/** Longest subject, characters: it is the caller's own word, and the trail must not be filled with one. */
const SUBJECT_LENGTH = 200;

export class AuditTrail {
  readonly #store: AuditStore;
  readonly #clock: Clock;

  constructor(options: { store: AuditStore; clock: Clock }) {
    this.#store = options.store;
    this.#clock = options.clock;
  }

  async write({ principal, action, resource, subject, from, result }: Deed): Promise<void> {
    const { app = null, environment = null, endpoint = null } = resource;
    await this.#store.add({
      at: this.#clock.now(),
      actor: actorOf(principal),
      actorName: nameOf(principal),
      action,
      app,
      environment,
      endpoint,
      subject: subject?.slice(0, SUBJECT_LENGTH) ?? null,
      from,
      result,
    });
  }

  /** Newest first, as far as the caller's scope reaches. */
  async list(caller: Principal, filter: AuditFilter): Promise<AuditDocument> {
    const { app, environment, endpoint } =
      caller.kind === "key" ? caller.scope : { app: null, environment: null, endpoint: null };
    const rows = await this.#store.list({
      ...filter,
      ...(app === null ? {} : { app }),
      ...(environment === null ? {} : { environment }),
      ...(endpoint === null ? {} : { endpoint }),
    });
    const entries = rows.map(({ at, ...row }) => ({ ...row, time: new Date(at).toISOString() }));
    return { entries };
  }
}

function actorOf(principal: Principal): string {
  if (principal.kind === "key") return principal.id;
  return principal.kind === "worker" ? principal.workerId : principal.kind;
}
