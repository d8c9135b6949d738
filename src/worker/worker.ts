/**
 * The worker: what runs beside user code, one endpoint a process. Owns serving routes, taking and
 * running jobs, and how the process ends; not where it runs, nor how many of it there are.
 *
 *   main            the program, bundled into every artifact as `worker.mjs`
 *   serve           from the environment to a running service
 *   standby         booted, and waiting to be told which worker it is
 *   settings        the environment, read once
 *   program         from an artifact to the functions of one endpoint
 *   callable        one function: arguments in, result out
 *   standard-schema inputs and results under a schema of the options
 *   call            one running call: context, signal, deadline
 *   children        the processes that functions start, which end with an aborted call
 *   output          what is written, named after the call that writes it; the worker's own log
 *   failure, stack  what went wrong, as callers and logs are told
 *   life            signals, the server's channel, uncaught errors, the exit
 *   service         what both kinds offer to `life`
 *   routes/         load-balanced: route-server, exchange, request, answer, delivery, events; link-server, link-exchange
 *   queue/          queue-based: queue-loop, job-run, target, heartbeat (board, stuck); channel (polling with protocol, link)
 *   live/           what runs on a live worker in place of a bundle: executor, execution, bundles, output
 *   relay/          what runs beside it under `flash run --remote`: calls, posted to the dev server
 */

export { serveWorker, type WorkerOptions } from "./serve.ts";
export type { Environment } from "./settings.ts";
