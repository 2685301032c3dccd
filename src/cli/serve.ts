import { logConsole } from "../observability/console.ts";
import type { Log } from "../observability/log.ts";
import { logFormat, serverLog, startServer } from "../server/server.ts";
import { stopOnSignals } from "../server/signals.ts";
import { startupLines, startupOutput } from "../server/startup-lines.ts";
import { startWorkers } from "../server/supervisor.ts";
import { runWorker, WORKER_VARIABLE } from "../server/worker.ts";
import type { Command } from "./command.ts";

export const serve: Command = {
  name: "serve",
  summary: "Start the server (npm start)",
  async run({ config: readConfig }) {
    const config = readConfig();
    const worker = process.send === undefined ? undefined : process.env[WORKER_VARIABLE];
    const log = serverLog(config, worker === undefined ? {} : { worker: Number(worker) });
    exitOnUncaughtError(log);
    if (logFormat(config) === "json") logConsole(log);
    if (worker !== undefined) return runWorker(config, Number(worker));
    const say = startupOutput(config);
    const server = await (config.workers === 1 ? startServer(config, say) : startWorkers(config, say));
    stopOnSignals(async () => {
      say("Stopping …");
      await server.stop();
    });
    for (const line of await startupLines(config, server)) say(line);
  },
};

/** Logs an error that nothing caught, and exits: the state that it left behind is unknown. */
function exitOnUncaughtError(log: Log): void {
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (error: unknown) => {
      log.error({ err: error }, "uncaught error, exiting");
      process.exit(1);
    });
  }
}
