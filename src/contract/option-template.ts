/** What can be wrong with what a worker is started from: its variables, its pod template. */

import type { PodTemplateOptions } from "./option-types.ts";
import { WHOLE_FROM_1, describe, isRecord, show, unknownKeys, type Note } from "./option-values.ts";
import { isSecretReference, secretNameMistake } from "./secrets.ts";

export function checkEnv(option: string, env: unknown, note: Note): void {
  if (env === undefined) return;
  if (!isRecord(env)) {
    note(option, `${option} must be an object of strings, got ${describe(env)}`);
    return;
  }
  for (const [key, value] of Object.entries(env)) {
    if (key === "" || key.includes("=") || key.includes("\0")) {
      note(option, `${option} has the name ${show(key)}, which no variable can have`);
    } else if (option === "env" && isSecretReference(value)) {
      const wrong = secretNameMistake(value.secret);
      if (wrong !== undefined) note(option, `${option}.${key}: the name of a secret ${wrong}`);
    } else if (typeof value !== "string") {
      note(
        option,
        `${option}.${key} must be a string, got ${describe(value)}`,
        'Environment variables are text; give a default, as in process.env.KEY ?? "".',
      );
    }
  }
}

/** Type of each key of {@link PodTemplateOptions}. */
const TEMPLATE_KEYS: Record<keyof PodTemplateOptions, "string" | "boolean" | "number" | "object"> =
  {
    id: "string",
    name: "string",
    imageName: "string",
    containerDiskInGb: "number",
    dockerArgs: "string",
    ports: "string",
    startScript: "string",
    advancedStart: "boolean",
    containerRegistryAuthId: "string",
    env: "object",
    config: "object",
  };

export function checkTemplate(template: unknown, note: Note): void {
  const option = "template";
  if (template === undefined) return;
  if (!isRecord(template)) {
    note(option, `template must be a PodTemplate, got ${describe(template)}`);
    return;
  }
  const known = Object.keys(TEMPLATE_KEYS);
  for (const [, message] of unknownKeys("PodTemplate", template, known)) note(option, message);
  for (const [key, kind] of Object.entries(TEMPLATE_KEYS)) {
    const value = template[key];
    if (value === undefined || key === "env") continue;
    const isDisk = key === "containerDiskInGb";
    if (isDisk ? WHOLE_FROM_1(value) : describe(value) === kind) continue;
    const words = isDisk ? "a whole number of GB >= 1" : `a ${kind}`;
    note(option, `template.${key} must be ${words}, got ${show(value)}`);
  }
  checkEnv("template.env", template["env"], (_, message) => note(option, message));
}
