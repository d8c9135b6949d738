/** Small questions about types and their declarations. */

import {
  ObjectFlags,
  SymbolFlags,
  SyntaxKind,
  TypeFlags,
  type Node,
  type TsSymbol,
  type Type,
} from "./typescript.ts";

/** A value that may be undefined may be left out: JSON has no undefined. */
export function isOptional(symbol: TsSymbol, type: Type): boolean {
  return (symbol.flags & SymbolFlags.Optional) !== 0 || mayBeUndefined(type);
}

/** `other?: never` in exclusive unions: nothing to describe. */
export function isAbsent(symbol: TsSymbol, type: Type): boolean {
  const left = type.isUnionType()
    ? type.getTypes().filter((part) => !(part.flags & TypeFlags.Undefined))
    : [type];
  return (
    isOptional(symbol, type) &&
    left.every((part) => part.flags & (TypeFlags.Never | TypeFlags.Undefined))
  );
}

export function mayBeUndefined(type: Type): boolean {
  if (type.flags & (TypeFlags.Undefined | TypeFlags.Void)) return true;
  return (
    type.isUnionType() && type.getTypes().some((part) => (part.flags & TypeFlags.Undefined) !== 0)
  );
}

export function isPrimitive(type: Type): boolean {
  return (type.flags & (TypeFlags.Primitive | TypeFlags.Unit)) !== 0;
}

export function isClassType(type: Type): boolean {
  const symbol = type.getSymbol();
  return (
    (symbol !== undefined && (symbol.flags & SymbolFlags.Class) !== 0) ||
    (type.isObjectType() && (type.objectFlags & ObjectFlags.Class) !== 0)
  );
}

/** `private` and `protected` say that a member is nobody else's. */
export function isHidden(node: Node | undefined): boolean {
  const { modifiers } = (node ?? {}) as { modifiers?: readonly Node[] };
  return (modifiers ?? []).some(
    ({ kind }) => kind === SyntaxKind.PrivateKeyword || kind === SyntaxKind.ProtectedKeyword,
  );
}
