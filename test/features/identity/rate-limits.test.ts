import { beforeAll, describe, expect, test } from "bun:test";
import { purgeKnownNetworks } from "../../../src/features/identity/known-networks.ts";
import { addressKeyOf, networkKeyOf } from "../../../src/features/identity/networks.ts";
import { purgeRateLimits, RATE_LIMITS } from "../../../src/features/identity/rate-limits.ts";
import { expectIndex } from "../../support/explain.ts";
import { type TestResponse, type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { addUsers } from "../../support/people.ts";

let server: TestServer;
let anna: TestUser;
let users = 0;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});
const newUser = async (): Promise<TestUser> => {
  const [user] = await addUsers(server, anna, [`limited-${++users}`]);
  if (user === undefined) throw new Error("no user");
  return user;
};

const login = (email: string, password: string, on = server, headers = {}): Promise<TestResponse> =>
  on.request("POST", "/api/users/login", { body: { user: { email, password } }, headers });
const forgot = (email: string, on = server, headers = {}) =>
  on.request("POST", "/api/auth/forgot-password", { body: { email }, headers });
const statuses = (answers: TestResponse[]) => answers.map(({ status }) => status).sort();

describe("wrong passwords", () => {
  test("ten per user in 15 minutes are allowed, also at once; then even the right one is refused", async () => {
    const user = await newUser();
    const answers = await Promise.all(Array.from({ length: 14 }, () => login(user.email, "wrong horse")));
    expect(statuses(answers)).toEqual([...Array(10).fill(401), ...Array(4).fill(429)]);
    const right = await login(` ${user.email.toUpperCase()}`, user.password);
    expect(right.status).toBe(429);
    expect(right.json.errors.requests?.[0]).toMatch(/^are too many, try again in \d+ minutes$/);
    expect(Number(right.headers.get("Retry-After"))).toBeGreaterThan(14 * 60);
    expect(Number(right.headers.get("Retry-After"))).toBeLessThanOrEqual(15 * 60);
  });

  test("count until 15 minutes after the last one, so that no 15 minutes have more than ten", async () => {
    const user = await newUser();
    for (let i = 0; i < 9; i++) await login(user.email, "wrong horse");
    // The tenth comes 14 minutes later. Two minutes after that, the first nine must still count.
    const later = (minutes: number) =>
      server.sql`update rate_limits set ends_at = ends_at - ${minutes} * interval '1 minute' where key like 'login:user:%'`;
    await later(14);
    expect((await login(user.email, "wrong horse")).status).toBe(401);
    await later(2);
    expect((await login(user.email, "wrong horse")).status).toBe(429);
    await later(14);
    expect((await login(user.email, user.password)).status).toBe(200);
  });

  test("no longer count after the right one", async () => {
    const user = await newUser();
    for (let i = 0; i < 9; i++) await login(user.email, "wrong horse");
    expect((await login(user.email, user.password)).status).toBe(200);
    expect((await login(user.email, "wrong horse")).status).toBe(401);
    expect((await login(user.email, user.password)).status).toBe(200);
  });

  test("are counted for unknown addresses too, so that the limit reveals nothing", async () => {
    const answers = await Promise.all(Array.from({ length: 11 }, () => login("unknown@example.com", "wrong horse")));
    expect(statuses(answers)).toEqual([...Array(10).fill(401), 429]);
  });

  test("are counted by all instances together, and separately for each user", async () => {
    const second = await testServer({ address: server.address });
    const user = await newUser();
    for (let i = 0; i < 5; i++) {
      await login(user.email, "wrong horse");
      await login(user.email, "wrong horse", second);
    }
    expect((await login(user.email, user.password, second)).status).toBe(429);
    const other = await newUser();
    expect((await login(other.email, other.password, second)).status).toBe(200);
  });
});

