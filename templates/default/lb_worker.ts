/** A load-balanced endpoint: several HTTP routes, answered directly. */

import { Endpoint } from "runpod-flash";

const api = Endpoint({ name: "lb_worker", cpu: "cpu3c-1-2", workers: [1, 3] });

/** Echoes the message. */
export const processMessage = api.post("/process", async (message: string, times: number = 1) => ({
  status: "success",
  echo: Array.from({ length: times }, () => message).join(" "),
  timestamp: new Date().toISOString(),
}));

/** Tells that the service is up. */
export const health = api.get("/health", () => ({ status: "healthy" }));
