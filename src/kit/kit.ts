/**
 * Ground floor: small tools without opinions.
 *
 *   clock     time as something that can be handed in
 *   ids       identifiers and secrets
 *   backoff   delays between tries
 *   abort     AbortSignal and promises
 *   dot-env   the nearest `.env`, for commands and scripts
 *   event-stream   server-sent events out of bytes
 *   frame-link     a connection that carries frames, many streams at a time
 *   histogram counts of values by size
 *   platform  what this process runs on
 *   log       the programs' own log
 */

export * from "./clock.ts";
export * from "./ids.ts";
export * from "./backoff.ts";
export * from "./abort.ts";
export * from "./event-stream.ts";
export * from "./log.ts";
export * from "./platform.ts";
