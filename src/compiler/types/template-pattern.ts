/** Template literal types as regular expressions. */

import { TypeFlags, type Type } from "./typescript.ts";

/** A template literal type: texts, and between them the types of what is put in. */
export type TemplateType = Type & { texts: readonly string[]; getTypes(): readonly Type[] };

/** `onAnyCase` is told of `Uppercase<string>` and its like, whose case the expression leaves open. */
export function templatePattern(type: TemplateType, onAnyCase: () => void): string {
  const types = type.getTypes();
  const parts = type.texts.map((text, index) => {
    const part = types[index];
    return escape(text) + (part === undefined ? "" : partPattern(part, onAnyCase));
  });
  return `^${parts.join("")}$`;
}

function partPattern(type: Type, onAnyCase: () => void): string {
  if (type.flags & TypeFlags.Number) return String.raw`-?\d+(\.\d+)?([eE][+-]?\d+)?`;
  if (type.flags & TypeFlags.BigInt) return String.raw`-?\d+`;
  if (type.isTemplateLiteralType()) return templatePattern(type, onAnyCase).slice(1, -1);
  if (type.isLiteralType()) return escape(String(type.value));
  if (type.flags & TypeFlags.StringMapping) onAnyCase();
  return String.raw`[\s\S]*`;
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
