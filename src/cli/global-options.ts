/** Options that every command has, besides `-h, --help`. */

export const GLOBAL_OPTIONS: readonly (readonly [flags: string, description: string])[] = [
  ["--json", "print one JSON document on stdout"],
  ["--quiet", "say nothing but results and errors"],
  ["--verbose", "say more, with stack traces"],
];
