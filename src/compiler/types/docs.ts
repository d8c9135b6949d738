/** Doc comments: what a function is for, what its parameters mean, and constraint tags. */

import { formatOf } from "../../contract/formats.ts";
import type { JsonSchema } from "../../contract/schema.ts";
import {
  SymbolFlags,
  SyntaxKind,
  TypeFlags,
  type Checker,
  type Node,
  type Type,
} from "./typescript.ts";

export interface Docs {
  description: string | undefined;
  /** By tag name, without `@`; the text behind it. */
  tags: { name: string; text: string }[];
  /** `@param` texts by parameter name. */
  parameters: Map<string, string>;
}

const NO_DOCS: Docs = { description: undefined, tags: [], parameters: new Map() };

/** The shape of JSDoc nodes, as far as it is read here. */
interface DocNode extends Node {
  readonly comment?: readonly DocPart[];
  readonly tags?: readonly DocTag[];
}
interface DocTag extends Node {
  readonly tagName: { readonly text: string };
  readonly name?: { readonly text?: string; readonly right?: { readonly text: string } };
  readonly comment?: readonly DocPart[];
}
interface DocPart {
  readonly text?: string;
  readonly name?: { readonly text?: string; readonly right?: { readonly text: string } };
}

/** The doc comment of a node itself; the last one counts, as for the language service. */
export function docsOf(node: Node | undefined): Docs {
  const comment: DocNode | undefined = node?.jsDoc?.at(-1);
  if (comment === undefined) return docsInLine(node);
  const docs: Docs = { description: textOf(comment.comment), tags: [], parameters: new Map() };
  for (const tag of comment.tags ?? []) {
    const text = textOf(tag.comment) ?? "";
    const isNested = tag.name?.right !== undefined;
    if (tag.kind === SyntaxKind.JSDocParameterTag) {
      const name = tag.name?.text;
      if (name !== undefined && !isNested && text !== "") {
        docs.parameters.set(name, text.replace(/^-\s*/, ""));
      }
    } else docs.tags.push({ name: tag.tagName.text, text });
  }
  return docs;
}

/**
 * `{ /** … *\/ name: string }`: a comment on the line of what stands before a property. TypeScript
 * gives it to no node, but whoever writes a constraint there means it.
 */
