/** What to say about a value that no alternative of a union takes. */

import type { Issue } from "./errors.ts";
import {
  canonical,
  equalJson,
  isPlainJsonObject,
  joinPath,
  listOr,
  ownValue,
  show,
} from "./json.ts";
import {
  alternatives,
  constantsOf,
  expectations,
  isOfKind,
  resolveRef,
  type JsonSchema,
} from "./schema.ts";

export interface Failure {
  schema: JsonSchema;
  issues: Issue[];
}

/** The most useful complaint about a union: of the branch that was meant, else what was expected. */
export function explain(
  value: unknown,
  path: string,
  { failures, root }: { failures: readonly Failure[]; root: JsonSchema },
): Issue[] {
  if (isPlainJsonObject(value)) {
    const byTag = explainTag(value, path, { failures, root });
    if (byTag !== undefined) return byTag;
  }
  const close = failures.filter(({ schema }) => isOfKind(value, schema, root));
  const [best] = close.toSorted((a, b) => a.issues.length - b.issues.length);
  if (best !== undefined) return best.issues;
  const wanted = failures.flatMap(({ schema }) => expectations(schema, root));
  return [{ path, message: `must be ${listOr([...new Set(wanted)])}, got ${show(value)}` }];
}

/** Objects that one property's constant tells apart: `{ kind: "circle", … } | { kind: "square", … }`. */
function explainTag(
  value: Record<string, unknown>,
  path: string,
  { failures, root }: { failures: readonly Failure[]; root: JsonSchema },
): Issue[] | undefined {
  const objects = failures.flatMap(({ schema, issues }) => {
    const [branch, ...more] = alternatives(schema, root);
    return branch?.properties === undefined || more.length > 0
      ? []
      : [{ properties: branch.properties, issues }];
  });
  const [first] = objects;
  if (first === undefined || objects.length < 2) return undefined;
  const constantsAt = (properties: Record<string, JsonSchema>, key: string): unknown[] => {
    const property = ownValue(properties, key);
    return property === undefined ? [] : (constantsOf(resolveRef(property, root)) ?? []);
  };
  for (const key of Object.keys(first.properties)) {
    const tags = objects.map(({ properties }) => constantsAt(properties, key));
    const known = tags.flat().map(canonical);
    if (tags.some((one) => one.length === 0) || new Set(known).size < known.length) continue;
    const at = joinPath(path, key);
    if (!Object.hasOwn(value, key)) return [{ path: at, message: "is required" }];
    const meant = tags.findIndex((one) => one.some((tag) => equalJson(tag, value[key])));
    const words = listOr(tags.flat().map(show));
    return (
      objects[meant]?.issues ?? [{ path: at, message: `must be ${words}, got ${show(value[key])}` }]
    );
  }
  return undefined;
}
