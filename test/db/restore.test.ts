import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { restoreBackup } from "../../src/db/backup/restore.ts";
import { backUp, contents, guards, restoreInto } from "../support/backup.ts";
import { connect, type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { createRandom, type Random, SEED } from "../support/random.ts";

let folder: string;
let server: TestServer;
/** A backup, and its lines without the checksum. */
let valid: string;
let lines: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "conduit-restore-"));
  server = await testServer();
  const ann = await server.register("ann");
  const bob = await server.register("bob");
  const { slug } = await server.publish(ann, { body: 'tab\there "quoted" \\N {} 😀', tagList: ["a, b"] });
  await server.request("POST", `/api/articles/${slug}/favorite`, { token: bob.token });
  await server.request("POST", "/api/profiles/ann/follow", { token: bob.token });
  const body = { comment: { body: "So it is" } };
  await server.request("POST", `/api/articles/${slug}/comments`, { token: bob.token, body });
  valid = join(folder, "valid.backup");
  await backUp(server.address, valid);
  lines = gunzipSync(readFileSync(valid)).toString().split("\n").slice(0, -2);
}, 60_000);
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

let files = 0;
async function fileOf(bytes: Uint8Array): Promise<string> {
  const file = join(folder, `${++files}.backup`);
  await Bun.write(file, bytes);
  return file;
}

/** A file with these lines and their checksum, as somebody could write it who knows the format. */
function sealed(changed: readonly string[]): Uint8Array {
  const text = changed.map((line) => `${line}\n`).join("");
  const sha256 = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  return gzipSync(`${text}${JSON.stringify({ sha256 })}\n`);
}

const failureOf = (restoring: Promise<unknown>): Promise<Error> =>
  restoring.then(
    () => {
      throw new Error("it was restored");
    },
    (error) => error,
  );

/** Expects what a command prints: one line of plain text, not too long. */
function expectOneLine(error: Error): void {
  expect(error).toBeInstanceOf(StartupError);
  expect(error.message).toMatch(/^[^\p{C}]{20,700}\.$/u);
}

