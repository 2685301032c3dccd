import { beforeAll, describe, expect, test } from "bun:test";
import { purgeSessions } from "../../../../src/features/identity/sessions/queries.ts";
import {
  createSuccessors,
  deviceLabel,
  readRefreshToken,
  type SentToken,
} from "../../../../src/features/identity/sessions/rules.ts";
import { expectIndex } from "../../../support/explain.ts";
import { JWT_SECRET, type TestServer, testServer } from "../../../support/harness.ts";
import { holdUser, identityRequests, RESET_SUBJECT, SESSION_ENDED_SUBJECT } from "../../../support/identity.ts";
import { startSending, testSmtp } from "../../../support/mail.ts";

let server: TestServer;
let api: ReturnType<typeof identityRequests>;
beforeAll(async () => {
  server = await testServer();
  api = identityRequests(server);
});

const statusOf = async (token: string): Promise<number> => (await api.current(token)).status;
/** Makes the last refresh of every session this many seconds older. */
const age = (seconds: number) =>
  server.sql`update sessions set rotated_at = rotated_at - ${seconds} * interval '1 second'`;

describe("logging in", () => {
  test("returns both tokens, and the access token as the token of the user", async () => {
    const user = await api.newUser();
    const { json } = await api.login(user.email, user.password);
    expect(json.user.token).toBe(json.access_token);
    expect(json.refresh_token).toMatch(/^[A-Za-z0-9_-]{64}$/);
    expect(await statusOf(json.access_token)).toBe(200);
  });

  test("opens a session with device, address and times, which only its user can see", async () => {
    const [user, other] = [await api.newUser(), await api.newUser()];
    const { json } = await api.login(user.email, user.password, {
      "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    });
    const sessions = await api.sessions(json.access_token);
    expect(sessions).toHaveLength(2);
    expect(sessions[0]).toMatchObject({ device: "Firefox on Linux", ip: "127.0.0.1", current: true });
    expect(sessions[0]?.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(sessions[1]?.current).toBe(false);
    expect((await api.sessions(other.token)).map(({ id }) => id)).not.toContain(sessions[0]?.id);
  });

  test("beyond SESSIONS_MAX ends the session that was idle longest, also when many log in at once", async () => {
    const small = await testServer({
      address: server.address,
      sessionLimits: { accessTokenTtlS: 3600, refreshTokenTtlS: 3600, sessionMaxAgeS: 365 * 24 * 3600, sessionsMax: 3 },
    });
    const here = identityRequests(small);
    const user = await small.register("many-devices");
    const hold = await holdUser(small, user);
    const logins = Array.from({ length: 4 }, () => here.login(user.email, user.password));
    await hold.waiting(4);
    await hold.release();
    expect((await Promise.all(logins)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const { access_token } = (await here.login(user.email, user.password)).json;
    const sessions = await here.sessions(access_token);
    expect(sessions).toHaveLength(3);
    expect(sessions[0]?.current).toBe(true);
    expect((await here.current(user.token)).status).toBe(401);
    expect((await here.refresh(user.refreshToken)).status).toBe(401);
  });

  test("stores no refresh token", async () => {
    const user = await api.newUser();
    const [dump] = await server.sql`select string_agg(s::text, ' ') as text from sessions s`;
    expect(dump.text).not.toContain(user.refreshToken);
    expect(dump.text).not.toContain(Buffer.from(user.refreshToken, "base64url").toString("hex"));
  });
});

describe("POST /api/auth/refresh", () => {
  test("returns new tokens of the same session, and moves its last use and its expiry", async () => {
    const user = await api.newUser();
    await server.sql`update sessions set last_used_at = now() - interval '1 day', expires_at = now() + interval '1 minute'`;
    const { status, json } = await api.refresh(user.refreshToken);
    expect(status).toBe(200);
    expect(Object.keys(json).sort()).toEqual(["access_token", "refresh_token"]);
    expect(json.refresh_token).not.toBe(user.refreshToken);
    const sessions = await api.sessions(json.access_token);
    expect(sessions).toHaveLength(1);
    expect(Date.parse(sessions[0]?.last_used_at ?? "")).toBeGreaterThan(Date.now() - 60_000);
    const [row] = await server.sql`
      select expires_at > now() + interval '29 days' as renewed from sessions where id = ${sessions[0]?.id}`;
    expect(row.renewed).toBe(true);
  });

  test("refuses a missing, malformed, unknown or expired token", async () => {
    expect((await api.refresh(undefined)).status).toBe(422);
    expect((await api.refresh(7)).status).toBe(422);
    for (const forged of ["x", "A".repeat(64), `${"A".repeat(64)}=`]) {
      const answer = await api.refresh(forged);
      expect(answer.status).toBe(401);
      expect(answer.json.errors.refresh_token).toBeDefined();
    }
    const user = await api.newUser();
    await server.sql`update sessions set expires_at = now() where user_id = (select max(id) from users)`;
    expect((await api.refresh(user.refreshToken)).status).toBe(401);
  });

  test("revokes the session if the token was used before", async () => {
    const user = await api.newUser();
    const first = (await api.refresh(user.refreshToken)).json;
    await age(21);
    const again = await api.refresh(user.refreshToken);
    expect([again.status, again.json.errors]).toEqual([
      401,
      { refresh_token: ["has been used before, so its session was ended"] },
    ]);
    expect((await api.refresh(first.refresh_token)).status).toBe(401);
    expect(await statusOf(first.access_token)).toBe(401);
    expect(await statusOf(user.token)).toBe(401);
  });

  test("sends one mail about reuse, also when it happens several times at once", async () => {
    const user = await api.newUser();
    await server.sql`update users set email_verified_at = now() where email = ${user.email}`;
    await api.refresh(user.refreshToken);
    await age(21);
    const answers = await Promise.all(Array.from({ length: 6 }, () => api.refresh(user.refreshToken)));
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(401));
    const problems = answers.map(({ json }) => json.errors.refresh_token?.[0]);
    expect(problems.filter((problem) => problem === "has been used before, so its session was ended")).toHaveLength(1);
    const smtp = await testSmtp();
    const worker = await startSending(server, smtp);
    // The device of the session is in the mail, as the address is confirmed.
    expect((await smtp.take(user.email, SESSION_ENDED_SUBJECT)).text).toContain("Bun");
    // A mail that is enqueued later is sent later: by then a second one would have arrived.
    await api.forgot(user.email);
    await smtp.take(user.email, RESET_SUBJECT);
    await worker.stop();
    await smtp.stop();
    const more = smtp.arrived.filter(
      ({ raw, subject }) => raw.includes(user.email) && subject?.includes(SESSION_ENDED_SUBJECT),
    );
    expect(more).toHaveLength(0);
  });

  test("accepts the token again within 20 s, from a client that lost the response", async () => {
    const user = await api.newUser();
    await api.refresh(user.refreshToken);
    await age(15);
    const second = await api.refresh(user.refreshToken);
    expect(second.status).toBe(200);
    expect(await statusOf(second.json.access_token)).toBe(200);
    expect((await api.refresh(second.json.refresh_token)).status).toBe(200);
  });

  test("counts the 20 s from the first use: repeating the token does not extend them", async () => {
    const user = await api.newUser();
    await api.refresh(user.refreshToken);
    await age(15);
    expect((await api.refresh(user.refreshToken)).status).toBe(200);
    await age(6);
    expect((await api.refresh(user.refreshToken)).status).toBe(401);
  });

  test("keeps two tabs signed in that refresh at once, whichever stores its response last", async () => {
    for (const last of [0, 1]) {
      for (const together of [true, false]) {
        const user = await api.newUser();
        const one = api.refresh(user.refreshToken);
        if (!together) await one;
        const tabs = (await Promise.all([one, api.refresh(user.refreshToken)])).map(({ json }) => json);
        for (const { access_token } of tabs) expect(await statusOf(access_token)).toBe(200);
        // What is stored is used by both tabs, hours later.
        await age(3_600);
        const stored = tabs[last]?.refresh_token ?? "";
        const next = await Promise.all([api.refresh(stored), api.refresh(stored)]);
        expect(next.map(({ status }) => status)).toEqual([200, 200]);
        await age(3_600);
        for (const { json } of next.slice(last)) {
          expect((await api.refresh(json.refresh_token)).status).toBe(200);
        }
      }
    }
  });

  test("keeps two tabs signed in that share no storage and refresh within 20 s of each other, in any order", async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const user = await api.newUser();
      const tokens = [user.refreshToken, user.refreshToken];
      for (let round = 0; round < 3; round++) {
        for (const tab of order) {
          const { status, json } = await api.refresh(tokens[tab]);
          expect([order, round, tab, status]).toEqual([order, round, tab, 200]);
          tokens[tab] = json.refresh_token;
          await age(15);
        }
        await age(3_600);
      }
    }
  });

  test("detects a thief who used a copied token in the grace period, at the next refresh of either", async () => {
    for (const first of ["thief", "owner"]) {
      const user = await api.newUser();
      const owner = (await api.refresh(user.refreshToken)).json;
      const thief = (await api.refresh(user.refreshToken)).json;
      await age(3_600);
      const [one, two] = first === "thief" ? [thief, owner] : [owner, thief];
      const next = await api.refresh(one.refresh_token);
      expect(next.status).toBe(200);
      await age(21);
      expect((await api.refresh(two.refresh_token)).json.errors).toEqual({
        refresh_token: ["has been used before, so its session was ended"],
      });
      for (const { access_token } of [owner, thief, next.json]) expect(await statusOf(access_token)).toBe(401);
      expect((await api.refresh(next.json.refresh_token)).status).toBe(401);
    }
  });

  test("derives the next token from the secret: who has a used token alone cannot compute it", async () => {
    const user = await api.newUser();
    const token = { ...readRefreshToken(user.refreshToken) } as SentToken;
    const forged = createSuccessors("another secret of 32 bytes or more, by hand")(token).token;
    const real = createSuccessors(JWT_SECRET)(token).token;
    expect((await api.refresh(user.refreshToken)).json.refresh_token).toBe(real);
    expect(forged).not.toBe(real);
    expect((await api.refresh(forged)).status).toBe(401);
  });

  test("treats a token older than the previous one as reuse at any time", async () => {
    const user = await api.newUser();
    const one = (await api.refresh(user.refreshToken)).json;
    const two = (await api.refresh(one.refresh_token)).json;
    expect((await api.refresh(user.refreshToken)).status).toBe(401);
    expect((await api.refresh(two.refresh_token)).status).toBe(401);
  });

  test("accepts fifty requests with one token at once, and gives them the same refresh token", async () => {
    const user = await api.newUser();
    const answers = await Promise.all(Array.from({ length: 50 }, () => api.refresh(user.refreshToken)));
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200));
    const [token = "", ...others] = new Set(answers.map(({ json }) => json.refresh_token));
    expect(others).toEqual([]);
    const [row] = await server.sql`
      select count(*)::int as live, max(encode(current_hash, 'hex')) as current from sessions
       where user_id = (select max(id) from users) and revoked_at is null`;
    const hash = new Bun.CryptoHasher("sha256").update(Buffer.from(token, "base64url")).digest("hex");
    expect(row).toEqual({ live: 1, current: hash });
  });
});

