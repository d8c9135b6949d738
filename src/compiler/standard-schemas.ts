/**
 * A Standard Schema in an endpoint's options wins over the types of its functions. It judges what the
 * binder finds: the one object that is the whole input, otherwise all parameters by name. Here its own
 * description takes the place of the types, so that clients, gateway and documents say the same; what
 * it does not describe is left to the worker, where the schema itself runs.
 */

import { Binder } from "../contract/binder.ts";
import { ownValue } from "../contract/json.ts";
import type { FunctionManifest, Parameter } from "../contract/manifest.ts";
import { isObjectSchema, resolveRef, type JsonSchema } from "../contract/schema.ts";

/** What the schemas say about themselves: `{}` for one that says nothing. */
export interface DescribedSchemas {
  input?: JsonSchema;
  output?: JsonSchema;
}

export function withStandardSchemas(
  one: FunctionManifest,
  { input, output }: DescribedSchemas,
): FunctionManifest {
  const returns = output === undefined || isSilent(output) ? one.returns : output;
  return {
    ...one,
    parameters: input === undefined ? one.parameters : judgedParameters(one, input),
    ...(returns === undefined ? {} : { returns }),
  };
}

function judgedParameters(one: FunctionManifest, described: JsonSchema): Parameter[] {
  const { parameters } = one;
  const whole = wholeOf(one, described);
  const judge = whole === undefined ? judgedByName : judgedAsWhole;
  return parameters.map((parameter) => {
    const isJudged = parameter.carrier === "value" && [undefined, parameter.name].includes(whole);
    return isJudged ? judge(parameter, described) : parameter;
  });
}

/** The object that is the whole input; a parameter without a type becomes one if the schema says so. */
function wholeOf(one: FunctionManifest, described: JsonSchema): string | undefined {
  const { single } = new Binder(one, one.route);
  if (single !== undefined || !isObjectSchema(described, described)) return single;
  const parameters = one.parameters.map((parameter) =>
    isSilent(parameter.schema) ? { ...parameter, schema: described } : parameter,
  );
  return new Binder({ ...one, parameters }, one.route).single;
}

/** Of a schema that does not describe itself only this much is known: it judges an object. */
function judgedAsWhole(parameter: Parameter, described: JsonSchema): Parameter {
  return { ...parameter, schema: isSilent(described) ? { type: "object" } : described };
}

function judgedByName(parameter: Parameter, described: JsonSchema): Parameter {
  if (isSilent(described)) return { ...parameter, schema: {}, required: false };
  const { properties, required = [] } = resolveRef(described, described);
  const { $defs } = described;
  const own = ownValue(properties, parameter.name);
  return {
    ...parameter,
    schema: own === undefined || $defs === undefined ? (own ?? {}) : { ...own, $defs },
    required: required.includes(parameter.name),
  };
}

function isSilent(schema: JsonSchema): boolean {
  return Object.keys(schema).length === 0;
}
