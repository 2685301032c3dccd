import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { SQL, type Subprocess } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { connectionOptions, openDatabase } from "../../src/db/pool.ts";
import { checkPooler, findServer } from "../../src/db/reach.ts";
import { write } from "../../src/db/statements.ts";
import { connect, testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

// With the PgBouncer of this machine, or the one that PGBOUNCER names. Skipped without one.
const program = process.env.PGBOUNCER ?? Bun.which("pgbouncer", { PATH: `${process.env.PATH}:/usr/sbin` });
const version = program ? Bun.spawnSync([program, "-V"]).stdout.toString() : "";
const [, major, minor] = /PgBouncer (\d+)\.(\d+)/.exec(version) ?? [];
const supportsPrepared = Number(major) > 1 || Number(minor) >= 21;
const LIMITS = { connectTimeoutMs: 2_000, statementTimeoutMs: 5_000 };
const WAITING = { poolMax: 2, queueTimeoutMs: 2_000, failoverWaitMs: 40_000 };
const ADD = write("pgbouncer_test_write", "insert into pooled values ($1)");

describe.skipIf(!program)("a PgBouncer in transaction mode", () => {
  let direct: DatabaseAddress;
  let proxy: ReturnType<typeof startProxy>;
  const bouncers: { process: Subprocess; folder: string }[] = [];
  beforeAll(async () => {
    direct = await testDatabase();
    // PgBouncer runs as a user who may not use the socket of the embedded PostgreSQL.
    proxy = startProxy(direct);
  });
  afterAll(async () => {
    for (const { process, folder } of bouncers) {
      process.kill("SIGQUIT");
      await process.exited;
      rmSync(folder, { recursive: true });
    }
    proxy.stop();
  });

  /** Starts one, and returns the address of the database behind it. */
  async function bouncer(settings: Record<string, string>): Promise<DatabaseAddress> {
    const folder = mkdtempSync(join(tmpdir(), "conduit-pgbouncer-"));
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = probe;
    probe.stop(true);
    const all = {
      listen_addr: "127.0.0.1",
      listen_port: port,
      unix_socket_dir: "",
      auth_type: "any",
      pool_mode: "transaction",
      default_pool_size: 10,
      ...settings,
    };
    const { username, password, database } = direct;
    await writeFile(
      join(folder, "ini"),
      [
        "[databases]",
        `${database} = host=127.0.0.1 port=${proxy.address.port} user=${username} password=${password}`,
        "[pgbouncer]",
        ...Object.entries(all).map(([name, value]) => `${name} = ${value}`),
        "",
      ].join("\n"),
    );
    await Bun.spawn(["chmod", "-R", "a+rX", folder]).exited;
    // It refuses to run as root.
    const user = userInfo().uid === 0 ? ["-u", "nobody"] : [];
    const process = Bun.spawn([program ?? "", ...user, join(folder, "ini")], { stderr: "ignore" });
    bouncers.push({ process, folder });
    const socket = await until(
      () => Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).catch(() => undefined),
      () => `PgBouncer listens; its exit code is ${process.exitCode}`,
    );
    socket.end();
    return { ...proxy.address, port };
  }

  const reach = (address: DatabaseAddress) =>
    findServer(address, { ...LIMITS, timeoutMs: 0, mustWrite: true, onProgress() {} });

  test("is refused without DATABASE_DIRECT_URL, whether it refuses the settings of a session or ignores them", async () => {
    const ours = "default_transaction_isolation, lock_timeout, options";
    for (const address of [await bouncer({}), await bouncer({ ignore_startup_parameters: ours })]) {
      await expect(reach(address)).rejects.toThrow(
        /is a connection pooler, which keeps no settings of a session \(.+\)\. Set DATABASE_DIRECT_URL/,
      );
    }
  });

  test.skipIf(supportsPrepared)("is refused if it is older than 1.21", async () => {
    for (const address of [await bouncer({}), await bouncer({ ignore_startup_parameters: "options" })]) {
      await expect(checkPooler({ ...address, direct }, LIMITS)).rejects.toThrow(
        /does not support prepared statements\. Use PgBouncer 1\.21 or newer/,
      );
    }
  });

  test.skipIf(!supportsPrepared)("is refused if it does not track prepared statements", async () => {
    const address = { ...(await bouncer({ max_prepared_statements: "0" })), direct };
    await expect(checkPooler(address, LIMITS)).rejects.toThrow("does not support prepared statements");
  });

  test.skipIf(!supportsPrepared)("serves requests, and warns until the role limits their time", async () => {
    const first = { ...(await bouncer({ max_prepared_statements: "200" })), direct };
    const limit = `alter role "${direct.username}" in database "${direct.database}" set statement_timeout = '5000ms'`;
    expect(await checkPooler(first, LIMITS)).toEqual([
      `Behind the connection pooler, statements may run without a limit, which looks like an outage after 5000 ms. Run: ${limit}`,
    ]);
    await connect(direct).unsafe(limit);
    // Another one, as connections of the first are older than the limit.
    const second = { ...(await bouncer({ max_prepared_statements: "200" })), direct };
    expect(await checkPooler(second, LIMITS)).toEqual([]);

    const server = await testServer({ address: second });
    const author = await server.register("author");
    await Promise.all(Array.from({ length: 30 }, (_, i) => server.publish(author, { title: `Number ${i}` })));
    const lists = await Promise.all(Array.from({ length: 100 }, () => server.request("GET", "/api/articles")));
    expect(new Set(lists.map(({ status, json }) => `${status} ${json.articlesCount}`))).toEqual(new Set(["200 30"]));
    expect((await server.request("GET", "/health/ready")).status).toBe(200);
    await server.stop();
  });

  test.skipIf(!supportsPrepared)(
    "refuses a write while its server is away, which then waits and runs once",
    async () => {
      const pooled = { ...(await bouncer({ max_prepared_statements: "200", server_login_retry: "1" })), direct };
      const sql = connect(direct);
      await sql`create table pooled (value text)`;
      const db = openDatabase(pooled, { ...WAITING, ...LIMITS });
      try {
        await db.rows(ADD, ["before"]);
        proxy.refuse();
        // Once PgBouncer has tried to connect, it refuses. The statement before that waits in it, and is given up.
        const refusal = async () => {
          const other = new SQL({ ...connectionOptions(pooled, 1, {}), connectionTimeout: 1 } as SQL.Options);
          const said = await Promise.race([other`select 1`.catch((error) => error.message), Bun.sleep(1_000)]);
          void other.close({ timeout: 0 }).catch(() => {});
          return typeof said === "string" && said.startsWith("server login has been failing");
        };
        await until(refusal);
        const writing = db.rows(ADD, ["during"]);
        await until(() => db.state().write.waiting === 1);
        proxy.restore();
        await writing;
      } finally {
        await db.close(0);
        proxy.restore();
      }
      const rows = (await sql`select value from pooled order by value`) as { value: string }[];
      expect(rows.map(({ value }) => value)).toEqual(["before", "during"]);
    },
  );
});