describe("a session beyond SESSION_MAX_AGE", () => {
  const sessionLimits = { accessTokenTtlS: 3_600, refreshTokenTtlS: 7_200, sessionMaxAgeS: 10_000, sessionsMax: 10 };
  const expiryOf = (token: string): number =>
    JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).exp - Date.now() / 1000;
  /** Makes the sessions older, without their tokens coming any closer to their expiry. */
  const grow = (seconds: number, on: TestServer) =>
    on.sql`update sessions set created_at = created_at - ${seconds} * interval '1 second'`;

  test("cannot be refreshed, and tokens expire with it", async () => {
    const limited = await testServer({ sessionLimits });
    const here = identityRequests(limited);
    const user = await limited.register("long-lived");
    expect(Math.round(expiryOf(user.token) / 10)).toBe(360);
    await grow(9_000, limited);
    const renewed = (await here.refresh(user.refreshToken)).json;
    expect(Math.round(expiryOf(renewed.access_token) / 10)).toBe(100);
    const [row] = await limited.sql`
      select extract(epoch from expires_at - now())::float8 as refresh, user_id from sessions`;
    expect(Math.round(row.refresh / 10)).toBe(100);
    await grow(1_001, limited);
    expect((await here.refresh(renewed.refresh_token)).status).toBe(401);
    expect((await here.login(user.email, user.password)).status).toBe(200);
  });

  test("is short from its beginning if the maximum is shorter than the lifetimes of its tokens", async () => {
    const limited = await testServer({ sessionLimits: { ...sessionLimits, sessionMaxAgeS: 60 } });
    const user = await limited.register("short-lived");
    expect(Math.ceil(expiryOf(user.token))).toBeLessThanOrEqual(60);
  });
});

