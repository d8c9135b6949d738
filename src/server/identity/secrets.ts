/**
 * Secrets of environments: set, listed by name, removed, and handed to workers that start. Values are
 * sealed in the store and open in memory, where every worker start and every line of output needs them.
 */

import type { SecretDocument, SecretsDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { SecretRow, SecretStore } from "../../contract/identity.ts";
import type { Manifest } from "../../contract/manifest.ts";
import { checkName } from "../../contract/options.ts";
import { SECRET_BYTES, secretNameMistake } from "../../contract/secrets.ts";
import type { Clock } from "../../kit/clock.ts";
import { Redactor } from "./redactor.ts";
import type { SecretPlace, Vault } from "./vault.ts";

export interface SecretsOptions {
  store: SecretStore;
  vault: Vault;
  clock: Clock;
  /** Values that no one has set: under `flash run` the developer's own variables. */
  fallback?: ((name: string) => string | undefined) | undefined;
}

interface Environment {
  app: string;
  environment: string;
}

type Known = Omit<SecretRow, "sealed" | "keyId"> & { value: string };

export class Secrets {
  readonly #options: SecretsOptions;
  /** By environment, then by name. */
  readonly #known = new Map<string, Map<string, Known>>();
  /** Every value that an environment has had since the server started: old workers write old ones. */
  readonly #past = new Map<string, Set<string>>();
  readonly #redactors = new Map<string, Redactor>();
  /** Changes happen one after the other: memory has what the store has. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: SecretsOptions) {
    this.#options = options;
  }

  /** Opens what is stored. Throws `INVALID_CONFIG` when the master key is not the one. */
  async load(): Promise<void> {
    const { store, vault } = this.#options;
    await vault.load();
    for (const row of await store.list()) this.#keep(row, vault.open(row));
  }

  /** Adds a secret or gives it another value. Throws `INVALID_REQUEST`. */
  async set(place: SecretPlace, value: string, by: string): Promise<SecretDocument> {
    checkPlace(place);
    checkValue(value);
    const { store, vault, clock } = this.#options;
    return await this.#inTurn(async () => {
      const sealed = await vault.seal(place, value);
      const { app, environment, name } = place;
      const updatedAt = clock.now();
      const row = await store.put({ app, environment, name, ...sealed, updatedAt, updatedBy: by });
      return documentOf(this.#keep(row, value));
    });
  }

  /** Names, never values. */
  list({ app, environment }: Environment): SecretsDocument {
    const known = this.#known.get(keyOf({ app, environment }))?.values() ?? [];
    const secrets = [...known].sort((a, b) => (a.name < b.name ? -1 : 1)).map(documentOf);
    return { app, environment, secrets };
  }

  /** Throws `NOT_FOUND`. */
  async remove(place: SecretPlace): Promise<SecretDocument> {
    const { app, environment, name } = place;
    return await this.#inTurn(async () => {
      const known = this.#known.get(keyOf(place))?.get(name);
      if (known === undefined || !(await this.#options.store.remove(app, environment, name))) {
        throw new FlashError("NOT_FOUND", `${app}/${environment} has no secret '${name}'.`, {
          hint: "'flash secrets list' shows their names.",
        });
      }
      this.#known.get(keyOf(place))?.delete(name);
      // What workers still hold is still taken out of what they write, until the server ends.
      return documentOf(known);
    });
  }

  /** A new master key for everything. Returns how many secrets were sealed anew. */
  async rotate(): Promise<number> {
    const { store, vault } = this.#options;
    return await this.#inTurn(() =>
      vault.rotate(() => store.reseal((row) => vault.sealNow(row, vault.open(row)))),
    );
  }

  /** The variables of a worker that hold secrets. Throws `CONFLICT` when one is missing. */
  variables(
    place: Environment,
    references: Readonly<Record<string, string>> = {},
  ): Record<string, string> {
    const entries = Object.entries(references).map(([variable, name]) => {
      const value = this.#valueOf(place, name);
      if (value === undefined) throw this.#missing(place, [`'${name}'`]);
      return [variable, value] as const;
    });
    return Object.fromEntries(entries);
  }

  /** Throws `CONFLICT` with every secret that the endpoints refer to and the environment does not have. */
  require(place: Environment, manifest: Manifest): void {
    const missing = this.missing(place, manifest).map(
      ({ secret, endpoint }) => `'${secret}' (${endpoint})`,
    );
    if (missing.length > 0) throw this.#missing(place, [...new Set(missing)]);
  }

  /** Secrets that the endpoints refer to and the environment does not have. */
  missing(place: Environment, { endpoints }: Manifest): { secret: string; endpoint: string }[] {
    return endpoints.flatMap(({ name: endpoint, options }) =>
      Object.values(options.secrets ?? {})
        .filter((secret) => this.#valueOf(place, secret) === undefined)
        .map((secret) => ({ secret, endpoint })),
    );
  }

  /** The environments are gone: so are their secrets. */
  async removeAllOf(place: { app: string; environments: readonly string[] }): Promise<void> {
    for (const environment of place.environments) {
      const { secrets } = this.list({ app: place.app, environment });
      for (const { name } of secrets) await this.remove({ app: place.app, environment, name });
    }
  }

  /** For text about this environment's workers. */
  redactor(place: Environment): Redactor {
    const key = keyOf(place);
    let redactor = this.#redactors.get(key);
    if (redactor === undefined) {
      redactor = new Redactor(this.#valuesOf(key));
      this.#redactors.set(key, redactor);
    }
    return redactor;
  }

  #valuesOf(key: string): Set<string> {
    return this.#past.get(key) ?? new Set();
  }

  #keep(row: SecretRow, value: string): Known {
    const { app, environment, name, version, createdAt, updatedAt, updatedBy } = row;
    const known = { app, environment, name, version, createdAt, updatedAt, updatedBy, value };
    const key = keyOf(row);
    const names = this.#known.get(key) ?? new Map<string, Known>();
    this.#known.set(key, names.set(name, known));
    this.#past.set(key, this.#valuesOf(key).add(value));
    this.#redactors.delete(key);
    return known;
  }

  #valueOf(place: Environment, name: string): string | undefined {
    const known = this.#known.get(keyOf(place))?.get(name)?.value;
    if (known !== undefined) return known;
    const value = this.#options.fallback?.(name);
    if (value !== undefined && !this.#valuesOf(keyOf(place)).has(value)) {
      this.#past.set(keyOf(place), this.#valuesOf(keyOf(place)).add(value));
      this.#redactors.delete(keyOf(place));
    }
    return value;
  }

  #missing({ app, environment }: Environment, what: readonly string[]): FlashError {
    const [first = ""] = what;
    const name = /'([^']*)'/.exec(first)?.[1] ?? "NAME";
    const isLocal = this.#options.fallback !== undefined;
    return new FlashError(
      "CONFLICT",
      `The environment '${environment}' of the app '${app}' has no secret ${what.join(", ")}.`,
      {
        hint: isLocal
          ? `Set the variable ${name} in your shell or in .env.`
          : `Set it first: 'flash secrets set ${name} --app ${app} --env ${environment}'.`,
      },
    );
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run, run);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

