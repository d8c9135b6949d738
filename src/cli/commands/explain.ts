/** `flash explain`: what an error code means, and what to do. */

import { ERROR_STATUS, ERRORS, FlashError, type ErrorCode } from "../../contract/errors.ts";
import { closest } from "../../contract/names.ts";
import type { CommandDefinition } from "../command.ts";
import { EXPLANATIONS } from "../explanations.ts";
import { columns, wrap, type Output } from "../output.ts";

const CODES = Object.keys(EXPLANATIONS) as ErrorCode[];

const BLAMED = {
  caller: "the request or the configuration",
  code: "your function",
  platform: "Flash, or what it runs on",
} as const;

export const explain: CommandDefinition = {
  description:
    "Explains an error code: why it happens and what to do. Codes are in the last line of stderr with " +
    "--json, and in the 'code' of every error answer. Without a code it lists them all.",
  examples: [
    ["flash explain NO_WORKER", "one code"],
    ["flash explain", "all of them"],
  ],
  arguments: [["[code]", "such as ENDPOINT_NOT_FOUND, in any case"]],
  async run({ args, output }) {
    const [given] = args;
    if (given === undefined) list(output);
    else print(codeOf(given), output);
  },
};

function codeOf(text: string): ErrorCode {
  const code = text.toUpperCase().replaceAll("-", "_");
  const found = CODES.find((one) => one === code);
  if (found !== undefined) return found;
  const near = closest(code, CODES);
  throw new FlashError("NOT_FOUND", `There is no error code '${text}'.`, {
    hint: `${near === undefined ? "" : `Did you mean ${near}? `}'flash explain' lists all codes.`,
  });
}

function list(output: Output): void {
  output.document({ codes: CODES.map(factsOf) });
  output.print(columns(CODES.map((code) => [output.colors.bold(code), ERRORS[code].title])));
}

function print(code: ErrorCode, output: Output): void {
  const { bold, dim } = output.colors;
  const { title, blame, retry, exit } = ERRORS[code];
  const { why, fix } = EXPLANATIONS[code];
  output.document({ ...factsOf(code), why, fix });
  output.print(`${bold(code)}  ${title}\n\n${wrap(why)}\n`);
  for (const step of fix) output.print(wrap(step, { first: "  - ", next: "    " }));
  const again = retry ? "the same call may succeed later" : "the same call fails again";
  output.print(
    dim(
      `\nTo blame: ${BLAMED[blame]}; ${again}.\nHTTP status ${ERROR_STATUS[code]}, exit code ${exit}.`,
    ),
  );
}

function factsOf(code: ErrorCode) {
  return { code, status: ERROR_STATUS[code], ...ERRORS[code] };
}
