/** Which tsconfig TypeScript gets: made from the project's own, for what is asked of it. */

import { existsSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import type { OwnPackage } from "../own-package.ts";

/** What of the project's own tsconfig a derived one has to know. */
export interface UserConfig {
  /** Absolute; undefined when the project has none. */
  file: string | undefined;
  /** What `paths` are relative to. */
  base: string;
  paths: Record<string, string[]>;
  hasTypeRoots: boolean;
  /** The files that it means, absolute. */
  fileNames: readonly string[];
}

export interface ConfigTarget {
  root: string;
  own: OwnPackage;
  /** What to start from, absolute. */
  files: readonly string[];
}

/** The nearest tsconfig.json, not above the repository. */
export function findConfig(root: string): string | undefined {
  return existsUpwards(root, "tsconfig.json");
}

export function noUserConfig(root: string): UserConfig {
  return { file: undefined, base: root, paths: {}, hasTypeRoots: false, fileNames: [] };
}

/**
 * For schemas: the project's own settings, but strict. Without `strictNullChecks` a type does not say
 * whether it admits null, and the schema would be wrong. Type errors are not looked at.
 */
export function schemaConfig(user: UserConfig, target: ConfigTarget): object {
  return derive(user, target, {
    ...(user.file === undefined ? defaultOptions(target.root) : {}),
    strict: true,
    strictNullChecks: true,
    allowJs: true,
    checkJs: false,
  });
}

/** For type errors: as strict as the project wants to be. */
export function checkConfig(user: UserConfig, target: ConfigTarget): object {
  // Wants declarations to be written, which nothing is here.
  return derive(user, target, { isolatedDeclarations: false });
}

function derive(user: UserConfig, { root, own, files }: ConfigTarget, options: object): object {
  const absolute = Object.entries(user.paths).map(([key, targets]) => [
    key,
    targets.map((target) => (isAbsolute(target) ? target : resolve(user.base, target))),
  ]);
  return {
    ...(user.file === undefined ? {} : { extends: user.file }),
    compilerOptions: {
      ...options,
      noEmit: true,
      composite: false,
      incremental: false,
      declaration: false,
      declarationMap: false,
      emitDeclarationOnly: false,
      allowImportingTsExtensions: true,
      skipLibCheck: true,
      // Looked for above the config otherwise, which may lie outside the project.
      ...(user.hasTypeRoots ? {} : { typeRoots: typeRootsAbove(root) }),
      paths: { ...Object.fromEntries(absolute), "runpod-flash": [own.types] },
    },
    files,
    include: [],
    references: [],
  };
}

function defaultOptions(root: string): object {
  const hasNodeTypes = existsUpwards(root, "node_modules/@types/node/package.json") !== undefined;
  return {
    target: "esnext",
    module: "preserve",
    moduleResolution: "bundler",
    resolveJsonModule: true,
    jsx: "react-jsx",
    ...(hasNodeTypes ? { types: ["node"] } : {}),
  };
}

function typeRootsAbove(root: string): string[] {
  const folders = [root];
  while (dirname(folders[0] ?? root) !== folders[0]) folders.unshift(dirname(folders[0] ?? root));
  return folders
    .reverse()
    .map((folder) => join(folder, "node_modules/@types"))
    .filter((folder) => existsSync(folder));
}

function existsUpwards(from: string, name: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    if (existsSync(join(folder, ".git")) || dirname(folder) === folder) return undefined;
  }
}
