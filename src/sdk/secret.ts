/** `secret("NAME")`: a reference to a secret of the environment. */

import { FlashError } from "../contract/flash-error.ts";
import { secretNameMistake, type SecretReference } from "../contract/secrets.ts";

/**
 * A reference to a secret, for an endpoint's `env`. The value never enters the build: it is set with
 * `flash secrets set NAME`, kept encrypted by the server, and put into the worker's variable when the
 * worker starts. Under `flash run` it is the variable NAME of your shell or `.env`. Throws
 * `INVALID_USAGE` for what cannot be the name of a secret.
 *
 * @example
 * Endpoint({ name: "chat", env: { OPENAI_API_KEY: secret("OPENAI_API_KEY") } }, chat);
 */
export function secret(name: string): SecretReference {
  const wrong = secretNameMistake(name);
  if (wrong !== undefined) throw new FlashError("INVALID_USAGE", `secret(): the name ${wrong}`);
  return { secret: name };
}
