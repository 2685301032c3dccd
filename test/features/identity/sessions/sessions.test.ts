import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { purgeSessions } from "../../../../src/features/identity/sessions/queries.ts";
import { createRevocations, followRevocations } from "../../../../src/features/identity/sessions/revocations.ts";
import { deviceLabel } from "../../../../src/features/identity/sessions/rules.ts";
import { type Answer, type TestServer, type TestUser, testServer } from "../../../support/harness.ts";

let server: TestServer;
let names = 0;
beforeAll(async () => {
  server = await testServer();
});
const newUser = (): Promise<TestUser> => server.register(`session-user-${++names}`);

const refresh = (refresh_token: unknown, on = server): Promise<Answer> =>
  on.request("POST", "/api/auth/refresh", { body: { refresh_token } });
const statusOf = async (token: string, on = server): Promise<number> =>
  (await on.request("GET", "/api/user", { token })).status;
async function login(user: TestUser, headers: Record<string, string> = {}): Promise<Answer["json"]> {
  const answer = await server.request("POST", "/api/users/login", {
    body: { user: { email: user.email, password: user.password } },
    headers,
  });
  expect(answer.status).toBe(200);
  return answer.json;
}
/** Lets the grace of every session pass, without the wait. */
const passGrace = () => server.sql`update sessions set rotated_at = rotated_at - interval '21 seconds'`;

