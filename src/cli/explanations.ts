/**
 * What an error code means and what to do about it, at more length than a message has room for. What
 * a program needs (status, exit code, blame, whether to try again) is in `contract/errors.ts`.
 */

import type { ErrorCode } from "../contract/errors.ts";

export interface Explanation {
  /** Why it happens. */
  why: string;
  /** What to do, most likely first. */
  fix: readonly string[];
}

function because(why: string, ...fix: string[]): Explanation {
  return { why, fix };
}

export const EXPLANATIONS = {
  // The request.
  INVALID_INPUT: because(
    "The types of a function's parameters are its API. A value is missing, has another type, or breaks a rule of the schema; nothing has run.",
    "Look at 'issues': each names the path of a value and what is wrong with it.",
    "'flash call <endpoint>' prints a sample of the right input when it is refused; /docs of 'flash run' has all of them.",
  ),
  INVALID_REQUEST: because(
    "The request cannot be read: its body is no JSON, a header is missing, or a value of the query is none.",
    'The message names the part. Queue endpoints take {"input": …}, routes take the values themselves.',
  ),
  NOT_ACCEPTED: because(
    "A job was refused before it was written down: its input does not fit the function. A refused job has no id and never runs.",
    "Correct the input as 'issues' say, and submit it again.",
  ),
  NOT_SERIALIZABLE: because(
    "Arguments and results travel as JSON. Functions, symbols, class instances and cycles have no JSON form.",
    "Send plain data. Dates, maps, sets, big integers and bytes travel when the parameter's type says so.",
  ),
  PAYLOAD_TOO_LARGE: because(
    "Bodies have limits: 10 MB for /run, 20 MB for /runsync, 30 MB for routes.",
    "Put large data into a file store and send its address.",
    "A result that is too large can be a stream: make the function an async generator.",
  ),
  METHOD_NOT_ALLOWED: because(
    "The path exists, but not with this method. The answer's 'Allow' header names those that do.",
    "Compare with 'flash status', which lists every route.",
  ),
  UNSUPPORTED_MEDIA_TYPE: because(
    "A body is JSON, or multipart form data where a parameter is bytes or a file.",
    "Send 'Content-Type: application/json', or -F fields for files.",
  ),
  UNAUTHORIZED: because(
    "The server answers nobody without a key, and this one is missing, wrong, expired or revoked.",
    "On the server's own machine: 'flash token' prints its key.",
    "For another server: set FLASH_API_KEY to a key made there.",
    "'flash config' shows which server and which key a command would use.",
  ),
  FORBIDDEN: because(
    "The key is valid but does not reach this far: another app, environment or endpoint, or a verb it was not made for. Pages of other sites and foreign host names are refused by development servers the same way.",
    "Use a key with the right scope.",
  ),
  NOT_FOUND: because(
    "The address or name is not known: a mistyped path, or something that was removed.",
    "The message says what was looked for, and where.",
  ),
  ROUTE_NOT_FOUND: because(
    "The load-balanced endpoint has no route with this path.",
    "'flash status' lists its routes. Behind /lb/{id} the path is the one in the code.",
    "A route that is newer than the deployment needs 'flash deploy'.",
  ),
  ENDPOINT_NOT_FOUND: because(
    "No endpoint of that name or id is deployed in this app and environment.",
    "'flash status' lists what is deployed. Names are looked up within one app and environment: see 'flash config'.",
    "Deploy the project with 'flash deploy'.",
  ),
  JOB_NOT_FOUND: because(
    "No job has this id: it is mistyped, belongs to another server, or its result is older than the retention time.",
    "'flash jobs list <endpoint>' lists those there are.",
  ),
  WRONG_ENDPOINT_KIND: because(
    "Queue endpoints have jobs (/run, /runsync), load-balanced ones have routes. The request asks one for what the other has.",
    "'flash status' says of which kind an endpoint is.",
  ),
  CONFLICT: because(
    "The state of things does not allow it: a port is taken, files would be overwritten, a server already runs, or several environments could be meant.",
    "The message names what is in the way; the hint names the flag that decides.",
  ),
  CALL_LOOP: because(
    "A function called another endpoint whose function, through any number of others, waits for this very call. Neither could ever end. The message names the functions in turn.",
    "Let one of them return what the other needs, instead of asking for it.",
    "Where nobody has to wait, hand the work on with .run(), which only submits a job.",
  ),

  // The project and its configuration.
  INVALID_OPTIONS: because(
    "An option of Endpoint(…) has a value that cannot work: a GPU or CPU that does not exist, a minimum above the maximum, a name with other signs than letters, digits, '-', '_' and '.'.",
    "The message names the option and its values. 'flash build' reports all of them with file and line.",
  ),
  INVALID_USAGE: because(
    "A command or a function of the SDK is used in a way that cannot work: an unknown flag, a missing value, or two that exclude each other.",
    "'flash <command> --help' lists every option of a command.",
  ),
  INVALID_CONFIG: because(
    "flash.toml, an environment variable or a file in FLASH_HOME has something that Flash does not understand. Unknown keys are mistakes: a misspelt setting would otherwise do nothing.",
    "The message has file and line, and the nearest known name.",
    "An editor that knows TOML checks while you type: put '#:schema ./node_modules/runpod-flash/dist/flash.schema.json' on the first line.",
  ),
  INVALID_MANIFEST: because(
    "The artifact's description is damaged or of another version of Flash.",
    "Build again: 'flash build'. Server and command should be of one version: 'flash doctor' compares them.",
  ),
  BUILD_FAILED: because(
    "The project has mistakes that would only show in production. All of them are reported together.",
    "Every mistake has file, line, a frame of the code and usually a hint. Mend them and build again.",
  ),
  NOT_DEPLOYED: because(
    "The endpoint or environment exists in code but has never been deployed, or was removed.",
    "'flash deploy' makes it. In a script, await deploy() before the URL is used.",
  ),

  // The user's function.
  FUNCTION_ERROR: because(
    "Your function threw. The error is yours, with its own stack, and travels to the caller.",
    "Look at 'error' of the answer, or 'flash logs <endpoint>'. Queue jobs are tried again while 'retries' last.",
  ),
  INVALID_OUTPUT: because(
    "The function returned something that cannot travel, or that its own 'output' schema refuses.",
    "Return plain data of the declared type.",
  ),
  EXECUTION_TIMEOUT: because(
    "The function ran longer than its limit: 'executionTimeoutMs' of the endpoint or the policy of the job, else 10 minutes for jobs.",
    "If it hung, the message names the line. If it needs the time, set 'executionTimeoutMs'.",
  ),
  CANCELLED: because(
    "Somebody cancelled the job, or whoever asked has left.",
    "Nothing to mend. 'flash jobs retry <endpoint> <job>' runs it after all.",
  ),
  JOB_EXPIRED: because(
    "The job waited longer than its time to live and was not started, or its result has been cleaned up.",
    "Allow more workers, or a longer 'ttl' in the policy of the job.",
  ),

  // The platform.
  WORKER_LOST: because(
    "The worker's process died while it ran the work: killed for its memory, by a signal, or by process.exit() in your code.",
    "'flash logs <endpoint>' shows its last lines. Jobs are tried again by themselves.",
  ),
  WORKER_START_FAILED: because(
    "A worker started and ended before it was ready: the code throws while it is imported, a package is missing, or the machine has no room.",
    "'flash logs <endpoint>' shows why; 'flash status' repeats the last reason.",
  ),
  NO_WORKER: because(
    "No worker became ready within the time a request may wait: the maximum is 0, all of them are busy, or starts fail.",
    "'flash scale explain <endpoint>' says why there are as many as there are. Raise 'workers'.",
  ),
  OVERLOADED: because(
    "The endpoint has more to do than it can hold, so new work is refused at once. 'Retry-After' says when to come again.",
    "Try again later with the same Idempotency-Key, raise 'workers', or spread the load.",
  ),
  STORAGE_FULL: because(
    "The disk of the server is full. New work is refused; work that was accepted goes on.",
    "Free some space. Old builds and finished jobs are in FLASH_HOME: 'flash doctor' says how much room there is.",
  ),
  UNAVAILABLE: because(
    "The server is starting, stopping, or cannot do this at the moment.",
    "Try again in a moment. Its log is FLASH_HOME/logs/server.log.",
  ),
  SERVER_NOT_RUNNING: because(
    "Nothing listens at the address of the Flash server.",
    "Start the one of this machine: 'flash server start'. 'flash deploy' does that by itself.",
    "Is another one meant? 'flash config' shows where the address comes from.",
  ),
  CONNECTION_FAILED: because(
    "The address cannot be reached: the name is unknown, the network or a proxy is in the way, or the connection broke.",
    "Try the address with curl. Repeatable requests have been tried again already.",
  ),
  REMOTE_ERROR: because(
    "The other side answered with something that is no answer of a Flash server or of an endpoint.",
    "Is the address right? A proxy in between may have answered instead.",
  ),
  CALL_TIMEOUT: because(
    "The caller's own time was over before the answer came. The work may still be running.",
    "Wait longer, or submit a job and look at it later: .run() in code, 'flash call --no-wait' here.",
  ),
  STALE_DESCRIPTION: because(
    "The endpoint got a new release while the call was on its way, and its functions may bind otherwise now. The call was refused before anything ran; the SDK asks again how the endpoint is called and repeats it.",
    "Seen only when releases follow each other faster than a call: call again.",
  ),
  NOT_SUPPORTED: because(
    "The feature does not exist on this platform or with this kind of worker.",
    "The message says which; the documentation has the alternatives.",
  ),
  INTERNAL: because(
    "Flash itself failed. This is never your mistake.",
    "Please report it with the output of the same command and --verbose.",
  ),
} as const satisfies Record<ErrorCode, Explanation>;