describe("restoring refuses", () => {
  let empty: DatabaseAddress;
  beforeAll(async () => {
    empty = await testDatabase({ migrated: false });
  });

  test("a database with users", async () => {
    await expect(restoreInto(server.address, valid)).rejects.toThrow("The database already has users");
  });

  test("a database of another program", async () => {
    const other = await testDatabase({ migrated: false });
    await connect(other, 1)`create table users (name text)`;
    await expect(restoreInto(other, valid)).rejects.toThrow("tables of another program");
  });

  test("a backup of a newer Conduit", async () => {
    const options = { finish: [], connectTimeoutMs: 5_000, timeoutMs: 5_000, onProgress() {} };
    await expect(restoreBackup(empty, migrations.slice(0, 1), valid, options)).rejects.toThrow(
      "belongs to a newer version of Conduit",
    );
  });

  test("what is no file, without waiting for a writer of a pipe", async () => {
    await expect(restoreInto(empty, join(folder, "none"))).rejects.toThrow(`${join(folder, "none")} does not exist.`);
    await expect(restoreInto(empty, folder)).rejects.toThrow(`${folder} is not a file.`);
    const pipe = join(folder, "pipe");
    Bun.spawnSync(["mkfifo", pipe]);
    await expect(restoreInto(empty, pipe)).rejects.toThrow(`${pipe} is not a file.`);
  });

  const EVIL = "x; create table pwned ()";
  const startsWith = (start: string) => lines.findIndex((line) => line.startsWith(start));
  const table = (name: string) => startsWith(`{"table":"${name}"`);
  const withLine = (at: number, ...replaced: string[]) => lines.with(at, replaced.join("\n"));
  /** The first row of a table, with other values in some columns. */
  const withRow = (name: string, change: (row: (string | null)[]) => unknown) =>
    withLine(table(name) + 1, JSON.stringify(change(JSON.parse(lines[table(name) + 1] as string))));
  const withHeader = (change: object) => withLine(0, JSON.stringify({ ...JSON.parse(lines[0] as string), ...change }));
  const withSequence = (change: object) => {
    const { sequences } = JSON.parse(lines.at(-1) as string);
    return withLine(
      lines.length - 1,
      JSON.stringify({ sequences: [{ ...sequences[0], ...change }, ...sequences.slice(1)] }),
    );
  };
  const withColumns = (name: string, change: (columns: string[]) => unknown) =>
    withLine(
      table(name),
      JSON.stringify({ table: name, columns: change(JSON.parse(lines[table(name)] as string).columns) }),
    );

  test.each<[string, () => readonly string[], string]>([
    ["another program's header", () => withHeader({ format: "other" }), "its first line is not that of a backup"],
    ["no header", () => lines.slice(1), "its first line is not that of a backup"],
    ["a newer format", () => withHeader({ version: 2 }), "written by a newer version of Conduit"],
    ["a version that is no number", () => withHeader({ version: EVIL }), "an unexpected line"],
    ["control characters in the time", () => withHeader({ takenAt: "\u001b[31m" }), "an unexpected line"],
    ["no migrations", () => withHeader({ migrations: [] }), "an unexpected line"],
    [
      "a migration of its own",
      () => withHeader({ migrations: [{ file: "0001_x.sql", checksum: EVIL }] }),
      "different migrations",
    ],
    [
      "SQL as the name of a migration",
      () => withHeader({ migrations: [{ file: EVIL, checksum: "" }] }),
      "an unexpected line",
    ],
    [
      "an unknown table",
      () => lines.toSpliced(table("users"), 0, '{"table":"pwned","columns":[]}', '{"rows":0}'),
      "it has the table pwned where users belongs",
    ],
    [
      "SQL as a table",
      () => withLine(table("users"), JSON.stringify({ table: EVIL, columns: [] })),
      "where users belongs",
    ],
    [
      "a system table",
      () => withLine(table("users"), '{"table":"pg_authid","columns":["rolname"]}'),
      "where users belongs",
    ],
    [
      "a table twice",
      () => lines.toSpliced(table("users"), 0, ...lines.slice(table("tags"), table("users"))),
      "it has the table tags where users belongs",
    ],
    [
      "a missing table",
      () => lines.toSpliced(table("tags"), table("users") - table("tags")),
      "it has the table users where tags belongs",
    ],
    [
      "an unknown column",
      () => withColumns("users", (columns) => [...columns, "is_admin"]),
      "its columns of users are not id,",
    ],
    ["a column twice", () => withColumns("users", (columns) => [...columns, "id"]), "its columns of users are not id,"],
    ["a missing column", () => withColumns("users", (columns) => columns.slice(1)), "its columns of users are not id,"],
    [
      "columns in another order",
      () => withColumns("users", (columns) => columns.toReversed()),
      "its columns of users are not id,",
    ],
    [
      "SQL as a column",
      () => withColumns("users", (columns) => [`id") select 1; ${EVIL}; --`, ...columns.slice(1)]),
      "its columns of users are not id,",
    ],
    [
      "types of columns",
      () => withColumns("users", (columns) => columns.map((name) => ({ name, type: EVIL }))),
      "an unexpected line",
    ],
    ["a long row", () => withRow("users", (row) => [...row, "x"]), "a row without"],
    ["a short row", () => withRow("users", (row) => row.slice(1)), "a row without"],
    ["an empty row", () => withRow("users", () => []), "a row without"],
    ["a row of numbers", () => withRow("users", (row) => row.map(() => 1)), "a row without"],
    ["a row of rows", () => withRow("users", (row) => row.map(() => ["1"])), "a row without"],
    ["a very deep row", () => withLine(table("users") + 1, "[".repeat(1_000_000)), "not JSON"],
    ["a row that is cut off", () => withLine(table("users") + 1, '["1","2'), "not JSON"],
    ["a NUL character", () => withRow("users", (row) => row.with(1, "a\u0000b")), "does not accept its rows"],
    ["a NUL byte", () => withLine(table("users") + 1, '["\u0000"]'), "not JSON"],
    [
      "half a surrogate pair",
      () => withLine(table("users") + 1, (lines[table("users") + 1] as string).replace("ann", "\\ud83d")),
      "a row without",
    ],
    ["SQL as a number", () => withRow("users", (row) => row.with(0, EVIL)), "does not accept its rows"],
    [
      "a number that is too large",
      () => withRow("users", (row) => row.with(0, "9".repeat(30))),
      "does not accept its rows",
    ],
    [
      "a line break in a value that is quoted in the error",
      () => withRow("users", (row) => row.with(0, "a\n\u001b\u202eb")),
      "does not accept its rows",
    ],
    [
      "null where there must be a value",
      () => withRow("users", (row) => row.with(1, null)),
      "does not accept its rows",
    ],
    [
      "a user twice",
      () =>
        lines.toSpliced(
          table("users"),
          3,
          ...lines.slice(table("users"), table("users") + 2),
          ...lines.slice(table("users") + 1, table("users") + 2),
        ),
      "does not accept its rows",
    ],
    [
      "an article of nobody",
      () =>
        withRow("articles", (row) =>
          row.map((value, i) =>
            JSON.parse(lines[table("articles")] as string).columns[i] === "author_id" ? "77" : value,
          ),
        ),
      "does not accept its rows",
    ],
    ["fewer rows than it says", () => lines.toSpliced(table("users") + 1, 1), "it has 1 rows of users instead of 2"],
    [
      "more rows than it says",
      () => lines.toSpliced(table("users") + 2, 0, lines[table("users") + 1] as string),
      "does not accept its rows",
    ],
    ["a number of rows that is huge", () => withLine(table("users") + 3, '{"rows":1e300}'), "an unexpected line"],
    ["no number of rows", () => lines.toSpliced(table("users") + 3, 1), "an unexpected line"],
    ["an empty line", () => withLine(table("users") + 1, ""), "not JSON"],
    ["SQL as a sequence", () => withSequence({ table: EVIL }), "its identity columns are not those of the schema"],
    ["SQL as the value of a sequence", () => withSequence({ value: `1); ${EVIL}` }), "an unexpected line"],
    [
      "a value of a sequence that is too large",
      () => withSequence({ value: "9".repeat(19) }),
      "does not accept its rows",
    ],
    ["no sequences", () => lines.slice(0, -1), "it ends too early"],
    ["a header alone", () => lines.slice(0, 1), "it ends too early"],
    ["something after the sequences", () => [...lines, '["1"]'], "it continues after its last part"],
    ["two backups in one", () => [...lines, ...lines], "it continues after its last part"],
  ])("a backup with %s, and changes nothing", async (_what, change, message) => {
    const error = await failureOf(restoreInto(empty, await fileOf(sealed(change()))));
    expect(error.message).toContain(message);
    expectOneLine(error);
    expect(await contents(empty)).toEqual({});
  });

  const text = () => `${gunzipSync(readFileSync(valid))}`;
  test.each<[string, () => Uint8Array, string]>([
    ["a changed row", () => gzipSync(text().replace("So it is", "So it was")), "its checksum does not match"],
    ["no checksum", () => gzipSync(text().slice(0, text().lastIndexOf('{"sha256"'))), "does not end with a checksum"],
    ["a checksum in the middle", () => gzipSync(`${text()}["1"]\n`), "it continues after its last part"],
    ["an incomplete last line", () => gzipSync(text().slice(0, -5)), "its last line is incomplete"],
    ["a cut end", () => readFileSync(valid).subarray(0, -20), "gzip reports"],
    ["a half", () => readFileSync(valid).subarray(0, readFileSync(valid).length / 2), "gzip reports"],
    ["nothing in it", () => new Uint8Array(), "is not a complete backup"],
    ["nothing zipped", () => gzipSync(""), "does not end with a checksum"],
    ["text instead of gzip", () => Buffer.from(text()), "gzip reports"],
    [
      "bytes that are not UTF-8",
      () => gzipSync(Buffer.from(text().replace("So it is", "\u00ff"), "latin1")),
      "it is not UTF-8",
    ],
    [
      "half a character at its end",
      () => gzipSync(Buffer.concat([Buffer.from(text()), Buffer.from([0xe2])])),
      "it is not UTF-8",
    ],
    ["one line without an end", () => gzipSync(Buffer.alloc(200 * 1024 * 1024, "x")), "it has a line that is too long"],
    [
      "nothing but line breaks",
      () => gzipSync(Buffer.alloc(200 * 1024 * 1024, "\n")),
      "its first line is not that of a backup",
    ],
    [
      "a row without an end",
      () => gzipSync(`${lines.slice(0, 2).join("\n")}\n["${"x".repeat(70 * 1024 * 1024)}`),
      "it has a line that is too long",
    ],
  ])("a file with %s, and changes nothing", async (_what, bytes, message) => {
    const error = await failureOf(restoreInto(empty, await fileOf(bytes())));
    expect(error.message).toContain(message);
    expectOneLine(error);
    expect(await contents(empty)).toEqual({});
  });
});