describe("an attacker's wrong passwords", () => {
  const by = (address: string) => ({ "X-Forwarded-For": address });
  const register = async (on: TestServer, username: string, address: string) => {
    const user = { username, email: `${username}@example.com`, password: "correct horse" };
    const { status } = await on.request("POST", "/api/users", { body: { user }, headers: by(address) });
    expect(status).toBe(201);
    return user;
  };
  let proxied: TestServer;
  beforeAll(async () => {
    proxied = await testServer({ trustedProxies: ["127.0.0.1/32"] });
  });

  test("do not lock the owner out of a network that the account knows", async () => {
    const owner = await register(proxied, "owner", "198.51.100.7");
    for (let i = 0; i < 12; i++) await login(owner.email, "wrong horse", proxied, by(`192.0.2.${i}`));
    expect((await login(owner.email, owner.password, proxied, by("192.0.2.99"))).status).toBe(429);
    expect((await login(owner.email, owner.password, proxied, by("203.0.113.1"))).status).toBe(429);
    expect((await login(owner.email, owner.password, proxied, by("198.51.100.200"))).status).toBe(200);
    // Ten wrong ones from a known network are too many as well.
    for (let i = 0; i < 10; i++) await login(owner.email, "wrong horse", proxied, by("198.51.100.7"));
    expect((await login(owner.email, owner.password, proxied, by("198.51.100.7"))).status).toBe(429);
  });

  test("count again from a network without a session in the last 30 days", async () => {
    const owner = await register(proxied, "absent", "198.51.100.7");
    for (let i = 0; i < 10; i++) await login(owner.email, "wrong horse", proxied, by("192.0.2.1"));
    await proxied.sql`update known_networks set last_used_at = now() - interval '31 days'`;
    expect((await login(owner.email, owner.password, proxied, by("198.51.100.7"))).status).toBe(429);
    expect(await purgeKnownNetworks(proxied.db)).toBeGreaterThan(0);
    expect([...(await proxied.sql`select from known_networks`)]).toEqual([]);
  });

  test("and the headers do not reveal when the owner signs in", async () => {
    const owner = await register(proxied, "watched", "198.51.100.7");
    const guess = () => login(owner.email, "wrong horse", proxied, by("192.0.2.1"));
    const seen = ({ status, headers }: TestResponse) => [
      status,
      headers.get("RateLimit")?.replace(/r=[0-9]+;t=[0-9]+/, "r;t"),
      headers.get("RateLimit-Policy"),
    ];
    const first = await guess();
    expect(first.headers.get("RateLimit")).not.toContain("user");
    for (let i = 0; i < 8; i++) await guess();
    // From a network that is new to the account: no count of others starts again.
    expect((await login(owner.email, owner.password, proxied, by("203.0.113.1"))).status).toBe(200);
    expect(seen(await guess())).toEqual(seen(first));
    expect((await guess()).status).toBe(429);
  });

  test("and the end of their window does not reveal it either", async () => {
    const owner = await register(proxied, "timed", "198.51.100.7");
    const guess = () => login(owner.email, "wrong horse", proxied, by("192.0.2.1"));
    const later = (minutes: number) =>
      proxied.sql`update rate_limits set ends_at = ends_at - ${minutes} * interval '1 minute' where key like 'login:user:%'`;
    for (let i = 0; i < 9; i++) await guess();
    await later(14);
    expect((await login(owner.email, owner.password, proxied, by("203.0.113.1"))).status).toBe(200);
    await later(2);
    // The window of the nine wrong ones has ended, as if the owner had not signed in.
    expect(statuses([await guess(), await guess(), await guess()])).toEqual([401, 401, 401]);
  });
});

