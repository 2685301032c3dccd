import { describe, expect, test } from "bun:test";
import { migrationProblems } from "../../scripts/checks/migrations.ts";
import type { Migration } from "../../src/db/migration-steps.ts";

type File = Pick<Migration, "sql"> & Partial<Migration>;

/** What the check says about migrations after a first release 0.2.0, when 0.4.0 is the newest one. */
async function problemsOf(...files: File[]): Promise<string[]> {
  const baseline = {
    version: "0001",
    file: "0001",
    sql: "create table users (id bigint); create index on users (id);",
  };
  const after = files.map((file, i) => {
    const version = String(i + 2).padStart(4, "0");
    return { version, file: version, oldestProgram: "0.4.0", ...file };
  });
  return await migrationProblems([baseline, ...after], "0001", "0.4.0");
}

describe("the check of migrations accepts", () => {
  test.each<[string, File[]]>([
    [
      "a table with indexes, keys, triggers, functions and rows",
      [
        {
          sql: `create table notes (id bigint primary key, user_id bigint not null references users, body text check (body <> ''));
              create index notes_user_id_idx on notes (user_id);
              create function noted() returns trigger language plpgsql as $$ begin return null; end $$;
              create trigger noted after insert on notes for each row execute function noted();
              insert into notes select id, id, 'x' from users;
              alter table notes alter column body type varchar(9), add column n integer unique;`,
        },
      ],
    ],
    [
      "a trigger on one existing table",
      [{ sql: "create trigger t after insert on users for each row execute function f();" }],
    ],
    [
      "a column without a default, and one with a constant",
      [
        {
          sql: "alter table users add column a text, add column b text not null default 'x'::text, add column c timestamptz not null default now();",
        },
      ],
    ],
    [
      "an index of its own",
      [{ mode: "index", sql: "-- Why\ncreate unique index concurrently users_a_idx on users (a);" }],
    ],
    [
      "a unique constraint on an index that exists",
      [
        { mode: "index", sql: "create unique index concurrently users_a_key on users (a);" },
        { sql: "alter table users add constraint users_a_key unique using index users_a_key;" },
      ],
    ],
    [
      "not null in four steps",
      [
        { sql: "alter table users add constraint users_a_not_null check (a is not null) not valid;" },
        {
          mode: "batches",
          sql: "update users set a = '' where id in (select id from users where a is null limit 1000);",
        },
        { sql: "alter table users validate constraint users_a_not_null;" },
        { sql: "alter table users alter column a set not null;" },
      ],
    ],
    [
      "dropping what no program uses that may run",
      [{ oldestProgram: "0.3.0", sql: "-- unused since 0.3.0\nalter table users drop column a; drop function f;" }],
    ],
    [
      "a domain, a text search configuration, comments",
      [
        {
          sql: "create domain d as text check (value <> ''); create text search configuration s (copy = simple); comment on table users is 'x';",
        },
      ],
    ],
  ])("%s", async (_, files) => {
    expect(await problemsOf(...files)).toEqual([]);
  });
});