function checkPlace({ app, environment, name }: SecretPlace): void {
  const mistakes = [
    ["app", checkName(app)],
    ["environment", checkName(environment)],
    ["the name of a secret", secretNameMistake(name)],
  ] as const;
  for (const [what, wrong] of mistakes) {
    if (wrong === undefined) continue;
    throw new FlashError("INVALID_REQUEST", `${what} ${wrong}`, {
      hint: "Secrets are named like OPENAI_API_KEY: letters, digits and '_', up to 128.",
    });
  }
}

/** Never says what the value is. */
function checkValue(value: string): void {
  const bytes = Buffer.byteLength(value);
  if (value === "") throw new FlashError("INVALID_REQUEST", "The secret's value is empty.");
  if (value.includes("\0")) {
    throw new FlashError(
      "INVALID_REQUEST",
      "The secret's value holds a NUL, which no variable can.",
    );
  }
  if (bytes > SECRET_BYTES) {
    throw new FlashError(
      "PAYLOAD_TOO_LARGE",
      `The secret's value has ${bytes} bytes; at most ${SECRET_BYTES} fit into a variable.`,
    );
  }
}

function documentOf({ name, version, createdAt, updatedAt, updatedBy }: Known): SecretDocument {
  return {
    name,
    version,
    createdAt: new Date(createdAt).toISOString(),
    updatedAt: new Date(updatedAt).toISOString(),
    updatedBy,
  };
}

function keyOf({ app, environment }: Environment): string {
  return `${app}/${environment}`;
}
