/** Scenario 3: one load-balanced endpoint, three routes. */

import { Endpoint } from "runpod-flash";

const api = Endpoint({ name: "api-server", cpu: "cpu5c-4-8", workers: [1, 5] });

/** Writes a text. */
export const generate = api.post("/generate", async (prompt: string, words = 3) => ({
  text: Array.from({ length: words }, () => prompt).join(" "),
}));

/** Translates a text. */
export const translate = api.post("/translate", async (text: string, to: "en" | "fr" = "en") => ({
  text: to === "fr" ? `« ${text} »` : text,
  to,
}));

/** Health check endpoint. */
export const health = api.get("/health", () => ({ status: "healthy" }));
