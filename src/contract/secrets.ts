/**
 * Secrets as a project knows them: by name only. A variable of the worker that is to hold a secret says
 * so with a reference; the value is kept by the server, and put in when a worker starts.
 */

/** What stands in `env` for a secret: `secret("NAME")` in code, `{ secret = "NAME" }` in flash.toml. */
export interface SecretReference {
  /** Name of the secret, within the app's environment. */
  readonly secret: string;
}

/** Longest value, bytes: all of a worker's variables together are limited by the operating system. */
export const SECRET_BYTES = 32 * 1024;
/**
 * Shorter values are not looked for in logs: what is as short as this is found in everything, and
 * replacing it would make every line unreadable.
 */
export const REDACTED_LENGTH = 6;

export function isSecretReference(value: unknown): value is SecretReference {
  return typeof (value as Partial<SecretReference> | null)?.secret === "string";
}

/** What is wrong with the name of a secret, or undefined: it is written like a variable. */
export function secretNameMistake(name: string): string | undefined {
  if (/^[A-Za-z_]\w{0,127}$/.test(name)) return undefined;
  return `must be written like a variable, got '${name}'`;
}
