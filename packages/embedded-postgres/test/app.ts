// A small application around the embedded PostgreSQL, for the tests to kill. Reports what happens as lines of JSON.
// Usage: app.ts <data folder> <serve|write|exit> [<cache folder>]
import { EmbeddedPostgresError, startEmbeddedPostgres } from "../src/index.ts";

const [, , dataDir = "", mode = "serve", cacheDir] = process.argv;
const report = (line: Record<string, unknown>): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const postgres = await startEmbeddedPostgres({
    dataDir,
    ...(cacheDir === undefined ? {} : { cacheDir }),
    onProgress: (progress) => report({ progress }),
    onRestart: (restart) => report({ restart }),
  });
  const { socketPath = "", ...address } = postgres.address;
  const sql = new Bun.SQL({ adapter: "postgres", ...address, path: socketPath, max: 2 });
  const stop = async (): Promise<void> => {
    await sql.close();
    await postgres.stop();
    process.exit(0);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", async () => {
    // Like a request that is still in flight.
    report({ finished: (await sql`select 1 as one`)[0] });
    await stop();
  });
  // Only now, because the test may send a signal at once.
  report({ started: postgres.address });
  if (mode === "exit") process.exit(0);
  if (mode === "write") {
    await sql`create table if not exists acknowledged (id bigint primary key)`;
    const [last] = await sql`select coalesce(max(id), 0)::int as id from acknowledged`;
    for (let id = last.id + 1; ; id++) {
      try {
        await sql`insert into acknowledged values (${id})`;
        report({ acknowledged: id });
      } catch {
        // PostgreSQL is down. The row may or may not be there, so its number is not used again.
        await Bun.sleep(20);
      }
    }
  } else {
    setInterval(() => {}, 60_000);
  }
} catch (error) {
  const code = error instanceof EmbeddedPostgresError ? error.code : String(error);
  report({ error: error instanceof Error ? error.message : String(error), code });
  process.exit(1);
}