describe("ending sessions", () => {
  test("POST /api/auth/logout ends the session and its access tokens, and can be repeated", async () => {
    const user = await api.newUser();
    const other = (await api.login(user.email, user.password)).json;
    for (const _ of [1, 2]) expect((await api.logOut(user)).status).toBe(200);
    const answer = await api.current(user.token);
    expect([answer.status, answer.json.errors]).toEqual([401, { token: ["has been revoked"] }]);
    expect((await api.refresh(user.refreshToken)).status).toBe(401);
    expect(await statusOf(other.access_token)).toBe(200);
  });

  test("a revoked token counts as missing where a token is optional", async () => {
    const user = await api.newUser();
    await api.logOut(user);
    const answer = await server.request("GET", "/api/articles", { token: user.token });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("WWW-Authenticate")).toContain("invalid_token");
  });

  test("DELETE /api/auth/sessions/{id} ends one of your sessions, and no other user's", async () => {
    const [user, other] = [await api.newUser(), await api.newUser()];
    const path = `/api/auth/sessions/${(await api.sessions(user.token))[0]?.id}`;
    expect((await server.request("DELETE", path)).status).toBe(401);
    expect((await server.request("DELETE", path, { token: other.token })).status).toBe(404);
    expect((await server.request("DELETE", "/api/auth/sessions/1", { token: user.token })).status).toBe(404);
    expect(await statusOf(user.token)).toBe(200);
    expect((await server.request("DELETE", path, { token: user.token })).status).toBe(204);
    expect(await statusOf(user.token)).toBe(401);
  });

  test("DELETE /api/auth/sessions ends all sessions but the current one", async () => {
    const user = await api.newUser();
    const one = (await api.login(user.email, user.password)).json;
    const two = (await api.login(user.email, user.password)).json;
    expect((await server.request("DELETE", "/api/auth/sessions", { token: two.access_token })).status).toBe(204);
    expect(await statusOf(two.access_token)).toBe(200);
    expect(await statusOf(one.access_token)).toBe(401);
    expect(await statusOf(user.token)).toBe(401);
  });

  test("a new password ends all sessions but the current one", async () => {
    const user = await api.newUser();
    const other = (await api.login(user.email, user.password)).json;
    expect((await api.update(user, { password: "another good horse" })).status).toBe(200);
    expect(await statusOf(user.token)).toBe(200);
    expect(await statusOf(other.access_token)).toBe(401);
    expect((await api.refresh(other.refresh_token)).status).toBe(401);
    expect((await api.refresh(user.refreshToken)).status).toBe(200);
  });

  test("a new password also ends the session of a login with the old one that came just before", async () => {
    const user = await api.newUser();
    const hold = await holdUser(server, user);
    const login = api.login(user.email, user.password);
    await hold.waiting(1);
    const change = api.update(user, { password: "another good horse" });
    await hold.waiting(2);
    await hold.release();
    expect((await change).status).toBe(200);
    const { access_token, refresh_token } = (await login).json;
    expect(await statusOf(access_token)).toBe(401);
    expect((await api.refresh(refresh_token)).status).toBe(401);
    expect(await statusOf(user.token)).toBe(200);
  });

  test("a login with the old password fails if the new one was set while it was checked", async () => {
    const user = await api.newUser();
    const hold = await holdUser(server, user);
    const change = api.update(user, { password: "another good horse" });
    await hold.waiting(1);
    const login = api.login(user.email, user.password);
    await hold.waiting(2);
    await hold.release();
    expect((await change).status).toBe(200);
    expect((await login).status).toBe(401);
  });

  test("a session that ends while its new password is being hashed does not set it", async () => {
    const user = await api.newUser();
    const { hash } = Bun.password;
    Bun.password.hash = async (...args) => {
      expect((await api.logOut(user)).status).toBe(200);
      return hash.apply(Bun.password, args);
    };
    try {
      expect((await api.update(user, { password: "a thief's horse" })).status).toBe(401);
    } finally {
      Bun.password.hash = hash;
    }
    expect((await api.login(user.email, user.password)).status).toBe(200);
  });

  test("a change of anything else ends no session", async () => {
    const user = await api.newUser();
    const other = (await api.login(user.email, user.password)).json;
    await api.update(user, { bio: "Hello" });
    expect(await statusOf(other.access_token)).toBe(200);
  });
});

