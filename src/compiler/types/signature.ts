/** The signature of one function: parameters, defaults, schemas, doc comments. */

import type { FunctionManifest, Parameter, Signature } from "../../contract/manifest.ts";
import type { JsonSchema } from "../../contract/schema.ts";
import type { Finding, Place } from "../diagnostics.ts";
import { isScript } from "../imports.ts";
import { docsAround, docsOf, docsOfDeclaration, firstSentence, type Docs } from "./docs.ts";
import { knownType } from "./known.ts";
import { unwrap } from "./locate.ts";
import { SchemaWriter } from "./schema-writer.ts";
import { mayBeUndefined } from "./type-facts.ts";
import {
  elementFlagsOf,
  ElementFlags,
  SignatureKind,
  SyntaxKind,
  TypeFlags,
  WRITTEN_OUT,
  type Checker,
  type Node,
  type Signature as TsSignature,
  type TsSymbol,
  type Type,
} from "./typescript.ts";

/** A function to describe. */
export interface SignatureRequest {
  checker: Checker;
  /** With a body, or an expression of a function type. */
  node: Node;
  /** Where doc comments may stand besides the function itself. */
  around: Node;
  /** How bytes reach it: as form data, or as text inside JSON. */
  kind: "qb" | "lb";
  /** For messages: `function 'greet'`. */
  label: string;
  /** Where the function lies; the fallback for parameters without a node. */
  place: Place;
  /** Relative path of a node's file. */
  pathOf: (node: Node) => string | undefined;
}

export interface DescribedFunction {
  signature: Signature;
  docs: Pick<FunctionManifest, "summary" | "description">;
  /** True when it surely returns its result at once, rather than a promise or a stream. */
  isSynchronous: boolean;
  findings: Finding[];
}

interface ParameterNode extends Node {
  readonly name: Node & { readonly text?: string };
  readonly type?: Node;
  readonly initializer?: Node;
  readonly questionToken?: Node;
}

/** A parameter before its schema is known. */
interface RawParameter {
  name: string;
  type: Type;
  node: ParameterNode | undefined;
  isOptional: boolean;
  isRest: boolean;
}

export function describeFunction(request: SignatureRequest): DescribedFunction | undefined {
  const { checker, node } = request;
  const { signature, overloads } = signatureOf(checker, node);
  if (signature === undefined) return undefined;
  const own = docsOf(node);
  const docs =
    own.description === undefined && own.tags.length === 0 && own.parameters.size === 0
      ? docsAround(request.around)
      : own;
  const findings = overloads > 1 ? [overloadFinding(request, overloads)] : [];
  const writer = new SchemaWriter(checker, "input");
  const raw = rawParameters(checker, signature);
  const file = request.pathOf(node);
  const isUnchecked =
    (file !== undefined && isScript(file)) || (raw.length > 0 && raw.every(isUntyped));
  const parameters = raw.map((one) => {
    const before = writer.problems.length;
    const parameter = describeParameter({ one, docs, writer, request, isUnchecked });
    const place = placeOf(one.node, request);
    for (const { severity, message, hint } of writer.problems.slice(before)) {
      findings.push({
        severity,
        message: severity === "error" ? `parameter of ${request.label}: ${message}` : message,
        ...place,
        ...(hint === undefined ? {} : { hint }),
      });
    }
    return parameter;
  });
  return {
    signature: {
      parameters,
      ...describeResult(checker, signature, isUnchecked),
      checked: !isUnchecked,
    },
    docs: describeDocs(docs),
    isSynchronous: isSynchronous(checker, signature),
    findings,
  };
}

/**
 * Of an overloaded function the last signature counts: it is the one that TypeScript gives to callers,
 * whose types are derived from the function's.
 */
