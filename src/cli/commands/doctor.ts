/** `flash doctor`: whether this machine, this project and its server are fit to work. */

import { FlashError } from "../../contract/errors.ts";
import { DEFAULTS } from "../../contract/limits.ts";
import {
  checkCompiler,
  checkDiskSpeed,
  checkHome,
  checkNode,
  checkPackageManager,
  checkPort,
  checkServer,
  checkServerPort,
  checkSpace,
  type Finding,
} from "../checks.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { flashHome } from "../home.ts";
import { columns, count, type Output } from "../output.ts";
import { ownVersion } from "../package.ts";
import { openProject, projectRoot, type Project } from "../project.ts";
import { openDestination, portOf, TARGET_OPTIONS, type TargetOptions } from "../target.ts";

export const doctor: CommandDefinition = {
  description:
    "Checks what Flash needs: Node, package manager, compiler, the folder of the server with its disk, " +
    "ports, the server, its key and clock, flash.toml. Each finding says what to do. Ends with 1 when " +
    "something keeps Flash from working.",
  examples: [
    ["flash doctor", "this machine and this project"],
    ["flash doctor --target https://flash.example.com", "with a server elsewhere"],
    ["flash doctor --json", "for programs"],
  ],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { cwd, env, output } = invocation;
    const home = flashHome(env);
    const usable = await checkHome(home);
    const findings = [
      checkNode(env),
      checkPackageManager(projectRoot(cwd), env),
      await checkCompiler(),
      usable,
      ...(usable.status === "failed" ? [] : [await checkSpace(home), checkDiskSpeed(home)]),
      await checkPort(DEFAULTS.devPort),
      ...(await checkProject(invocation)),
    ];
    const failed = findings.filter(({ status }) => status === "failed").length;
    output.document({ healthy: failed === 0, findings });
    output.print(tableOf(findings, output));
    if (failed === 0) return;
    output.say(`${output.talkColors.red("✗")} ${count(failed, "check")} failed`);
    invocation.endWith(1);
  },
};

/** flash.toml, and the server that it or the environment names. */
async function checkProject(invocation: Invocation): Promise<Finding[]> {
  const { cwd, env } = invocation;
  const { app } = invocation.options as TargetOptions;
  let project: Project;
  try {
    project = openProject({ cwd, env, app });
  } catch (error) {
    return [failure("project", error)];
  }
  const own: Finding = {
    check: "project",
    status: "ok",
    detail: `${project.app}, ${project.root}`,
  };
  return [own, ...(await checkDestination(invocation, project))];
}

async function checkDestination(invocation: Invocation, project: Project): Promise<Finding[]> {
  const { env, signal } = invocation;
  try {
    const { cloud, key } = await openDestination(invocation, project, { start: false });
    return await checkServer({ url: cloud.target, key, version: ownVersion() }, signal);
  } catch (error) {
    if (!FlashError.is(error)) throw error;
    if (error.code !== "SERVER_NOT_RUNNING") return [failure("server", error)];
    const { port } = invocation.options as TargetOptions;
    return [await checkServerPort(port ?? portOf(env) ?? DEFAULTS.serverPort)];
  }
}

function failure(check: string, error: unknown): Finding {
  if (!FlashError.is(error)) throw error;
  const { message, hint } = error;
  return { check, status: "failed", detail: message, ...(hint === undefined ? {} : { fix: hint }) };
}

/** A sign and a word for each state: colour alone would be lost on paper. */
function tableOf(findings: readonly Finding[], { colors }: Output): string {
  const signs = { ok: colors.green("✓"), warning: colors.yellow("!"), failed: colors.red("✗") };
  const rows = findings.map(({ check, status, detail }) => [
    `${signs[status]} ${check}`,
    status,
    detail.split("\n")[0] ?? "",
  ]);
  const lines = columns(rows).split("\n");
  return findings
    .map(({ fix }, index) => {
      const line = lines[index] ?? "";
      return fix === undefined ? line : `${line}\n    ${colors.dim(fix)}`;
    })
    .join("\n");
}
