/**
 * A project of any size for `build.ts`: of ten files, two hold types only, two hold plain code, and
 * six declare endpoints. Types are imported across files, functions are documented, and about a third
 * of the endpoints are load balanced with two routes each.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

export interface ProjectSize {
  endpoints: number;
  files: number;
}

export interface GeneratedProject {
  endpoints: number;
  files: number;
  /** A file that declares endpoints and that nothing imports. */
  leaf: string;
  /** Plain code that all endpoints import, most of them through other code. */
  shared: string;
}

/** Writes the project below `root`. The same size gives the same files. */
export function writeProject(root: string, size: ProjectSize): GeneratedProject {
  const types = Math.round(size.files / 5);
  const code = Math.round(size.files / 5);
  const declaring = size.files - types - code;
  for (let index = 0; index < types; index++) put(root, typeFile(index), typesText(index, types));
  for (let index = 0; index < code; index++) {
    put(root, codeFile(index), codeText(index, types));
  }
  let written = 0;
  for (let index = 0; index < declaring; index++) {
    const upTo = Math.round((size.endpoints * (index + 1)) / declaring);
    put(root, endpointFile(index), endpointsText({ index, from: written, upTo, types, code }));
    written = upTo;
  }
  put(root, "package.json", `${JSON.stringify({ name: "generated", type: "module" })}\n`);
  return {
    endpoints: size.endpoints,
    files: size.files,
    leaf: endpointFile(declaring >> 1),
    shared: codeFile(0),
  };
}

const typeFile = (index: number): string => `models/area${index % 8}/model${index}.ts`;
const codeFile = (index: number): string => `services/service${index}.ts`;
const endpointFile = (index: number): string => `workers/group${index % 12}/worker${index}.ts`;

function put(root: string, file: string, text: string): void {
  const full = path.join(root, file);
  mkdirSync(path.dirname(full), { recursive: true });
  writeFileSync(full, text);
}

function typesText(index: number, types: number): string {
  // Chains of three: types that hold types that hold types.
  const other = index - 1;
  const hasOther = index % 3 !== 0 && other < types;
  return `${hasOther ? `import type { Item${other} } from "../area${other % 8}/model${other}.ts";\n` : ""}
export type State${index} = "draft" | "active" | "archived";

/** What area ${index} keeps. */
export interface Item${index} {
  id: string;
  /** Shown in lists. @minLength 1 @maxLength 80 */
  title: string;
  state: State${index};
  /** @minimum 0 */
  amount: number;
  tags: readonly string[];
  createdAt: Date;${hasOther ? `\n  parent?: Item${other};` : ""}
}

export type Draft${index} = Omit<Item${index}, "id" | "createdAt">;

export interface Page${index}<T> {
  items: T[];
  next?: string;
  total: number;
}

export type Change${index} =
  | { kind: "rename"; title: string }
  | { kind: "move"; to: State${index} }
  | { kind: "charge"; amount: number; note?: string };
`;
}

function codeText(index: number, types: number): string {
  const model = index % types;
  const before = Math.floor(index / 3);
  const imports =
    before === index ? "" : `import { scale${before} } from "./service${before}.ts";\n`;
  const scaled = before === index ? "item.amount * 2" : `scale${before}({ amount: item.amount })`;
  return `${imports}import type { Change${model}, Item${model} } from "../${typeFile(model)}";

export function scale${index}(item: { amount: number }): number {
  return ${scaled};
}

export function apply${index}(item: Item${model}, change: Change${model}): Item${model} {
  switch (change.kind) {
    case "rename":
      return { ...item, title: change.title };
    case "move":
      return { ...item, state: change.to };
    case "charge":
      return { ...item, amount: item.amount - change.amount };
  }
}
`;
}

interface EndpointFile {
  index: number;
  from: number;
  upTo: number;
  types: number;
  code: number;
}

function endpointsText({ index, from, upTo, types, code }: EndpointFile): string {
  const model = index % types;
  const second = (index * 7 + 1) % types;
  const service = index % code;
  const typeImports =
    model === second
      ? [`Change${model}, Draft${model}, Item${model}, Page${model}`]
      : [`Change${model}, Draft${model}, Item${model}, Page${model}`, `Item${second}`];
  const head = [
    'import { Endpoint } from "runpod-flash";',
    ...typeImports.map(
      (names, at) =>
        `import type { ${names} } from "../../${typeFile(at === 0 ? model : second)}";`,
    ),
    `import { scale${service} } from "../../${codeFile(service)}";`,
  ].join("\n");
  const parts = [];
  for (let number = from; number < upTo; number++) {
    parts.push(
      number % 3 === 2
        ? routesText(number, model)
        : functionText(number, { model, second, service }),
    );
  }
  return `${head}\n\n${parts.join("\n")}`;
}

function functionText(
  number: number,
  { model, second, service }: { model: number; second: number; service: number },
): string {
  return `/**
 * Works on the items of area ${model}.
 * @param items What to work on.
 * @param depth How far to look.
 */
export const work${number} = Endpoint(
  { name: "work-${number}", workers: [0, ${1 + (number % 3)}] },
  async (items: Item${model}[], change: Change${model}, depth = 2, like?: Partial<Item${second}>) => ({
    total: items.reduce((sum, item) => sum + scale${service}(item), 0) * depth,
    kind: change.kind,
    titles: items.map(({ title }) => \`\${title} ${number}\`),
    like: like?.title ?? null,
  }),
);
`;
}

function routesText(number: number, model: number): string {
  return `const api${number} = Endpoint({ name: "api-${number}", cpu: "cpu3c-1-2", workers: [0, 2] });
/** One item. */
export const get${number} = api${number}.get(
  "/items/{id}",
  async (id: string, full = false): Promise<Page${model}<Pick<Item${model}, "id" | "title">>> => ({
    items: [{ id, title: full ? "full ${number}" : "short" }],
    total: 1,
  }),
);
/** Adds an item. */
export const add${number} = api${number}.post("/items", async (draft: Draft${model}) => ({
  ...draft,
  id: "new-${number}",
  number: ${number},
}));
`;
}
