/** What a client prefers when its answer takes time. Source: RFC 7240 4.1 and 4.3. */

export interface Preference {
  /** Not to wait for the result. */
  isAsync: boolean;
  /** To wait for so long, ms. */
  waitMs: number | undefined;
}

/** Reads `Prefer: respond-async, wait=10`; what it does not know, it ignores, as it has to. */
export function preferenceOf(header: string | string[] | undefined): Preference {
  const tokens = String(header ?? "")
    .toLowerCase()
    .split(",")
    .map((token) => (token.split(";", 1)[0] ?? "").trim());
  const seconds = tokens.map((token) => /^wait\s*=\s*"?(\d{1,9})"?$/.exec(token)?.[1]);
  const wait = seconds.find((text) => text !== undefined);
  return {
    isAsync: tokens.includes("respond-async"),
    waitMs: wait === undefined ? undefined : Number(wait) * 1000,
  };
}
