/** Keys, secrets, the audit trail and logins of a Flash server, over its control API. */

import type {
  AuditDocument,
  KeyDocument,
  KeyRequest,
  KeysDocument,
  LoginDecision,
  LoginDocument,
  LoginStateDocument,
  NewKeyDocument,
  PendingLoginDocument,
  SecretChangeDocument,
  SecretRotationDocument,
  SecretsDocument,
} from "../../contract/control.ts";
import type { Target } from "../../contract/cloud.ts";
import { API, ControlClient, type ControlRequest } from "./client.ts";

type Query = NonNullable<ControlRequest["query"]>;

export class IdentityClient {
  readonly #client: ControlClient;
  readonly #signal: AbortSignal | undefined;

  /** `url` is the base URL without a slash at the end. */
  constructor(options: { url: string; key: string | undefined; signal?: AbortSignal | undefined }) {
    this.#client = new ControlClient(options);
    this.#signal = options.signal;
  }

  get url(): string {
    return this.#client.url;
  }

  keys(): Promise<KeysDocument> {
    return this.#get("/keys");
  }

  createKey(request: KeyRequest): Promise<NewKeyDocument> {
    return this.#change("POST", "/keys", { body: request });
  }

  /** By id or name. */
  revokeKey(key: string): Promise<KeyDocument> {
    return this.#change("DELETE", "/keys", { query: { key } });
  }

  audit(query: { app?: string; environment?: string; limit?: number }): Promise<AuditDocument> {
    const { limit, ...filter } = query;
    return this.#get("/audit", { ...filter, limit: limit?.toString() });
  }

  secrets(target: Target): Promise<SecretsDocument> {
    return this.#get("/secrets", { ...target });
  }

  setSecret(target: Target, name: string, value: string): Promise<SecretChangeDocument> {
    return this.#change("PUT", "/secrets", { query: { ...target, name }, body: { value } });
  }

  removeSecret(target: Target, name: string): Promise<SecretChangeDocument> {
    return this.#change("DELETE", "/secrets", { query: { ...target, name } });
  }

  rotateSecrets(): Promise<SecretRotationDocument> {
    return this.#change("POST", "/secrets/rotate-key", {});
  }

  /** Asks to be let in; `client` is what the server shows to whoever approves. */
  beginLogin(client: string): Promise<LoginDocument> {
    return this.#change("POST", "/logins", { body: { client } });
  }

  pollLogin(secret: string): Promise<LoginStateDocument> {
    return this.#change("POST", "/logins/poll", { body: { secret } });
  }

  /** Who waits with this code. */
  login(code: string): Promise<PendingLoginDocument> {
    return this.#get("/logins", { code });
  }

  decideLogin(decision: LoginDecision): Promise<PendingLoginDocument> {
    return this.#change("POST", "/logins/decide", { body: decision });
  }

  #get<T>(path: string, query: Query = {}): Promise<T> {
    const signal = this.#signal;
    return this.#client.json({
      method: "GET",
      path: API + path,
      query,
      signal,
      isRepeatable: true,
    });
  }

  #change<T>(
    method: "POST" | "PUT" | "DELETE",
    path: string,
    { query = {}, body }: { query?: Query; body?: unknown },
  ): Promise<T> {
    return this.#client.json({
      method,
      path: API + path,
      query,
      signal: this.#signal,
      ...(body === undefined ? {} : { body: { kind: "json", value: body } }),
    });
  }
}
