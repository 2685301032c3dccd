import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { JOB_SCHEMA } from "./job-schema.ts";
import { checksum, type Migration, migrate } from "./migrations.ts";
import { connectionOptions } from "./pool.ts";
import { textArray } from "./statements.ts";

/*
 * A backup is one file: JSON lines, gzipped. First a header; then each table as a line with its columns, a line for each
 * row (an array of the columns as PostgreSQL writes them, or null) and a line with the number of rows; then the next
 * numbers of the identity columns; last the SHA-256 of all lines before. The job queue is not part of it: yesterday's
 * mail must not be sent again when yesterday's backup is restored. Neither is the search index, which is derived from the
 * articles and as large.
 *
 * Rows as text, not the files of the cluster: they do not depend on the version of PostgreSQL, its platform or its
 * collations, they fit an external PostgreSQL as well as the embedded one, and `zcat` shows them.
 */

type Header = {
  format: "conduit-backup";
  version: 1;
  conduit: string;
  postgres: string;
  takenAt: string;
  migrations: { file: string; checksum: string }[];
};
type Column = { name: string; type: string };
type TableLine = { table: string; columns: Column[] };
type Sequence = { table: string; column: string; value: string; used: boolean };
type Line = Header | TableLine | { rows: number } | { sequences: Sequence[] } | { sha256: string };

/** What was backed up or restored: rows by table. */
export type BackupReport = { readonly takenAt: string; readonly rows: Record<string, number> };

const ROWS_AT_ONCE = 500;
const BATCH_CHARACTERS_MAX = 2 * 1024 * 1024;

/**
 * Writes all tables into a file, as of one moment. Other statements can run at the same time.
 * @param conduit the version of this program
 * @throws StartupError if the file exists or the database has no schema
 */
export async function writeBackup(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  conduit: string,
  file: string,
): Promise<BackupReport> {
  if (await stat(file).catch(() => undefined)) throw new StartupError(`${file} exists already. Choose another name.`);
  const sql = openConnection(address);
  const draft = `${file}.partial`;
  const report = { takenAt: new Date().toISOString(), rows: {} as Record<string, number> };
  try {
    // One snapshot for all tables (PostgreSQL 13.2.2, Repeatable Read).
    await sql.begin("isolation level repeatable read read only", async (tx) => {
      const lines = sealed(backupLines(tx, migrations, conduit, report));
      // It contains password hashes, so only its owner may read it.
      await pipeline(Readable.from(lines), createGzip(), createWriteStream(draft, { mode: 0o600, flush: true }));
    });
    await rename(draft, file);
    return report;
  } finally {
    await rm(draft, { force: true });
    await sql.close({ timeout: 0 });
  }
}

async function* backupLines(
  tx: Bun.SQL,
  migrations: readonly Migration[],
  conduit: string,
  report: BackupReport & { rows: Record<string, number> },
): AsyncGenerator<string> {
  const [server] = (await tx.unsafe(
    "select current_setting('server_version') as version, to_regclass('schema_migrations') is not null as migrated",
  )) as { version: string; migrated: boolean }[];
  if (!server?.migrated) throw new StartupError("The database has no schema, so there is nothing to back up.");
  const applied = (await tx.unsafe("select file, checksum from schema_migrations order by version")) as {
    file: string;
    checksum: string;
  }[];
  requireKnown(applied, migrations, "The database");
  const header: Header = {
    format: "conduit-backup",
    version: 1,
    conduit,
    postgres: server.version,
    takenAt: report.takenAt,
    migrations: applied.map(({ file, checksum }) => ({ file, checksum })),
  };
  yield lineOf(header);

  for (const { table, columns } of await tablesOf(tx)) {
    yield lineOf({ table, columns });
    let rows = 0;
    const texts = columns.map(({ name }) => `${quote(name)}::text`);
    await tx.unsafe(
      `declare backup no scroll cursor for select json_build_array(${texts.join(", ")})::text as row from ${quote(table)}`,
    );
    for (;;) {
      const fetched = (await tx.unsafe(`fetch ${ROWS_AT_ONCE} from backup`)) as { row: string }[];
      // JSON text contains no line break.
      if (fetched.length > 0) yield fetched.map(({ row }) => `${row}\n`).join("");
      rows += fetched.length;
      if (fetched.length < ROWS_AT_ONCE) break;
    }
    await tx.unsafe("close backup");
    report.rows[table] = rows;
    yield lineOf({ rows });
  }
  // Last, because sequences are not part of the snapshot: numbers that later writers took are skipped.
  yield lineOf({ sequences: await sequencesOf(tx) });
}

const lineOf = (line: Line): string => `${JSON.stringify(line)}\n`;

