/**
 * Bedrock: what every part agrees on. Data, types and tables; imports nothing from other rooms.
 *
 *   flash-error the one error class and its codes
 *   errors      what is known about each code, problem documents, error reports
 *   limits      limits that are promises, with unit and reason
 *   hardware    GPU and CPU catalogue, CUDA versions, data centres
 *   options     endpoint options and their resolved form; option-types: as they are written
 *   option-checks   what is wrong with options; option-placement, -template, -values: its parts
 *   names       names of apps and endpoints; the closest known word
 *   routes      methods, paths, reserved paths, conflicts, the route table
 *   json        JSON values and paths into them
 *   schema      the JSON Schema subset
 *   formats     the string formats that are checked
 *   validator   the one validator of schemas; validator-rules, -unions, -run: its parts
 *   carry       JavaScript values ↔ JSON ↔ text
 *   rich        JavaScript values ↔ JSON without a schema, for live workers; rich-types: its classes
 *   live        what `flash run --remote` and a live worker say to each other
 *   binder      arguments ↔ request or job input; binder-sources: where each comes from; binder-fields: queries and forms
 *   issues      what is wrong with an input, as a sentence
 *   methods     which method of a class a job calls
 *   sample      sample values for schemas
 *   platform    what workers run on
 *   openapi     endpoints → OpenAPI document; openapi-routes, -queue, -parts: its parts
 *   manifest    what the compiler found; the artifact's layout
 *   registry    where declared endpoints meet compiler and worker
 *   context     what a running function can ask about its call
 *   trace       W3C trace context
 *   span        spans of traces, between worker and server
 *   origin      who made a call, and which functions wait for it
 *   events      what happens to apps, endpoints and workers
 *   logs        lines of output, and what is known about them
 *   method-names   which methods of a class an endpoint has
 *   instance    the one instance of a queue endpoint's class
 *   where       where a call runs
 *   retry-wish  what a thrown error says about another attempt
 *   states      job, worker and release state machines
 *   job         job records and documents
 *   batch       many requests under one id
 *   store, compute, cloud      the interfaces drivers implement
 *   control     documents of the control API
 *   worker-env  the environment of a worker
 */

export * from "./errors.ts";
export * from "./limits.ts";
export * from "./hardware.ts";
export * from "./options.ts";
export * from "./routes.ts";
export * from "./json.ts";
export * from "./schema.ts";
export * from "./validator.ts";
export * from "./carry.ts";
export * from "./binder.ts";
export * from "./issues.ts";
export * from "./methods.ts";
export * from "./sample.ts";
export * from "./openapi.ts";
export * from "./platform.ts";
export * from "./manifest.ts";
export * from "./registry.ts";
export * from "./context.ts";
export * from "./method-names.ts";
export * from "./instance.ts";
export * from "./where.ts";
export * from "./retry-wish.ts";
export * from "./states.ts";
export * from "./job.ts";
export * from "./batch.ts";
export * from "./store.ts";
export * from "./compute.ts";
export * from "./control.ts";
export * from "./cloud.ts";
export * from "./worker-env.ts";
