/** What a rehearsal is about: an endpoint whose code is loaded, and the call that is made of it. */

import type { EndpointDeclaration } from "../../contract/registry.ts";
import type { Served } from "../program.ts";

/** How often each kind of call is made: what V8 interprets at first, it compiles by then. */
export const ROUNDS = 30;
export const ROUTE = "/rehearsal";
export const INPUT = { text: "rehearsal", count: 1 };

/** An endpoint whose code is loaded. */
export interface Rehearsed {
  served: Served;
  declarations: EndpointDeclaration[];
}
