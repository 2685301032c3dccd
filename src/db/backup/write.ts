import type { DatabaseAddress } from "../../config/database-address.ts";
import { StartupError } from "../../config/startup-error.ts";
import type { Migration } from "../migration-steps.ts";
import { withConnection } from "../reach.ts";
import {
  type Applied,
  HISTORY,
  quote,
  requireKnown,
  SCHEMA_STATE,
  type SchemaState,
  SEQUENCES,
  type Sequence,
  TABLES,
  type Table,
} from "./catalogue.ts";
import { requireNew, writeLines } from "./file.ts";
import {
  type BackupReport,
  FORMAT_VERSION,
  type Header,
  LINE_CHARACTERS_MAX,
  type RowsLine,
  type SequencesLine,
  type TableLine,
} from "./format.ts";
import { LOCK_TIMEOUT_MS, lockProblem, sessionSettings } from "./session.ts";

/** Of the largest articles, these are 100 MB. */
const ROWS_AT_ONCE = 100;

export type BackupTimes = {
  readonly connectMs: number;
  readonly lockMs?: number;
  /** How long one statement may take, which reads a few rows. */
  readonly responseMs?: number;
};

/** How much longer than PostgreSQL this program waits before it takes the connection for dead. */
const RESPONSE_MARGIN_MS = 5_000;

/** Runs a statement. */
type Run = <Row>(text: string) => Promise<Row[]>;

/**
 * Writes all tables into a new file, as of one moment. Other statements can run at the same time.
 * @param conduit the version of this program
 * @throws StartupError if the file exists or cannot be written, the database has no schema or a newer one, or it is locked
 */
export async function writeBackup(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  conduit: string,
  file: string,
  { connectMs, lockMs = LOCK_TIMEOUT_MS, responseMs = 60_000 }: BackupTimes,
): Promise<BackupReport> {
  requireNew(file);
  const session = {
    ...sessionSettings(lockMs),
    application_name: "conduit backup",
    statement_timeout: String(responseMs),
  };
  const report = { takenAt: "", rows: {} as Record<string, number> };
  try {
    await withConnection(address, connectMs, session, async (sql) => {
      const runIn =
        (on: Bun.SQL): Run =>
        (text) =>
          closingAfter(sql, responseMs + RESPONSE_MARGIN_MS, () => on.unsafe(text));
      const tables = await tablesOf(runIn(sql));
      // One snapshot for all tables (PostgreSQL 13.2.2, Repeatable Read).
      await sql.begin("isolation level repeatable read read only", async (tx) => {
        const run = runIn(tx);
        // Before the snapshot: a table that a migration rewrites after it would look empty (PostgreSQL 13.6).
        await run(`lock table ${tables.map(({ name }) => quote(name)).join(", ")} in access share mode`);
        await writeLines(file, backupLines(run, tables, migrations, conduit, report));
      });
    });
  } catch (error) {
    throw lockProblem(error);
  }
  return report;
}

/** Closes the connection if a statement takes too long, as a network that is gone may never report it. */
async function closingAfter<Result>(sql: Bun.SQL, timeoutMs: number, run: () => Promise<Result>): Promise<Result> {
  const timer = setTimeout(() => void sql.close({ timeout: 0 }).catch(() => {}), timeoutMs);
  try {
    return await run();
  } finally {
    clearTimeout(timer);
  }
}

async function tablesOf(run: Run): Promise<Table[]> {
  const [state] = await run<SchemaState>(SCHEMA_STATE.text);
  const tables = await run<Table>(TABLES.text);
  if (!state?.isMigrated || tables.length === 0) {
    throw new StartupError("The database has no schema, so there is nothing to back up.");
  }
  return tables;
}

async function* backupLines(
  run: Run,
  lockedTables: readonly Table[],
  migrations: readonly Migration[],
  conduit: string,
  report: { takenAt: string; rows: Record<string, number> },
): AsyncGenerator<string> {
  const [server] = await run<{ version: string; now: Date }>(
    "select current_setting('server_version') as version, clock_timestamp() as now",
  );
  if (server === undefined) throw new Error("no response");
  const tables = await run<Table>(TABLES.text);
  if (!Bun.deepEquals([...tables], [...lockedTables]))
    throw new StartupError("The schema has just changed. Try again.");
  const applied = await run<Applied>(HISTORY.text);
  requireKnown(applied, migrations, "The database");
  report.takenAt = server.now.toISOString();
  yield lineOf({
    format: "conduit-backup",
    version: FORMAT_VERSION,
    conduit,
    postgres: server.version,
    takenAt: report.takenAt,
    migrations: applied.map(({ file, checksum }) => ({ file, checksum })),
  } satisfies Header);

  for (const { name: table, columns } of tables) {
    yield lineOf({ table, columns: columns.map(({ name }) => name) } satisfies TableLine);
    let rows = 0;
    for await (const lines of rowsOf(run, table, columns)) {
      rows += lines.length;
      yield lines.join("");
    }
    report.rows[table] = rows;
    yield lineOf({ rows } satisfies RowsLine);
  }
  // Last, because sequences are not part of the snapshot: numbers that later writers took are skipped.
  yield lineOf({ sequences: await sequencesOf(run) } satisfies SequencesLine);
}

const lineOf = (line: object): string => `${JSON.stringify(line)}\n`;

async function* rowsOf(run: Run, table: string, columns: Table["columns"]): AsyncGenerator<string[]> {
  const texts = columns.map(({ name }) => `${quote(name)}::text`);
  await run(
    `declare backup no scroll cursor for select json_build_array(${texts.join(", ")})::text as row from ${quote(table)}`,
  );
  for (;;) {
    const fetched = await run<{ row: string }>(`fetch ${ROWS_AT_ONCE} from backup`);
    if (fetched.length === 0) break;
    yield fetched.map(({ row }) => {
      if (row.length > LINE_CHARACTERS_MAX) throw new StartupError(`A row of ${table} is too large for a backup.`);
      // JSON text contains no line break.
      return `${row}\n`;
    });
  }
  await run("close backup");
}

async function sequencesOf(run: Run): Promise<SequencesLine["sequences"]> {
  const found: SequencesLine["sequences"] = [];
  for (const { table, column, sequence } of await run<Sequence>(SEQUENCES.text)) {
    const [state] = await run<{ value: string; used: boolean }>(
      `select last_value::text as value, is_called as used from ${sequence}`,
    );
    if (state !== undefined) found.push({ table, column, ...state });
  }
  return found;
}