function signatureOf(
  checker: Checker,
  node: Node,
): { signature: TsSignature | undefined; overloads: number } {
  const isOverload = (node as { body?: Node }).body === undefined;
  if (FUNCTIONS.has(node.kind) && !isOverload)
    return { signature: checker.getSignatureFromDeclaration(node), overloads: 1 };
  const type = checker.getTypeAtLocation(node);
  const all = type === undefined ? [] : checker.getSignaturesOfType(type, SignatureKind.Call);
  return { signature: all.at(-1), overloads: all.length };
}

function overloadFinding({ label, place }: SignatureRequest, overloads: number): Finding {
  return {
    severity: "warning",
    message: `${label} has ${overloads} overloads; inputs are checked against the last one, which is what callers see.`,
    hint: "Write one signature, with a union where the types differ: (x: string | number) => ...",
    ...place,
  };
}

const FUNCTIONS = new Set<SyntaxKind>([
  SyntaxKind.ArrowFunction,
  SyntaxKind.FunctionExpression,
  SyntaxKind.FunctionDeclaration,
  SyntaxKind.MethodDeclaration,
]);

function rawParameters(checker: Checker, signature: TsSignature): RawParameter[] {
  const symbols = signature.getParameters();
  if (symbols.length === 0) return [];
  const types = checker.getTypeOfSymbol(symbols);
  const raw = symbols.flatMap((symbol, index): RawParameter[] => {
    const isRest = signature.hasRestParameter && index === symbols.length - 1;
    const type = types[index] ?? checker.getAnyType();
    if (isRest && checker.isTupleType(type)) return expandTuple(checker, type, symbol.name);
    return [rawParameter(checker, { symbol, type, isRest })];
  });
  return withDistinctNames(raw);
}

function rawParameter(
  checker: Checker,
  { symbol, type, isRest }: { symbol: TsSymbol; type: Type; isRest: boolean },
): RawParameter {
  const node = symbol.valueDeclaration?.resolve() as ParameterNode | undefined;
  const isPattern = node !== undefined && node.name.kind !== SyntaxKind.Identifier;
  const actual = typeOfDefault(checker, node, type) ?? type;
  return {
    name: isPattern ? "input" : symbol.name,
    type: actual,
    node,
    isRest,
    isOptional:
      isRest ||
      node?.questionToken !== undefined ||
      node?.initializer !== undefined ||
      mayBeUndefined(actual),
  };
}

/**
 * `depth = 2` without a type is a number. What the call expects of its argument would say `any`, since
 * the SDK accepts every function.
 */
function typeOfDefault(
  checker: Checker,
  node: ParameterNode | undefined,
  type: Type,
): Type | undefined {
  if (node?.initializer === undefined || node.type !== undefined) return undefined;
  if ((type.flags & TypeFlags.Any) === 0) return undefined;
  const given = checker.getTypeAtLocation(node.initializer);
  if (given === undefined || given.flags & (TypeFlags.Null | TypeFlags.Undefined)) return undefined;
  const widened = checker.getBaseTypeOfLiteralType(given) ?? given;
  return checker.getWidenedType(widened) ?? widened;
}

/** `(...args: [a: string, b?: number])` is `(a: string, b?: number)`. */
function expandTuple(checker: Checker, type: Type, name: string): RawParameter[] {
  const types = type.isTypeReference() ? checker.getTypeArguments(type) : [];
  const flags = elementFlagsOf(type);
  const written = checker.typeToTypeNode(type, undefined, WRITTEN_OUT) as
    | { elements?: readonly ParameterNode[] }
    | undefined;
  return types.map((element, index) => {
    const flag = flags[index] ?? ElementFlags.Required;
    const isRest = (flag & ElementFlags.Variable) !== 0;
    return {
      name: written?.elements?.[index]?.name?.text ?? `${name}${index}`,
      type: element,
      node: undefined,
      isRest,
      isOptional: flag !== ElementFlags.Required || mayBeUndefined(element),
    };
  });
}