describe("signing in", () => {
  test("answers the pair beside the user, whose token is the access token", async () => {
    const user = await newUser();
    const json = await login(user);
    expect(json.user.token).toBe(json.access_token);
    expect(json.refresh_token).toMatch(/^[A-Za-z0-9_-]{64}$/);
    expect(await statusOf(json.access_token)).toBe(200);
  });

  test("opens a session with device, address and times, which its owner alone sees", async () => {
    const [user, other] = [await newUser(), await newUser()];
    const json = await login(user, {
      "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    });
    const { sessions } = (await server.request("GET", "/api/auth/sessions", { token: json.access_token })).json;
    expect(sessions).toHaveLength(2);
    expect(sessions[0]).toMatchObject({ device: "Firefox on Linux", ip: "127.0.0.1", current: true });
    expect(sessions[0]?.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(sessions[1]?.current).toBe(false);
    const others = (await server.request("GET", "/api/auth/sessions", { token: other.token })).json.sessions;
    expect(others.map(({ id }) => id)).not.toContain(sessions[0]?.id);
  });

  test("ends the session that was idle longest when there is one too many, also when many sign in at once", async () => {
    const small = await testServer({
      address: server.address,
      sessionLimits: { accessTokenTtlS: 3600, refreshTokenTtlS: 3600, sessionsMax: 3 },
    });
    const user = await small.register(`session-user-${++names}`);
    const body = { user: { email: user.email, password: user.password } };
    await Promise.all(Array.from({ length: 5 }, () => small.request("POST", "/api/users/login", { body })));
    const { access_token } = (await small.request("POST", "/api/users/login", { body })).json;
    const { sessions } = (await small.request("GET", "/api/auth/sessions", { token: access_token })).json;
    expect(sessions).toHaveLength(3);
    expect(sessions[0]?.current).toBe(true);
    expect(await statusOf(user.token, small)).toBe(401);
    expect((await refresh(user.refreshToken, small)).status).toBe(401);
  });

  test("stores no refresh token", async () => {
    const user = await newUser();
    const [dump] = await server.sql`select string_agg(s::text, ' ') as text from sessions s`;
    expect(dump.text).not.toContain(user.refreshToken);
    expect(dump.text).not.toContain(Buffer.from(user.refreshToken, "base64url").toString("hex"));
  });
});

describe("POST /api/auth/refresh", () => {
  test("gives a new pair of the same session, and moves its last use and its end", async () => {
    const user = await newUser();
    await server.sql`update sessions set last_used_at = now() - interval '1 day', expires_at = now() + interval '1 minute'`;
    const answer = await refresh(user.refreshToken);
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.json).sort()).toEqual(["access_token", "refresh_token"]);
    expect(answer.json.refresh_token).not.toBe(user.refreshToken);
    const { sessions } = (await server.request("GET", "/api/auth/sessions", { token: answer.json.access_token })).json;
    expect(sessions).toHaveLength(1);
    expect(Date.parse(sessions[0]?.last_used_at ?? "")).toBeGreaterThan(Date.now() - 60_000);
    const [row] = await server.sql`
      select expires_at > now() + interval '29 days' as renewed from sessions where id = ${sessions[0]?.id}`;
    expect(row.renewed).toBe(true);
  });

  test("refuses what is missing, no token, unknown or expired", async () => {
    expect((await refresh(undefined)).status).toBe(422);
    expect((await refresh(7)).status).toBe(422);
    for (const forged of ["x", "A".repeat(64), `${"A".repeat(64)}=`]) {
      const answer = await refresh(forged);
      expect(answer.status).toBe(401);
      expect(answer.json.errors.refresh_token).toBeDefined();
    }
    const user = await newUser();
    await server.sql`update sessions set expires_at = now() where user_id = (select max(id) from users)`;
    expect((await refresh(user.refreshToken)).status).toBe(401);
  });

  test("revokes the session of a token that was used before", async () => {
    const user = await newUser();
    const first = (await refresh(user.refreshToken)).json;
    await passGrace();
    const again = await refresh(user.refreshToken);
    expect(again.status).toBe(401);
    expect(again.json.errors.refresh_token).toEqual(["has been used before, so its session was ended"]);
    expect((await refresh(first.refresh_token)).status).toBe(401);
    expect(await statusOf(first.access_token)).toBe(401);
    expect(await statusOf(user.token)).toBe(401);
  });

  test("lets a client that lost the answer through, within 20 s", async () => {
    const user = await newUser();
    await refresh(user.refreshToken);
    await server.sql`update sessions set rotated_at = rotated_at - interval '15 seconds'`;
    const second = await refresh(user.refreshToken);
    expect(second.status).toBe(200);
    expect(await statusOf(second.json.access_token)).toBe(200);
    expect((await refresh(second.json.refresh_token)).status).toBe(200);
  });

  test("counts the 20 s from the first use: coming again does not extend them", async () => {
    const user = await newUser();
    await refresh(user.refreshToken);
    await server.sql`update sessions set rotated_at = rotated_at - interval '15 seconds'`;
    expect((await refresh(user.refreshToken)).status).toBe(200);
    await server.sql`update sessions set rotated_at = rotated_at - interval '6 seconds'`;
    expect((await refresh(user.refreshToken)).status).toBe(401);
  });

  test("does not branch: of two who got through with one token, only the last has a way on", async () => {
    const user = await newUser();
    const one = (await refresh(user.refreshToken)).json;
    const two = (await refresh(user.refreshToken)).json;
    const next = await refresh(two.refresh_token);
    expect(next.status).toBe(200);
    // The other is found out, and takes the whole session along.
    expect((await refresh(one.refresh_token)).status).toBe(401);
    expect((await refresh(next.json.refresh_token)).status).toBe(401);
  });

  test("counts a token older than the last as reuse, grace or not", async () => {
    const user = await newUser();
    const one = (await refresh(user.refreshToken)).json;
    const two = (await refresh(one.refresh_token)).json;
    expect((await refresh(user.refreshToken)).status).toBe(401);
    expect((await refresh(two.refresh_token)).status).toBe(401);
  });

  test("lets fifty at once through, and one of their tokens is good afterwards", async () => {
    const user = await newUser();
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(user.refreshToken)));
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200));
    expect(new Set(answers.map(({ json }) => json.refresh_token)).size).toBe(50);
    const [row] = await server.sql`
      select count(*)::int as alive, max(encode(current_hash, 'hex')) as current from sessions
       where user_id = (select max(id) from users) and revoked_at is null`;
    expect(row.alive).toBe(1);
    const hashes = answers.map(({ json }) =>
      new Bun.CryptoHasher("sha256").update(Buffer.from(json.refresh_token, "base64url")).digest("hex"),
    );
    expect(hashes.filter((hash) => hash === row.current)).toHaveLength(1);
  });
});

