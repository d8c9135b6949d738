/**
 * Who may come in: the server key, and the secrets of the workers that live. Keys are compared by
 * their digests, so the time a comparison takes says nothing about the key.
 */

import { hash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { hasVerb, outOfScope, type KeyAccess, type Resource } from "../../contract/access.ts";
import type { ApiRoute } from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import type { Principal } from "./http.ts";

const OPERATOR: Principal = { kind: "operator" };

export class Keyring {
  readonly #serverKey: Buffer;
  /** Connections that have shown the server key, with the header it came in: it is sent every time. */
  readonly #proven = new WeakMap<object, Buffer>();
  readonly #workers = new Map<string, Principal & { kind: "worker" }>();

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
    const key = keyOf(authorization);
    if (key === undefined) return undefined;
    const given = digest(key);
    if (timingSafeEqual(given, this.#serverKey)) return OPERATOR;
    return this.#workers.get(given.toString("base64"));
  }

  /** {@link find} for a request. Throws `UNAUTHORIZED`. */
  require({ headers: { authorization }, socket }: IncomingMessage): Principal {
    const given = Buffer.from(authorization ?? "");
    const proven = this.#proven.get(socket);
    if (proven?.length === given.length && timingSafeEqual(proven, given)) return OPERATOR;
    const principal = this.find(authorization);
    if (principal === OPERATOR) this.#proven.set(socket, given);
    if (principal !== undefined) return principal;
    throw new FlashError(
      "UNAUTHORIZED",
      keyOf(authorization) === undefined ? "The request has no key." : "The key is not valid.",
      { hint: "Send 'Authorization: Bearer <key>'; 'flash token' prints the key of this server." },
    );
  }
}

/** Throws `FORBIDDEN` when a route does not open to this caller, for this resource. */
export function authorize(
  principal: Principal,
  route: Pick<ApiRoute, "access" | "touches" | "narrowest">,
  resource: Resource,
): void {
  if (principal.kind === "operator" || route.access === "public") return;
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