test("a backup that the user chose is restored through a link, and whoever else can read it", async () => {
  await chmod(valid, 0o644);
  symlinkSync(valid, join(folder, "latest"));
  const copy = await testDatabase({ migrated: false });
  await restoreInto(copy, join(folder, "latest"), []);
  expect(await contents(copy)).toEqual(await contents(server.address));
});

test("a backup with random changes is restored as a whole or not at all, and no SQL of it runs", async () => {
  const random = createRandom(SEED);
  const original = { tables: Object.keys(await contents(server.address)), guards: await guards(server.address) };
  const outcomes = { restored: 0, refused: 0 };
  const copy = await testDatabase();
  const sql = connect(copy, 1);
  let before = await stateOf(sql);
  for (let i = 0; i < 60; i++) {
    const file = await fileOf(mutated(random));
    const error = await restoreInto(copy, file, []).then(
      async ({ rows }) => {
        outcomes.restored++;
        const restored = await contents(copy);
        expect(Object.keys(restored)).toEqual(original.tables);
        for (const [table, count] of Object.entries(rows)) expect([...(restored[table] as [])].length).toBe(count);
        expect(await guards(copy)).toEqual(original.guards);
        await sql.unsafe(`truncate ${Object.keys(rows).join(", ")} restart identity`);
        before = await stateOf(sql);
      },
      (error) => error,
    );
    await rm(file);
    if (error === undefined) continue;
    if (!(error instanceof StartupError)) throw new Error(`TEST_SEED=${SEED}, change ${i}`, { cause: error });
    outcomes.refused++;
    expectOneLine(error);
    expect(await stateOf(sql)).toEqual(before);
  }
  expect(outcomes.refused).toBeGreaterThan(12);
  expect(outcomes.restored).toBeGreaterThan(1);
}, 240_000);

