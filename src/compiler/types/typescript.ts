/**
 * The only file that names TypeScript's own API. It is marked unstable and changes between minor
 * versions, hence the exact pin in package.json and this thin layer: everything else in the room
 * gets nodes, types and the checker from here.
 */

import {
  API,
  ElementFlags,
  NodeBuilderFlags,
  ObjectFlags,
  SignatureKind,
  SymbolFlags,
  TypeFlags,
  type Checker,
  type NodeHandle,
  type Signature,
  type Snapshot,
  type Symbol as TsSymbol,
  type Type,
} from "typescript/unstable/sync";
import { SyntaxKind, type Node, type SourceFile } from "typescript/unstable/ast";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import type { PathPatterns } from "../imports.ts";
import type { OwnPackage } from "../own-package.ts";
import {
  checkConfig,
  findConfig,
  noUserConfig,
  schemaConfig,
  type UserConfig,
} from "./type-config.ts";

export { ElementFlags, ObjectFlags, SignatureKind, SymbolFlags, SyntaxKind, TypeFlags };
export type { Checker, Node, NodeHandle, Signature, SourceFile, TsSymbol, Type };

/** Makes `typeToTypeNode` write an alias out instead of naming it. */
export const WRITTEN_OUT = NodeBuilderFlags.InTypeAlias;

/** What each element of a tuple type is; the API leaves it out for the empty tuple. */
export function elementFlagsOf(type: Type): readonly ElementFlags[] {
  const target = type.isTypeReference() ? type.getTarget() : type;
  const { elementFlags } = target as { elementFlags?: readonly ElementFlags[] };
  return elementFlags ?? [];
}

/** Types of one state of the project's files. */
export interface TypeView {
  checker: Checker;
  /** By absolute path. */
  sourceFile(path: string): SourceFile | undefined;
}

export interface TypeProgramOptions {
  root: string;
  /** Folder of the derived tsconfig. */
  configDir: string;
  own: OwnPackage;
}

/** The project's types, in a process of the compiler's that lives until `close()`. */
export class TypeProgram {
  readonly #options: TypeProgramOptions;
  #userConfig: string | undefined;
  #api: API | undefined;
  #snapshot: Snapshot | undefined;
  #answers = new Map<string, unknown>();
  #config = "";

  constructor(options: TypeProgramOptions) {
    this.#options = options;
  }

  /** `paths` of the project's tsconfig, relative to the project. */
  pathPatterns(): PathPatterns | undefined {
    const { paths, base } = this.#readUserConfig();
    if (Object.keys(paths).length === 0) return undefined;
    return { base: relative(this.#options.root, base).split(sep).join("/"), paths };
  }

  /**
   * Types of `files`, absolute, and all they import. Between two calls only `changed` files, absolute
   * as well, may have been edited, created or deleted; after anything else, `close()` first.
   */
  view(files: readonly string[], changed: Iterable<string>): TypeView {
    const file = join(this.#options.configDir, "tsconfig.json");
    const { root, own } = this.#options;
    const derived = schemaConfig(this.#readUserConfig(), { root, own, files });
    const config = JSON.stringify(derived, null, 2);
    const edits = [...changed];
    if (config !== this.#config) {
      mkdirSync(this.#options.configDir, { recursive: true });
      writeFileSync(file, config);
      this.#config = config;
      edits.push(file);
    }
    const before = this.#snapshot;
    this.#answers.clear();
    this.#snapshot = this.#start().updateSnapshot(
      before === undefined ? { openProjects: [file] } : { fileChanges: fileChanges(edits) },
    );
    before?.dispose();
    const project = this.#snapshot.getProject(file);
    if (project === undefined) throw new Error(`TypeScript did not open ${file}`);
    return {
      checker: project.checker,
      sourceFile: (path) => project.program.getSourceFile(path),
    };
  }

  /**
   * Writes a tsconfig with which `tsc` checks `files`, absolute, as the project itself wants them
   * checked, and returns its path. Undefined when the project's tsconfig means none of them, or there is none.
   */
  writeCheckConfig(files: readonly string[]): string | undefined {
    const { root, own, configDir } = this.#options;
    const user = this.#readUserConfig();
    const meant = new Set(user.fileNames);
    const included = files.filter((file) => meant.has(file));
    if (user.file === undefined || included.length === 0) return undefined;
    const file = join(configDir, "tsconfig.check.json");
    mkdirSync(configDir, { recursive: true });
    writeFileSync(file, JSON.stringify(checkConfig(user, { root, own, files: included }), null, 2));
    return file;
  }

  /** Ends TypeScript's process and forgets all it knew. The next call starts another. Repeatable. */
  close(): void {
    this.#snapshot = undefined;
    this.#api?.close();
    this.#api = undefined;
    this.#answers.clear();
    this.#config = "";
  }

  #start(): API {
    if (this.#api === undefined) {
      this.#userConfig = findConfig(this.#options.root);
      this.#api = new API({ cwd: this.#options.root });
      rememberAnswers(this.#api, this.#answers);
      endQuietly(this.#api);
    }
    return this.#api;
  }

  #readUserConfig(): UserConfig {
    const api = this.#start();
    const file = this.#userConfig;
    if (file === undefined) return noUserConfig(this.#options.root);
    const { options, fileNames } = api.parseConfigFile(file);
    const { paths, pathsBasePath, typeRoots } = options as {
      paths?: Record<string, string[]>;
      pathsBasePath?: string;
      typeRoots?: string[];
    };
    return {
      file,
      base: pathsBasePath ?? dirname(file),
      paths: paths ?? {},
      hasTypeRoots: typeRoots !== undefined,
      fileNames,
    };
  }
}

/**
 * The types of a project are asked the same questions for every function that uses them: of 230,000
 * for a thousand functions, 96 of 100 were repetitions, each a message to another process and back.
 * Within one snapshot an answer stays what it is. Reaches into the API's client, which is not public;
 * the version is pinned, and without that client everything works as before, only slower.
 */
function rememberAnswers(api: API, answers: Map<string, unknown>): void {
  const { client } = api as unknown as { client?: RequestClient };
  if (client?.apiRequest === undefined) return;
  const ask = client.apiRequest.bind(client);
  client.apiRequest = (method, params) => {
    if (!REPEATABLE.test(method)) return ask(method, params);
    const key = method + JSON.stringify(params);
    if (!answers.has(key)) answers.set(key, ask(method, params));
    return answers.get(key);
  };
}

interface RequestClient {
  apiRequest(method: string, params: unknown): unknown;
  channel?: { child?: ChildProcess };
}

/**
 * Asked to end while it does something, TypeScript's process sometimes writes "context canceled" to
 * our stderr. It keeps nothing that killing it could lose.
 */
function endQuietly(api: API): void {
  const { client } = api as unknown as { client?: RequestClient };
  const child = client?.channel?.child;
  if (child === undefined) return;
  const kill = child.kill.bind(child);
  child.kill = () => kill("SIGKILL");
}

/** Questions about types and symbols; the others change the state, or are asked once. */
const REPEATABLE =
  /^(getTypesOfType|getTypesOfSymbols|getPropertiesOfType|getSignaturesOfType|getTypeArguments|getIndexInfosOfType|isTupleType|isArrayType|typeToString)$/;

/** A file that exists may be new: TypeScript looks for it again only when it is told so. */
function fileChanges(edits: readonly string[]): FileChangeLists {
  const existing = edits.filter((path) => existsSync(path));
  const deleted = edits.filter((path) => !existsSync(path));
  return { changed: existing, created: existing, deleted };
}

interface FileChangeLists {
  changed: string[];
  created: string[];
  deleted: string[];
}