/** The lines, followed by the hash of them all. */
async function* sealed(lines: AsyncIterable<string>): AsyncGenerator<string> {
  const hash = createHash("sha256");
  for await (const line of lines) {
    hash.update(line);
    yield line;
  }
  yield lineOf({ sha256: hash.digest("hex") });
}

/**
 * Restores a backup into a database without users, and updates its schema. Restores everything or nothing.
 * @throws StartupError if the file is no backup, is incomplete or newer than this program, or the database has users
 */
export async function restoreBackup(
  address: DatabaseAddress,
  migrations: readonly Migration[],
  file: string,
  connectTimeoutMs: number,
): Promise<BackupReport> {
  const header = await verifyBackup(file);
  requireKnown(header.migrations, migrations, `The backup ${file}`);
  const sql = openConnection(address);
  try {
    await requireEmpty(sql, header);
    await migrate(address, migrations.slice(0, header.migrations.length), connectTimeoutMs);
    const rows = await sql.begin((tx) => loadTables(tx, file));
    await migrate(address, migrations, connectTimeoutMs);
    // The server indexes them again in the background.
    await sql
      .unsafe("truncate search_queue; insert into search_queue (article_id) select id from articles order by id")
      .simple();
    await sql.unsafe("analyze");
    return { takenAt: header.takenAt, rows };
  } finally {
    await sql.close({ timeout: 0 });
  }
}

/** Reads the whole file, so that an invalid one changes nothing. */
async function verifyBackup(file: string): Promise<Header> {
  const hash = createHash("sha256");
  let header: Header | undefined;
  let seal: string | undefined;
  try {
    for await (const line of linesOf(file)) {
      if (header === undefined) {
        const first = JSON.parse(line) as Partial<Header>;
        if (first.format !== "conduit-backup") throw new Error("its first line is not that of a backup");
        if (first.version !== 1)
          throw new StartupError(`${file} was written by a newer version of Conduit. Restore it with that version.`);
        header = first as Header;
      }
      if (seal !== undefined) throw new Error("it has more lines after the checksum");
      if (line.startsWith('{"sha256"')) seal = (JSON.parse(line) as { sha256: string }).sha256;
      else hash.update(`${line}\n`);
    }
    if (header === undefined || seal === undefined) throw new Error("it ends before the checksum");
    if (hash.digest("hex") !== seal) throw new Error("its checksum does not match");
    return header;
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`${file} is not a complete backup: ${(error as Error).message}.`, { cause: error });
  }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const source = createReadStream(file);
  const unzipped = createGunzip();
  source.on("error", (error) => unzipped.destroy(error));
  const decoder = new TextDecoder();
  let rest: string[] = [];
  for await (const chunk of source.pipe(unzipped)) {
    const parts = decoder.decode(chunk as Uint8Array, { stream: true }).split("\n");
    rest.push(parts[0] ?? "");
    if (parts.length === 1) continue;
    yield rest.join("");
    yield* parts.slice(1, -1);
    rest = [parts.at(-1) ?? ""];
  }
  if (rest.join("") !== "") throw new Error("its last line is incomplete");
}

async function requireEmpty(sql: SQL, header: Header): Promise<void> {
  const refuse = (why: string) =>
    new StartupError(
      `${why}. A backup is restored into an empty data folder (DATA_DIR) or an empty database (DATABASE_URL).`,
    );
  const [found] = (await sql.unsafe(
    "select to_regclass('users') is not null as users, to_regclass('schema_migrations') is not null as migrated",
  )) as { users: boolean; migrated: boolean }[];
  if (found?.migrated) {
    const [schema] = (await sql.unsafe("select count(*)::integer as steps from schema_migrations")) as {
      steps: number;
    }[];
    if ((schema?.steps ?? 0) > header.migrations.length)
      throw refuse("The database has a newer schema than the backup");
  } else if (found?.users) {
    throw refuse("The database has tables of another program");
  }
  if (found?.users) {
    const [some] = (await sql.unsafe("select exists (select from users) as any")) as { any: boolean }[];
    if (some?.any) throw refuse("The database already has users");
  }
}

/**
 * Loads all rows. Triggers are disabled meanwhile, because what they maintain is in the backup. Foreign keys are checked at
 * the end, so the order of the tables does not matter.
 * @returns rows by table
 */
