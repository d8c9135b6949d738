/** Names of apps and endpoints, and the closest known word to a wrong one. */

/** Longest name of an app or endpoint. They become host names, file names and URL segments. */
export const MAX_NAME_LENGTH = 63;

/** Names become file names, host names and URL segments. Returns the rest of a sentence, or undefined. */
export function checkName(name: unknown): string | undefined {
  if (typeof name !== "string") return `must be a string, got ${typeof name}`;
  if (name.trim() === "") return "must not be empty or whitespace-only";
  if (name.length > MAX_NAME_LENGTH) {
    return `must have at most ${MAX_NAME_LENGTH} characters, got ${name.length}`;
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    return `may hold letters, digits, '-', '_' and '.', and starts with a letter or digit, got '${name}'`;
  }
  // `flash` is the pseudo endpoint of name-based calls, on both data planes.
  if (name.toLowerCase() === "flash") return "'flash' is reserved for calls by name";
  return undefined;
}

/** The closest known word, for "Did you mean …?". */
export function closest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, substitute));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
