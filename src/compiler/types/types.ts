/**
 * Step 3: the signatures of everything that was declared. Front door of the folder:
 *
 *   typescript     the only file that knows TypeScript's API
 *   type-config    the tsconfig that TypeScript gets
 *   type-errors    what it has against the project's files
 *   locate         from a declaring call's stack to the function it was given
 *   signature      one function: parameters, result, doc comments
 *   schema-writer  TypeScript types → JSON Schema
 *   definitions    which types get a name in `$defs`
 *   schema-parts   building schemas
 *   simple-types   types that are one schema
 *   template-pattern   template literal types → regular expressions
 *   type-problems  what is wrong with types
 *   type-facts     small questions about types
 *   known          platform types with a meaning of their own
 *   docs           doc comments and constraint tags
 */

import type { FunctionManifest } from "../../contract/manifest.ts";
import { errorAt, type Finding, type Place } from "../diagnostics.ts";
import { projectPath } from "../stack.ts";
import { locateHandler, type Located } from "./locate.ts";
import { describeFunction, type DescribedFunction, type SignatureRequest } from "./signature.ts";
import { isHidden } from "./type-facts.ts";
import { SignatureKind, type Node, type Type, type TypeView } from "./typescript.ts";

export { findTypeErrors } from "./type-errors.ts";
export { TypeProgram, type TypeView } from "./typescript.ts";

/** A declared function or class whose signature is wanted. */
export interface HandlerRequest {
  /** Frames of the declaring call, innermost first. */
  places: readonly Place[];
  kind: "qb" | "lb";
  form: "function" | "class";
  /** What a function is called in the manifest; a class's functions are called as its methods. */
  name: string;
  /** Public methods that the class has at run time. */
  methods: readonly string[];
}

export interface DescribedHandler {
  functions: Omit<FunctionManifest, "route">[];
  /** True when none of the functions is asynchronous. */
  isSynchronous: boolean;
  findings: Finding[];
}

/** Pure in `view`: the same files give the same answer. */
export function describeHandler(
  view: TypeView,
  root: string,
  request: HandlerRequest,
): DescribedHandler {
  const located = locateHandler(view, root, request.places);
  const [place] = request.places;
  if (located === undefined) return notFound(request, place);
  const context: Context = { view, root, located, request };
  return request.form === "class" ? describeClass(context) : describeOne(context);
}

interface Context {
  view: TypeView;
  root: string;
  located: Located;
  request: HandlerRequest;
}

function describeOne(context: Context): DescribedHandler {
  const { request, located } = context;
  const described = describeFunction(signatureRequest(context, located.node, request.name));
  if (described === undefined) return notFound(request, located.place);
  const { isSynchronous, findings } = described;
  return { functions: [functionOf(request.name, described)], isSynchronous, findings };
}

function describeClass(context: Context): DescribedHandler {
  const { request, located, view } = context;
  const instance = instanceType(view, located.node);
  if (instance === undefined) return notFound(request, located.place);
  const result: DescribedHandler = {
    functions: [],
    isSynchronous: true,
    findings: constructorFindings(context),
  };
  for (const method of request.methods) {
    const symbol = view.checker.getPropertyOfType(instance, method);
    const node = symbol?.valueDeclaration?.resolve();
    if (node === undefined || isHidden(node)) continue;
    const described = describeFunction(signatureRequest(context, node, method));
    if (described === undefined) continue;
    result.functions.push(functionOf(method, described));
    result.isSynchronous &&= described.isSynchronous;
    result.findings.push(...described.findings);
  }
  if (result.functions.length === 0 && request.methods.length > 0) {
    result.findings.push(
      errorAt(
        located.place,
        `Resource '${request.name}' has no functions: all methods of the class are private.`,
        "Make the methods that callers may use public.",
      ),
    );
  }
  return result;
}

/** The worker creates the one instance, and has nothing to give to a constructor. */
function constructorFindings({ view, located, request }: Context): Finding[] {
  const { checker } = view;
  const type = checker.getTypeAtLocation(located.node);
  const symbol = type?.getSymbol();
  const own = symbol === undefined ? undefined : checker.getTypeOfSymbol(symbol);
  const [construct] =
    own === undefined ? [] : checker.getSignaturesOfType(own, SignatureKind.Construct);
  const parameters = construct?.getParameters() ?? [];
  const needed = parameters.filter((_, index) => {
    const node = parameters[index]?.valueDeclaration?.resolve();
    return node !== undefined && !isOptionalParameter(node);
  });
  if (needed.length === 0) return [];
  const names = needed.map(({ name }) => `'${name}'`).join(", ");
  return [
    errorAt(
      located.place,
      `the constructor of '${request.name}' needs ${names}, but a worker creates the instance without arguments`,
      "Give the parameters defaults, or read what they carry from the environment.",
    ),
  ];
}

function isOptionalParameter(node: Node): boolean {
  const { initializer, questionToken, dotDotDotToken } = node as Partial<
    Record<"initializer" | "questionToken" | "dotDotDotToken", Node>
  >;
  return (initializer ?? questionToken ?? dotDotDotToken) !== undefined;
}

function instanceType({ checker }: TypeView, node: Node): Type | undefined {
  const type = checker.getTypeAtLocation(node);
  if (type === undefined) return undefined;
  const [construct] = checker.getSignaturesOfType(type, SignatureKind.Construct);
  return construct === undefined ? type : checker.getReturnTypeOfSignature(construct);
}

function signatureRequest(context: Context, node: Node, name: string): SignatureRequest {
  const { view, root, located, request } = context;
  return {
    checker: view.checker,
    node,
    around: located.node === node ? aroundOf(located) : node,
    kind: request.kind,
    label: `'${name}'`,
    place: located.place,
    pathOf: (one) => projectPath(root, one.getSourceFile().fileName),
  };
}

/** A function written in place is documented where it is declared; a named one at its own place. */
function aroundOf({ node, call }: Located): Node {
  for (let one: Node | undefined = node; one !== undefined; one = one.parent) {
    if (one === call) return call;
  }
  return node;
}

function functionOf(
  name: string,
  { signature, docs }: DescribedFunction,
): DescribedHandler["functions"][number] {
  return { name, ...docs, ...signature };
}

function notFound({ name, form }: HandlerRequest, place: Place | undefined): DescribedHandler {
  const finding = errorAt(
    place,
    `The ${form} '${name}' was not found in the source, so its parameters are unknown.`,
    `Write the ${form} as an argument of the declaring call, or give it by its name.`,
  );
  return { functions: [], isSynchronous: false, findings: [finding] };
}
