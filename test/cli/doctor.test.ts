import { afterAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import packageJson from "../../package.json";
import { checkClock } from "../../src/cli/doctor.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { connect, JWT_SECRET, testDatabase, testPostgres, testServer } from "../support/harness.ts";
import { testSmtp } from "../support/mail.ts";

const folder = await mkdtemp(join(tmpdir(), "conduit-doctor-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

async function doctor(env: Record<string, string>): Promise<{ code: number; out: string; err: string }> {
  const process_ = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "doctor"], {
    env: { PATH: process.env.PATH ?? "", JWT_SECRET, PORT: "0", HOST: "127.0.0.1", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([process_.stdout.text(), process_.stderr.text()]);
  return { code: await process_.exited, out, err };
}

function urlOf({ username, password, hostname, port, database, socketPath }: DatabaseAddress): string {
  const socket = socketPath === undefined ? "" : `?host=${encodeURIComponent(dirname(socketPath))}`;
  return `postgres://${username}:${password}@${hostname}:${port}/${database}${socket}`;
}

describe("conduit doctor", () => {
  test("reports no problem when there is none", async () => {
    const { code, out } = await doctor({ DATABASE_URL: urlOf(await testDatabase()) });
    expect(out.split("\n").filter((line) => line.startsWith("ok"))).toHaveLength(7);
    expect(out).toContain(`all ${migrations.length} are applied`);
    expect(out).not.toContain("PROBLEM");
    expect(code).toBe(0);
  });

  test("creates nothing", async () => {
    const dataDir = join(folder, "none");
    const { code, out } = await doctor({ DATA_DIR: dataDir });
    expect(out).toContain("does not exist yet; the first start creates it");
    expect(out).toMatch(/ok +disk +[0-9.]+ GiB free/);
    expect(code).toBe(0);
    expect(existsSync(dataDir)).toBe(false);
  });

  test("reports a database that is not UTF-8, and one that takes no writes", async () => {
    const { admin, address } = await testPostgres();
    const sql = connect(admin, 1);
    const latin = `conduit_test_latin_${process.pid}`;
    await sql.unsafe(
      `create database ${latin} owner ${address.username} encoding 'LATIN1' locale_provider 'libc' lc_collate 'C' lc_ctype 'C' template template0`,
    );
    expect((await doctor({ DATABASE_URL: urlOf({ ...address, database: latin }) })).out).toContain(
      `PROBLEM database       The database "${latin}" has the encoding LATIN1`,
    );
    await sql.unsafe(`drop database ${latin} with (force)`);
    const { database } = await testDatabase();
    await connect(admin, 1).unsafe(`alter database ${database} set default_transaction_read_only = on`);
    expect((await doctor({ DATABASE_URL: urlOf({ ...address, database }) })).out).toMatch(
      /PROBLEM database +PostgreSQL .* takes no writes: it is a standby or read-only/,
    );
  });

  test("names a HOST that is not one of this machine's", async () => {
    const { out } = await doctor({ DATA_DIR: join(folder, "none"), HOST: "x86_64-conda-linux-gnu", PORT: "3999" });
    expect(out).toMatch(/PROBLEM port +Cannot listen on .*: HOST=x86_64-conda-linux-gnu is not a name of this machine/);
  });

  test("compares the connections of all workers with those of the embedded PostgreSQL", async () => {
    const env = { DATA_DIR: join(folder, "none") };
    expect((await doctor(env)).out).toMatch(/ok +connections +at most \d+ of 210/);
    expect((await doctor({ ...env, WORKERS: "60" })).out).toMatch(
      /PROBLEM connections +WORKERS=60 with DATABASE_POOL_MAX=8 needs up to \d{3} connections, and the embedded/,
    );
  });

  test("counts missing migrations", async () => {
    const { code, out, err } = await doctor({ DATABASE_URL: urlOf(await testDatabase({ migrated: false })) });
    expect(out).toContain(`PROBLEM migrations     ${migrations.length} of ${migrations.length} are missing`);
    expect(err).toBe("Found 1 problem.\n");
    expect(code).toBe(1);
  });

  test("detects a newer database, and one with another history", async () => {
    const address = await testDatabase();
    const sql = connect(address, 1);
    await sql`insert into schema_migrations (version, file, checksum) values ('9999', '9999_later.sql', 'x')`;
    expect((await doctor({ DATABASE_URL: urlOf(address) })).out).toContain(
      "9999_later.sql, which this version does not know",
    );
    await sql`update schema_migrations set checksum = 'y' where version = '0001'`;
    expect((await doctor({ DATABASE_URL: urlOf(address) })).out).toContain("It belongs to another program");
  });

  test("reports why it cannot connect and which secrets are missing, without the password", async () => {
    const { address } = await testPostgres();
    const url = urlOf({ ...address, password: "not-this-one", database: "nowhere" });
    const { code, out, err } = await doctor({ DATABASE_URL: url, JWT_SECRET: "" });
    expect(out).toMatch(/PROBLEM database +Cannot reach the database "nowhere" at .* as user "conduit"/);
    expect(out).toMatch(/PROBLEM secrets +JWT_SECRET is not set/);
    expect(out + err).not.toContain("not-this-one");
    expect(err).toBe("Found 2 problems.\n");
    expect(code).toBe(1);
  });

  test("distinguishes a port that Conduit uses from one that another program uses", async () => {
    const server = await testServer();
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    try {
      const DATABASE_URL = urlOf(server.address);
      const ours = await doctor({ DATABASE_URL, PORT: new URL(server.url).port });
      expect(ours.out).toContain(`Conduit ${packageJson.version} is running on`);
      expect(ours.code).toBe(0);
      const theirs = await doctor({ DATABASE_URL, PORT: String(other.port) });
      expect(theirs.out).toContain(`PROBLEM port           Port ${other.port} is in use by another program`);
      expect(theirs.code).toBe(1);
    } finally {
      await other.stop(true);
      await server.stop();
    }
  });

  test("signs in to the mail server and reports its response, without the password", async () => {
    const smtp = await testSmtp({
      onAuth: ({ password }, _session, done) =>
        done(password === "right" ? null : new Error("no such user"), { user: "u" }),
    });
    try {
      const { port } = smtp;
      const DATA_DIR = join(folder, "none");
      const good = await doctor({ DATA_DIR, SMTP_URL: `smtp://me:right@127.0.0.1:${port}` });
      expect(good.out).toContain(`ok      mail           signed in to 127.0.0.1:${port} as me`);
      const bad = await doctor({ DATA_DIR, SMTP_URL: `smtp://me:wr0ng-one@127.0.0.1:${port}` });
      expect(bad.out).toMatch(/PROBLEM mail +The mail server 127\.0\.0\.1:\d+ rejects us: .*no such user/);
      expect(bad.out + bad.err).not.toContain("wr0ng-one");
      expect(bad.code).toBe(1);
    } finally {
      await smtp.stop();
    }
    const away = await doctor({ DATA_DIR: join(folder, "none"), SMTP_URL: "smtp://127.0.0.1:1" });
    expect(away.out).toMatch(/PROBLEM mail +The mail server 127\.0\.0\.1:1 rejects us/);
  });

  test("warns of what is unsafe in production, which is no problem", async () => {
    const DATABASE_URL = urlOf(await testDatabase());
    const { code, out } = await doctor({ DATABASE_URL, NODE_ENV: "production", BASE_URL: "http://conduit.example" });
    expect(out).toMatch(/^WARNING configuration +BASE_URL begins with http:\/\//m);
    expect(code).toBe(0);
  });

  test("reports every invalid setting", async () => {
    const { code, err } = await doctor({ PORT: "none", LOG_LEVEL: "loud" });
    expect(err).toContain("PORT must be");
    expect(err).toContain("LOG_LEVEL must be");
    expect(code).toBe(1);
  });

  test.each([
    [-5_000, "clock is 5 s ahead of the database's"],
    [60_000, "clock is 60 s behind the database's"],
  ])("detects a clock that is %p ms off", async (offMs, message) => {
    const sql = (async () => [{ now: String(Date.now() + offMs) }]) as unknown as SQL;
    await expect(checkClock(sql)).rejects.toThrow(message);
  });
});
