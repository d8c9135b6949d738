/**
 * TypeScript types → JSON Schema. One writer for each function, so that a name in `$defs` means one
 * type in all its parameters. What JSON cannot carry is a problem when it is taken, and `{}` when it
 * is returned: a result is described as far as it can be.
 */

import { CHECKED_FORMATS, formatOf } from "../../contract/formats.ts";
import { show, withKey } from "../../contract/json.ts";
import { BASE64, type JsonSchema } from "../../contract/schema.ts";
import { Definitions } from "./definitions.ts";
import { constrain, hasConstraints, docsOf, docsOfDeclaration, type Docs } from "./docs.ts";
import { INSTEAD, knownType, type KnownType } from "./known.ts";
import { literalSchema, uniteSchemas } from "./schema-parts.ts";
import { BIGINT, simpleSchema } from "./simple-types.ts";
import { templatePattern } from "./template-pattern.ts";
import { isAbsent, isClassType, isHidden, isOptional, isPrimitive } from "./type-facts.ts";
import {
  elementFlagsOf,
  ElementFlags,
  SignatureKind,
  SymbolFlags,
  SyntaxKind,
  TypeFlags,
  type Checker,
  type TsSymbol,
  type Type,
} from "./typescript.ts";
import { TypeProblems, type TypeProblem } from "./type-problems.ts";

/** Types that are built from themselves without end are cut here. */
const MAX_DEPTH = 60;
/** A type that expands to more than this is no description of an input. */
const MAX_TYPES = 20_000;

/** An object with more functions than this is one mistake, not one for each of them. */
const MAX_FUNCTIONS = 3;

export class SchemaWriter {
  readonly #checker: Checker;
  readonly #isInput: boolean;
  readonly #definitions = new Definitions();
  readonly #problems: TypeProblems;
  #depth = 0;
  #visited = 0;

  constructor(checker: Checker, direction: "input" | "output") {
    this.#checker = checker;
    this.#isInput = direction === "input";
    this.#problems = new TypeProblems(direction);
  }

  /** What was wrong with the types that have been written. */
  get problems(): readonly TypeProblem[] {
    return this.#problems.all;
  }

  /** A self-contained schema. `at` names the value in messages, such as `user`. */
  write(type: Type, at: string): JsonSchema {
    return this.#definitions.close(this.#convert(type, at));
  }

  /** The same with a doc comment's constraints. */
  writeDocumented(type: Type, at: string, docs: Docs): JsonSchema {
    return this.#definitions.close(this.#constrained(this.#convert(type, at), at, docs));
  }

  /** Type arguments of a generic platform type such as `Promise<T>`. */
  argumentsOf(type: Type): readonly Type[] {
    return type.isTypeReference() ? this.#checker.getTypeArguments(type) : [];
  }

  #convert(type: Type, at: string): JsonSchema {
    if (++this.#visited > MAX_TYPES || this.#depth > MAX_DEPTH) {
      // Named by its root alone, so that it is told once and not at every place it is cut.
      const root = at.split(/[.[]/)[0] ?? at;
      return this.#problems.refuse(root, "has a type that is too large to be described");
    }
    this.#depth++;
    try {
      return this.#convertKind(type, at);
    } finally {
      this.#depth--;
    }
  }

  #convertKind(type: Type, at: string): JsonSchema {
    const { flags } = type;
    const known = knownType(type);
    if (known !== undefined) return this.#platform(type, at, known);
    if (type.isErrorType()) return this.#lost(type, at);
    if (type.isLiteralType() && typeof type.value === "bigint") {
      return { ...BIGINT, const: String(type.value) };
    }
    const simple = simpleSchema(flags);
    if (simple !== undefined) return simple;
    if (type.isLiteralType()) return literalSchema([type.value]);
    if (flags & TypeFlags.Never)
      return this.#problems.refuse(at, "has the type never: no value fits");
    if (flags & TypeFlags.ESSymbolLike)
      return this.#problems.refuse(at, "is a symbol, which JSON cannot carry");
    if (type.isTemplateLiteralType())
      return { type: "string", pattern: templatePattern(type, () => this.#anyCase(at)) };
    if (flags & TypeFlags.StringMapping) return this.#anyCase(at);
    if (type.isUnionType()) return this.#defined(type, () => this.#union(type.getTypes(), at));
    if (type.isIntersectionType()) return this.#intersection(type, at);
    if (type.isObjectType()) return this.#object(type, at);
    return this.#instantiable(type, at);
  }

  /** Type parameters and types that depend on them: what they are known to be at least. */
  #instantiable(type: Type, at: string): JsonSchema {
    const base = this.#checker.getBaseConstraintOfType(type);
    return base === undefined || base.id === type.id ? {} : this.#convert(base, at);
  }

