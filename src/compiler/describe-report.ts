/** What the describing child process tells the compiler. Travels by structured clone. */

import type { EndpointOptions } from "../contract/options.ts";
import type {
  DeclarationMistake,
  EndpointDeclaration,
  RouteDeclaration,
} from "../contract/registry.ts";
import type { JsonSchema } from "../contract/schema.ts";

/** A file to evaluate. */
export interface DescribeFile {
  /** Project file, relative. */
  file: string;
  /** Its build, a file URL. */
  url: string;
}

export interface ReportedRoute extends Omit<RouteDeclaration, "handler"> {
  /** The function's own name, empty when it has none. */
  functionName: string;
}

export interface ReportedEndpoint extends Pick<
  EndpointDeclaration,
  "name" | "kind" | "resource" | "live" | "targetSite" | "hasLocal" | "site"
> {
  /** Without what cannot travel: functions and Standard Schemas. */
  options: EndpointOptions;
  /** Present when the option holds a Standard Schema; empty when it cannot describe itself. */
  schemas: { input?: JsonSchema; output?: JsonSchema };
  form: "function" | "class" | undefined;
  /** Name of the function or class, empty when it has none. */
  targetName: string;
  /** Public methods of the class. */
  methods: string[];
  routes: ReportedRoute[];
}

export interface ReportedMistake extends Pick<DeclarationMistake, "site"> {
  message: string;
  hint: string | undefined;
  /** Where the functions were given that the message can only call anonymous, in its order. */
  unnamed: string[];
}

/** Where an export of a module leads. */
export interface ReportedExport {
  file: string;
  name: string;
  endpoint: number;
  route: number | undefined;
}

/** Something that went wrong while a file was evaluated. */
export interface ReportedFailure {
  file: string;
  name: string;
  message: string;
  stack: string;
  /** The project called an endpoint while it was described: no fault of the file. */
  describing: boolean;
  /** The import itself failed, so that the file's declarations may be missing. */
  fatal: boolean;
}

export interface DescribeReport {
  endpoints: ReportedEndpoint[];
  mistakes: ReportedMistake[];
  exports: ReportedExport[];
  failures: ReportedFailure[];
}

export type ChildMessage =
  | { type: "importing"; file: string }
  | { type: "report"; report: DescribeReport };
