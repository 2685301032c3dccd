import { afterAll, afterEach, describe, expect, test } from "bun:test";
import type { Pool } from "pg";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { firstServer } from "../../src/db/followed-server.ts";
import { openPgPool, type PgPoolOptions } from "../../src/db/pg-pool.ts";
import { testPostgres } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";

const { address } = await testPostgres();
const proxy = startProxy(address);
afterAll(proxy.stop);
const pools: Pool[] = [];
const before = { ...process.env };
afterEach(async () => {
  process.env = { ...before };
  for (const pool of pools.splice(0)) await pool.end();
});

async function open(to: DatabaseAddress, options: Partial<PgPoolOptions> = {}): Promise<Pool> {
  const defaults = { max: 1, applicationName: "test", connectTimeoutMs: 1_000, statementTimeoutMs: 300 };
  const pool = await openPgPool(firstServer(to), { ...defaults, onError: () => {}, ...options });
  pools.push(pool);
  return pool;
}

test("connects by the address alone, whatever the environment says", async () => {
  Object.assign(process.env, {
    PGHOST: "nowhere.invalid",
    PGPORT: "1",
    PGUSER: "nobody",
    PGDATABASE: "nothing",
    PGPASSWORD: "wrong",
    PGSSLMODE: "require",
    PGOPTIONS: "-c statement_timeout=7s",
    PGAPPNAME: "another",
    PGCLIENTENCODING: "latin1",
  });
  const pool = await open(address);
  const { rows } = await pool.query(
    `select current_user::text as user, current_setting('statement_timeout') as timeout, current_setting('TimeZone') as zone,
            current_setting('application_name') as name, current_setting('client_encoding') as encoding`,
  );
  expect(rows).toEqual([{ user: address.username, timeout: "300ms", zone: "UTC", name: "test", encoding: "UTF8" }]);
});

describe("against a server without TLS", () => {
  test.each(["disable", "allow", "prefer"] as const)("sslmode=%s connects", async (tls) => {
    const pool = await open({ ...proxy.address, tls });
    expect((await pool.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });

  test.each(["require", "verify-ca", "verify-full"] as const)("sslmode=%s does not", async (tls) => {
    const pool = await open({ ...proxy.address, tls });
    await expect(pool.query("select 1")).rejects.toThrow("does not support SSL");
  });
});

test("a connection whose statement got no response is replaced", async () => {
  const pool = await open(proxy.address, { connectTimeoutMs: 200 });
  const pid = async () => (await pool.query("select pg_backend_pid() as pid")).rows[0].pid;
  const first = await pid();
  proxy.hang();
  await expect(pid()).rejects.toThrow("timeout");
  proxy.restore();
  expect(await pid()).not.toBe(first);
});

test("a connection that the server closes is reported, and does not end the process", async () => {
  const errors: Error[] = [];
  const pool = await open(address, { onError: (error) => errors.push(error) });
  const [{ pid }] = (await pool.query("select pg_backend_pid() as pid")).rows;
  const other = await open(address);
  await other.query("select pg_terminate_backend($1)", [pid]);
  while (errors.length === 0) await Bun.sleep(10);
  expect((await pool.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
});