  #platform(
    type: Type,
    at: string,
    { name, known }: { name: string; known: KnownType },
  ): JsonSchema {
    const [first] = this.argumentsOf(type);
    switch (known) {
      case "date":
        return { type: "string", format: "date-time", "x-flash-type": "date" };
      case "buffer":
        return BASE64;
      case "set": {
        const items = first === undefined ? {} : this.#convert(first, `${at}[]`);
        return { type: "array", items, uniqueItems: true, "x-flash-type": "set" };
      }
      case "string":
      case "number":
      case "boolean":
        return { type: known };
      case "anything":
        return {};
      case "promise":
        if (!this.#isInput) return first === undefined ? {} : this.#convert(first, at);
        break;
      default:
    }
    return this.#problems.refuse(at, `is a ${name}, which JSON cannot carry`, INSTEAD[name]);
  }

  #union(types: readonly Type[], at: string): JsonSchema {
    const literals: unknown[] = [];
    const branches: JsonSchema[] = [];
    let isNullable = false;
    for (const type of types) {
      if (type.flags & TypeFlags.Null) isNullable = true;
      else if (type.flags & (TypeFlags.Undefined | TypeFlags.Void)) continue;
      else if (type.isLiteralType() && typeof type.value !== "bigint") literals.push(type.value);
      else branches.push(this.#convert(type, at));
    }
    if (literals.includes(true) && literals.includes(false)) {
      branches.push({ type: "boolean" });
      literals.splice(0, literals.length, ...literals.filter((one) => typeof one !== "boolean"));
    }
    const left = literals.filter(
      (one) =>
        !branches.some(
          ({ type, ...rest }) => type === typeof one && Object.keys(rest).length === 0,
        ),
    );
    if (left.length > 0) branches.unshift(literalSchema(left));
    return uniteSchemas(branches, isNullable);
  }

  /** Objects are merged; anything else with an object is that value with a brand. */
  #intersection(type: Type & { getTypes(): readonly Type[] }, at: string): JsonSchema {
    const primitives = type.getTypes().filter((part) => isPrimitive(part));
    const [first] = primitives;
    if (first !== undefined) {
      const parts = primitives.map((part) => this.#convert(part, at));
      const docs = docsOf(type.getAliasSymbol()?.declarations[0]?.resolve());
      const [only] = parts;
      return this.#constrained(parts.length === 1 && only ? only : { allOf: parts }, at, docs);
    }
    const others = type.getTypes().filter((part) => !this.#isPlainObject(part));
    if (others.length === 0) return this.#defined(type, () => this.#properties(type, at));
    const [branded] = others;
    if (others.length === 1 && branded?.isObjectType() === true) return this.#convert(branded, at);
    return this.#defined(type, () => ({
      allOf: type.getTypes().map((part) => this.#convert(part, at)),
    }));
  }

  /** An object of properties: no array, and nothing of the platform's. */
  #isPlainObject(type: Type): boolean {
    return (
      type.isObjectType() && knownType(type) === undefined && !this.#checker.isArrayLikeType(type)
    );
  }

  #object(type: Type, at: string): JsonSchema {
    const checker = this.#checker;
    if (checker.isTupleType(type) || checker.isArrayType(type)) {
      // Only an alias can refer to itself, and only what has a name is worth a definition.
      const isNamed = type.getAliasSymbol() !== undefined;
      return isNamed ? this.#defined(type, () => this.#list(type, at)) : this.#list(type, at);
    }
    if (this.#isFunction(type)) {
      return this.#problems.refuse(at, "is a function, which JSON cannot carry");
    }
    if (checker.getSignaturesOfType(type, SignatureKind.Construct).length > 0) {
      return this.#problems.refuse(at, "is a class, which JSON cannot carry");
    }
    return this.#defined(type, () => this.#properties(type, at));
  }

  #list(type: Type, at: string): JsonSchema {
    if (this.#checker.isTupleType(type)) return this.#tuple(type, at);
    const [item] = this.argumentsOf(type);
    return { type: "array", items: item === undefined ? {} : this.#convert(item, `${at}[]`) };
  }

  #tuple(type: Type, at: string): JsonSchema {
    if (!type.isTypeReference()) return { type: "array" };
    const types = this.#checker.getTypeArguments(type);
    const flags = elementFlagsOf(type);
    const items = types.map((item, index) => this.#convert(item, `${at}[${index}]`));
    const isRest = (index: number): boolean => ((flags[index] ?? 0) & ElementFlags.Variable) !== 0;
    const rest = flags.findIndex((_, index) => isRest(index));
    const minItems = flags.filter((flag) => flag & ElementFlags.Required).length;
    const base: JsonSchema = { type: "array", ...(minItems > 0 ? { minItems } : {}) };
    if (rest === -1) {
      return items.length === 0
        ? { ...base, maxItems: 0 }
        : { ...base, prefixItems: items, items: false };
    }
    // JSON Schema counts from the front only: elements behind the rest may be any of the tail's types.
    if (items.length > rest + 1)
      this.#problems.leaveUnchecked(at, "the order of the elements behind the rest");
    const tail = uniteSchemas(items.slice(rest), false);
    return rest === 0
      ? { ...base, items: tail }
      : { ...base, prefixItems: items.slice(0, rest), items: tail };
  }

  #properties(type: Type, at: string): JsonSchema {
    const checker = this.#checker;
    const symbols = checker
      .getPropertiesOfType(type)
      .filter((symbol) => this.#isData(symbol, type));
    const types = symbols.length === 0 ? [] : checker.getTypeOfSymbol(symbols);
    if (
      this.#isInput &&
      types.filter((one) => one && this.#isFunction(one)).length > MAX_FUNCTIONS
    ) {
      return this.#problems.refuse(at, "is an object with methods, which JSON cannot carry");
    }
    const properties: Record<string, JsonSchema> = {};
    const required: string[] = [];
    for (const [index, symbol] of symbols.entries()) {
      const propertyType = types[index];
      if (propertyType === undefined || isAbsent(symbol, propertyType)) continue;
      // JSON leaves functions out of a result; in an input they are a mistake, told below.
      if (!this.#isInput && this.#isFunction(propertyType)) continue;
      const { name } = symbol;
      const place = /^[A-Za-z_$][\w$]*$/.test(name) ? `${at}.${name}` : `${at}[${show(name)}]`;
      const schema = this.#convert(propertyType, place);
      withKey(
        properties,
        name,
        this.#constrained(schema, place, this.#docsOf(symbol, propertyType)),
      );
      if (!isOptional(symbol, propertyType)) required.push(name);
    }
    const indexes = this.#indexes(type, at);
    // `{}` takes every value but null; a result of that type is an object without known keys.
    if (this.#isInput && symbols.length === 0 && Object.keys(indexes).length === 0) {
      return { type: ["string", "number", "boolean", "object", "array"] };
    }
    return {
      type: "object",
      ...(symbols.length === 0 ? {} : { properties }),
      ...(required.length === 0 ? {} : { required }),
      ...indexes,
    };
  }

  #docsOf(symbol: TsSymbol, type: Type): Docs {
    const handle = symbol.valueDeclaration ?? symbol.declarations[0];
    return docsOfDeclaration(this.#checker, handle?.resolve(), type);
  }

  #isFunction(type: Type): boolean {
    return (
      type.isObjectType() && this.#checker.getSignaturesOfType(type, SignatureKind.Call).length > 0
    );
  }

  #indexes(type: Type, at: string): JsonSchema {
    const result: JsonSchema = {};
    const patterns: Record<string, JsonSchema> = {};
    for (const { keyType, valueType } of this.#checker.getIndexInfosOfType(type)) {
      if (keyType.flags & TypeFlags.ESSymbolLike) continue;
      const value = this.#convert(valueType, `${at}[]`);
      if (keyType.flags & TypeFlags.String) result.additionalProperties = value;
      else if (keyType.flags & TypeFlags.Number) patterns[NUMBER_KEY] = value;
      else if (keyType.isTemplateLiteralType())
        patterns[templatePattern(keyType, () => this.#anyCase(at))] = value;
      else if (keyType.flags & TypeFlags.StringMapping) this.#anyCase(at);
      else result.additionalProperties = value;
    }
    return Object.keys(patterns).length === 0 ? result : { ...result, patternProperties: patterns };
  }

  /** Leaves out what is not data: symbols, private members, a class's methods (with a warning). */
  #isData(symbol: TsSymbol, type: Type): boolean {
    if (/^__[@#]/.test(symbol.escapedName)) return false;
    const handle = symbol.valueDeclaration ?? symbol.declarations[0];
    if (handle?.kind === SyntaxKind.MethodDeclaration && isClassType(type)) {
      this.#warnClass(type);
      return false;
    }
    const isMember =
      handle?.kind === SyntaxKind.PropertyDeclaration ||
      handle?.kind === SyntaxKind.Parameter ||
      handle?.kind === SyntaxKind.GetAccessor;
    return !isMember || !isHidden(handle.resolve());
  }

  #warnClass(type: Type): void {
    const name = type.getSymbol()?.name ?? "a class";
    this.#problems.warnInput(
      `'${name}' is a class with methods; what arrives is a plain object with its public fields, without them.`,
      "Declare an interface for the data, and create the instance inside the function.",
    );
  }

  #constrained(schema: JsonSchema, at: string, docs: Docs): JsonSchema {
    // A constraint is a part of the schema it narrows: a definition that others use stays as it is.
    const own = hasConstraints(docs) ? this.#definitions.writtenOut(schema) : undefined;
    const target = own ?? schema;
    const described = constrain(target, docs, (message) =>
      this.#problems.error(`${at}: ${message}`),
    );
    this.#warnFormat(described.format, at);
    if (docs.description === undefined) return described;
    return { ...described, description: docs.description };
  }

  /** Other validators may check formats that ours does not. */
  #warnFormat(format: string | undefined, at: string): void {
    if (format === undefined || formatOf(format) !== undefined || format === "password") return;
    this.#problems.warnInput(
      `${at}: the format '${format}' is unchecked, it only documents.`,
      `Checked are ${CHECKED_FORMATS.join(", ")}; @pattern can say anything else.`,
    );
  }

  #defined(type: Type, make: () => JsonSchema): JsonSchema {
    return this.#definitions.reference(
      type.id,
      () => this.#nameOf(type),
      () => this.#describeType(type, make()),
    );
  }

  #describeType(type: Type, schema: JsonSchema): JsonSchema {
    const symbol = type.getAliasSymbol() ?? type.getSymbol();
    const isOwn = symbol !== undefined && (symbol.flags & NAMED) !== 0;
    if (!isOwn || type.getAliasTypeArguments().length > 0) return schema;
    const { description } = docsOf(symbol.declarations[0]?.resolve());
    return description === undefined ? schema : { ...schema, description };
  }

  #nameOf(type: Type): string | undefined {
    const symbol = type.getAliasSymbol() ?? type.getSymbol();
    if (symbol === undefined || (symbol.flags & NAMED) === 0) return undefined;
    const text = this.#checker.typeToString(type);
    return (
      text
        .replace(/[^A-Za-z0-9]+/g, "_")
        .replace(/^_+|_+$/g, "")
        .slice(0, 80) || symbol.name
    );
  }

  /** A type that is not there: a misspelt name, a package that is not installed. */
  #lost(type: Type, at: string): JsonSchema {
    const name = type.getAliasSymbol()?.name;
    const what = name === undefined ? "its type" : `its type '${name}'`;
    this.#problems.warnInput(
      `${at} is unchecked, because ${what} is not found.`,
      "Is the name right, and is the package installed that declares it?",
    );
    return {};
  }

  /** `Uppercase<string>` and its like. */
  #anyCase(at: string): JsonSchema {
    this.#problems.leaveUnchecked(at, "the case of the letters");
    return { type: "string" };
  }
}

/** Keys that a number index signature covers. */
const NUMBER_KEY = String.raw`^-?\d+(\.\d+)?$`;

/** Symbols whose name is the user's own. */
const NAMED = SymbolFlags.Class | SymbolFlags.Interface | SymbolFlags.TypeAlias | SymbolFlags.Enum;