function withDistinctNames(raw: readonly RawParameter[]): RawParameter[] {
  const taken = new Set<string>();
  return raw.map((one) => {
    let { name } = one;
    for (let number = 2; taken.has(name); number++) name = `${one.name}${number}`;
    taken.add(name);
    return { ...one, name };
  });
}

/** Neither written, nor given by a default, nor by the place where the function stands. */
function isUntyped({ type, node }: RawParameter): boolean {
  return (type.flags & TypeFlags.Any) !== 0 && !type.isErrorType() && node?.type === undefined;
}

function describeParameter(given: {
  one: RawParameter;
  docs: Docs;
  writer: SchemaWriter;
  request: SignatureRequest;
  isUnchecked: boolean;
}): Parameter {
  const { one, docs, writer, request, isUnchecked } = given;
  const own = docsOfDeclaration(request.checker, one.node, one.type);
  const description = own.description ?? docs.parameters.get(one.name);
  const base = {
    name: one.name,
    required: !one.isOptional,
    ...(one.isRest ? { rest: true } : {}),
    ...(description === undefined ? {} : { description }),
  };
  if (isUnchecked) return { ...base, schema: {}, carrier: "value" };
  const special = specialCarrier(one.type, request, writer);
  if (special !== undefined) return { ...base, ...special };
  // The description is the parameter's, not its schema's.
  const schema = schemaOf(one, { ...own, description: undefined }, writer);
  return { ...base, schema: withDefault(schema, one.node), carrier: "value" };
}

function schemaOf(one: RawParameter, docs: Docs, writer: SchemaWriter): JsonSchema {
  if (!one.isRest || one.node !== undefined)
    return writer.writeDocumented(one.type, one.name, docs);
  // A rest element of a tuple: its type is the item's.
  return { type: "array", items: writer.write(one.type, `${one.name}[]`) };
}

/** Bytes and the raw request are carried apart from JSON. */
function specialCarrier(
  type: Type,
  { kind, checker }: SignatureRequest,
  writer: SchemaWriter,
): Pick<Parameter, "carrier" | "schema"> | undefined {
  const parts = partsOf(type);
  const known = parts.map((part) => knownType(part)?.known);
  if (parts.length === 0) return undefined;
  if (known.every((one) => one === "request")) {
    if (kind === "lb") return { carrier: "request", schema: {} };
    return undefined;
  }
  const isBytes = (one: Type): boolean => {
    const what = knownType(one)?.known;
    return what === "blob" || what === "buffer";
  };
  if (kind !== "lb") return undefined;
  if (parts.every(isBytes)) return { carrier: "bytes", schema: bytesSchema(parts) };
  const [list] = parts;
  if (parts.length !== 1 || list === undefined || !checker.isArrayType(list)) return undefined;
  const items = writer.argumentsOf(list).flatMap(partsOf);
  if (items.length === 0 || !items.every(isBytes)) return undefined;
  return { carrier: "bytes", schema: { type: "array", items: bytesSchema(items) } };
}

/** `x-flash-type` tells that the function wants a Uint8Array rather than a File. */
function bytesSchema(parts: readonly Type[]): JsonSchema {
  const wantsBuffer = parts.every((part) => knownType(part)?.known === "buffer");
  return { type: "string", format: "binary", ...(wantsBuffer ? { "x-flash-type": "bytes" } : {}) };
}

function partsOf(type: Type): Type[] {
  const all = type.isUnionType() ? [...type.getTypes()] : [type];
  return all.filter((part) => !(part.flags & (TypeFlags.Undefined | TypeFlags.Null)));
}

function withDefault(schema: JsonSchema, node: ParameterNode | undefined): JsonSchema {
  const value = node?.initializer === undefined ? undefined : literalValue(node.initializer);
  return value === undefined ? schema : { ...schema, default: value };
}

