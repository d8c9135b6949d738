/**
 * The corpus: function signatures, each with calls that fit and calls that do not. Every case becomes
 * a route and a method of a queue class (`project.ts`), and every call goes through every channel
 * (`channels.ts`), where it must have the same end.
 *
 * Values are written as the function's own types have them; `undefined` is an argument left out. A
 * place is named from the parameter on: `user.tags[0]`.
 */

export interface Valid {
  args: readonly unknown[];
  /** What the function gets, when defaults make it more than `args`. */
  receives: readonly unknown[];
}

export interface Invalid {
  args: readonly unknown[];
  /** Where the issues are. */
  places: readonly string[];
}

export interface Case {
  /** Declarations before the functions. Names are the case's own: all cases share two files. */
  types?: string;
  /** Type parameters, such as `<T extends string>`. */
  generic?: string;
  /** The parameter list. */
  takes: string;
  /** What the function passes on to `seen`; unless `names` says otherwise, its parameters. */
  passes: string;
  names?: readonly string[];
  /** The object parameter that is the whole body where no other one is in it. */
  whole?: string;
  /** Default: POST, and a path of the case's own. */
  method?: "GET" | "PUT" | "PATCH" | "DELETE";
  /** What follows the case's own path, such as `/{id}`. */
  path?: string;
  /** DELETE takes its values from the query, or from a body when there is one. */
  hasDeleteBody?: true;
  /** Only as a route (`lb`), or only as a queue's function (`qb`). */
  only?: "lb" | "qb";
  /** Also as a queue endpoint of its own, which knows no `method`. */
  isAlone?: true;
  /** A Standard Schema of `schemas.ts`: its functions are on endpoints of their own, with this input. */
  input?: string;
  /** The schema does not describe itself, so only the worker can refuse. */
  isMute?: true;
  valid: readonly Valid[];
  invalid: readonly Invalid[];
  /** Bodies that no typed call makes, by name: keys that nothing declares, a wrapped object. */
  strange?: readonly { body: Record<string, unknown>; places: readonly string[] }[];
}

function fits(...args: unknown[]): Valid {
  return { args, receives: args };
}

function fitsAs(args: unknown[], receives: unknown[]): Valid {
  return { args, receives };
}

function fails(args: unknown[], ...places: string[]): Invalid {
  return { args, places };
}

const DAY = new Date("2026-01-31T12:00:00.000Z");
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