describe("purging sessions", () => {
  /** Sessions of the last user. `access` and `refresh` are how long ago the tokens expired. */
  const insert = (name: string, count: number, access: string, refresh: string, revoked: string | null) => server.sql`
    insert into sessions (user_id, device, family_hash, current_hash, access_expires_at, expires_at, revoked_at, revoked_for)
    select (select max(id) from users), ${name}, sha256(${name}::bytea || i::text::bytea), sha256('x'),
           now() - ${access}::interval, now() - ${refresh}::interval, now() - ${revoked}::interval,
           case when ${revoked}::text is not null then 'logout' end
      from generate_series(1, ${count}) i`;

  test("removes those that cannot be refreshed, an hour after their last access token expired", async () => {
    await api.newUser();
    await insert("removed: expired", 1, "2 hours", "30 minutes", null);
    await insert("removed: revoked", 1, "2 hours", "-1 day", "3 hours");
    await insert("stays: revoked, access token expired 30 minutes ago", 1, "30 minutes", "-1 day", "3 hours");
    await insert("stays: revoked, access token valid", 1, "-1 hour", "2 hours", "3 hours");
    await insert("stays: refresh token valid", 1, "2 hours", "-1 day", null);
    await purgeSessions(server.db);
    const rows = await server.sql`
      select device from sessions where user_id = (select max(id) from users) order by device collate "C"`;
    expect(rows.map(({ device }: { device: string }) => device.split(":")[0])).toEqual([
      "Bun",
      ...Array(3).fill("stays"),
    ]);
  });

  test("removes a backlog in batches of 10,000, and uses an index", async () => {
    await api.newUser();
    await insert("expired", 15_000, "3 days", "2 days", null);
    await insert("revoked", 10_000, "3 days", "-10 days", "4 days");
    await insert("stays", 1_000, "3 days", "-10 days", null);
    const counts = [1, 2, 3, 4].map(() => 0);
    for (const i of counts.keys()) counts[i] = await purgeSessions(server.db);
    expect(counts).toEqual([10_000, 10_000, 5_000, 0]);
    const rows = await server.sql`
      select device, count(*)::int as count from sessions where user_id = (select max(id) from users) group by 1 order by 1`;
    expect([...rows]).toEqual([
      { device: expect.stringContaining("Bun"), count: 1 },
      { device: "stays", count: 1_000 },
    ]);
    await expectIndex(server, "sessions_purge", "sessions_ended_at_idx");
  });
});

test("a device label names the browser and the system as a person would", () => {
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