describe("mails with links", () => {
  test("are limited for a mailbox, whatever its suffix and whichever request sends them", async () => {
    const strict = await testServer({
      rateLimits: { ...RATE_LIMITS, mail: { user: { max: 4, windowS: 60, from: "last" } } },
    });
    const register = async (email: string, i: number) => {
      const user = { username: `mailbox${i}`, email, password: "correct horse" };
      return strict.request("POST", "/api/users", { body: { user } });
    };
    const first = await register("victim@example.com", 1);
    expect([first.status, (await register("Victim+a@example.com", 2)).status]).toEqual([201, 201]);
    const { token } = first.json.user;
    expect((await strict.request("POST", "/api/auth/resend-verification", { token })).status).toBe(200);
    expect((await forgot("victim+unknown@EXAMPLE.com", strict)).status).toBe(200);
    const refused = await register("victim+b@example.com", 3);
    expect([refused.status, refused.headers.has("Retry-After")]).toEqual([429, true]);
    expect((await strict.request("POST", "/api/auth/resend-verification", { token })).status).toBe(429);
    expect((await forgot("victim+c@example.com", strict)).status).toBe(429);
    // Its owner can request a reset whatever others have requested for made-up suffixes.
    expect((await forgot("Victim@example.com", strict)).status).toBe(200);
    const changes = { user: { email: "victim+c@example.com" } };
    expect((await strict.request("PUT", "/api/user", { token, body: changes })).status).toBe(429);
    // Nor do they keep the owner from a new password.
    const password = { user: { password: "another horse" } };
    expect((await strict.request("PUT", "/api/user", { token, body: password })).status).toBe(200);
    expect((await register("somebody@example.com", 4)).status).toBe(201);
  });

  test("and how many others requested for a mailbox, no response reveals", async () => {
    const [curious, watched] = [await newUser(), await newUser()];
    await forgot(watched.email);
    const body = { user: { email: watched.email.replace("@", "+x@") } };
    const { status, headers } = await server.request("PUT", "/api/user", { token: curious.token, body });
    expect([status, headers.get("RateLimit")]).toEqual([200, expect.stringContaining('"change-user";r=9')]);
    expect(headers.get("RateLimit")).not.toContain("mail-user");
  });

  test("are limited for a network of senders", async () => {
    const mail = { network: { max: 2, windowS: 60, from: "first" } } as const;
    const strict = await testServer({ rateLimits: { ...RATE_LIMITS, mail }, trustedProxies: ["127.0.0.1/32"] });
    const from = (address: string, i: number) =>
      forgot(`someone-${i}@example.com`, strict, { "X-Forwarded-For": address });
    expect((await from("192.0.2.1", 1)).status).toBe(200);
    expect((await from("192.0.2.2", 2)).status).toBe(200);
    expect((await from("192.0.2.3", 3)).status).toBe(429);
    expect((await from("192.0.3.1", 4)).status).toBe(200);
  });
});

