/** The string formats that are checked. Others are documentation, as JSON Schema has it. */

export interface Format {
  /** What a text of this format is: the rest of "must be …". */
  words: string;
  test: (text: string) => boolean;
}

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const ATOM = "[a-z0-9!#$%&'*+/=?^_`{|}~-]+";
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

const EMAIL = new RegExp(`^${ATOM}(?:\\.${ATOM})*@${LABEL}(?:\\.${LABEL})+$`, "i");
const HOSTNAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*\\.?$`, "i");
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const URI = /^[a-z][a-z0-9+.-]*:(?:[\w:/?#[\]@!$&'()*+,;=.~-]|%[0-9a-f]{2})*$/i;
const DATE = /^(\d{4})-(\d\d)-(\d\d)$/;
const TIME = /^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i;
/** The years that a Date can hold beyond four digits, as `toISOString` writes them. */
const FAR_DATE = /^([+-]\d{6})-(\d\d)-(\d\d)$/;

const FORMATS: Readonly<Record<string, Format>> = {
  email: { words: "an e-mail address", test: (text) => EMAIL.test(text) },
  uuid: { words: "a UUID", test: (text) => UUID.test(text) },
  uri: { words: "a URI", test: (text) => URI.test(text) },
  date: { words: "a date such as 2026-01-31", test: (text) => isDay(DATE.exec(text)) },
  "date-time": { words: "an ISO 8601 date and time", test: isDateTime },
  time: { words: "a time such as 13:45:00Z", test: (text) => TIME.test(text) },
  ipv4: { words: "an IPv4 address", test: (text) => IPV4.test(text) },
  ipv6: { words: "an IPv6 address", test: isIpv6 },
  hostname: {
    words: "a host name",
    test: (text) => text.length <= 253 && HOSTNAME.test(text),
  },
};

/** Names of the formats that are checked. */
export const CHECKED_FORMATS: readonly string[] = Object.keys(FORMATS);

/** The format of that name, undefined when it is not one that is checked. */
export function formatOf(name: string): Format | undefined {
  return Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
}

/** RFC 3339. Leap seconds are refused: a Date cannot hold them. */
function isDateTime(text: string): boolean {
  const [, day = "", time = ""] = /^(.{10})[t ](.*)$/i.exec(text) ?? [];
  return isDay(DATE.exec(day)) && TIME.test(time);
}

/** Everything that `Date.toISOString` writes, and every RFC 3339 date and time. */
export function isDateText(text: string): boolean {
  const [, day = "", time = ""] = /^([+-]\d{6}-\d\d-\d\d)T(.*)$/.exec(text) ?? [];
  return isDateTime(text) || (isDay(FAR_DATE.exec(day)) && TIME.test(time));
}

/** Date.parse rolls 30 February over into March, so the days of the month are counted here. */
function isDay(match: RegExpExecArray | null): boolean {
  if (match === null) return false;
  const [year = 0, month = 0, day = 0] = match.slice(1).map(Number);
  if (month < 1 || month > 12 || day < 1) return false;
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  return day <= (month === 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31);
}

function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  const last = groups.at(-1) ?? "";
  const tail = last.includes(".") && text.endsWith(last) ? groups.pop() : undefined;
  if (tail !== undefined && !IPV4.test(tail)) return false;
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return false;
  const length = groups.length + (tail === undefined ? 0 : 2);
  return halves.length === 2 ? length < 8 : length === 8;
}
