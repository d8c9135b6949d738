/** A result on its way to a client: whose it is, and where it goes. */

import type { FlashError, Problem } from "../../contract/errors.ts";
import type { Callable } from "../callable.ts";
import type { RouteResponse } from "./exchange.ts";
import type { HasSignal } from "./request.ts";

export interface Delivery {
  response: RouteResponse;
  callable: Callable;
  call: HasSignal;
  /** How a failure is written once the answer has begun. */
  describe: (error: FlashError) => Problem;
}