export const CASES: Readonly<Record<string, Case>> = {
  // --- primitives and literals
  "strings, numbers and booleans": {
    takes: "a: string, b: number, c: boolean",
    passes: "a, b, c",
    isAlone: true,
    valid: [fits("x", 1, true), fits("", -0.5, false), fits('ä"\\\u{1f600}', 1e21, true)],
    invalid: [
      fails([5, 1, true], "a"),
      fails(["x", "1", "yes"], "b", "c"),
      fails(["x", 1], "c"),
      fails([null, 1, true], "a"),
    ],
    strange: [
      { body: { a: "x", b: 1, c: true, d: 1 }, places: ["d"] },
      { body: { a: "x", b: 1, c: true, constructor: 1 }, places: ["constructor"] },
    ],
  },
  "null beside other types": {
    takes: "a: null, b: string | null, c: { x: number } | null",
    passes: "a, b, c",
    valid: [fits(null, null, null), fits(null, "x", { x: 1 })],
    invalid: [fails([0, null, null], "a"), fails([null, 5, { x: "1" }], "b", "c.x")],
  },
  literals: {
    takes: 'a: "x", b: 5, c: true, d: -1.5',
    passes: "a, b, c, d",
    valid: [fits("x", 5, true, -1.5)],
    invalid: [fails(["y", 5, true, -1.5], "a"), fails(["x", 6, false, 1.5], "b", "c", "d")],
  },
  "unions of literals": {
    takes: 'a: "auto" | "manual", b: 1 | 2 | 3, c: "max" | 10',
    passes: "a, b, c",
    valid: [fits("auto", 1, "max"), fits("manual", 3, 10)],
    invalid: [fails(["Auto", 1, "max"], "a"), fails(["auto", 4, 11], "b", "c")],
  },
  "unions of scalars": {
    takes: "a: string | number, b: boolean | number | null",
    passes: "a, b",
    valid: [fits("x", true), fits("5", null), fits(5, 0)],
    invalid: [fails([true, true], "a"), fails(["x", "true"], "b"), fails([[], {}], "a", "b")],
  },
  "whole numbers as bigint": {
    takes: "a: bigint, b: { total: bigint }",
    passes: "a, b",
    valid: [fits(5n, { total: -1n }), fits(2n ** 80n, { total: 0n })],
    invalid: [
      fails(["x", { total: 0n }], "a"),
      fails(["1.5", { total: "1e3" }], "a", "b.total"),
      fails([{}, { total: 0n }], "a"),
    ],
  },
  "bigint literals": {
    takes: "a: 1n | 2n, b: -3n",
    passes: "a, b",
    valid: [fits(1n, -3n), fits(2n, -3n)],
    invalid: [fails([3n, -3n], "a"), fails([1n, 3n], "b"), fails([{}, 5], "a", "b")],
  },
  "unknown takes everything": {
    takes: "a: unknown, b?: any",
    passes: "a, b",
    valid: [fits(null), fits({ x: [1] }, "y")],
    invalid: [fails([], "a"), fails([undefined, 1], "a")],
  },
  "object and {} take no null": {
    takes: "a: object, b: {}",
    passes: "a, b",
    valid: [fits({ x: 1 }, 5), fits([1], { y: 2 })],
    invalid: [fails([5, 5], "a"), fails([{}, null], "b"), fails([null, "x"], "a")],
  },
  // --- enums
  "const objects as enums": {
    types: `const Size = { Small: "small", Large: "large" } as const;
      type Size = (typeof Size)[keyof typeof Size];`,
    takes: "size: Size, sizes: Size[]",
    passes: "size, sizes",
    valid: [fits("small", []), fits("large", ["small", "large"])],
    invalid: [fails(["Small", []], "size"), fails(["small", ["large", "tiny"]], "sizes[1]")],
  },
  "real enums of texts": {
    types: 'enum Color { Red = "red", Blue = "blue" }',
    takes: "color: Color, other = Color.Blue",
    passes: "color, other",
    isAlone: true,
    valid: [fitsAs(["red"], ["red", "blue"]), fits("blue", "red")],
    invalid: [fails(["Red"], "color"), fails(["red", "green"], "other")],
  },
  "real enums of numbers": {
    types: "enum Level { Low, Mid = 5, High }",
    takes: "level: Level, top: Level.High",
    passes: "level, top",
    valid: [fits(0, 6), fits(5, 6)],
    invalid: [fails([1, 6], "level"), fails(["Low", 5], "level", "top")],
  },
  "keys of a value": {
    types: "const prices = { basic: 1, pro: 2 };",
    takes: "plan: keyof typeof prices",
    passes: "plan",
    valid: [fits("basic"), fits("pro")],
    invalid: [fails(["free"], "plan"), fails([1], "plan")],
  },
  "template literals": {
    takes: "id: `user-${number}`, file: `${string}.txt`, side: `${'a' | 'b'}${1 | 2}`",
    passes: "id, file, side",
    valid: [fits("user-5", "a.txt", "a1"), fits("user--1.5", ".txt", "b2")],
    invalid: [
      fails(["user-x", "a.txt", "a1"], "id"),
      fails(["user-1", "a.txt2", "a3"], "file", "side"),
    ],
  },
  // --- arrays, tuples, records
  arrays: {
    takes: "names: string[], grid: readonly number[][], flags: ReadonlyArray<boolean>",
    passes: "names, grid, flags",
    valid: [fits([], [], []), fits(["a"], [[1], [2, 3], []], [true])],
    invalid: [
      fails(["a", [], []], "names"),
      fails([["a", 5], [[1], ["2"]], [null]], "names[1]", "grid[1][0]", "flags[0]"),
    ],
  },
  "arrays of a union": {
    takes: "values: (string | number | null)[]",
    passes: "values",
    valid: [fits(["a", 1, null]), fits([])],
    invalid: [fails([["a", true]], "values[1]"), fails([{ 0: "a" }], "values")],
  },
  tuples: {
    takes: "pair: [string, number], labelled: [x: number, y: number]",
    passes: "pair, labelled",
    valid: [fits(["a", 1], [0, 0]), fits(["", -1], [1.5, 2])],
    invalid: [
      fails([["a"], [0, 0]], "pair"),
      fails(
        [
          ["a", 1, 2],
          [0, "0"],
        ],
        "pair",
        "labelled[1]",
      ),
    ],
  },
  "tuples with optional and rest elements": {
    takes: "a: [string, number?], b: [string, ...number[]], c: []",
    passes: "a, b, c",
    valid: [fits(["x"], ["x"], []), fits(["x", 1], ["x", 1, 2, 3], [])],
    invalid: [
      fails([[], [], []], "a", "b"),
      fails([["x", "y"], ["x", 1, "2"], [1]], "a[1]", "b[2]", "c"),
    ],
  },
  records: {
    takes: "scores: Record<string, number>, fixed: Record<'x' | 'y', boolean>",
    passes: "scores, fixed",
    valid: [fits({}, { x: true, y: false }), fits({ "a b": 1, __proto: 2 }, { x: true, y: true })],
    invalid: [
      fails([{ a: "1" }, { x: true, y: true }], "scores.a"),
      fails([{ "a b": null }, { x: true }], 'scores["a b"]', "fixed.y"),
      fails([[1], { x: true, y: 0 }], "scores", "fixed.y"),
    ],
  },
  "index signatures": {
    takes:
      "a: { [key: string]: string[] }, b: { [key: `x-${string}`]: number }, c: { id: number; [key: string]: number }",
    passes: "a, b, c",
    valid: [fits({}, {}, { id: 1 }), fits({ k: ["v"] }, { "x-a": 1 }, { id: 1, more: 2 })],
    invalid: [
      fails([{ k: "v" }, {}, { id: 1 }], "a.k"),
      fails([{ k: [1] }, { "x-a": "1" }, { id: 1, more: "2" }], "a.k[0]", 'b["x-a"]', "c.more"),
    ],
  },
  "partial records": {
    types: "type Limits = Partial<Record<'cpu' | 'memory', number>>;",
    takes: "name: string, limits: Limits",
    passes: "name, limits",
    valid: [fits("a", {}), fits("a", { cpu: 1, memory: 2 })],
    invalid: [fails(["a", { cpu: "1" }], "limits.cpu"), fails(["a", []], "limits")],
  },
  // --- optional and default parameters
  "optional parameters": {
    takes: "a: string, b?: number, c?: string | null",
    passes: "a, b, c",
    valid: [fits("x"), fits("x", 1), fits("x", undefined, null)],
    invalid: [fails([], "a"), fails(["x", null], "b"), fails(["x", 1, 5], "c")],
  },
  "default parameters": {
    takes: 'a: string, b = 2, c: readonly string[] = ["z"], d: number | null = null',
    passes: "a, b, c, d",
    isAlone: true,
    valid: [
      fitsAs(["x"], ["x", 2, ["z"], null]),
      fitsAs(["x", undefined, []], ["x", 2, [], null]),
      fits("x", 0, ["a"], 5),
    ],
    invalid: [
      fails(["x", "2"], "b"),
      fails(["x", null, "z"], "b", "c"),
      fails(["x", 1, [], "5"], "d"),
    ],
  },
  "undefined in a type": {
    takes: "a: string | undefined, b: { x: number | undefined; y: string }",
    passes: "a, b",
    valid: [fits(undefined, { y: "a" }), fits("x", { x: 1, y: "a" })],
    invalid: [fails(["x", { x: 1 }], "b.y"), fails([5, { x: null, y: "a" }], "a", "b.x")],
  },
  "optional properties": {
    takes: "options: { depth?: number; label?: string }, name: string",
    passes: "options, name",
    valid: [fits({}, "a"), fits({ depth: 1, label: "x" }, "a")],
    invalid: [
      fails([{ depth: "1" }, "a"], "options.depth"),
      fails([{ label: null }, "a"], "options.label"),
    ],
  },
  "no parameters": {
    takes: "",
    passes: "",
    valid: [fits()],
    invalid: [],
    strange: [
      { body: { a: 1 }, places: ["a"] },
      { body: { a: 1, b: 2 }, places: ["a", "b"] },
    ],
  },
  "only optional parameters": {
    takes: "a?: string, b = 1",
    passes: "a, b",
    valid: [fitsAs([], [undefined, 1]), fits("x", 2)],
    invalid: [fails([5], "a"), fails(["x", true], "b")],
    strange: [{ body: { c: 1 }, places: ["c"] }],
  },
  // --- rest parameters
  "rest parameters": {
    takes: "first: string, ...others: number[]",
    passes: "first, ...others",
    valid: [fits("a"), fits("a", 1, 2, 3)],
    invalid: [fails(["a", 1, "2"], "others[1]"), fails([1, null], "first", "others[0]")],
  },
  "a rest of a tuple": {
    types: "type JoinArgs = [separator: string, limit?: number];",
    takes: "...args: JoinArgs",
    passes: "...args",
    names: ["separator", "limit"],
    valid: [fits(","), fits(",", 3)],
    invalid: [fails([], "separator"), fails([",", "3"], "limit")],
  },
  "rest parameters of objects": {
    types: "interface Point { x: number; y: number }",
    takes: "...points: Point[]",
    passes: "...points",
    valid: [fits(), fits({ x: 1, y: 2 }, { x: 3, y: 4 })],
    invalid: [fails([{ x: 1 }], "points[0].y"), fails([{ x: 1, y: 2 }, 5], "points[1]")],
  },
  // --- objects and the single-object rule
  "one object is the whole body": {
    types: "interface NewUser { name: string; email?: string; tags: string[] }",
    takes: "user: NewUser",
    passes: "user",
    whole: "user",
    isAlone: true,
    valid: [fits({ name: "A", tags: [] }), fits({ name: "A", email: "a@b.c", tags: ["x"] })],
    invalid: [
      fails([{ name: "A" }], "user.tags"),
      fails([{ name: 5, tags: ["x", 1] }], "user.name", "user.tags[1]"),
    ],
    strange: [
      { body: { name: "A", tags: [], extra: 1 }, places: ["user.extra"] },
      { body: { user: { name: "A", tags: [] } }, places: ["user.user", "user.name", "user.tags"] },
    ],
  },
  "a destructured object": {
    takes: "{ name, limit = 10 }: { name: string; limit?: number }",
    passes: "name, limit",
    names: ["input"],
    whole: "input",
    valid: [fitsAs([{ name: "a" }], ["a", 10]), fitsAs([{ name: "a", limit: 1 }], ["a", 1])],
    invalid: [fails([{}], "input.name"), fails([{ name: "a", limit: "1" }], "input.limit")],
  },
  "an optional object": {
    takes: "options: { page?: number; size?: number } = {}",
    passes: "options",
    whole: "options",
    valid: [fitsAs([], [{}]), fits({ page: 2 })],
    invalid: [fails([{ page: "2" }], "options.page"), fails([{ size: null }], "options.size")],
    strange: [{ body: { pages: 1 }, places: ["options.pages"] }],
  },
  "one record is the whole body": {
    takes: "labels: Record<string, string>",
    passes: "labels",
    whole: "labels",
    valid: [fits({}), fits({ a: "b", "c d": "e" })],
    invalid: [fails([{ a: 1 }], "labels.a"), fails([{ "c d": null }], 'labels["c d"]')],
  },
  "one union of objects is the whole body": {
    types: `type Command =
      | { action: "start"; delay?: number }
      | { action: "stop"; reason: string };`,
    takes: "command: Command",
    passes: "command",
    whole: "command",
    isAlone: true,
    valid: [fits({ action: "start" }), fits({ action: "stop", reason: "x" })],
    invalid: [
      fails([{ action: "stop" }], "command.reason"),
      fails([{ action: "pause" }], "command.action"),
      fails([{ reason: "x" }], "command.action"),
    ],
    strange: [{ body: { action: "start", force: true }, places: ["command.force"] }],
  },
  "one recursive object is the whole body": {
    types: "interface Folder { name: string; folders: Folder[] }",
    takes: "folder: Folder",
    passes: "folder",
    whole: "folder",
    valid: [
      fits({ name: "a", folders: [] }),
      fits({ name: "a", folders: [{ name: "b", folders: [{ name: "c", folders: [] }] }] }),
    ],
    invalid: [
      fails([{ name: "a", folders: [{ name: "b" }] }], "folder.folders[0].folders"),
      fails(
        [{ name: "a", folders: [{ name: 1, folders: {} }] }],
        "folder.folders[0].name",
        "folder.folders[0].folders",
      ),
    ],
    strange: [{ body: { name: "a", folders: [], size: 1 }, places: ["folder.size"] }],
  },
  "nested objects are open": {
    takes: "id: number, user: { name: string; address: { city: string } }",
    passes: "id, user",
    valid: [
      fits(1, { name: "a", address: { city: "b" } }),
      fits(1, { name: "a", age: 5, address: { city: "b", zip: "c" } }),
    ],
    invalid: [
      fails([1, { name: "a", address: {} }], "user.address.city"),
      fails([1, { name: "a", address: "b" }], "user.address"),
    ],
  },
  "unusual keys": {
    takes: 'value: { "a-b": number; "1": string; constructor: boolean }, n: number',
    passes: "value, n",
    valid: [
      fits({ "a-b": 1, "1": "x", constructor: true }, 1),
      fits({ "a-b": 0, "1": "", constructor: false }, 2),
    ],
    invalid: [
      fails([{ "a-b": "1", "1": "x", constructor: true }, 1], 'value["a-b"]'),
      fails([{ "a-b": 1, "1": 1 }, 1], 'value["1"]', "value.constructor"),
    ],
  },
  // --- unions of objects
  "discriminated unions": {
    types: `type Shape =
      | { kind: "circle"; radius: number }
      | { kind: "square"; side: number }
      | { kind: "path"; points: [number, number][] };`,
    takes: "shape: Shape, scale: number",
    passes: "shape, scale",
    valid: [fits({ kind: "circle", radius: 1 }, 1), fits({ kind: "path", points: [[0, 1]] }, 2)],
    invalid: [
      fails([{ kind: "circle", side: 1 }, 1], "shape.radius"),
      fails([{ kind: "path", points: [[0, "1"]] }, 1], "shape.points[0][1]"),
      fails([{ kind: "oval" }, 1], "shape.kind"),
      fails([{ radius: 1 }, 1], "shape.kind"),
    ],
  },
  "unions without a tag": {
    takes: "target: { id: number } | { email: string } | string, n: number",
    passes: "target, n",
    valid: [fits({ id: 1 }, 1), fits({ email: "x" }, 1), fits("x", 1)],
    invalid: [fails([5, 1], "target"), fails([[], 1], "target")],
  },
  "exclusive unions": {
    types: "type Source = { url: string; text?: never } | { text: string; url?: never };",
    takes: "source: Source, n: number",
    passes: "source, n",
    valid: [fits({ url: "u" }, 1), fits({ text: "t" }, 1)],
    invalid: [fails([{ url: 5 }, 1], "source.url"), fails(["u", 1], "source")],
  },
  "nested discriminated unions": {
    types: `interface Ok { status: "ok"; value: { type: "n"; n: number } | { type: "s"; s: string } }
      interface Err { status: "error"; code: 404 | 500 }
      type Outcome = Ok | Err;`,
    takes: "outcomes: Outcome[]",
    passes: "outcomes",
    valid: [
      fits([]),
      fits([
        { status: "ok", value: { type: "n", n: 1 } },
        { status: "error", code: 404 },
      ]),
    ],
    invalid: [
      fails([[{ status: "ok", value: { type: "n", s: "x" } }]], "outcomes[0].value.n"),
      fails(
        [[{ status: "error", code: 401 }, { status: "late" }]],
        "outcomes[0].code",
        "outcomes[1].status",
      ),
    ],
  },
  // --- generics, utility and mapped types
  "instantiated generics": {
    types: "interface Page<T> { items: T[]; next: string | null }",
    takes: "page: Page<{ id: number }>, names: Page<string>",
    passes: "page, names",
    valid: [
      fits({ items: [], next: null }, { items: [], next: null }),
      fits({ items: [{ id: 1 }], next: "x" }, { items: ["a"], next: null }),
    ],
    invalid: [
      fails(
        [
          { items: [{}], next: null },
          { items: [], next: null },
        ],
        "page.items[0].id",
      ),
      fails([{ items: [], next: null }, { items: [1] }], "names.items[0]", "names.next"),
    ],
  },
  "type parameters are what they extend": {
    generic: '<K extends "a" | "b", T extends { id: string }>',
    takes: "key: K, value: T",
    passes: "key, value",
    valid: [fits("a", { id: "x" }), fits("b", { id: "x", more: 1 })],
    invalid: [fails(["c", { id: "x" }], "key"), fails(["a", { id: 1 }], "value.id")],
  },
  "Partial, Required, Readonly": {
    types: "interface Settings { theme: string; size?: number }",
    takes: "a: Partial<Settings>, b: Required<Settings>, c: Readonly<Settings>",
    passes: "a, b, c",
    valid: [
      fits({}, { theme: "x", size: 1 }, { theme: "x" }),
      fits({ size: 1 }, { theme: "x", size: 1 }, { theme: "x", size: 2 }),
    ],
    invalid: [
      fails([{}, { theme: "x" }, { theme: "x" }], "b.size"),
      fails([{ theme: 1 }, { theme: "x", size: 1 }, {}], "a.theme", "c.theme"),
    ],
  },
  "Pick, Omit, Extract, Exclude": {
    types: 'interface Account { id: number; name: string; role: "admin" | "user" | "guest" }',
    takes:
      'a: Pick<Account, "id">, b: Omit<Account, "id" | "role">, c: Exclude<Account["role"], "guest">, d: Extract<string | number, number>',
    passes: "a, b, c, d",
    valid: [fits({ id: 1 }, { name: "x" }, "admin", 1), fits({ id: 2 }, { name: "" }, "user", 0)],
    invalid: [
      fails([{}, { name: "x" }, "guest", 1], "a.id", "c"),
      fails([{ id: 1 }, {}, "user", "1"], "b.name", "d"),
    ],
  },
  "types derived from functions": {
    types: "async function load(id: number) { return { id, tags: [] as string[] }; }",
    takes:
      "a: Awaited<ReturnType<typeof load>>, b: Parameters<typeof load>[0], c: NonNullable<string | null>",
    passes: "a, b, c",
    valid: [fits({ id: 1, tags: [] }, 1, "x"), fits({ id: 1, tags: ["a"] }, 2, "")],
    invalid: [
      fails([{ id: 1 }, 1, "x"], "a.tags"),
      fails([{ id: 1, tags: [1] }, "1", null], "a.tags[0]", "b", "c"),
    ],
  },
  "mapped types": {
    types: `type Flags<T> = { [K in keyof T]: boolean };
      type Getters<T> = { [K in keyof T & string as \`get_\${K}\`]?: T[K] };
      interface Mapped { x: number; y: string }`,
    takes: "a: Flags<Mapped>, b: Getters<Mapped>",
    passes: "a, b",
    valid: [fits({ x: true, y: false }, {}), fits({ x: true, y: true }, { get_x: 1, get_y: "a" })],
    invalid: [
      fails([{ x: true }, {}], "a.y"),
      fails([{ x: true, y: 1 }, { get_x: "1" }], "a.y", "b.get_x"),
    ],
  },
  "conditional types": {
    types: "type ItemOf<T> = T extends readonly (infer U)[] ? U : T;",
    takes: "a: ItemOf<string[]>, b: ItemOf<number>, c: ItemOf<{ x: 1 }[]>",
    passes: "a, b, c",
    valid: [fits("x", 1, { x: 1 }), fits("", 0, { x: 1 })],
    invalid: [fails([["x"], 1, { x: 1 }], "a"), fails(["x", "1", { x: 2 }], "b", "c.x")],
  },
  // --- interfaces and recursion
  "imported interfaces": {
    types: 'import type { Order, Item } from "./shared/orders.ts";',
    takes: "order: Order, extra: Item | null",
    passes: "order, extra",
    valid: [
      fits({ id: 1, items: [] }, null),
      fits({ id: 1, items: [{ sku: "a", price: { amount: 1, currency: "EUR" } }] }, { sku: "b" }),
    ],
    invalid: [
      fails([{ id: 1, items: [{}] }, null], "order.items[0].sku"),
      fails(
        [{ id: 1, items: [{ sku: "a", price: { amount: 1 } }] }, { sku: 1 }],
        "order.items[0].price.currency",
        "extra.sku",
      ),
    ],
  },
  "inherited properties": {
    types: "interface Base { id: number } interface Derived extends Base { name: string }",
    takes: "value: Derived, n: number",
    passes: "value, n",
    valid: [fits({ id: 1, name: "a" }, 1), fits({ id: 2, name: "" }, 1)],
    invalid: [
      fails([{ name: "a" }, 1], "value.id"),
      fails([{ id: "1" }, 1], "value.id", "value.name"),
    ],
  },
  "recursive types": {
    types: "interface Tree { value: number; children?: Tree[] }",
    takes: "tree: Tree, depth: number",
    passes: "tree, depth",
    valid: [
      fits({ value: 1 }, 1),
      fits({ value: 1, children: [{ value: 2, children: [{ value: 3 }] }] }, 2),
    ],
    invalid: [
      fails([{ value: 1, children: [{}] }, 1], "tree.children[0].value"),
      fails(
        [{ value: 1, children: [{ value: 2, children: { 0: 1 } }] }, 1],
        "tree.children[0].children",
      ),
    ],
  },
  "mutually recursive types": {
    types: `interface Expr { op: "add" | "neg"; args: Term[] }
      type Term = number | Expr;`,
    takes: "expression: Expr, n: number",
    passes: "expression, n",
    valid: [
      fits({ op: "neg", args: [1] }, 1),
      fits({ op: "add", args: [1, { op: "neg", args: [2] }] }, 1),
    ],
    invalid: [
      fails([{ op: "add", args: [1, { op: "neg" }] }, 1], "expression.args[1].args"),
      fails([{ op: "add", args: ["1"] }, 1], "expression.args[0]"),
    ],
  },
  "recursive JSON": {
    types: "type Json = string | number | boolean | null | Json[] | { [key: string]: Json };",
    takes: "value: Json, n: number",
    passes: "value, n",
    valid: [fits({ a: [1, { b: null }] }, 1), fits(null, 1)],
    invalid: [fails([undefined, 1], "value"), fails([{ a: [] }, "1"], "n")],
  },
  "generic recursive types": {
    types: "interface Chain<T> { value: T; next?: Chain<T> }",
    takes: "a: Chain<string>, b: Chain<number>",
    passes: "a, b",
    valid: [
      fits({ value: "x" }, { value: 1 }),
      fits({ value: "x", next: { value: "y" } }, { value: 1, next: { value: 2 } }),
    ],
    invalid: [
      fails([{ value: "x", next: { value: 1 } }, { value: 1 }], "a.next.value"),
      fails([{ value: "x" }, { value: 1, next: {} }], "b.next.value"),
    ],
  },
  // --- intersections
  "intersections of objects": {
    types: "interface Named { name: string } interface Aged { age?: number }",
    takes: "person: Named & Aged & { active: boolean }, n: number",
    passes: "person, n",
    valid: [fits({ name: "a", active: true }, 1), fits({ name: "a", age: 1, active: false }, 1)],
    invalid: [
      fails([{ name: "a" }, 1], "person.active"),
      fails([{ age: "1", active: true }, 1], "person.name", "person.age"),
    ],
  },
  "intersections with unions": {
    takes: 'event: { id: number } & ({ type: "a"; a: string } | { type: "b" }), n: number',
    passes: "event, n",
    valid: [fits({ id: 1, type: "a", a: "x" }, 1), fits({ id: 1, type: "b" }, 1)],
    invalid: [
      fails([{ id: 1, type: "a" }, 1], "event.a"),
      fails([{ id: 1, type: "c" }, 1], "event.type"),
    ],
  },
  "intersections with records": {
    takes: "value: { id: number } & Record<string, number>, n: number",
    passes: "value, n",
    valid: [fits({ id: 1 }, 1), fits({ id: 1, more: 2 }, 1)],
    invalid: [fails([{ more: 2 }, 1], "value.id"), fails([{ id: 1, more: "2" }, 1], "value.more")],
  },
  "one intersection is the whole body": {
    types: "interface WithId { id: number } interface WithLabel { label?: string }",
    takes: "value: WithId & WithLabel",
    passes: "value",
    whole: "value",
    valid: [fits({ id: 1 }), fits({ id: 1, label: "x" })],
    invalid: [
      fails([{ label: "x" }], "value.id"),
      fails([{ id: "1", label: 1 }], "value.id", "value.label"),
    ],
    strange: [{ body: { id: 1, name: "x" }, places: ["value.name"] }],
  },
  "branded values": {
    types: `declare const brand: unique symbol;
      type UserId = string & { readonly __brand: "UserId" };
      type Cents = number & { readonly [brand]: "Cents" };
      type Tags = string[] & { readonly __brand: "Tags" };
      type Day = Date & { readonly __brand: "Day" };`,
    takes: "id: UserId, price: Cents, tags: Tags, day: Day",
    passes: "id, price, tags, day",
    valid: [fits("u1", 5, ["a"], DAY), fits("", 0, [], DAY)],
    invalid: [
      fails([1, 5, ["a"], DAY], "id"),
      fails(["u1", "5", [1], "soon"], "price", "tags[0]", "day"),
    ],
  },
  // --- values that JSON has no form for
  dates: {
    takes: "at: Date, range: { from: Date; to?: Date | null }",
    passes: "at, range",
    isAlone: true,
    valid: [fits(DAY, { from: DAY }), fits(DAY, { from: DAY, to: null })],
    invalid: [
      fails(["2026-02-30T00:00:00Z", { from: DAY }], "at"),
      fails(["2026-01-31", { from: 5, to: "x" }], "at", "range.from", "range.to"),
    ],
  },
  "arrays and records of dates": {
    takes: "days: Date[], byName: Record<string, Date>",
    passes: "days, byName",
    valid: [fits([], {}), fits([DAY, DAY], { a: DAY })],
    invalid: [
      fails([["x"], {}], "days[0]"),
      fails([[DAY, null], { a: "y" }], "days[1]", "byName.a"),
    ],
  },
  sets: {
    takes: "tags: Set<string>, numbers: ReadonlySet<number>",
    passes: "tags, numbers",
    valid: [fits(new Set(), new Set()), fits(new Set(["a", "b"]), new Set([1, 2]))],
    invalid: [fails([["a", "a"], new Set()], "tags[1]"), fails([{}, ["1"]], "tags", "numbers[0]")],
  },
  "rich values inside others": {
    types: `interface Entry { at: Date; amounts: bigint[]; seen: Set<Date> }`,
    takes: "entries: Entry[], last?: Entry",
    passes: "entries, last",
    valid: [
      fits([{ at: DAY, amounts: [1n], seen: new Set([DAY]) }]),
      fits([], { at: DAY, amounts: [], seen: new Set() }),
    ],
    invalid: [
      fails([[{ at: "x", amounts: ["1.5"], seen: [] }]], "entries[0].at", "entries[0].amounts[0]"),
      fails([[], { at: DAY, amounts: [], seen: ["never"] }], "last.seen[0]"),
    ],
  },
  "bytes inside JSON": {
    takes: "data: { content: Uint8Array; name: string }, n: number",
    passes: "data, n",
    valid: [
      fits({ content: bytes(1, 2, 3), name: "a" }, 1),
      fits({ content: bytes(), name: "a" }, 1),
    ],
    invalid: [
      fails([{ content: "not base64!", name: "a" }, 1], "data.content"),
      fails([{ content: [1, 2], name: 5 }, 1], "data.content", "data.name"),
    ],
  },
  "bytes in a queue": {
    takes: "image: Uint8Array, scale = 1",
    passes: "image, scale",
    only: "qb",
    valid: [fitsAs([bytes(255, 0)], [bytes(255, 0), 1]), fits(bytes(), 2)],
    invalid: [fails(["***"], "image"), fails([5, "2"], "image", "scale")],
  },
  // --- doc comments
  "constraints of properties": {
    types: `interface Signup {
      /** Who to write to.
       * @format email
       * @maxLength 20 */
      email: string;
      /** @minimum 0 @maximum 10 */
      score?: number;
      /** @asType integer */
      count: number;
      /** @minItems 1
       * @maxItems 2 */
      tags: string[];
      /** @pattern ^[a-z]+$ */
      slug: string;
    }`,
    takes: "signup: Signup",
    passes: "signup",
    whole: "signup",
    valid: [
      fits({ email: "a@b.co", count: 1, tags: ["x"], slug: "a" }),
      fits({ email: "a@b.co", score: 10, count: -1, tags: ["x", "y"], slug: "abc" }),
    ],
    invalid: [
      fails(
        [{ email: "nobody", score: 11, count: 1.5, tags: [], slug: "A1" }],
        "signup.email",
        "signup.score",
        "signup.count",
        "signup.tags",
        "signup.slug",
      ),
      fails(
        [{ email: "a@b.co", score: -1, count: 1, tags: ["x", "y", "z"], slug: "a" }],
        "signup.score",
        "signup.tags",
      ),
      fails(
        [{ email: "a.long.name@example.org", count: 1, tags: ["x"], slug: "a" }],
        "signup.email",
      ),
    ],
  },
  "constraints of parameters": {
    takes: `
      /** @minLength 2 @maxLength 3 */ code: string,
      /** @integer @minimum 1 */ count = 1,
      /** @exclusiveMinimum 0 @exclusiveMaximum 1 */ ratio = 0.5,
      /** @multipleOf 0.1 */ step = 0.1,
      /** @uniqueItems */ ids: number[] = []`,
    passes: "code, count, ratio, step, ids",
    valid: [
      fitsAs(["ab"], ["ab", 1, 0.5, 0.1, []]),
      fits("\u{1f600}\u{1f600}", 2, 0.9, 0.3, [1, 2]),
    ],
    invalid: [
      fails(["a", 0, 0, 0.15, [1, 1]], "code", "count", "ratio", "step", "ids[1]"),
      fails(["abcd", 1.5, 1], "code", "count", "ratio"),
    ],
  },
  formats: {
    takes: `
      /** @format uuid */ id: string,
      /** @format date */ day: string,
      /** @format uri */ link: string,
      /** @format ipv4 */ host: string,
      /** @format date-time */ at: string,
      /** @format hostname */ name: string`,
    passes: "id, day, link, host, at, name",
    valid: [
      fits(
        "01234567-89ab-4cde-8f01-23456789abcd",
        "2026-01-31",
        "https://a.b/c?d#e",
        "127.0.0.1",
        "2026-01-31T00:00:00Z",
        "a.b",
      ),
      fits(
        "01234567-89AB-4CDE-8F01-23456789ABCD",
        "2024-02-29",
        "urn:x",
        "1.2.3.4",
        "2026-01-31t00:00:00+01:00",
        "localhost",
      ),
    ],
    invalid: [
      fails(
        ["x", "2026-1-31", "no uri", "256.1.1.1", "2026-01-31", "-a"],
        "id",
        "day",
        "link",
        "host",
        "at",
        "name",
      ),
      fails(
        [
          "01234567-89ab-4cde-8f01-23456789abcd",
          "2026-02-30",
          "https://a.b",
          "1.2.3.4",
          "2026-01-31T25:00:00Z",
          "a",
        ],
        "day",
        "at",
      ),
    ],
  },
  "constraints on a type used twice": {
    types: `/** An amount of money. */
      interface Money { /** @minimum 0 */ amount: number; /** @minLength 3 @maxLength 3 */ currency: string }`,
    takes: "price: Money, tax: Money | null",
    passes: "price, tax",
    valid: [
      fits({ amount: 1, currency: "EUR" }, null),
      fits({ amount: 0, currency: "EUR" }, { amount: 1, currency: "USD" }),
    ],
    invalid: [
      fails([{ amount: -1, currency: "EUR" }, null], "price.amount"),
      fails(
        [
          { amount: 1, currency: "E" },
          { amount: 1, currency: "EURO" },
        ],
        "price.currency",
        "tax.currency",
      ),
    ],
  },
  // --- where values come from
  "values in the query": {
    takes: "text: string, count: number, isOn: boolean, tags?: string[], mode?: 'a' | 'b'",
    passes: "text, count, isOn, tags, mode",
    method: "GET",
    valid: [
      fits("5", 5, true),
      fits("a b&c=d", -1.5, false, ["x", "y z"], "a"),
      fits("true", 0, true, ["only"], "b"),
    ],
    invalid: [
      fails(["x", "many", true], "count"),
      fails(["x", 1, "maybe", ["x"], "c"], "isOn", "mode"),
      fails([undefined, 1, true], "text"),
    ],
  },
  "rich values in the query": {
    takes: "at: Date, big: bigint, ids: Set<number>, near?: { x: number }",
    passes: "at, big, ids, near",
    method: "GET",
    valid: [fits(DAY, 5n, new Set([1, 2])), fits(DAY, -1n, new Set([1]), { x: 1 })],
    invalid: [
      fails(["today", 5n, new Set([1, 2])], "at"),
      fails([DAY, "x", ["a", 1], { x: "1" }], "big", "ids[0]", "near.x"),
    ],
  },
  "an object in the query": {
    types: "interface Filter { q: string; page?: number; tags?: string[] }",
    takes: "filter: Filter",
    passes: "filter",
    whole: "filter",
    method: "GET",
    valid: [fits({ q: "x" }), fits({ q: "5", page: 2, tags: ["a", "b"] })],
    invalid: [fails([{ page: 1 }], "filter.q"), fails([{ q: "x", page: "two" }], "filter.page")],
  },
  "a union in the query": {
    takes: "value: string | number, size: 1 | 2 | 'all', list?: number[] | string",
    passes: "value, size, list",
    method: "GET",
    valid: [fits("x", 1), fits(5, "all", [1, 2]), fits("x", 2, "abc")],
    invalid: [fails(["x", 3], "size"), fails([undefined, "none"], "value", "size")],
  },
  "rest parameters in the query": {
    takes: "...ids: number[]",
    passes: "...ids",
    method: "GET",
    valid: [fits(1), fits(1, 2, 3)],
    invalid: [fails(["x"], "ids[0]"), fails([1, "x", 3], "ids[1]")],
  },
  "values in the path": {
    takes: 'id: number, kind: "user" | "group", name: string',
    passes: "id, kind, name",
    method: "GET",
    path: "/{id}/{kind}/{name}",
    valid: [fits(1, "user", "a/b c%?#"), fits(-1.5, "group", "5")],
    invalid: [fails(["one", "user", "a"], "id"), fails(["one", "admin", "a"], "id", "kind")],
  },
  "rich values in the path": {
    takes: "day: Date, number: bigint",
    passes: "day, number",
    method: "GET",
    path: "/{day}/{number}",
    valid: [fits(DAY, 5n), fits(DAY, -(2n ** 70n))],
    invalid: [fails(["monday", 5n], "day"), fails(["monday", "five"], "day", "number")],
  },
  "path and query": {
    takes: "id: number, fields?: string[], limit = 10",
    passes: "id, fields, limit",
    method: "GET",
    path: "/{id}",
    valid: [fitsAs([1], [1, undefined, 10]), fits(1, ["a", "b"], 5)],
    invalid: [fails(["x"], "id"), fails([1, ["a"], "many"], "limit")],
  },
  "path and body": {
    takes: "id: number, name: string, tags: string[]",
    passes: "id, name, tags",
    method: "PUT",
    path: "/{id}",
    valid: [fits(1, "a", []), fits(2, "", ["x"])],
    invalid: [fails(["x", "a", []], "id"), fails(["x", 5, ["a", 1]], "id", "name", "tags[1]")],
  },
  "path and one object": {
    types: "interface Patch { name?: string; age?: number }",
    takes: "id: string, patch: Patch",
    passes: "id, patch",
    whole: "patch",
    method: "PATCH",
    path: "/{id}",
    valid: [fits("u1", { name: "a" }), fits("u 2", { age: 5 })],
    invalid: [
      fails(["u1", { name: 5 }], "patch.name"),
      fails(["u1", { age: "5", name: null }], "patch.age", "patch.name"),
    ],
  },
  "DELETE with a query": {
    takes: "id: number, force = false, reasons?: string[]",
    passes: "id, force, reasons",
    method: "DELETE",
    path: "/{id}",
    valid: [fitsAs([1], [1, false]), fits(1, true, ["a", "b"])],
    invalid: [fails(["x"], "id"), fails([1, "maybe"], "force")],
  },
  "DELETE with a body": {
    takes: "id: number, force: boolean, reasons: string[] = []",
    passes: "id, force, reasons",
    method: "DELETE",
    hasDeleteBody: true,
    path: "/{id}",
    valid: [fitsAs([1, true], [1, true, []]), fits(1, false, ["a"])],
    invalid: [fails([1, "true"], "force"), fails([1, true, ["a", 5]], "reasons[1]")],
  },
  "DELETE of one object": {
    takes: "range: { from: number; to?: number }",
    passes: "range",
    whole: "range",
    method: "DELETE",
    valid: [fits({ from: 1 }), fits({ from: 1, to: 2 })],
    invalid: [fails([{ to: 2 }], "range.from"), fails([{ from: "one" }], "range.from")],
  },
  // --- Standard Schema
  "a schema of one object wins over the types": {
    takes: "person: { name: string; age?: number }",
    passes: "person",
    whole: "person",
    input: "adult",
    isAlone: true,
    valid: [
      fits({ name: "A", age: 18 }),
      // What the schema makes of the input is what the function gets.
      fitsAs([{ name: "A" }], [{ name: "A", age: 30 }]),
    ],
    invalid: [
      fails([{ name: "A", age: 17 }], "person.age"),
      fails([{ age: 5 }], "person.age", "person.name"),
    ],
  },
  "a schema of several parameters wins over the types": {
    takes: "name: string, count: number",
    passes: "name, count",
    input: "counted",
    isAlone: true,
    valid: [fits("a", 1), fitsAs(["a"], ["a", 5])],
    invalid: [fails(["a", 0], "count"), fails([5, "many"], "name", "count")],
  },
  "a schema of one object beside the path": {
    takes: "id: number, person: { name: string; age?: number }",
    passes: "id, person",
    whole: "person",
    method: "PATCH",
    path: "/{id}",
    input: "adult",
    only: "lb",
    valid: [
      fits(1, { name: "A", age: 18 }),
      fitsAs([2, { name: "A" }], [2, { name: "A", age: 30 }]),
    ],
    invalid: [fails([1, { name: "A", age: 5 }], "person.age"), fails(["x", { name: "A" }], "id")],
  },
  "a schema of rest parameters": {
    takes: "...words: string[]",
    passes: "...words",
    input: "listed",
    isAlone: true,
    valid: [fits("a"), fits("a", "b")],
    invalid: [fails(["a", 5], "words[1]"), fails(["a", "b", "c", "d"], "words")],
  },
  "a schema for the query": {
    takes: "name: string, count: number",
    passes: "name, count",
    method: "GET",
    input: "counted",
    isAlone: true,
    valid: [fits("5", 1), fitsAs(["a"], ["a", 5])],
    invalid: [fails(["a", 0], "count"), fails([undefined, 1], "name")],
  },
  "a schema that does not describe itself": {
    takes: "word: string",
    passes: "word",
    input: "shouted",
    only: "lb",
    isMute: true,
    valid: [fitsAs(["a"], ["A"]), fits("B")],
    invalid: [fails([""], "word"), fails([5], "word")],
  },
  // --- files
  "a file and fields": {
    takes: "file: Uint8Array, title: string, count?: number, tags?: string[]",
    passes: "file, title, count, tags",
    only: "lb",
    valid: [fits(bytes(1, 2), "a"), fits(bytes(), "5", 3, ["x", "y"])],
    invalid: [
      fails([undefined, "a"], "file"),
      fails([bytes(1), "a", "many"], "count"),
      fails([bytes(1)], "title"),
    ],
  },
  "several files": {
    takes: "files: Uint8Array[], label?: 'a' | 'b'",
    passes: "files, label",
    only: "lb",
    valid: [fits([bytes(1)]), fits([bytes(1), bytes(2, 3)], "a")],
    invalid: [fails([[bytes(1)], "c"], "label"), fails([undefined, "a"], "files")],
  },
};
