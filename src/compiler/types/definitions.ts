/**
 * The named parts of the schemas of one function. While types are converted, a reference carries the
 * type's id; only at the end is it known which types are worth a name and which are written out.
 */

import type { JsonSchema } from "../../contract/schema.ts";
import { besideReference, mapSchema } from "./schema-parts.ts";

interface Definition {
  /** Undefined for types without a name: they become one only when they refer to themselves. */
  name: string | undefined;
  schema: JsonSchema | undefined;
  isRecursive: boolean;
}

export class Definitions {
  readonly #definitions = new Map<number, Definition>();
  readonly #names = new Map<number, string>();

  /** A reference to the type `id`, which is made on its first use. */
  reference(id: number, name: () => string | undefined, make: () => JsonSchema): JsonSchema {
    const known = this.#definitions.get(id);
    if (known !== undefined) {
      if (known.schema === undefined) known.isRecursive = true;
    } else {
      const definition: Definition = { name: name(), schema: undefined, isRecursive: false };
      this.#definitions.set(id, definition);
      definition.schema = make();
    }
    return { $ref: String(id) };
  }

  /** What a reference stands for, when it can be written out. */
  writtenOut(schema: JsonSchema): JsonSchema | undefined {
    const definition =
      schema.$ref === undefined ? undefined : this.#definitions.get(Number(schema.$ref));
    return definition?.isRecursive === true ? undefined : definition?.schema;
  }

  /** Writes out what is used once, names the rest, and attaches the definitions that are in use. */
  close(schema: JsonSchema): JsonSchema {
    const uses = this.#countUses(schema);
    const isKept = (id: number): boolean => {
      const definition = this.#definitions.get(id);
      if (definition === undefined) return false;
      return definition.isRecursive || (definition.name !== undefined && (uses.get(id) ?? 0) > 1);
    };
    const definitions = new Map<string, JsonSchema>();
    const resolve = (node: JsonSchema): JsonSchema =>
      mapSchema(node, (reference) => {
        const id = Number(reference.$ref);
        const target = this.#definitions.get(id)?.schema ?? {};
        const { $ref: _, ...siblings } = reference;
        if (!isKept(id)) return { ...resolve(target), ...siblings };
        const name = this.#definitionName(id);
        if (!definitions.has(name)) {
          definitions.set(name, {});
          definitions.set(name, resolve(target));
        }
        return besideReference({ $ref: `#/$defs/${name}` }, siblings);
      });
    const root = resolve(schema);
    if (definitions.size === 0) return root;
    const sorted = [...definitions].sort(([a], [b]) => (a < b ? -1 : 1));
    return { ...root, $defs: Object.fromEntries(sorted) };
  }

  #countUses(schema: JsonSchema): Map<number, number> {
    const uses = new Map<number, number>();
    const count = (node: JsonSchema): void => {
      mapSchema(node, (reference) => {
        const id = Number(reference.$ref);
        const before = uses.get(id) ?? 0;
        uses.set(id, before + 1);
        const target = this.#definitions.get(id)?.schema;
        if (before === 0 && target !== undefined) count(target);
        return reference;
      });
    };
    count(schema);
    return uses;
  }

  #definitionName(id: number): string {
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const wanted = this.#definitions.get(id)?.name ?? "Type";
    const taken = new Set(this.#names.values());
    let name = wanted;
    for (let number = 2; taken.has(name); number++) name = `${wanted}${number}`;
    this.#names.set(id, name);
    return name;
  }
}