describe("the check of migrations rejects", () => {
  test.each<[string, File, string]>([
    [
      "a version that is not given",
      { sql: "select", oldestProgram: undefined } as unknown as File,
      "does not say oldestProgram",
    ],
    [
      "a version that is not released",
      { sql: "", oldestProgram: "0.5.0" },
      "0.5.0 is newer than the newest release, 0.4.0",
    ],
    ["invalid SQL", { sql: "create tabel x ();" }, 'syntax error at or near "tabel"'],
    [
      "an index that blocks writes",
      { sql: "create index users_a_idx on users (a);" },
      "creates an index on users, for which writes wait",
    ],
    ["a concurrent index in a transaction", { sql: "create index concurrently i on users (a);" }, 'say mode: "index"'],
    [
      "an index next to something else",
      { mode: "index", sql: "create index concurrently i on users (a); select 1;" },
      "must be one",
    ],
    [
      "an index that is not concurrent",
      { mode: "index", sql: "create index i on users (a);" },
      "must be created concurrently",
    ],
    [
      "an index that may be invalid",
      { mode: "index", sql: "create index concurrently if not exists i on users (a);" },
      "accepts an invalid index",
    ],
    [
      "an index without a name",
      { mode: "index", sql: "create index concurrently on users (a);" },
      "`create index concurrently name`",
    ],
    [
      "another type",
      { sql: "alter table users alter column a type bigint;" },
      "changes the type of users.a, which rewrites the table",
    ],
    [
      "not null without a check",
      { sql: "alter table users alter column a set not null;" },
      "sets users.a not null, which reads the whole table",
    ],
    [
      "a new column that is not null",
      { sql: "alter table users add column a text not null;" },
      "inserts by older programs fail",
    ],
    [
      "a volatile default",
      { sql: "alter table users add column a uuid default gen_random_uuid();" },
      "not a constant, which rewrites",
    ],
    [
      "a generated column",
      { sql: "alter table users add column a int generated always as (id * 2) stored;" },
      "as generated, which rewrites",
    ],
    [
      "an identity",
      { sql: "alter table users add column a bigint generated always as identity;" },
      "as generated, which rewrites",
    ],
    [
      "a column with a check",
      { sql: "alter table users add column a int check (a > 0);" },
      "add it by itself, as `not valid`",
    ],
    [
      "a column with a key",
      { sql: "alter table users add column a bigint references users;" },
      "add it by itself, as `not valid`",
    ],
    [
      "a check that reads the table",
      { sql: "alter table users add constraint c check (a > 0);" },
      "adds c to users, which reads the whole table",
    ],
    [
      "a key that reads the table",
      { sql: "alter table users add constraint f foreign key (a) references users;" },
      "adds f to users, which reads the whole table",
    ],
    [
      "a unique constraint that builds its index",
      { sql: "alter table users add constraint u unique (a);" },
      "first create its index",
    ],
    [
      "validation next to its constraint",
      { sql: "alter table users add constraint c check (a > 0) not valid; alter table users validate constraint c;" },
      "write a file of its own",
    ],
    ["dropping a column", { sql: "alter table users drop column a;" }, "say in a line `-- unused since X.Y.Z`"],
    [
      "dropping a table that a program may use",
      { sql: "-- unused since 0.4.0\ndrop table users;", oldestProgram: "0.3.0" },
      "unused since 0.4.0, but oldestProgram is 0.3.0",
    ],
    ["renaming a table", { sql: "alter table users rename to people;" }, "renames something that older programs use"],
    [
      "renaming a column",
      { sql: "alter table users rename column a to b;" },
      "renames something that older programs use",
    ],
    ["all rows in one transaction", { sql: "update users set a = 1;" }, "write a file of the mode batches"],
    ["rows into an existing table", { sql: "insert into users select 1;" }, "inserts into users, which exists already"],
    [
      "batches without a limit",
      { mode: "batches", sql: "update users set a = 1 where a is null;" },
      "must have a limit",
    ],
    [
      "two batches",
      { mode: "batches", sql: "delete from users; delete from users;" },
      "must be one update, delete or insert",
    ],
    [
      "two existing tables",
      { sql: "alter table users add column a int; alter table tags add column a int;" },
      "changes users and tags",
    ],
    [
      "rows while a table is locked",
      { sql: "create table t (id int); alter table users add column a int; insert into t select id from users;" },
      "inserts rows while it has a lock on users",
    ],
    ["a lock timeout of its own", { sql: "set lock_timeout = '1min';" }, "VariableSetStmt is not known to be harmless"],
    ["a transaction of its own", { sql: "begin; commit;" }, "TransactionStmt is not known to be harmless"],
    [
      "an unknown change",
      { sql: "alter table users set unlogged;" },
      "AT_SetUnLogged of users is not known to be instant",
    ],
    [
      "code that cannot be checked",
      { sql: "do $$ begin update users set a = 1; end $$;" },
      "DoStmt is not known to be harmless",
    ],
  ])("%s", async (_, file, problem) => {
    const problems = await problemsOf(file);
    expect(problems.join("\n")).toContain(problem);
  });

  test("a version older than that of a migration before it", async () => {
    const [problem] = await problemsOf(
      { sql: "create table a ();", oldestProgram: "0.3.0" },
      { sql: "create table b ();", oldestProgram: "0.2.0" },
    );
    expect(problem).toContain("oldestProgram 0.2.0 is older than that of a migration before it, 0.3.0");
  });

  test("not null in the file that validates the check", async () => {
    const problems = await problemsOf(
      { sql: "alter table users add constraint c check (a is not null) not valid;" },
      { sql: "alter table users validate constraint c; alter table users alter column a set not null;" },
    );
    expect(problems).toHaveLength(2);
  });

  test("nothing up to the first release", async () => {
    const sql = "drop table users; create index on tags (name);";
    expect(await migrationProblems([{ version: "0001", file: "0001", sql }], "0001", "0.1.0")).toEqual([]);
  });
});
