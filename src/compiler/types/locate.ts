/**
 * From the stack of a declaring call to the function it was given. The position of a frame lies in
 * the callee of the call (`api.get`, `remote`, the first half of a curried call); the function is
 * an argument, named or written in place. A project's own declaring function only passes one on, so
 * the search goes outwards until it meets a function with a body.
 */

import { join } from "node:path";
import type { Place } from "../diagnostics.ts";
import {
  SignatureKind,
  SyntaxKind,
  type Node,
  type SourceFile,
  type TypeView,
} from "./typescript.ts";

/** Where a function was found. */
export interface Located {
  /** A function or class with a body, or an expression whose type says what it takes. */
  node: Node;
  kind: "function" | "class" | "expression";
  /** The declaring call or decorator: doc comments may stand there. */
  call: Node;
  place: Place;
}

interface CallNode extends Node {
  readonly expression: Node;
  readonly arguments?: readonly Node[];
}
interface NamedNode extends Node {
  readonly name?: Node & { readonly text?: string };
  readonly initializer?: Node;
  readonly expression?: Node;
}

/** `places` are the frames of the stack, innermost first. */
export function locateHandler(
  view: TypeView,
  root: string,
  places: readonly Place[],
): Located | undefined {
  let fallback: Located | undefined;
  for (const place of places) {
    const file = view.sourceFile(join(root, place.file));
    if (file === undefined) continue;
    const found = locateInFile(view, file, place);
    if (found !== undefined && found.kind !== "expression") return found;
    fallback ??= found;
  }
  return fallback;
}

function locateInFile(view: TypeView, file: SourceFile, place: Place): Located | undefined {
  const position = positionOf(file, place);
  if (position === undefined) return undefined;
  const start = innermost(file, position);
  // A decorated class is known by its keyword, which is no node of its own.
  if (isClass(start)) return { node: start, kind: "class", call: start, place };
  for (let node: Node | undefined = start; node !== undefined; node = node.parent) {
    if (node.kind === SyntaxKind.Decorator && isClass(node.parent)) {
      return { node: node.parent, kind: "class", call: node, place };
    }
    if (!isCall(node) || !covers(node.expression, position, file)) continue;
    const handler = handlerOf(view, node);
    if (handler !== undefined) return { ...handler, call: node, place };
  }
  return undefined;
}

/** The last argument that can be called or constructed. */
function handlerOf(view: TypeView, call: CallNode): Pick<Located, "node" | "kind"> | undefined {
  for (const argument of [...(call.arguments ?? [])].reverse()) {
    const found = follow(view, argument);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What an expression is, in the end: names and imports are followed to what they stand for. */
function follow(
  view: TypeView,
  expression: Node,
  depth = 0,
): Pick<Located, "node" | "kind"> | undefined {
  const node = unwrap(expression);
  const written = asBody(node);
  if (written !== undefined) return written;
  const isName =
    node.kind === SyntaxKind.Identifier || node.kind === SyntaxKind.PropertyAccessExpression;
  const declaration = isName && depth < 8 ? declarationOf(view, node) : undefined;
  const body = declaration === undefined ? undefined : asBody(declaration);
  if (body !== undefined) return body;
  const value = declaration?.initializer;
  if (value !== undefined && declaration?.kind !== SyntaxKind.Parameter) {
    const found = follow(view, value, depth + 1);
    if (found?.kind !== undefined && found.kind !== "expression") return found;
  }
  return isCallable(view, node) ? { node, kind: "expression" } : undefined;
}

function asBody(node: Node): Pick<Located, "node" | "kind"> | undefined {
  if (isClass(node)) return { node, kind: "class" };
  return isFunctionWithBody(node) ? { node, kind: "function" } : undefined;
}

function declarationOf(view: TypeView, node: Node): NamedNode | undefined {
  const { checker } = view;
  const name = node.kind === SyntaxKind.Identifier ? node : ((node as NamedNode).name ?? node);
  const symbol = checker.getSymbolAtLocation(name);
  if (symbol === undefined) return undefined;
  const isAlias = symbol.valueDeclaration === undefined;
  const target = isAlias ? checker.getAliasedSymbol(symbol) : symbol;
  return target.valueDeclaration?.resolve();
}

function isCallable({ checker }: TypeView, node: Node): boolean {
  const type = checker.getTypeAtLocation(node);
  if (type === undefined) return false;
  return (
    checker.getSignaturesOfType(type, SignatureKind.Call).length > 0 ||
    checker.getSignaturesOfType(type, SignatureKind.Construct).length > 0
  );
}

/** Parentheses, `as`, `satisfies`, `!` and type assertions do not change what a value is. */
export function unwrap(expression: Node): Node {
  let node = expression;
  while (WRAPPERS.has(node.kind)) {
    const inner = (node as NamedNode).expression;
    if (inner === undefined) break;
    node = inner;
  }
  return node;
}

const WRAPPERS = new Set<SyntaxKind>([
  SyntaxKind.ParenthesizedExpression,
  SyntaxKind.AsExpression,
  SyntaxKind.SatisfiesExpression,
  SyntaxKind.NonNullExpression,
  SyntaxKind.TypeAssertionExpression,
]);

function isCall(node: Node): node is CallNode {
  return node.kind === SyntaxKind.CallExpression || node.kind === SyntaxKind.NewExpression;
}

function isClass(node: Node): boolean {
  return node.kind === SyntaxKind.ClassDeclaration || node.kind === SyntaxKind.ClassExpression;
}

function isFunctionWithBody(node: Node): boolean {
  return (
    (node.kind === SyntaxKind.ArrowFunction ||
      node.kind === SyntaxKind.FunctionExpression ||
      node.kind === SyntaxKind.FunctionDeclaration ||
      node.kind === SyntaxKind.MethodDeclaration) &&
    (node as { body?: Node }).body !== undefined
  );
}

/** Both ends count: a curried call is known by the end of its first half. */
function covers(node: Node, position: number, file: SourceFile): boolean {
  return node.getStart(file) <= position && position <= node.end;
}

function positionOf(file: SourceFile, { line, column }: Place): number | undefined {
  const start = file.getLineStarts()[line - 1];
  if (start === undefined) return undefined;
  return Math.min(start + column - 1, file.text.length);
}

/** The smallest node around a position. */
function innermost(file: SourceFile, position: number): Node {
  let node: Node = file;
  for (;;) {
    const child: Node | undefined = node.forEachChild((one) =>
      one.getStart(file) <= position && position < one.end ? one : undefined,
    );
    if (child === undefined) return node;
    node = child;
  }
}