describe("a limit", () => {
  const tight = { address: { max: 2, windowS: 60, from: "first" } } as const;
  const rateLimits = { ...RATE_LIMITS, forgot: tight };
  const proxied = () => testServer({ rateLimits, trustedProxies: ["127.0.0.1/32", "10.0.0.0/8"] });

  test("is reported in headers, before it is reached and after", async () => {
    const strict = await testServer({ rateLimits });
    const first = await forgot("a@example.com", strict);
    expect(first.headers.get("RateLimit")).toMatch(/^"forgot-address";r=1;t=(60|59)(, |$)/);
    expect(first.headers.get("RateLimit-Policy")).toStartWith('"forgot-address";q=2;w=60');
    expect(first.headers.get("Access-Control-Expose-Headers")).toContain("RateLimit");
    await forgot("b@example.com", strict);
    const third = await forgot("c@example.com", strict);
    expect(third.status).toBe(429);
    expect(third.headers.get("RateLimit")).toMatch(/^"forgot-address";r=0;t=\d+$/);
    expect(Number(third.headers.get("Retry-After"))).toBeGreaterThan(0);
    await strict.sql`update rate_limits set ends_at = now()`;
    expect((await forgot("c@example.com", strict)).status).toBe(200);
  });

  test("by address ignores X-Forwarded-For from an untrusted client", async () => {
    const strict = await testServer({ rateLimits });
    const answers: TestResponse[] = [];
    for (let i = 0; i < 3; i++)
      answers.push(await forgot("a@example.com", strict, { "X-Forwarded-For": `192.0.2.${i}` }));
    expect(answers.at(-1)?.status).toBe(429);
  });

  test("by address counts clients behind trusted proxies separately, by the last hop that is not trusted", async () => {
    const behind = await proxied();
    const from = (forwarded: string) => forgot("a@example.com", behind, { "X-Forwarded-For": forwarded });
    // The client can prepend addresses to what the proxy adds.
    for (const invented of ["1.1.1.1", "2.2.2.2"]) {
      expect((await from(`${invented}, 192.0.2.1, 10.0.0.7`)).status).toBe(200);
    }
    expect((await from("3.3.3.3, 192.0.2.1, 10.0.0.7")).status).toBe(429);
    expect((await from("192.0.2.2")).status).toBe(200);
  });

  test("by address ignores the zone of a link-local address", async () => {
    const behind = await testServer({ trustedProxies: ["127.0.0.1/32"] });
    const user = { username: "zoned", email: "zoned@example.com", password: "correct horse" };
    const headers = { "X-Forwarded-For": "fe80::1%eth0" };
    const { status, json } = await behind.request("POST", "/api/users", { body: { user }, headers });
    expect(status).toBe(201);
    const token = json.access_token;
    const { sessions } = (await behind.request("GET", "/api/auth/sessions", { token })).json;
    expect(sessions[0]?.ip).toBe("fe80::1");
  });

  test("by address counts an IPv6 /64 as one client", () => {
    expect(addressKeyOf("2001:db8:1:2:aaaa::1")).toBe(addressKeyOf("2001:db8:1:2:bbbb:1:2:3"));
    expect(addressKeyOf("2001:db8:1:2::1")).not.toBe(addressKeyOf("2001:db8:1:3::1"));
    expect(addressKeyOf("2001:0db8::1")).toBe("2001:db8:0:0");
    expect(addressKeyOf("::1")).toBe("0:0:0:0");
    expect(addressKeyOf("192.0.2.1")).toBe("192.0.2.1");
  });

  test("by network counts an IPv4 /24 and an IPv6 /48 as one", () => {
    expect(networkKeyOf("192.0.2.1")).toBe("192.0.2.0/24");
    expect(networkKeyOf("2001:0db8:1:2::1")).toBe("2001:db8:1::/48");
    expect(networkKeyOf("2001:db8:1:ffff::9")).toBe(networkKeyOf("2001:db8:1:2::1"));
    expect(networkKeyOf("2001:db8:2::1")).not.toBe(networkKeyOf("2001:db8:1:2::1"));
  });

  test("applies to each of its routes, and to no other", async () => {
    const one = { address: { max: 1, windowS: 60, from: "first" } } as const;
    const all = {
      register: one,
      login: one,
      refresh: one,
      verify: one,
      resend: one,
      forgot: one,
      reset: one,
      change: one,
      password: {},
      mail: {},
    };
    const strict = await testServer({ rateLimits: all });
    const user = await strict.register("only");
    const calls: [string, unknown][] = [
      ["/api/users", { user: { username: "second", email: "second@example.com", password: "correct horse" } }],
      ["/api/users/login", { user: { email: "x@example.com", password: "wrong horse" } }],
      ["/api/auth/refresh", { refresh_token: "x" }],
      ["/api/auth/verify-email", { token: "x" }],
      ["/api/auth/resend-verification", {}],
      ["/api/auth/forgot-password", { email: "x@example.com" }],
      ["/api/auth/reset-password", { token: "x", new_password: "correct horse" }],
    ];
    for (const [path, body] of calls) {
      await strict.request("POST", path, { body, token: user.token });
      const { status, headers } = await strict.request("POST", path, { body, token: user.token });
      expect([path, status, headers.has("Retry-After")]).toEqual([path, 429, true]);
    }
    const page = await strict.request("GET", "/verify-email?token=x");
    expect([page.status, page.text]).toEqual([429, expect.stringContaining("Too many requests")]);
    for (const path of ["/api/user", "/api/articles", "/api/auth/sessions"]) {
      const answer = await strict.request("GET", path, { token: user.token });
      expect([path, answer.status, answer.headers.has("RateLimit")]).toEqual([path, 200, false]);
    }
  });

  test("stores no address and no email", async () => {
    await login("someone@example.com", "wrong horse");
    const [row] = await server.sql`select string_agg(key, ' ') as keys from rate_limits`;
    expect(row.keys).toContain("login:user:");
    expect(row.keys).not.toMatch(/@|127\.0\.0\.1/);
  });

  test("leaves room for eight runs of the official suite and a hundred registrations at once", () => {
    expect(RATE_LIMITS.register.address.max).toBeGreaterThan(8 * 21 + 100);
    expect(RATE_LIMITS.login.address.max).toBeGreaterThan(8 * 21 + 100);
  });
});

