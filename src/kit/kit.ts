/**
 * Ground floor: small tools without opinions.
 *
 *   clock     time as something that can be handed in
 *   ids       identifiers and secrets
 *   backoff   delays between tries
 *   abort     AbortSignal and promises
 *   log       the programs' own log
 */

export * from "./clock.ts";
export * from "./ids.ts";
export * from "./backoff.ts";
export * from "./abort.ts";
export * from "./log.ts";
