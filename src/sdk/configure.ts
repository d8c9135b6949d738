/** `configure()`: settings for places that have no environment variables, such as browsers. */

import { FlashError } from "../contract/flash-error.ts";
import { closest } from "../contract/names.ts";

export interface Configuration {
  /** Base URL of a Flash server, such as `https://flash.example.com`. Environment: FLASH_URL. */
  url?: string;
  /** Environment: FLASH_API_KEY. Whoever can read a page's code can read a key in it. */
  apiKey?: string;
  /** App that calls by name mean. Environment: FLASH_APP. */
  app?: string;
  /** Default `production`. Environment: FLASH_ENV. */
  environment?: string;
}

const VARIABLES: Readonly<Record<keyof Configuration, string>> = {
  url: "FLASH_URL",
  apiKey: "FLASH_API_KEY",
  app: "FLASH_APP",
  environment: "FLASH_ENV",
};

const KEY = Symbol.for("runpod-flash.configuration");

/**
 * Sets where calls go. Calls that begin later follow it; environment variables, where there are any,
 * win. Each setting stays until it is given again. Throws `INVALID_USAGE` for unknown ones.
 */
export function configure(configuration: Configuration): void {
  const holder = globalThis as { [KEY]?: Record<string, string> };
  const settings = (holder[KEY] ??= {});
  for (const [key, value] of Object.entries(configuration) as [keyof Configuration, string][]) {
    const variable = Object.hasOwn(VARIABLES, key) ? VARIABLES[key] : undefined;
    if (variable === undefined) throw unknownSetting(key);
    settings[variable] = value;
  }
}

/** What {@link configure} has set in place of an environment variable. */
export function configured(variable: string): string | undefined {
  return (globalThis as { [KEY]?: Record<string, string> })[KEY]?.[variable];
}

function unknownSetting(key: string): FlashError {
  const near = closest(key, Object.keys(VARIABLES));
  const advice = near === undefined ? "" : ` (Did you mean '${near}'?)`;
  return new FlashError("INVALID_USAGE", `configure() got unknown setting: '${key}'${advice}`);
}