async function loadTables(tx: Bun.SQL, file: string): Promise<Record<string, number>> {
  const tables = (await tablesOf(tx)).map(({ table }) => quote(table));
  const foreignKeys = (await tx.unsafe(
    `select conrelid::regclass::text as table, quote_ident(conname) as name from pg_constraint
      where contype = 'f' and not condeferrable and connamespace = current_schema()::regnamespace`,
  )) as { table: string; name: string }[];
  // The migrations may have inserted rows.
  await tx.unsafe(`truncate ${tables.join(", ")}`);
  // Remaining jobs belong to other data: their mail must not be sent.
  await tx.unsafe(`delete from ${JOB_SCHEMA}._private_jobs`);
  for (const table of tables) await tx.unsafe(`alter table ${table} disable trigger user`);
  for (const { table, name } of foreignKeys) {
    await tx.unsafe(`alter table ${table} alter constraint ${name} deferrable initially deferred`);
  }

  const rows: Record<string, number> = {};
  let current: TableLine = { table: "", columns: [] };
  let batch: string[] = [];
  let batchCharacters = 0;
  const flush = async (): Promise<void> => {
    if (batch.length > 0) await tx.unsafe(insertOf(current), [`[${batch.join(",")}]`]);
    rows[current.table] = (rows[current.table] ?? 0) + batch.length;
    batch = [];
    batchCharacters = 0;
  };
  for await (const line of linesOf(file)) {
    if (line.startsWith("[")) {
      batch.push(line);
      batchCharacters += line.length;
      if (batch.length === ROWS_AT_ONCE || batchCharacters > BATCH_CHARACTERS_MAX) await flush();
      continue;
    }
    const entry = JSON.parse(line) as Line;
    if ("table" in entry) {
      current = entry;
    } else if ("rows" in entry) {
      await flush();
      if (rows[current.table] !== entry.rows) {
        throw new StartupError(
          `${file} has ${rows[current.table]} rows of ${current.table} and should have ${entry.rows}.`,
        );
      }
    } else if ("sequences" in entry) {
      for (const { table, column, value, used } of entry.sequences) {
        await tx.unsafe("select setval(pg_get_serial_sequence($1, $2), $3::bigint, $4::boolean)", [
          quote(table),
          column,
          value,
          used,
        ]);
      }
    }
  }

  await tx.unsafe("set constraints all immediate");
  for (const { table, name } of foreignKeys) {
    await tx.unsafe(`alter table ${table} alter constraint ${name} not deferrable`);
  }
  for (const table of tables) await tx.unsafe(`alter table ${table} enable trigger user`);
  return rows;
}

function insertOf({ table, columns }: TableLine): string {
  const names = columns.map(({ name }) => quote(name));
  const values = columns.map(({ type }, i) => `(r ->> ${i})::${type}`);
  return `insert into ${quote(table)} (${names.join(", ")}) overriding system value
          select ${values.join(", ")} from json_array_elements($1::text::json) as r`;
}

/** Not in a backup. */
const LEFT_OUT = ["schema_migrations", "article_search", "search_queue", "search_words"];

/** The other tables, with their columns except for generated ones. */
async function tablesOf(tx: Bun.SQL): Promise<TableLine[]> {
  return (await tx.unsafe(
    `select c.relname as table,
            json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod))
                     order by a.attnum) as columns
       from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace and c.relname <> all ($1::text[])
        and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      group by c.relname order by c.relname`,
    [textArray(LEFT_OUT)],
  )) as TableLine[];
}

async function sequencesOf(tx: Bun.SQL): Promise<Sequence[]> {
  const owned = (await tx.unsafe(
    `select t.relname as table, a.attname as column, s.oid::regclass::text as sequence
       from pg_class s
       join pg_depend d on d.objid = s.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
       join pg_class t on t.oid = d.refobjid
       join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
      where s.relkind = 'S' and t.relnamespace = current_schema()::regnamespace
      order by 1, 2`,
  )) as { table: string; column: string; sequence: string }[];
  const sequences: Sequence[] = [];
  for (const { table, column, sequence } of owned) {
    const [state] = (await tx.unsafe(`select last_value::text as value, is_called as used from ${sequence}`)) as {
      value: string;
      used: boolean;
    }[];
    if (state !== undefined) sequences.push({ table, column, ...state });
  }
  return sequences;
}

/** Throws if the applied migrations are not the first ones of this program. */
function requireKnown(
  applied: readonly { file: string; checksum: string }[],
  migrations: readonly Migration[],
  what: string,
): void {
  for (const [i, { file, checksum: sum }] of applied.entries()) {
    const known = migrations[i];
    if (known === undefined)
      throw new StartupError(
        `${what} belongs to a newer version of Conduit: it has migration ${file}. Use that version.`,
      );
    if (known.file !== file || checksum(known) !== sum) {
      throw new StartupError(
        `${what} has different migrations: ${file} is not the ${known.file} of this version of Conduit.`,
      );
    }
  }
}

function openConnection(address: DatabaseAddress): SQL {
  return new SQL(
    connectionOptions(address, 1, {
      statement_timeout: "0",
      // The format of values as text, independent of the server's settings.
      datestyle: "ISO, YMD",
      intervalstyle: "postgres",
      extra_float_digits: "1",
      bytea_output: "hex",
    }),
  );
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
