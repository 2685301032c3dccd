// npm test: runs `bun test` with these arguments, in as many processes as there are cores, on one PostgreSQL for all.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import { POSTGRES_VARIABLE, startPostgres } from "../test/support/database.ts";

const root = join(import.meta.dir, "..");
/** More processes than this would need more connections than PostgreSQL has. */
const PROCESSES_MAX = 4;

const { stop, ...postgres } = await startPostgres();
const child = Bun.spawn(
  [
    process.execPath,
    "test",
    // No test measures time, and the machine may be busy.
    "--timeout=60000",
    `--parallel=${Math.min(PROCESSES_MAX, availableParallelism())}`,
    "--no-isolate",
    ...process.argv.slice(2),
  ],
  {
    cwd: root,
    env: { ...process.env, [POSTGRES_VARIABLE]: JSON.stringify(postgres) },
    stdio: ["inherit", "inherit", "inherit"],
  },
);
// The terminal sends SIGINT to both; the tests then end, and this process stops PostgreSQL.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
const status = await child.exited;
await stop();
process.exit(status);
