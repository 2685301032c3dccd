import { type DatabaseAddress, directAddress } from "../../config/database-address.ts";
import { StartupError } from "../../config/startup-error.ts";
import { sqlState } from "../errors.ts";
import { JOB_SCHEMA } from "../job-schema.ts";
import { type WaitOptions, withMigrationLock } from "../migration-lock.ts";
import type { Migration } from "../migration-steps.ts";
import { migrateIn } from "../migrations.ts";
import { findServer, withConnection } from "../reach.ts";
import type { Statement } from "../statements.ts";
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
import { readLines } from "./file.ts";
import {
  type BackupReport,
  FORMAT_VERSION,
  Header,
  InvalidBackup,
  oneLine,
  parseLine,
  RowsLine,
  requireRow,
  SequencesLine,
  TableLine,
} from "./format.ts";
import { LOCK_TIMEOUT_MS, lockProblem, sessionSettings } from "./session.ts";

type Lines = AsyncGenerator<string>;

export type RestoreOptions = WaitOptions & {
  /** Run at the end of the transaction, on the newest schema: they end what must not come back with the data. */
  readonly finish: readonly Statement<unknown>[];
};

const ROWS_AT_ONCE = 500;
const BATCH_CHARACTERS_MAX = 2 * 1024 * 1024;

/**
 * Reads the beginning of a file.
 * @throws StartupError if it cannot be read, is no backup, or belongs to a newer version of this program
 */
export async function requireBackup(migrations: readonly Migration[], file: string): Promise<void> {
  await reading(file, (lines) => readHeader(lines, migrations, file));
}

/**
 * Restores a backup into a database without users, and updates its schema, except for that of the job queue (`migrate`). One
 * transaction: everything or nothing. The file decides about values only. Names and types come from the schema that its
 * migrations create.
 * @throws StartupError as `requireBackup`, and if the file is incomplete or does not fit the schema, or the database has
 *   users
 */
export async function restoreBackup(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  file: string,
  options: RestoreOptions,
): Promise<BackupReport> {
  return await reading(file, async (lines) => {
    const header = await readHeader(lines, migrations, file);
    const server = await findServer(directAddress(address), { ...options, mustWrite: true });
    const session = {
      ...sessionSettings(LOCK_TIMEOUT_MS),
      application_name: "conduit restore",
      // Checking the foreign keys takes long where there are many rows.
      statement_timeout: "0",
    };
    return await withMigrationLock(server, options, () =>
      withConnection(server, options.connectTimeoutMs, session, async (sql) => {
        const rows = await sql.begin(async (tx) => {
          await requireEmpty(tx, header);
          await migrateIn(tx, server, migrations.slice(0, header.migrations.length));
          const loaded = await loadTables(tx, lines);
          await migrateIn(tx, server, migrations);
          for (const { text } of options.finish) await tx.unsafe(text);
          return loaded;
        });
        await sql.unsafe("analyze");
        return { takenAt: header.takenAt, rows };
      }),
    );
  });
}

async function reading<Result>(file: string, use: (lines: Lines) => Promise<Result>): Promise<Result> {
  const lines = readLines(file);
  try {
    return await use(lines);
  } catch (error) {
    // PostgreSQL: data exceptions, violated constraints, exceeded limits.
    const isRefused = /^(22|23|54)/.test(sqlState(error) ?? "");
    if (!isRefused && !(error instanceof InvalidBackup)) throw lockProblem(error);
    const { message } = error as Error;
    const reason = isRefused ? `PostgreSQL does not accept its rows (${oneLine(message)})` : message;
    throw new StartupError(`${file} is not a complete backup: ${reason}.`, { cause: error });
  } finally {
    await lines.return(undefined);
  }
}

async function readHeader(lines: Lines, migrations: readonly Migration[], file: string): Promise<Header> {
  const first = await next(lines);
  if (!first.startsWith('{"format":"conduit-backup"'))
    throw new InvalidBackup("its first line is not that of a backup");
  const header = parseLine(Header, first);
  if (header.version !== FORMAT_VERSION) {
    throw new StartupError(`${file} was written by a newer version of Conduit. Restore it with that version.`);
  }
  requireKnown(header.migrations, migrations, `The backup ${file}`);
  return header;
}

async function next(lines: Lines): Promise<string> {
  const { value, done } = await lines.next();
  if (done) throw new InvalidBackup("it ends too early");
  return value;
}

/** Locks the users, so that none can register meanwhile. */
async function requireEmpty(tx: Bun.SQL, header: Header): Promise<void> {
  const refusal = (why: string) =>
    new StartupError(
      `${why}. A backup is restored into an empty data folder (DATA_DIR) or an empty database (DATABASE_URL).`,
    );
  const [state] = (await tx.unsafe(SCHEMA_STATE.text)) as SchemaState[];
  if (state?.isMigrated) {
    const applied = (await tx.unsafe(HISTORY.text)) as Applied[];
    if (applied.length > header.migrations.length) throw refusal("The database has a newer schema than the backup");
  } else if (state?.hasUsers) {
    throw refusal("The database has tables of another program");
  }
  if (state?.hasUsers) {
    await tx.unsafe("lock table users in access exclusive mode");
    const [found] = (await tx.unsafe("select exists (select from users) as any")) as { any: boolean }[];
    if (found?.any) throw refusal("The database already has users");
  }
}