describe("ending sessions", () => {
  test("POST /api/auth/logout ends the session, its access tokens with it, and may be repeated", async () => {
    const user = await newUser();
    const other = await login(user);
    for (const _ of [1, 2]) {
      const answer = await server.request("POST", "/api/auth/logout", { body: { refresh_token: user.refreshToken } });
      expect(answer.status).toBe(200);
    }
    const answer = await server.request("GET", "/api/user", { token: user.token });
    expect(answer.status).toBe(401);
    expect(answer.json.errors.token).toEqual(["has been revoked"]);
    expect((await refresh(user.refreshToken)).status).toBe(401);
    expect(await statusOf(other.access_token)).toBe(200);
  });

  test("a revoked token counts as none where nobody needs to be signed in", async () => {
    const user = await newUser();
    await server.request("POST", "/api/auth/logout", { body: { refresh_token: user.refreshToken } });
    const answer = await server.request("GET", "/api/articles", { token: user.token });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("WWW-Authenticate")).toContain("invalid_token");
  });

  test("DELETE /api/auth/sessions/{id} ends one's own, and nobody else's", async () => {
    const [user, other] = [await newUser(), await newUser()];
    const { sessions } = (await server.request("GET", "/api/auth/sessions", { token: user.token })).json;
    const path = `/api/auth/sessions/${sessions[0]?.id}`;
    expect((await server.request("DELETE", path)).status).toBe(401);
    expect((await server.request("DELETE", path, { token: other.token })).status).toBe(404);
    expect((await server.request("DELETE", "/api/auth/sessions/1", { token: user.token })).status).toBe(404);
    expect(await statusOf(user.token)).toBe(200);
    expect((await server.request("DELETE", path, { token: user.token })).status).toBe(204);
    expect(await statusOf(user.token)).toBe(401);
  });

  test("DELETE /api/auth/sessions ends all others", async () => {
    const user = await newUser();
    const [one, two] = [await login(user), await login(user)];
    expect((await server.request("DELETE", "/api/auth/sessions", { token: two.access_token })).status).toBe(204);
    expect(await statusOf(two.access_token)).toBe(200);
    expect(await statusOf(one.access_token)).toBe(401);
    expect(await statusOf(user.token)).toBe(401);
  });

  test("a new password ends all other sessions, and the one in use goes on", async () => {
    const user = await newUser();
    const other = await login(user);
    const body = { user: { password: "another good horse" } };
    expect((await server.request("PUT", "/api/user", { token: user.token, body })).status).toBe(200);
    expect(await statusOf(user.token)).toBe(200);
    expect(await statusOf(other.access_token)).toBe(401);
    expect((await refresh(other.refresh_token)).status).toBe(401);
    expect((await refresh(user.refreshToken)).status).toBe(200);
  });

  test("a new password ends also the session of a login with the old one that came just before", async () => {
    const user = await newUser();
    const hold = await server.sql.reserve();
    await hold`begin`;
    await hold`select from users where email = ${user.email} for no key update`;
    // Both wait for the account's row, in this order.
    const waiting = async (n: number) => {
      const [row] = await server.sql`
        select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      return row.n >= n;
    };
    const old = login(user);
    while (!(await waiting(1))) await Bun.sleep(5);
    const body = { user: { password: "another good horse" } };
    const change = server.request("PUT", "/api/user", { token: user.token, body });
    while (!(await waiting(2))) await Bun.sleep(5);
    await hold`commit`;
    hold.release();
    expect((await change).status).toBe(200);
    const { access_token, refresh_token } = await old;
    expect(await statusOf(access_token)).toBe(401);
    expect((await refresh(refresh_token)).status).toBe(401);
    expect(await statusOf(user.token)).toBe(200);
  });

  test("a change of anything else ends none", async () => {
    const user = await newUser();
    const other = await login(user);
    await server.request("PUT", "/api/user", { token: user.token, body: { user: { bio: "Hello" } } });
    expect(await statusOf(other.access_token)).toBe(200);
  });
});

describe("another instance on the same database", () => {
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const revocations = createRevocations();
  let second: TestServer;
  let follower: { stop(): Promise<void> };
  beforeAll(async () => {
    second = await testServer({ address: server.address, revocations });
    // No re-reading within the test: what arrives has come by notification, or after a new connection.
    follower = await followRevocations(server.address, second.db, silent, revocations, 3_600_000);
  });
  afterAll(() => follower.stop());

  async function endsThere(user: TestUser): Promise<void> {
    for (let i = 0; i < 200 && (await statusOf(user.token, second)) !== 401; i++) await Bun.sleep(25);
    expect(await statusOf(user.token, second)).toBe(401);
  }
  const logOut = (user: TestUser) =>
    server.request("POST", "/api/auth/logout", { body: { refresh_token: user.refreshToken } });

  test("is told of a revocation", async () => {
    const user = await newUser();
    expect(await statusOf(user.token, second)).toBe(200);
    await logOut(user);
    await endsThere(user);
  });

  test("reads what it missed while its connection was lost", async () => {
    const user = await newUser();
    const cut = () => server.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'conduit listen'`;
    // Revoked without a notification, as one that is sent while nobody listens.
    await server.sql`alter table sessions disable trigger session_revoked`;
    await logOut(user);
    await server.sql`alter table sessions enable trigger session_revoked`;
    expect(await statusOf(user.token, second)).toBe(200);
    await cut();
    await endsThere(user);
    const another = await newUser();
    await logOut(another);
    await endsThere(another);
  });

  test("knows at its start what was revoked before", async () => {
    const user = await newUser();
    await logOut(user);
    const late = createRevocations();
    const third = await testServer({ address: server.address, revocations: late });
    const following = await followRevocations(server.address, third.db, silent, late);
    expect(await statusOf(user.token, third)).toBe(401);
    await following.stop();
    await third.stop();
  });
});

