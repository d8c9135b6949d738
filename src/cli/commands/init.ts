/** `flash init`: a new project from the template. Also runs on Node 18, where nothing else of Flash does. */

import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { isNodeNewEnough, machineNodeVersion } from "../machine-node.ts";
import type { Output } from "../output.ts";
import { ownSource, ownVersion } from "../package.ts";
import { confirm, hasTerminal } from "../prompt.ts";
import { conflictsOf, templateFiles, writeTemplate, type TemplateFile } from "../template.ts";

interface Options {
  package?: string;
  force?: true;
  yes?: true;
}

export const init: CommandDefinition = {
  description:
    "Creates a project: a GPU worker, a CPU worker, a load-balanced service, their tests, and what " +
    "TypeScript needs. Works without network. Existing files are never overwritten without asking.",
  examples: [
    ["flash init demo", "in the new folder 'demo'"],
    ["flash init .", "in this folder"],
  ],
  arguments: [["[name]", "folder to create; '.' is this folder"]],
  options: [
    [
      "--package <spec>",
      "where the project gets runpod-flash from: version, tarball, folder or URL; default: where this one is from",
    ],
    ["-f, --force", "overwrite existing files"],
    ["-y, --yes", "ask nothing; existing files are an error unless --force is given"],
  ],
  async run(invocation) {
    const [name] = invocation.args;
    if (name === undefined) {
      if (invocation.output.json)
        throw new FlashError("INVALID_USAGE", "The project's name is missing.");
      invocation.output.data(invocation.help);
      return;
    }
    await createProject(name, invocation);
  },
};

async function createProject(name: string, invocation: Invocation): Promise<void> {
  const { cwd, env, output } = invocation;
  const options = invocation.options as Options;
  if (/\p{Cc}/u.test(name)) {
    throw new FlashError(
      "INVALID_USAGE",
      `The name ${JSON.stringify(name)} holds control characters.`,
    );
  }
  const folder = path.resolve(cwd, name);
  mustBeFolder(folder);
  const isHere = folder === path.resolve(cwd);
  const projectName = path.basename(folder);
  const machineNode = machineNodeVersion(env);
  const bringsNode = !isNodeNewEnough(machineNode);
  const sdk = sdkSource(options.package, { cwd, folder });
  const files = await templateFiles({ projectName, sdk, bringsNode });
  if (!(await mayWrite(folder, files, invocation))) {
    output.say("Initialization aborted.");
    return;
  }
  output.say(
    isHere
      ? "Initializing Flash project in current directory..."
      : `Creating Flash project '${projectName}'...`,
  );
  const written = await writeTemplate(folder, files);
  if (bringsNode) {
    output.say(
      `This machine's Node is ${machineNode}; Flash needs 22.18 or newer, so the project brings its own\n` +
        "(npm package 'node', in devDependencies).",
    );
  }
  if (options.package === undefined && !sdk.startsWith("^")) {
    output.say(
      `runpod-flash comes from ${sdk}, as this command does; --package names another source.`,
    );
  }
  printResult({ name, projectName, isHere, written }, output);
  output.document({ project: projectName, path: folder, files: written, package: sdk, bringsNode });
}

function mustBeFolder(folder: string): void {
  if (!existsSync(folder) || statSync(folder).isDirectory()) return;
  throw new FlashError("CONFLICT", `${folder} exists and is not a folder.`, {
    hint: "Choose another name.",
  });
}

/** Asks before anything is lost. Throws `CONFLICT` when nobody can be asked. */
async function mayWrite(
  folder: string,
  files: readonly TemplateFile[],
  invocation: Invocation,
): Promise<boolean> {
  const options = invocation.options as Options;
  const conflicts = conflictsOf(folder, files);
  if (conflicts.length === 0 || options.force === true) return true;
  const list = conflicts.map((name) => `  ${name}`).join("\n");
  if (options.yes === true || invocation.output.json || !hasTerminal()) {
    throw new FlashError(
      "CONFLICT",
      `File Conflicts Detected: these files exist in ${folder}:\n${list}`,
      {
        hint: "Overwrite them with --force, or choose another folder.",
        details: { conflicts },
      },
    );
  }
  invocation.output.warn("File Conflicts Detected");
  process.stderr.write(`Warning: The following files will be overwritten:\n${list}\n`);
  return await confirm("Continue and overwrite these files?", {
    action: "Overwriting files",
    flag: "--force",
    signal: invocation.signal,
  });
}

/**
 * The SDK's source as package.json wants it. npm reads `file:` relative to the project, while a path
 * on the command line is relative to where it was typed.
 */
function sdkSource(spec: string | undefined, at: { cwd: string; folder: string }): string {
  const wanted = spec ?? ownSource();
  if (wanted === undefined) return `^${ownVersion()}`;
  const plain = wanted.trim().replace(/^runpod-flash@/, "");
  const file = plain.replace(/^file:/, "");
  const isUrl = /^[a-z+]+:\/\//i.test(plain);
  const isPath =
    plain.startsWith("file:") ||
    /^(\.{0,2}[/\\]|\.{1,2}$|[A-Za-z]:[/\\])/.test(file) ||
    (!isUrl && /\.(tgz|tar\.gz|tar)$/.test(file));
  if (!isPath || isUrl) return plain;
  const absolute = path.resolve(at.cwd, file);
  if (!existsSync(absolute)) {
    throw new FlashError("INVALID_USAGE", `--package: ${absolute} does not exist.`, {
      hint: "Give a version, a tarball of 'npm pack', a folder or a URL.",
    });
  }
  return `file:${path.relative(at.folder, absolute).split(path.sep).join("/") || "."}`;
}

interface Result {
  name: string;
  projectName: string;
  isHere: boolean;
  written: readonly string[];
}

function printResult({ name, projectName, isHere, written }: Result, output: Output): void {
  const { bold, dim, green } = output.colors;
  output.print(`${green("✓")} ${isHere ? "Project Initialized" : "Project Created"}`);
  output.print(`\n${bold(`${projectName}/`)}`);
  for (const [index, file] of written.entries()) {
    output.print(`${dim(index === written.length - 1 ? "└──" : "├──")} ${file}`);
  }
  const steps = [...(isHere ? [] : [`cd ${quote(name)}`]), "npm install", "npx flash run"];
  output.print(
    `\nNext steps:\n${steps.map((step, index) => `  ${index + 1}. ${step}`).join("\n")}`,
  );
  output.print("\nVisit http://localhost:8888/docs after running");
  output.print("Check out the README.md for more");
}

function quote(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;
}
