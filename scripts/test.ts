// npm test: runs `bun test` with these arguments on one PostgreSQL for all, in one process more than there are cores, as many
// tests wait.

import { chmodSync, mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { POSTGRES_VARIABLE, startPostgres } from "../test/support/database.ts";

/** More processes than this would need more connections than PostgreSQL has. */
const PROCESSES_MAX = 4;
/** The databases of all tests, with room to spare. */
const MEMORY_MIN_BYTES = 5 * 1024 ** 3;

const folder = mkdtempSync(join(hasMemory() ? "/dev/shm" : tmpdir(), "conduit-test-"));
// Some tests start programs as other users.
chmodSync(folder, 0o755);
process.env.TMPDIR = folder;
process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }));

const { stop, ...postgres } = await startPostgres();
const options = [
  // No test measures time, and the machine may be busy.
  "--timeout=60000",
  `--parallel=${Math.min(PROCESSES_MAX, availableParallelism() + 1)}`,
  "--no-isolate",
];
const child = Bun.spawn([process.execPath, "test", ...options, ...process.argv.slice(2)], {
  cwd: join(import.meta.dir, ".."),
  env: { ...process.env, [POSTGRES_VARIABLE]: JSON.stringify(postgres) },
  stdio: ["inherit", "inherit", "inherit"],
});
// A terminal sends SIGINT to both. The tests end, and then this process stops PostgreSQL.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
const status = await child.exited;
await stop();
process.exit(status);

/** Whether temporary files fit into memory, which halves the time of the tests that create and copy databases. */
function hasMemory(): boolean {
  if (process.platform !== "linux") return false;
  const mount = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .find((line) => line.split(" ")[1] === "/dev/shm");
  // Some tests run a copy of PostgreSQL's programs.
  if (mount === undefined || mount.includes("noexec")) return false;
  const { bavail, bsize } = statfsSync("/dev/shm");
  return bavail * bsize >= MEMORY_MIN_BYTES;
}
