import { StartupError } from "../config/startup-error.ts";
import type { Command } from "./command.ts";
import { fetchHere, urlHere } from "./fetch-here.ts";

const TIMEOUT_MS = 4_000;

/** For containers that have no other program to send a request with. */
export const health: Command = {
  name: "health",
  summary: "Check whether the server on this machine is ready; exit 1 if it is not",
  async run({ config: readConfig }) {
    const url = urlHere(readConfig(), "/health/ready");
    let response: Response;
    try {
      response = await fetchHere(url, TIMEOUT_MS);
    } catch (error) {
      throw new StartupError(`No response from ${url}: ${(error as Error).message}`);
    }
    const text = await response.text();
    if (!response.ok) throw new StartupError(text);
    console.log(text);
  },
};
