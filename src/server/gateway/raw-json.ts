/**
 * The texts of an object's members and an array's elements, as they were written. What passes through the server is not
 * rewritten: JavaScript would round large whole numbers and turn 1.0 into 1.
 */

/** Reads the top level of `text`, which must be a valid JSON object. Of equal names the last wins. */
export function memberTexts(text: string): Map<string, string> {
  const members = new Map<string, string>();
  let at = skipSpace(text, 0) + 1;
  for (;;) {
    at = skipSpace(text, at);
    if (text[at] === ",") at = skipSpace(text, at + 1);
    if (text[at] !== '"') return members;
    const nameEnd = stringEnd(text, at);
    const name = JSON.parse(text.slice(at, nameEnd)) as string;
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1);
    at = valueEnd(text, start);
    members.set(name, text.slice(start, at));
  }
}

/** The text of an object with these members: the opposite of {@link memberTexts}. */
export function objectText(members: Iterable<readonly [name: string, text: string]>): string {
  return `{${[...members].map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`;
}

/** The elements of `text`, which must be a valid JSON array. */
export function elementTexts(text: string): string[] {
  const elements: string[] = [];
  let at = skipSpace(text, 0) + 1;
  for (;;) {
    at = skipSpace(text, at);
    if (text[at] === ",") at = skipSpace(text, at + 1);
    if (text[at] === "]" || at >= text.length) return elements;
    const start = at;
    at = valueEnd(text, start);
    elements.push(text.slice(start, at));
  }
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\r" || text[at] === "\t") at++;
  return at;
}

function valueEnd(text: string, start: number): number {
  const first = text[start];
  if (first === '"') return stringEnd(text, start);
  return first === "{" || first === "[" ? nestedEnd(text, start) : scalarEnd(text, start);
}

function scalarEnd(text: string, start: number): number {
  const stop = /[,}\]\s]/g;
  stop.lastIndex = start;
  return stop.exec(text)?.index ?? text.length;
}

function nestedEnd(text: string, start: number): number {
  const mark = /["[\]{}]/g;
  mark.lastIndex = start;
  let depth = 0;
  for (let found = mark.exec(text); found !== null; found = mark.exec(text)) {
    const [character] = found;
    if (character === '"') mark.lastIndex = stringEnd(text, found.index);
    else if (character === "{" || character === "[") depth++;
    else if (--depth === 0) return found.index + 1;
  }
  return text.length;
}

/** Position after the closing quote. */
function stringEnd(text: string, start: number): number {
  let at = text.indexOf('"', start + 1);
  while (at !== -1 && isEscaped(text, at)) at = text.indexOf('"', at + 1);
  return at === -1 ? text.length : at + 1;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text[at - 1 - backslashes] === "\\") backslashes++;
  return backslashes % 2 === 1;
}
