import { afterAll, beforeAll, describe, expect, test } from "bun:test";
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

async function expectRevoked(user: TestUser, on = second, notify = async () => {}): Promise<void> {
  for (const deadline = performance.now() + 30_000; performance.now() < deadline; await Bun.sleep(25)) {
    await notify();
    if ((await statusOn(on, user)) === 401) return;
  }
  expect(await statusOn(on, user)).toBe(401);
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

describe("an instance whose connection delivers nothing", () => {
  const NEVER_MS = 3_600_000;

  async function instanceBehindProxy(silentMs: number, reopenMs: number) {
    const proxy = startProxy(server.address);
    const own = createRevocations();
    const third = await testServer({ address: server.address, revocations: own });
    const times = { everyMs: 20, silentMs, reopenMs, rereadMs: NEVER_MS };
    const following = await followRevocations(proxy.address, third.db, silent, own, times);
    const stop = async () => {
      await following.stop();
      await third.stop();
      proxy.stop();
    };
    return { third, proxy, stop };
  }

  test("asks the database, as long as new connections hang, too", async () => {
    const { third, proxy, stop } = await instanceBehindProxy(60, 120);
    proxy.hang();
    const user = await api.newUser();
    await api.logOut(user);
    await expectRevoked(user, third);
    await stop();
  });

  test("opens a new connection", async () => {
    const { third, proxy, stop } = await instanceBehindProxy(NEVER_MS, 120);
    // The network forgets the connection: TCP reports nothing.
    proxy.hang();
    proxy.restore();
    const user = await api.newUser();
    const [session] = await server.sql`
      select s.id, s.expires_at from sessions s join users u on u.id = s.user_id where u.username = ${user.username}`;
    const revocation = `${session.id} ${Math.ceil(session.expires_at.getTime() / 1000)}`;
    await expectRevoked(user, third, async () => {
      // The table does not have it, so only a connection can deliver it.
      await server.sql`select pg_notify('conduit_session_revoked', ${revocation})`;
    });
    await stop();
  });
});