/**
 * Loads all rows. Triggers are disabled meanwhile, because what they maintain is in the backup. Foreign keys are checked at
 * the end, so the order of the tables does not matter.
 * @returns rows by table
 */
async function loadTables(tx: Bun.SQL, lines: Lines): Promise<Record<string, number>> {
  const tables = (await tx.unsafe(TABLES.text)) as Table[];
  const names = tables.map(({ name }) => quote(name));
  const foreignKeys = (await tx.unsafe(
    `select conrelid::regclass::text as table, quote_ident(conname) as name from pg_constraint
      where contype = 'f' and not condeferrable and connamespace = current_schema()::regnamespace`,
  )) as { table: string; name: string }[];
  // The migrations may have inserted rows. A sequence that restarts has a new file, so a rollback also undoes its next number,
  // which `setval` alone would keep.
  await tx.unsafe(`truncate ${names.join(", ")} restart identity`);
  const [state] = (await tx.unsafe(SCHEMA_STATE.text)) as SchemaState[];
  // Remaining jobs belong to other data: their mail must not be sent.
  if (state?.hasQueue) await tx.unsafe(`delete from ${JOB_SCHEMA}._private_jobs`);
  for (const name of names) await tx.unsafe(`alter table ${name} disable trigger user`);
  for (const { table, name } of foreignKeys) {
    await tx.unsafe(`alter table ${table} alter constraint ${name} deferrable initially deferred`);
  }

  const rows: Record<string, number> = {};
  for (const table of tables) rows[table.name] = await loadTable(tx, table, lines);
  await loadSequences(tx, lines);
  const { done } = await lines.next();
  if (!done) throw new InvalidBackup("it continues after its last part");

  await tx.unsafe("set constraints all immediate");
  for (const { table, name } of foreignKeys) {
    await tx.unsafe(`alter table ${table} alter constraint ${name} not deferrable`);
  }
  for (const name of names) await tx.unsafe(`alter table ${name} enable trigger user`);
  return rows;
}

async function loadTable(tx: Bun.SQL, { name, columns }: Table, lines: Lines): Promise<number> {
  const found = parseLine(TableLine, await next(lines));
  const expected = columns.map((column) => column.name);
  if (found.table !== name) {
    throw new InvalidBackup(`it has the table ${oneLine(found.table)} where ${name} belongs`);
  }
  if (!Bun.deepEquals(found.columns, expected)) {
    throw new InvalidBackup(`its columns of ${name} are not ${expected.join(", ")}`);
  }
  const insert = insertInto(name, columns);
  for (let loaded = 0; ; ) {
    const { rows, end } = await nextRows(lines, columns.length);
    if (rows.length > 0) await tx.unsafe(insert, [`[${rows.join(",")}]`]);
    loaded += rows.length;
    if (end === undefined) continue;
    const announced = parseLine(RowsLine, end).rows;
    if (announced !== loaded) throw new InvalidBackup(`it has ${loaded} rows of ${name} instead of ${announced}`);
    return loaded;
  }
}

/** The next rows of a table, and the line after its last one. */
async function nextRows(lines: Lines, columns: number): Promise<{ rows: string[]; end: string | undefined }> {
  const rows: string[] = [];
  for (let characters = 0; rows.length < ROWS_AT_ONCE && characters < BATCH_CHARACTERS_MAX; ) {
    const line = await next(lines);
    if (!line.startsWith("[")) return { rows, end: line };
    requireRow(line, columns);
    rows.push(line);
    characters += line.length;
  }
  return { rows, end: undefined };
}

function insertInto(table: string, columns: Table["columns"]): string {
  const names = columns.map(({ name }) => quote(name));
  const values = columns.map(({ type }, i) => `(r ->> ${i})::${type}`);
  return `insert into ${quote(table)} (${names.join(", ")}) overriding system value
          select ${values.join(", ")} from json_array_elements($1::text::json) as r`;
}

async function loadSequences(tx: Bun.SQL, lines: Lines): Promise<void> {
  const { sequences } = parseLine(SequencesLine, await next(lines));
  const expected = (await tx.unsafe(SEQUENCES.text)) as Sequence[];
  const namesOf = (list: readonly { table: string; column: string }[]) => list.map((one) => [one.table, one.column]);
  if (!Bun.deepEquals(namesOf(sequences), namesOf(expected))) {
    throw new InvalidBackup("its identity columns are not those of the schema");
  }
  for (const [i, { value, used }] of sequences.entries()) {
    await tx.unsafe("select setval($1::regclass, $2::bigint, $3::boolean)", [expected[i]?.sequence, value, used]);
  }
}