test("the hourly tidying removes sessions an hour after their last token has ended, and no other", async () => {
  const user = await newUser();
  const [{ id }] = await server.sql`select id from users where email = ${user.email}`;
  const [yes, no] = ["2 hours", "30 minutes"];
  await server.sql`
    insert into sessions (user_id, device, family_hash, current_hash, access_expires_at, expires_at, revoked_at, revoked_for)
    select ${id}, d.name, sha256(d.name::bytea), sha256('x'), now() - d.access::interval, now() - d.refresh::interval,
           case when d.revoked then now() end, case when d.revoked then 'logout' end
      from (values ('gone: expired', ${yes}, ${no}, false), ('gone: revoked', ${yes}, '-1 day', true),
                   ('kept: revoked, its access token just ended', ${no}, '-1 day', true),
                   ('kept: revoked, its access token good', '-1 hour', ${yes}, true),
                   ('kept: its refresh token good', ${yes}, '-1 day', false)) d (name, access, refresh, revoked)`;
  await purgeSessions(server.db);
  const rows = await server.sql`select device from sessions where user_id = ${id} order by device collate "C"`;
  expect(rows.map(({ device }: { device: string }) => device.split(":")[0])).toEqual(["Bun", "kept", "kept", "kept"]);
});

test("a device is named as a person would name it", () => {
  const chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36";
  expect(deviceLabel(chrome)).toBe("Chrome on Windows");
  expect(deviceLabel(`${chrome} Edg/130.0.0.0`)).toBe("Edge on Windows");
  expect(deviceLabel("curl/8.5.0")).toBe("curl");
  expect(deviceLabel("PostmanRuntime/7.40.0")).toBe("PostmanRuntime");
  expect(deviceLabel("<script>alert(1)</script>")).toBe("<script>alert");
  expect(deviceLabel(undefined)).toBe("Unknown device");
  expect(deviceLabel("\u0000\u202e")).toBe("Unknown device");
  expect([...deviceLabel("x".repeat(5000))].length).toBeLessThanOrEqual(100);
});