/** Differs after every committed restore: it gives each table and sequence a new file. */
async function stateOf(sql: Bun.SQL): Promise<unknown> {
  const [row] = await sql`
    select (select json_agg(json_build_array(relname, relfilenode) order by relname)
              from pg_class where relnamespace = 'public'::regnamespace) as files,
           (select json_agg(json_build_array(sequencename, last_value) order by sequencename)
              from pg_sequences where schemaname = 'public') as numbers`;
  return row;
}

const HOSTILE = [
  "'; create table pwned (); --",
  '"; create table pwned (); --',
  '") values (1); create table pwned (); --',
  "$1",
  "\\",
  "\\u0000",
  "null",
  "{}",
  "[]",
  "]",
  '"',
  "\n",
  "\u0000",
  "\u202e",
  "9".repeat(400),
  "-1",
  "x".repeat(100_000),
];

/** One to three changes: of bytes of the file, of characters, of values or of lines; most with a matching checksum. */
function mutated(random: Random): Uint8Array {
  if (random.chance(0.15)) {
    const bytes = Buffer.from(readFileSync(valid));
    for (let n = random.below(3); n >= 0; n--) bytes[random.below(bytes.length)] = random.below(256);
    return random.chance(0.3) ? bytes.subarray(0, random.below(bytes.length)) : bytes;
  }
  if (random.chance(0.2)) {
    // Valid, except for what PostgreSQL or the limits of a comment forbid.
    return sealed(lines.map((line) => line.replace('"So it is"', () => JSON.stringify(random.pick(HOSTILE)))));
  }
  let changed = [...lines];
  for (let n = random.below(3); n >= 0; n--) changed = withChange(changed, random);
  return random.chance(0.1) ? gzipSync(`${changed.join("\n")}\n{"sha256":"00"}\n`) : sealed(changed);
}

function withChange(changed: readonly string[], random: Random): string[] {
  const at = random.below(changed.length);
  const line = changed[at] ?? "";
  const place = random.below(line.length + 1);
  switch (random.below(7)) {
    case 0:
      return changed.toSpliced(at, 1);
    case 1:
      return changed.toSpliced(random.below(changed.length), 0, line);
    case 2: {
      const other = random.below(changed.length);
      return changed.with(at, changed[other] ?? "").with(other, line);
    }
    case 3:
      return changed.with(
        at,
        line.slice(0, place) + String.fromCharCode(32 + random.below(95)) + line.slice(place + 1),
      );
    case 4:
      return changed.with(at, line.slice(0, place) + random.pick(HOSTILE) + line.slice(place));
    case 5:
      return changed.slice(0, at + 1);
    default:
      return changed.with(at, withValue(line, random));
  }
}

/** One string of a line replaced, in valid JSON. */
function withValue(line: string, random: Random): string {
  const value = random.pick([...HOSTILE, "1", "true", "2027-01-01 00:00:00+00", "", null]);
  const strings = [...line.matchAll(/"(?:[^"\\]|\\.)*"/g)];
  if (strings.length === 0) return line;
  const { index, 0: found } = random.pick(strings);
  return line.slice(0, index) + JSON.stringify(value) + line.slice(index + found.length);
}