describe("PUT /api/user", () => {
  const save = (user: TestUser, changes: object) =>
    server.request("PUT", "/api/user", { token: user.token, body: { user: changes } });

  test("allows ten new passwords and addresses in an hour, as each costs a hash or a mail to a stranger", async () => {
    const user = await newUser();
    for (let i = 0; i < 9; i++) expect((await save(user, { email: `stranger-${i}@example.com` })).status).toBe(200);
    expect((await save(user, { password: "another horse" })).status).toBe(200);
    for (const changes of [{ email: "stranger@example.com" }, { password: "a third horse" }]) {
      const refused = await save(user, changes);
      expect([refused.status, refused.headers.has("Retry-After")]).toEqual([429, true]);
    }
    expect((await login("stranger-8@example.com", "another horse")).status).toBe(200);
  });

  test("is not limited otherwise, also if the address is sent unchanged", async () => {
    const user = await newUser();
    for (let i = 0; i < 12; i++) {
      const answer = await save(user, { email: user.email.toUpperCase(), bio: `${i}` });
      expect([answer.status, answer.headers.has("RateLimit")]).toEqual([200, false]);
    }
  });
});

describe("purging rate limits", () => {
  test("removes those whose window has ended, and no others", async () => {
    await server.sql`
      insert into rate_limits (key, count, max, ends_at)
      values ('ended', 1, 1, now() - interval '1 s'), ('counts', 1, 1, now() + interval '1 minute')`;
    await purgeRateLimits(server.db);
    const rows = await server.sql`select key from rate_limits where key in ('ended', 'counts')`;
    expect([...rows]).toEqual([{ key: "counts" }]);
  });

  test("removes a backlog in batches of 10,000, and uses an index", async () => {
    await server.sql`delete from rate_limits`;
    await server.sql`
      insert into rate_limits (key, count, max, ends_at)
      select 'backlog-' || i, 1, 1, now() - i * interval '1 s' from generate_series(1, 25000) i`;
    await server.sql`insert into rate_limits values ('counts', 1, 1, now() + interval '1 minute')`;
    const counts: number[] = [];
    for (let i = 0; i < 4; i++) counts.push(await purgeRateLimits(server.db));
    expect(counts).toEqual([10_000, 10_000, 5_000, 0]);
    expect([...(await server.sql`select key from rate_limits`)]).toEqual([{ key: "counts" }]);
    await expectIndex(server, "rate_limits_purge", "rate_limits_ends_at_idx");
  });

  test("does not wait for a request that is counting at the moment", async () => {
    await server.sql`delete from rate_limits`;
    await server.sql`
      insert into rate_limits (key, count, max, ends_at)
      values ('counting', 1, 1, now() - interval '1 s'), ('ended', 1, 1, now() - interval '2 s')`;
    const request = await server.sql.reserve();
    await request`begin`;
    await request`update rate_limits set count = 1, ends_at = now() + interval '1 minute' where key = 'counting'`;
    expect(await purgeRateLimits(server.db)).toBe(1);
    await request`commit`;
    request.release();
    expect([...(await server.sql`select key from rate_limits`)]).toEqual([{ key: "counting" }]);
  });
});
