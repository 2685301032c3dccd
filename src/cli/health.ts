import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";

/**
 * `conduit health`: whether the server of this machine is ready, for containers that have no other program to ask with.
 * @throws StartupError where it is not, with what it says
 */
export async function health({ host, port }: Config): Promise<void> {
  const anyAddress = host === "0.0.0.0" || host === "::";
  const url = `http://${anyAddress ? "127.0.0.1" : host}:${port}/health/ready`;
  let answer: Response;
  try {
    answer = await fetch(url, { signal: AbortSignal.timeout(4_000) });
  } catch (error) {
    throw new StartupError(`${url} does not answer: ${(error as Error).message}`);
  }
  const text = await answer.text();
  if (!answer.ok) throw new StartupError(text);
  console.log(text);
}
