/** Which packages stay outside a bundle, and which of them an endpoint needs installed. */

import type { Bundle } from "./bundle.ts";
import type { CheckedEndpoint } from "./check.ts";
import { compare } from "./diagnostics.ts";
import { parseDependency } from "./packages.ts";

/** Names of all packages that these endpoints list, sorted. */
export function dependencyNames(endpoints: readonly CheckedEndpoint[]): string[] {
  const all = endpoints.flatMap(({ options }) => options.dependencies ?? []);
  return [...new Set(all.map(nameOfDependency))].sort(compare);
}

function nameOfDependency(dependency: string): string {
  return parseDependency(dependency).name;
}

/**
 * What an endpoint lists, and what other endpoints in its bundle list and import at the top of a
 * file: without it the bundle could not be loaded.
 */
export function dependenciesOf(
  endpoint: CheckedEndpoint,
  bundle: Bundle,
  { all, exclude }: { all: readonly CheckedEndpoint[]; exclude: readonly string[] },
): string[] {
  const excluded = new Set(exclude);
  const own = (endpoint.options.dependencies ?? []).filter(
    (dependency) => !excluded.has(nameOfDependency(dependency)),
  );
  const taken = new Set([...own.map(nameOfDependency), ...exclude]);
  const foreign = all
    .flatMap(({ options }) => options.dependencies ?? [])
    .filter((dependency) => {
      const name = nameOfDependency(dependency);
      if (taken.has(name) || !bundle.loads.includes(name)) return false;
      taken.add(name);
      return true;
    });
  return [...own, ...foreign];
}
