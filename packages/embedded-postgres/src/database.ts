import type { PostgresAddress } from "./address.ts";
import { EmbeddedPostgresError, messageOf } from "./errors.ts";

const connectTimeoutS = 10;

/**
 * Logs in as the application. Creates its role, which is not a superuser, and its database if they are missing: at the
 * first start, and if that was interrupted.
 * @param superuserPassword called only if the application cannot log in
 * @throws EmbeddedPostgresError if neither the application nor the superuser can log in.
 */
export async function ensureDatabase(address: PostgresAddress, superuserPassword: () => string): Promise<void> {
  try {
    await withConnection(address, (sql) => sql`select 1`);
  } catch {
    const superuser = { username: "postgres", password: superuserPassword(), database: "postgres" };
    try {
      await withConnection({ ...address, ...superuser }, (sql) => createDatabase(sql, address));
    } catch (error) {
      throw new EmbeddedPostgresError(
        "not-started",
        `PostgreSQL runs but refuses the login: ${messageOf(error)}. Restore the data folder from a backup.`,
        { cause: error },
      );
    }
  }
}

async function withConnection(address: PostgresAddress, use: (sql: Bun.SQL) => Promise<unknown>): Promise<void> {
  const { socketPath, ...login } = address;
  const path = socketPath === undefined ? {} : { path: socketPath };
  const sql = new Bun.SQL({
    adapter: "postgres",
    ...login,
    ...path,
    max: 1,
    connectionTimeout: connectTimeoutS,
    // Otherwise Bun takes both from PG* variables.
    connection: { application_name: "embedded-postgres", options: "" },
    channelBinding: "disable",
  } as Bun.SQL.Options);
  try {
    await use(sql);
  } finally {
    await sql.close();
  }
}

/** These statements take no parameters. */
async function createDatabase(sql: Bun.SQL, { username, password, database }: PostgresAddress): Promise<void> {
  const [role] = await sql`select 1 from pg_roles where rolname = ${username}`;
  const literal = `'${password.replaceAll("'", "''")}'`;
  await sql.unsafe(`${role ? "alter" : "create"} role ${quoted(username)} login password ${literal}`);
  const [existing] = await sql`select 1 from pg_database where datname = ${database}`;
  if (!existing) await sql.unsafe(`create database ${quoted(database)} owner ${quoted(username)}`);
}

function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}
