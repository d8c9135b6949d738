/** Identifiers. All are URL-safe without escaping: unmodified workers put job ids into paths as they are. */

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** Random bytes are asked for in bulk: every request gets an id, and asking costs more than the bytes. */
const pool = new Uint8Array(256);
let used = pool.length;

/** Lower-case letters and digits, such as endpoint ids. 12 characters hold 62 bits. */
export function newId(length = 12): string {
  let id = "";
  while (id.length < length) {
    if (used === pool.length) {
      crypto.getRandomValues(pool);
      used = 0;
    }
    const byte = pool[used++] ?? 0;
    // 252 is the largest multiple of 36 in a byte: taking more would favour the first digits.
    if (byte < 252) id += ALPHABET[byte % 36];
  }
  // A leading letter, so that an id is a valid host name label and file name everywhere.
  return /^[a-z]/.test(id) ? id : `e${id.slice(1)}`;
}

/** `build_…`, `rel_…`: the prefix tells a reader of logs what it is. */
export function newPrefixedId(prefix: string, length = 12): string {
  return `${prefix}_${newId(length)}`;
}

let lastTime = 0;
let sequence = 0;

/**
 * A UUID version 7: sorted by time, so that a million of them append to an index instead of
 * scattering over it. Within one millisecond a counter keeps the order.
 */
export function uuidv7(now = Date.now()): string {
  const time = Math.floor(now);
  if (time > lastTime) [lastTime, sequence] = [time, 0];
  else if (++sequence > 0xfff) [lastTime, sequence] = [lastTime + 1, 0];
  const random = crypto.getRandomValues(new Uint8Array(8));
  const hex = [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const stamp = lastTime.toString(16).padStart(12, "0");
  const variant = (8 + ((random[0] ?? 0) & 3)).toString(16);
  return `${stamp.slice(0, 8)}-${stamp.slice(8)}-7${sequence.toString(16).padStart(3, "0")}-${variant}${hex.slice(1, 4)}-${hex.slice(4, 16)}`;
}

/** A job id as the platform writes it: UUID and region suffix, `sync-` for jobs of `/runsync`. */
export function newJobId(via: "run" | "runsync"): string {
  const id = `${uuidv7()}-u1`;
  return via === "runsync" ? `sync-${id}` : id;
}

/** A secret: 32 random bytes, base64url. */
export function newSecret(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const text = btoa(String.fromCharCode(...bytes));
  return `${prefix}_${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}
