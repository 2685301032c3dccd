import { afterAll, expect, test } from "bun:test";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connect, testDatabase, testPostgres } from "../support/harness.ts";

const ROLE = `conduit_test_guest_${process.pid}`;
const address = await testDatabase({ migrated: false });
const { admin } = await testPostgres();
const sql = connect({ ...admin, database: address.database });
afterAll(async () => {
  await sql.unsafe(`drop owned by ${ROLE}; drop role ${ROLE}`).simple();
});

test("a user that may not create schemas gets one line that says what to do, which then works", async () => {
  await sql.unsafe(`create role ${ROLE} login password 'guest'; grant create on schema public to ${ROLE}`).simple();
  const guest: DatabaseAddress = { ...address, username: ROLE, password: "guest" };
  const { message } = await migrate(guest, migrations, 5_000).then(
    () => new Error("it did not fail"),
    (error: Error) => error,
  );
  expect(message).toStartWith(`The database user "${ROLE}" may not create the schema graphile_worker`);
  const grant = `grant create on database "${address.database}" to "${ROLE}"`;
  expect(message).toEndWith(grant);
  expect(message).not.toContain("\n");
  await sql.unsafe(grant);
  expect(await migrate(guest, migrations, 5_000)).toEqual([]);
  // Once the schema exists, the right is not needed any more (docs/operations/deploy.md).
  await sql.unsafe(grant.replace("grant", "revoke").replace(" to ", " from "));
  expect(await migrate(guest, migrations, 5_000)).toEqual([]);
});

test("many servers that start at once install the job queue once", async () => {
  const empty = await testDatabase({ migrated: false });
  await Promise.all(Array.from({ length: 4 }, () => migrate(empty, migrations, 5_000)));
  const [job] = await connect(empty)`select (graphile_worker.add_job('any')).id::text as id`;
  expect(job.id).toBe("1");
});

test("a queue that a newer version has changed is refused", async () => {
  const newer = await testDatabase();
  await connect(newer)`insert into graphile_worker.migrations (id, breaking) values (1000, true)`;
  const exitCode = process.exitCode;
  const error = await migrate(newer, migrations, 5_000).catch((error) => error);
  // graphile-worker sets it.
  process.exitCode = exitCode ?? 0;
  expect(error).toBeInstanceOf(StartupError);
  expect(error.message).toStartWith("The schema graphile_worker could not be brought up to date");
});
