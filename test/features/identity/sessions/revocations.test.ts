import { afterAll, beforeAll, expect, test } from "bun:test";
import { createRevocations, followRevocations } from "../../../../src/features/identity/sessions/revocations.ts";
import { type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import { identityRequests } from "../../../support/identity.ts";
import { startProxy } from "../../../support/proxy.ts";

// Two instances on one database. Sessions are revoked on the first; these tests look at the second.

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const revocations = createRevocations();
let server: TestServer;
let second: TestServer;
let follower: { stop(): Promise<void> };
let api: ReturnType<typeof identityRequests>;

beforeAll(async () => {
  server = await testServer();
  api = identityRequests(server);
  second = await testServer({ address: server.address, revocations });
  // The table is not read again during the test: revocations arrive by notification, or after a new connection.
  const never = { everyMs: 3_600_000, silentMs: 3_600_000, reopenMs: 3_600_000, rereadMs: 3_600_000 };
  follower = await followRevocations(server.address, second.db, silent, revocations, never);
});
afterAll(() => follower.stop());

const statusOn = async (on: TestServer, user: TestUser): Promise<number> =>
  (await on.request("GET", "/api/user", { token: user.token })).status;

async function expectRevoked(user: TestUser): Promise<void> {
  for (let i = 0; i < 200 && (await statusOn(second, user)) !== 401; i++) await Bun.sleep(25);
  expect(await statusOn(second, user)).toBe(401);
}

test("an instance is notified of a revocation on another one", async () => {
  const user = await api.newUser();
  expect(await statusOn(second, user)).toBe(200);
  await api.logOut(user);
  await expectRevoked(user);
});

test("an instance reads what it missed while its connection was lost", async () => {
  const user = await api.newUser();
  // Revoked without a notification, as when one is sent while the connection is lost.
  await server.sql`alter table sessions disable trigger session_revoked`;
  await api.logOut(user);
  await server.sql`alter table sessions enable trigger session_revoked`;
  expect(await statusOn(second, user)).toBe(200);
  await server.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = 'conduit listen'`;
  await expectRevoked(user);
  const another = await api.newUser();
  await api.logOut(another);
  await expectRevoked(another);
});

test("an instance knows when it starts what was revoked before", async () => {
  const user = await api.newUser();
  await api.logOut(user);
  const late = createRevocations();
  const third = await testServer({ address: server.address, revocations: late });
  const following = await followRevocations(server.address, third.db, silent, late);
  expect(await statusOn(third, user)).toBe(401);
  await following.stop();
  await third.stop();
});

test("an instance whose connection delivers nothing asks the database, and opens a new connection", async () => {
  const proxy = startProxy(server.address);
  const deaf = createRevocations();
  const third = await testServer({ address: server.address, revocations: deaf });
  const times = { everyMs: 20, silentMs: 60, reopenMs: 120, rereadMs: 3_600_000 };
  const following = await followRevocations(proxy.address, third.db, silent, deaf, times);
  const revoked = async (user: TestUser) => {
    for (let i = 0; i < 200 && (await statusOn(third, user)) !== 401; i++) await Bun.sleep(25);
    return (await statusOn(third, user)) === 401;
  };
  try {
    // Half open: TCP reports nothing.
    proxy.hang();
    const user = await api.newUser();
    await api.logOut(user);
    expect(await revoked(user)).toBe(true);
    proxy.restore();
    // The connection of the other instance, the one that hangs, and a new one.
    const heard = await api.newUser();
    for (let i = 0; i < 200 && (await listeners()) < 3; i++) await Bun.sleep(25);
    expect(await listeners()).toBe(3);
    await api.logOut(heard);
    expect(await revoked(heard)).toBe(true);
  } finally {
    await following.stop();
    await third.stop();
    proxy.stop();
  }
});

const listeners = async (): Promise<number> => {
  const [row] = await server.sql`
    select count(*)::int as n from pg_stat_activity
     where datname = current_database() and application_name = 'conduit listen'`;
  return row.n;
};