function docsInLine(node: Node | undefined): Docs {
  if (node?.kind !== SyntaxKind.PropertySignature) return NO_DOCS;
  const file = node.getSourceFile();
  const before = file.text.slice(node.pos, node.getStart(file));
  const comment = [...before.matchAll(/\/\*\*([\s\S]*?)\*\//g)].at(-1)?.[1];
  if (comment === undefined) return NO_DOCS;
  const text = comment.replaceAll(/\n\s*\*/g, "\n");
  const [description = "", ...tags] = text.split(/(?:^|\s)@(?=[A-Za-z])/);
  return {
    description: description.trim() === "" ? undefined : description.trim(),
    tags: tags.map((tag) => {
      const [, name = "", value = ""] = /^(\w+)([\s\S]*)$/.exec(tag) ?? [];
      return { name, text: value.trim() };
    }),
    parameters: new Map(),
  };
}

/**
 * The doc comment of the alias that a declaration names as its type: the checker sees through
 * `type Email = string`, and what is written above it would be lost.
 */
function docsOfAlias(checker: Checker, node: Node | undefined): Docs {
  const { type } = (node ?? {}) as { type?: TypeNode };
  const name = type === undefined ? undefined : withoutNull(type)?.typeName;
  if (name === undefined) return NO_DOCS;
  const named = checker.getSymbolAtLocation(name);
  if (named === undefined) return NO_DOCS;
  const symbol = named.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(named) : named;
  if (!(symbol.flags & SymbolFlags.TypeAlias)) return NO_DOCS;
  return docsOf(symbol.declarations[0]?.resolve());
}

interface TypeNode extends Node {
  readonly typeName?: Node;
  /** Members of a union. */
  readonly types?: readonly TypeNode[];
  readonly literal?: Node;
}

/** `Email` of `Email | null`. */
function withoutNull(type: TypeNode): TypeNode | undefined {
  if (type.kind !== SyntaxKind.UnionType) return type;
  const left = (type.types ?? []).filter(
    ({ kind, literal }) =>
      kind !== SyntaxKind.UndefinedKeyword && literal?.kind !== SyntaxKind.NullKeyword,
  );
  return left.length === 1 ? left[0] : undefined;
}

function isScalar(type: Type): boolean {
  const parts = type.isUnionType() ? type.getTypes() : [type];
  const left = parts.filter(({ flags }) => !(flags & (TypeFlags.Null | TypeFlags.Undefined)));
  return (
    left.length === 1 && left.some(({ flags }) => flags & (TypeFlags.String | TypeFlags.Number))
  );
}

/** A declaration's own doc comment, on top of that of the scalar alias it has as its type. */
export function docsOfDeclaration(checker: Checker, node: Node | undefined, type: Type): Docs {
  const own = docsOf(node);
  if (!isScalar(type)) return own;
  const alias = docsOfAlias(checker, node);
  if (alias === NO_DOCS) return own;
  return {
    description: own.description ?? alias.description,
    tags: [...alias.tags, ...own.tags],
    parameters: own.parameters,
  };
}

/** A doc comment on the node, or on what it is the only content of, up to the statement. */
export function docsAround(node: Node): Docs {
  for (let one: Node | undefined = node; one !== undefined; one = one.parent) {
    const docs = docsOf(one);
    if (docs !== NO_DOCS) return docs;
    if (one.kind === SyntaxKind.SourceFile || isStatement(one)) return NO_DOCS;
  }
  return NO_DOCS;
}

/** Up to the first full stop, question or exclamation mark that ends a sentence. */
export function firstSentence(text: string): string {
  const flat =
    text
      .split(/\n\s*\n/)[0]
      ?.replace(/\s+/g, " ")
      .trim() ?? "";
  return /^.*?[.!?](?=\s|$)/.exec(flat)?.[0] ?? flat;
}

/** Tags that hold a number, and the values they are about; those of a size take whole numbers. */
const NUMBERS = new Map<string, Constrained>([
  ["minimum", "number"],
  ["maximum", "number"],
  ["exclusiveMinimum", "number"],
  ["exclusiveMaximum", "number"],
  ["multipleOf", "number"],
  ["minLength", "string"],
  ["maxLength", "string"],
  ["minItems", "array"],
  ["maxItems", "array"],
  ["minProperties", "object"],
  ["maxProperties", "object"],
]);
const TEXTS = new Set(["pattern", "format", "title"]);

type Constrained = "number" | "string" | "array" | "object";

/** Adds constraint tags to a schema. What a tag says wrong is told to `complain`. */
export function constrain(
  schema: JsonSchema,
  docs: Docs,
  complain: (message: string) => void,
): JsonSchema {
  const extra: Record<string, unknown> = {};
  for (const { name, text } of docs.tags) {
    const value = text.trim();
    const mistake = tagMistake(name, value, schema);
    if (mistake !== undefined) complain(mistake);
    else if (NUMBERS.has(name)) extra[name] = Number(value);
    else if (TEXTS.has(name)) extra[name] = value;
    else if (isIntegerTag(name, value)) Object.assign(extra, integerType(schema));
    else if (name === "uniqueItems") extra.uniqueItems = value !== "false";
    else if (name === "deprecated") extra.deprecated = true;
    else if (name === "default" || name === "example") {
      const parsed = parseJson(value);
      if (name === "default") extra.default = parsed;
      else extra.examples = [...((extra.examples as unknown[] | undefined) ?? []), parsed];
    }
  }
  // A template literal type has a pattern already, and both hold.
  const isTwice = schema.pattern !== undefined && extra.pattern !== undefined;
  return isTwice ? { allOf: [schema], ...extra } : { ...schema, ...extra };
}

/** A constraint that no value would ever be checked against is as wrong as one that cannot be read. */
function tagMistake(name: string, value: string, schema: JsonSchema): string | undefined {
  const about = constrainedBy(name, value, schema);
  if (about !== undefined && !mayBe(about, schema)) {
    return `@${name} is for ${about}s, and no value of this type is one`;
  }
  if (NUMBERS.has(name)) {
    const number = value === "" ? Number.NaN : Number(value);
    if (!Number.isFinite(number)) return `@${name} needs a number, got '${value}'`;
    if (NUMBERS.get(name) !== "number" && !(Number.isInteger(number) && number >= 0)) {
      return `@${name} needs a whole number from 0, got '${value}'`;
    }
    if (name === "multipleOf" && number <= 0)
      return `@multipleOf needs a number above 0, got '${value}'`;
  }
  if (name === "pattern" && !isPattern(value)) {
    return `@pattern is no regular expression: '${value}'`;
  }
  return undefined;
}

function constrainedBy(name: string, value: string, schema: JsonSchema): Constrained | undefined {
  if (name === "pattern") return "string";
  // A format that is not checked only documents, and a Date has one of its own.
  if (name === "format" && value !== schema.format && formatOf(value) !== undefined)
    return "string";
  if (name === "uniqueItems") return "array";
  return isIntegerTag(name, value) ? "number" : NUMBERS.get(name);
}

/** True when a value may be of that kind, or nothing is known. Dates and their like are no strings. */
function mayBe(kind: Constrained, schema: JsonSchema): boolean {
  const rich = schema["x-flash-type"];
  if (rich !== undefined) return rich === "set" && kind === "array";
  if (schema.anyOf !== undefined) return schema.anyOf.some((branch) => mayBe(kind, branch));
  if (schema.type === undefined) return true;
  const types = [schema.type].flat();
  return types.some((type) => type === kind || (type === "integer" && kind === "number"));
}

/** True when a tag of these docs narrows a type. */
export function hasConstraints(docs: Docs): boolean {
  return docs.tags.some(
    ({ name, text }) => NUMBERS.has(name) || TEXTS.has(name) || isIntegerTag(name, text.trim()),
  );
}

function isIntegerTag(name: string, text: string): boolean {
  return (
    name === "integer" ||
    name === "int" ||
    (/^(asType|type)$/.test(name) && /^\{?(integer|int)\}?$/.test(text))
  );
}

function integerType(schema: JsonSchema): JsonSchema {
  if (schema.type === "number") return { type: "integer" };
  if (!Array.isArray(schema.type)) return {};
  return { type: schema.type.map((type) => (type === "number" ? "integer" : type)) };
}

function isPattern(text: string): boolean {
  try {
    return new RegExp(text, "u") instanceof RegExp && text !== "";
  } catch {
    return false;
  }
}

/** A tag's text as JSON where it is JSON, else as text. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function textOf(parts: readonly DocPart[] | undefined): string | undefined {
  if (parts === undefined) return undefined;
  const text = parts
    .map((part) => `${part.name?.text ?? part.name?.right?.text ?? ""}${part.text ?? ""}`)
    .join("")
    .trim();
  return text === "" ? undefined : text;
}

function isStatement(node: Node): boolean {
  return (
    node.kind === SyntaxKind.VariableStatement ||
    node.kind === SyntaxKind.ExpressionStatement ||
    node.kind === SyntaxKind.ExportAssignment ||
    node.kind === SyntaxKind.FunctionDeclaration ||
    node.kind === SyntaxKind.ClassDeclaration
  );
}
