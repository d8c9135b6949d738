/** A call of the control API, as its handlers get it. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Resource } from "../../contract/access.ts";
import type { ControlRoute, ControlRouteName } from "../../contract/control-routes.ts";
import type { Principal } from "../gateway/http.ts";
import type { Identity } from "../identity/identity.ts";
import type { Control } from "./control.ts";

export interface ControlRequest {
  control: Control;
  identity: Identity;
  principal: Principal;
  method: string;
  /** What follows `/api/v1`. */
  path: string;
  query: URLSearchParams;
  /** Address of the caller. */
  from: string;
  request: IncomingMessage;
  response: ServerResponse;
}

/** A call as a handler gets it. */
export interface ControlCall extends ControlRequest {
  route: ControlRoute;
  /** What the call is about, as its parameters or its body say. */
  resource: Resource;
  /** Fits the document that the route names; undefined where it names none. */
  body: unknown;
  /** What else it was about, for the audit trail: set by handlers of routes that change something. */
  subject?: string;
}

/** Returns the answer's document, or undefined after it has answered itself. */
export type ControlHandler = (call: ControlCall) => Promise<unknown>;

export type ControlHandlers = Record<ControlRouteName, ControlHandler>;

/** A parameter that the table calls required, which has been checked. */
export function required(query: URLSearchParams, name: string): string {
  return query.get(name) ?? "";
}
