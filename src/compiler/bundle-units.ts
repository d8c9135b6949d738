/** What goes into the bundle of each endpoint: its files, and the packages that stay outside. */

import type { BundleUnit } from "./bundle.ts";
import type { CheckedEndpoint } from "./check.ts";
import { dependencyNames } from "./dependencies.ts";
import type { DerivedName } from "./endpoints.ts";
import { importClosure } from "./imports.ts";

/** Endpoints of the same files have the same bundle, so what it reaches is looked for once. */
export function unitsOf(
  endpoints: readonly CheckedEndpoint[],
  graph: ReadonlyMap<string, readonly string[]>,
  derivedNames: readonly DerivedName[],
): BundleUnit[] {
  const declaredIn = new Map<string, CheckedEndpoint[]>();
  for (const endpoint of endpoints) {
    for (const file of endpoint.files)
      declaredIn.set(file, [...(declaredIn.get(file) ?? []), endpoint]);
  }
  const known = new Map<string, Omit<BundleUnit, "endpoint">>();
  return endpoints.map(({ name, files }) => {
    const key = files.join("\n");
    let unit = known.get(key);
    if (unit === undefined) {
      const reached = new Set(files.flatMap((file) => importClosure(file, graph)));
      // Code of other endpoints comes along, and so do their outside packages.
      const inside = [...reached].flatMap((file) => declaredIn.get(file) ?? []);
      unit = {
        files,
        externals: dependencyNames(inside),
        exports: derivedNames.filter(({ file }) => reached.has(file)),
      };
      known.set(key, unit);
    }
    return Object.assign({ endpoint: name }, unit);
  });
}
