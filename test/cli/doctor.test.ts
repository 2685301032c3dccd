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
  test("finds nothing wrong where nothing is", async () => {
    const { code, out } = await doctor({ DATABASE_URL: urlOf(await testDatabase()) });
    expect(out.split("\n").filter((line) => line.startsWith("ok"))).toHaveLength(7);
    expect(out).toContain(`all ${migrations.length} are applied`);
    expect(out).not.toContain("PROBLEM");
    expect(code).toBe(0);
  });

  test("makes nothing where there is nothing yet", async () => {
    const dataDir = join(folder, "none");
    const { code, out } = await doctor({ DATA_DIR: dataDir });
    expect(out).toContain("there is none yet; the first start makes it");
    expect(out).toMatch(/ok +disk +[0-9.]+ GiB are free/);
    expect(code).toBe(0);
    expect(existsSync(dataDir)).toBe(false);
  });

  test("counts the migrations that are missing", async () => {
    const { code, out, err } = await doctor({ DATABASE_URL: urlOf(await testDatabase({ migrated: false })) });
    expect(out).toContain(`PROBLEM migrations     ${migrations.length} of ${migrations.length} are missing`);
    expect(err).toBe("There is a problem.\n");
    expect(code).toBe(1);
  });

  test("sees a database that is newer, and one with another history", async () => {
    const address = await testDatabase();
    const sql = connect(address, 1);
    await sql`insert into schema_migrations (version, file, checksum) values ('9999', '9999_later.sql', 'x')`;
    expect((await doctor({ DATABASE_URL: urlOf(address) })).out).toContain(
      "9999_later.sql, which this Conduit does not know",
    );
    await sql`update schema_migrations set checksum = 'y' where version = '0001'`;
    expect((await doctor({ DATABASE_URL: urlOf(address) })).out).toContain("belongs to another program");
  });

  test("says why the database cannot be reached, and which secrets are missing, without the password", async () => {
    const { address } = await testPostgres();
    const url = urlOf({ ...address, password: "not-this-one", database: "nowhere" });
    const { code, out, err } = await doctor({ DATABASE_URL: url, JWT_SECRET: "" });
    expect(out).toMatch(/PROBLEM database +The database "nowhere" cannot be reached at .* as user "conduit"/);
    expect(out).toMatch(/PROBLEM secrets +JWT_SECRET is not set/);
    expect(out + err).not.toContain("not-this-one");
    expect(err).toBe("There are 2 problems.\n");
    expect(code).toBe(1);
  });

  test("tells a port that Conduit has from one that another program has", async () => {
    const server = await testServer();
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    try {
      const DATABASE_URL = urlOf(server.address);
      const ours = await doctor({ DATABASE_URL, PORT: new URL(server.url).port });
      expect(ours.out).toContain(`is where Conduit ${packageJson.version} runs`);
      expect(ours.code).toBe(0);
      const theirs = await doctor({ DATABASE_URL, PORT: String(other.port) });
      expect(theirs.out).toContain(`PROBLEM port           ${other.port} is taken by another program`);
      expect(theirs.code).toBe(1);
    } finally {
      await other.stop(true);
      await server.stop();
    }
  });

  test("signs in to the mail server, and says what it answers, without the password", async () => {
    const smtp = await testSmtp({
      onAuth: ({ password }, _session, done) =>
        done(password === "right" ? null : new Error("no such user"), { user: "u" }),
    });
    try {
      const { port } = smtp;
      const DATA_DIR = join(folder, "none");
      const good = await doctor({ DATA_DIR, SMTP_URL: `smtp://me:right@127.0.0.1:${port}` });
      expect(good.out).toContain(`ok      mail           127.0.0.1:${port} lets us in as me`);
      const bad = await doctor({ DATA_DIR, SMTP_URL: `smtp://me:wr0ng-one@127.0.0.1:${port}` });
      expect(bad.out).toMatch(
        /PROBLEM mail +The mail server 127\.0\.0\.1:\d+ does not take mail from us: .*no such user/,
      );
      expect(bad.out + bad.err).not.toContain("wr0ng-one");
      expect(bad.code).toBe(1);
    } finally {
      await smtp.stop();
    }
    const away = await doctor({ DATA_DIR: join(folder, "none"), SMTP_URL: "smtp://127.0.0.1:1" });
    expect(away.out).toMatch(/PROBLEM mail +The mail server 127\.0\.0\.1:1 does not take mail/);
  });

  test("reports every fault of the configuration", async () => {
    const { code, err } = await doctor({ PORT: "none", LOG_LEVEL: "loud" });
    expect(err).toContain("PORT must be");
    expect(err).toContain("LOG_LEVEL must be");
    expect(code).toBe(1);
  });

  test.each([
    [-5_000, "clock is 5 s ahead of the database's"],
    [60_000, "clock is 60 s behind the database's"],
  ])("sees a clock that is %p ms off", async (offMs, message) => {
    const sql = (async () => [{ now: String(Date.now() + offMs) }]) as unknown as SQL;
    await expect(checkClock(sql)).rejects.toThrow(message);
  });
});
