import { StartupError } from "../../config/startup-error.ts";
import { JOB_SCHEMA } from "../job-schema.ts";
import { checksum, type Migration } from "../migration-steps.ts";
import { read } from "../statements.ts";

/** A table, with its columns except for generated ones. */
export type Table = { readonly name: string; readonly columns: readonly { name: string; type: string }[] };

/** The next number of an identity column. */
export type Sequence = {
  readonly table: string;
  readonly column: string;
  /** Its name, quoted. */
  readonly sequence: string;
};

/** Tables that are not in a backup: the list of migrations, and the search index, which is derived and as large as the articles. */
const LEFT_OUT = "('schema_migrations', 'article_search', 'search_queue', 'search_words', 'timelines')";

/** The other tables of the application's schema, except for those of extensions. Sorted by name. */
export const TABLES = read<Table>(
  "backup_tables",
  `select c.relname as name,
          json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod))
                   order by a.attnum) as columns
     from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace and c.relname not in ${LEFT_OUT}
      and not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
      and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    group by c.relname order by c.relname`,
);

export const SEQUENCES = read<Sequence>(
  "backup_sequences",
  `select t.relname as "table", a.attname as "column", s.oid::regclass::text as sequence
     from pg_class s
     join pg_depend d on d.objid = s.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
     join pg_class t on t.oid = d.refobjid
     join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
    where s.relkind = 'S' and t.relname not in ${LEFT_OUT} and t.relnamespace = current_schema()::regnamespace
    order by t.relname, a.attname`,
);

export type SchemaState = { readonly isMigrated: boolean; readonly hasUsers: boolean; readonly hasQueue: boolean };

/** Which of its tables the database has. */
export const SCHEMA_STATE = read<SchemaState>(
  "backup_schema_state",
  `select to_regclass('schema_migrations') is not null as "isMigrated", to_regclass('users') is not null as "hasUsers",
          to_regclass('${JOB_SCHEMA}._private_jobs') is not null as "hasQueue"`,
);

/** A migration that was applied. */
export type Applied = { readonly file: string; readonly checksum: string };

export const HISTORY = read<Applied>("backup_history", "select file, checksum from schema_migrations order by version");

/** Throws if the applied migrations are not the first ones of this program. */
export function requireKnown(applied: readonly Applied[], migrations: readonly Migration[], what: string): void {
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

/** A name of the catalogue, as an identifier. */
export const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
