// A small app around the embedded PostgreSQL, to be killed by test/embedded-postgres.test.ts.
// Usage: embedded-postgres-app.ts <data folder> <serve|write|exit>   Says what happens in lines of JSON.
import { startEmbeddedPostgres } from "../src/index.ts";

const [, , dataDir = "", mode = "serve"] = process.argv;
const say = (line: Record<string, unknown>): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const startedAt = performance.now();
  const database = await startEmbeddedPostgres({
    dataDir,
    onProgress: (progress) => say({ progress }),
    onRestart: (restart) => say({ restart }),
  });
  const ms = performance.now() - startedAt;
  const { socketPath = "", ...address } = database.address;
  const sql = new Bun.SQL({ adapter: "postgres", ...address, path: socketPath, max: 2 });
  process.on("SIGTERM", async () => {
    await sql.close();
    await database.stop();
    process.exit(0);
  });
  process.on("SIGINT", async () => {
    // As if requests were still running: the database must be there for them.
    await Bun.sleep(300);
    say({ drained: (await sql`select 1 as one`)[0] });
    await sql.close();
    await database.stop();
    process.exit(0);
  });
  // Not earlier: whoever reads it may send a signal at once.
  say({ started: database.address, ms });
  if (mode === "exit") process.exit(0);
  if (mode === "write") {
    await sql`create table if not exists acknowledged (id bigint primary key)`;
    const [last] = await sql`select coalesce(max(id), 0)::int as id from acknowledged`;
    for (let id = last.id + 1; ; id++) {
      try {
        await sql`insert into acknowledged values (${id})`;
        say({ acknowledged: id });
      } catch {
        // PostgreSQL is away. Whether this row is there is unknown, so its number is not used again.
        await Bun.sleep(20);
      }
    }
  } else {
    setInterval(() => {}, 60_000);
  }
} catch (error) {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  say({ error: message, name });
  process.exit(1);
}
