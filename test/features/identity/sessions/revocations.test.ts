import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { DatabaseAddress } from "../../../../src/config/database-address.ts";
import { type HeartbeatTimes, openListener } from "../../../../src/db/listener.ts";
import { openFollowed } from "../../../../src/db/pool.ts";
import {
  createRevocations,
  followRevocations,
  type Revocations,
} from "../../../../src/features/identity/sessions/revocations.ts";
import { type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import { identityRequests } from "../../../support/identity.ts";
import { startProxy } from "../../../support/proxy.ts";
import { until } from "../../../support/until.ts";

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
  follower = await follow(server.address, second, revocations, { ...TIMES, everyMs: NEVER_MS });
});
afterAll(() => follower.stop());

const NEVER_MS = 3_600_000;
const TIMES: HeartbeatTimes = { everyMs: 20, silentMs: NEVER_MS, reopenMs: NEVER_MS };

async function follow(address: DatabaseAddress, on: TestServer, revocations: Revocations, times = TIMES) {
  const following = followRevocations(on.db, silent, revocations, NEVER_MS);
  const listener = await openListener(openFollowed(address, 1_000), on.db, silent, [following], times);
  await following.refresh();
  return listener;
}

const statusOn = async (on: TestServer, user: TestUser): Promise<number> =>
  (await on.request("GET", "/api/user", { token: user.token })).status;

const untilRevoked = (user: TestUser, on = second) => until(async () => (await statusOn(on, user)) === 401);

test("an instance is notified of a revocation on another one", async () => {
  const user = await api.newUser();
  expect(await statusOn(second, user)).toBe(200);
  await api.logOut(user);
  await untilRevoked(user);
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
  await untilRevoked(user);
  const another = await api.newUser();
  await api.logOut(another);
  await untilRevoked(another);
});

test("an instance knows when it starts what was revoked before", async () => {
  const user = await api.newUser();
  await api.logOut(user);
  const late = createRevocations();
  const third = await testServer({ address: server.address, revocations: late });
  const following = await follow(server.address, third, late);
  expect(await statusOn(third, user)).toBe(401);
  await following.stop();
  await third.stop();
});

describe("an instance whose connection delivers nothing", () => {
  async function instanceBehindProxy(silentMs: number, reopenMs: number) {
    const proxy = startProxy(server.address);
    const own = createRevocations();
    const third = await testServer({ address: server.address, revocations: own });
    const following = await follow(proxy.address, third, own, { everyMs: 20, silentMs, reopenMs });
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
    await untilRevoked(user, third);
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
    await until(async () => {
      // The table does not have it, so only a connection can deliver it.
      await server.sql`select pg_notify('conduit_session_revoked', ${revocation})`;
      return (await statusOn(third, user)) === 401;
    });
    await stop();
  });
});
