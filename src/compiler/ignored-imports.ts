/** Shipped code must not import what the ignore rules leave out. Source of rule and text: the original. */

import type { Metafile } from "esbuild";
import { errorAt, type Finding } from "./diagnostics.ts";
import { IgnoreRules } from "./ignore-rules.ts";

/** `inputs` is what the describe build has read: everything that any bundle can hold. */
export function refuseIgnored(root: string, inputs: Metafile["inputs"]): Finding[] {
  const rules = new IgnoreRules(root);
  const ignored = Object.keys(inputs)
    .filter(
      (file) => !file.startsWith("../") && !file.includes("node_modules/") && !file.includes(":"),
    )
    .filter((file) => rules.ignores(file))
    .sort();
  if (ignored.length === 0) return [];
  const importers = new Map<string, string>();
  for (const [importer, { imports }] of Object.entries(inputs)) {
    for (const { path } of imports) if (!importers.has(path)) importers.set(path, importer);
  }
  const lines = ignored.map(
    (file) => `  ${file} (imported by ${importers.get(file) ?? "the build"})`,
  );
  return [
    errorAt(
      undefined,
      [
        "Shipped code imports local modules that the build ignore rules (.gitignore or built-in defaults) exclude:",
        ...lines,
        "",
        "Shipping them would silently override a deliberate exclusion, and omitting them would break the worker with ModuleNotFoundError. Remove the matching ignore pattern or stop importing these modules from shipped code.",
      ].join("\n"),
    ),
  ];
}