/** The JSON value of a literal expression; undefined when it is anything else. */
function literalValue(expression: Node): unknown {
  const node = unwrap(expression) as Node & {
    text?: string;
    operand?: Node;
    operator?: SyntaxKind;
  };
  switch (node.kind) {
    case SyntaxKind.StringLiteral:
    case SyntaxKind.NoSubstitutionTemplateLiteral:
      return node.text;
    case SyntaxKind.NumericLiteral:
      return Number(node.text);
    case SyntaxKind.TrueKeyword:
      return true;
    case SyntaxKind.FalseKeyword:
      return false;
    case SyntaxKind.NullKeyword:
      return null;
    case SyntaxKind.PrefixUnaryExpression: {
      const value = node.operand === undefined ? undefined : literalValue(node.operand);
      return node.operator === SyntaxKind.MinusToken && typeof value === "number"
        ? -value
        : undefined;
    }
    case SyntaxKind.ArrayLiteralExpression: {
      const { elements } = node as unknown as { elements: readonly Node[] };
      const values = elements.map(literalValue);
      return values.includes(undefined) ? undefined : values;
    }
    default:
      return undefined;
  }
}

/** The awaited result, or what a generator yields. */
function describeResult(
  checker: Checker,
  signature: TsSignature,
  isUnchecked: boolean,
): Pick<Signature, "returns" | "streams"> {
  const writer = new SchemaWriter(checker, "output");
  let type = checker.getReturnTypeOfSignature(signature);
  for (let depth = 0; type !== undefined && depth < 8; depth++) {
    if (knownType(type)?.known !== "promise") break;
    type = writer.argumentsOf(type)[0];
  }
  if (type === undefined) return { streams: false };
  const known = new Set(partsOf(type).map((part) => knownType(part)?.known));
  if (known.has("generator")) {
    const [chunk] = writer.argumentsOf(type);
    return { streams: true, ...schemaOrNothing(writer, isUnchecked ? undefined : chunk) };
  }
  if (known.has("stream")) return { streams: true };
  if (known.has("response") || isUnchecked) return { streams: false };
  return { streams: false, ...schemaOrNothing(writer, type) };
}

const LATER = new Set(["promise", "generator", "stream"]);

function isSynchronous(checker: Checker, signature: TsSignature): boolean {
  const type = checker.getReturnTypeOfSignature(signature);
  if (type === undefined || type.flags & TypeFlags.AnyOrUnknown) return false;
  return !partsOf(type).some((part) => LATER.has(knownType(part)?.known ?? ""));
}

function schemaOrNothing(writer: SchemaWriter, type: Type | undefined): { returns?: JsonSchema } {
  const NOTHING = TypeFlags.AnyOrUnknown | TypeFlags.Void | TypeFlags.Undefined | TypeFlags.Never;
  if (type === undefined || type.flags & NOTHING) return {};
  const schema = writer.write(type, "result");
  // A missing result arrives as null.
  const returns = mayBeUndefined(type) && Object.keys(schema).length > 0 ? orNull(schema) : schema;
  return Object.keys(returns).length === 0 ? {} : { returns };
}

function orNull(schema: JsonSchema): JsonSchema {
  const { $defs, ...own } = schema;
  const isPlain = Object.keys(own).length === 1 && typeof own.type === "string";
  const united: JsonSchema =
    isPlain && own.type !== undefined
      ? { type: [own.type, "null"].flat() as JsonSchema["type"] & string[] }
      : { anyOf: [own, { type: "null" }] };
  return $defs === undefined ? united : { ...united, $defs };
}

function describeDocs({ description }: Docs): Pick<FunctionManifest, "summary" | "description"> {
  if (description === undefined) return {};
  return { summary: firstSentence(description), description };
}

function placeOf(node: Node | undefined, { place, pathOf }: SignatureRequest): Place {
  const file = node === undefined ? undefined : pathOf(node);
  if (node === undefined || file === undefined) return place;
  const source = node.getSourceFile();
  const { line, character } = source.getLineAndCharacterOfPosition(node.getStart(source));
  return { file, line: line + 1, column: character + 1 };
}
