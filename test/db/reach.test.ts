import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { EmbeddedPostgres } from "@conduit/embedded-postgres";
import { SQL } from "bun";
import type { DatabaseAddress, DatabaseHost } from "../../src/config/database-address.ts";
import { connectionOptions } from "../../src/db/pool.ts";
import { findServer } from "../../src/db/reach.ts";
import { startEmbedded } from "../../src/server/embedded.ts";
import { superuserPassword } from "../support/database.ts";
import { testDatabase, testPostgres } from "../support/harness.ts";
import { serve, stopServed } from "../support/serve.ts";

const before = { ...process.env };
afterEach(() => {
  process.env = { ...before };
});

test("no PG* variable changes a connection", async () => {
  const { address } = await testPostgres();
  Object.assign(process.env, {
    PGHOST: "nowhere.invalid",
    PGPORT: "1",
    PGUSER: "nobody",
    PGDATABASE: "nothing",
    PGPASSWORD: "wrong",
    PGSSLMODE: "require",
    PGCHANNELBINDING: "require",
    PGOPTIONS: "-c work_mem=7MB -c search_path=elsewhere",
    PGAPPNAME: "another",
    PGCONNECT_TIMEOUT: "-1",
    DATABASE_URL: "postgres://nobody@nowhere.invalid/nothing",
  });
  const sql = new SQL(connectionOptions(address, 1, {}));
  const [row] = await sql`
    select current_user::text as user, current_setting('work_mem') as work_mem, current_setting('search_path') as path,
           current_setting('application_name') as name`;
  expect(row).toEqual({ user: address.username, work_mem: "4MB", path: '"$user", public', name: "conduit" });
  await sql.close();
  // An empty password is not replaced by PGPASSWORD either.
  process.env.PGPASSWORD = address.password;
  const without = new SQL(connectionOptions({ ...address, password: "" }, 1, {}));
  await expect(without`select 1`.execute()).rejects.toThrow("password");
  await without.close();
});

test("options and application_name of the address reach the session, and the program's own settings take precedence", async () => {
  const { address } = await testPostgres();
  const own: DatabaseAddress = {
    ...address,
    applicationName: "blog",
    options: "-c work_mem=7MB -c TimeZone=Asia/Tokyo",
  };
  const sql = new SQL(connectionOptions(own, 1, { application_name: "conduit health" }));
  const [row] = await sql`
    select current_setting('work_mem') as work_mem, current_setting('TimeZone') as zone,
           current_setting('application_name') as name`;
  expect(row).toEqual({ work_mem: "7MB", zone: "UTC", name: "blog health" });
  await sql.close();
});

describe("of several servers", () => {
  const options = { connectTimeoutMs: 1_000, timeoutMs: 0, mustWrite: false, onProgress() {} };
  const nowhere = { hostname: "127.0.0.1", port: 1 };
  /** Another PostgreSQL with a role and a database of the same names, whose sessions are read-only. */
  let readOnly: EmbeddedPostgres;
  let dataDir: string;
  let address: DatabaseAddress;

  beforeAll(async () => {
    address = await testDatabase();
    dataDir = await mkdtemp(join(tmpdir(), "conduit-standby-"));
    readOnly = await startEmbedded(dataDir, () => {});
    const admin = { ...readOnly.address, username: "postgres", password: await superuserPassword(dataDir) };
    const sql = new SQL(connectionOptions({ ...admin, database: "postgres" }, 1, {}));
    await sql.unsafe(`alter role ${address.username} password '${address.password}'`);
    await sql.unsafe(`alter role ${address.username} set default_transaction_read_only = on`);
    await sql.unsafe(`create database ${address.database} owner ${address.username}`);
    await sql.close();
  });
  afterAll(async () => {
    await readOnly.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  const hostOf = ({ hostname, port, socketPath }: DatabaseAddress) => ({
    hostname,
    port,
    ...(socketPath === undefined ? {} : { socketPath }),
  });
  /** The address of these servers, in this order. */
  function addressOf(first: object, ...otherHosts: DatabaseHost[]): DatabaseAddress {
    const { socketPath: _, ...login } = address;
    return { ...login, ...first, otherHosts };
  }

  test("the first that responds is chosen, and the others are kept", async () => {
    const standby = hostOf(readOnly.address);
    const primary = hostOf(address);
    expect(await findServer(addressOf(nowhere, standby, primary), options)).toEqual(
      addressOf(standby, nowhere, primary),
    );
  });

  test("target_session_attrs=read-write passes over one that takes no writes", async () => {
    const standby = hostOf(readOnly.address);
    const primary = hostOf(address);
    const target = { target: "primary" } as const;
    expect(await findServer({ ...addressOf(nowhere, standby, primary), ...target }, options)).toEqual({
      ...addressOf(primary, nowhere, standby),
      ...target,
    });
  });

  test("a server that has to write waits for the first, unless target_session_attrs says otherwise", async () => {
    const servers = addressOf(hostOf(readOnly.address), hostOf(address));
    await expect(findServer(servers, { ...options, mustWrite: true })).rejects.toThrow("takes no writes");
  });

  test("the start chooses one for DATABASE_DIRECT_URL too", async () => {
    const { username, password, database, hostname, port, socketPath, tls } = address;
    const host = socketPath === undefined ? hostname : dirname(socketPath);
    const direct = `postgres://${username}:${encodeURIComponent(password)}@/${database}?host=127.0.0.1,${host}&port=1,${port}&sslmode=${tls}`;
    const { url } = await serve(address, { DATABASE_DIRECT_URL: direct });
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    await stopServed();
  }, 60_000);

  test("one line names the first problem if none responds", async () => {
    const away = addressOf(nowhere, { hostname: "127.0.0.1", port: 2 });
    await expect(findServer(away, options)).rejects.toThrow(/^Cannot reach the database .* at 127\.0\.0\.1:1 as user/);
  });
});
