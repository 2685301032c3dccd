import { beforeAll, describe, expect, test } from "bun:test";
import { PURGE_BATCH } from "../../../src/db/purge.ts";
import { purgeIdempotencyKeys } from "../../../src/features/identity/idempotency.ts";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";
import { untilWaiting } from "../../support/locks.ts";

let server: TestServer;
/** Another instance on the same database. */
let instance: TestServer;
let anna: TestUser;
let ben: TestUser;
beforeAll(async () => {
  server = await testServer();
  instance = await testServer({ address: server.address });
  [anna, ben] = [await server.register("anna"), await server.register("ben")];
});

const ARTICLE = { title: "A title", description: "A description", body: "A body", tagList: ["tea"] };

type Sent = { user?: TestUser; on?: TestServer; path?: string; body?: object };

/** @param key as the header has it */
const post = (
  key: string,
  { user = anna, on = server, path = "/api/articles", body = { article: ARTICLE } }: Sent = {},
) => on.request("POST", path, { token: user.token, body, headers: { "Idempotency-Key": key } });

const newKey = (): string => `"${crypto.randomUUID()}"`;

const replayed = ({ headers }: { headers: Headers }): string | null => headers.get("Idempotent-Replayed");

const countOf = async (user: TestUser): Promise<number> =>
  (await server.request("GET", `/api/articles?author=${user.username}`)).json.articlesCount;

describe("a request with the same key and body", () => {
  test("creates an article once, and gets the same response, also on another instance and later on", async () => {
    const key = newKey();
    const before = await countOf(anna);
    const first = await post(key);
    expect([first.status, replayed(first)]).toEqual([201, null]);
    // The response does not change with the article.
    const path = `/api/articles/${first.json.article.slug}`;
    await server.request("PUT", path, { token: anna.token, body: { article: { title: "Another title" } } });
    for (const on of [server, instance]) {
      const again = await post(key, { on });
      expect([again.status, again.text, replayed(again)]).toEqual([201, first.text, "true"]);
      expect(again.headers.get("Content-Type")).toBe("application/json");
    }
    expect(await countOf(anna)).toBe(before + 1);
  });

  test("creates a comment once", async () => {
    const { slug } = await server.publish(anna);
    const sent = { user: ben, path: `/api/articles/${slug}/comments`, body: { comment: { body: "Well said" } } };
    const key = newKey();
    const texts = [await post(key, sent), await post(key, sent)].map(({ text }) => text);
    expect(texts[1]).toBe(texts[0] as string);
    expect((await server.request("GET", sent.path)).json.comments).toHaveLength(1);
  });

  test("creates one when many are sent at the same time, to two instances", async () => {
    const before = await countOf(ben);
    const key = newKey();
    const sent = Array.from({ length: 20 }, (_, i) => post(key, { user: ben, on: i % 2 === 0 ? server : instance }));
    const responses = await Promise.all(sent);
    expect(new Set(responses.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(responses[0]?.status).toBe(201);
    expect(responses.filter((response) => replayed(response) === null)).toHaveLength(1);
    expect(await countOf(ben)).toBe(before + 1);
  });

  test("counts as the same whatever the order of its members, and spaces around the key and quotation marks", async () => {
    const id = crypto.randomUUID();
    const { text } = await post(`"${id}"`);
    const { title, description, body, tagList } = ARTICLE;
    for (const key of [`"${id}"`, id, ` ${id} `]) {
      const again = await post(key, { body: { article: { tagList, body, title, description } } });
      expect([again.text, replayed(again)]).toEqual([text, "true"]);
    }
  });

  test("runs again if the first has failed, as that changed nothing", async () => {
    const key = newKey();
    const sent = { path: "/api/articles/not-yet/comments", body: { comment: { body: "First" } } };
    expect((await post(key, sent)).status).toBe(404);
    await server.publish(anna, { title: "Not yet" });
    const response = await post(key, sent);
    expect([response.status, replayed(response)]).toEqual([201, null]);
  });

  test("runs again after a day", async () => {
    const key = newKey();
    const first = await post(key);
    await server.sql`update idempotency_keys set created_at = now() - interval '25 hours' where key = ${key.slice(1, -1)}`;
    const second = await post(key);
    expect([second.status, replayed(second)]).toEqual([201, null]);
    expect(second.json.article.slug).not.toBe(first.json.article.slug);
    expect((await post(key)).text).toBe(second.text);
  });
});

test("another request with the same key is 422, and changes nothing", async () => {
  const key = newKey();
  const { json } = await post(key);
  const before = await countOf(anna);
  for (const sent of [
    { body: { article: { ...ARTICLE, body: "Another body" } } },
    { path: `/api/articles/${json.article.slug}/comments`, body: { comment: { body: "A comment" } } },
  ]) {
    const response = await post(key, sent);
    expect([response.status, response.json.errors]).toEqual([
      422,
      { "Idempotency-Key": ["was used for another request"] },
    ]);
  }
  expect(await countOf(anna)).toBe(before);
});

test("a key belongs to one account", async () => {
  const key = newKey();
  const [mine, theirs] = [await post(key), await post(key, { user: ben })];
  expect([theirs.status, replayed(theirs), theirs.json.article.author.username]).toEqual([201, null, "ben"]);
  expect(theirs.json.article.slug).not.toBe(mine.json.article.slug);
});

test("a key that is no string of 1 to 255 ASCII characters is 400", async () => {
  const before = await countOf(anna);
  for (const key of [
    "",
    '""',
    '"a',
    'a"',
    '"a", "b"',
    "a, b",
    '"a";b=1',
    "a b",
    '"ä"',
    `"${"x".repeat(256)}"`,
    '"\\x"',
  ]) {
    const response = await post(key);
    expect([key, response.status, Object.keys(response.json.errors)]).toEqual([key, 400, ["Idempotency-Key"]]);
  }
  expect(await countOf(anna)).toBe(before);
  expect((await post(`"${"x".repeat(255)}"`)).status).toBe(201);
  // Escapes are part of the form, not of the key.
  const [escaped, again] = [await post('"a \\"b\\\\"'), await post('"a \\"b\\\\"')];
  expect([escaped.status, again.text]).toEqual([201, escaped.text]);
});

test("without a valid session, a key is 401 and gives away nothing", async () => {
  const user = await server.register("leaving");
  const key = newKey();
  expect((await post(key, { user })).status).toBe(201);
  // No server hears of it.
  await server.sql`alter table sessions disable trigger session_revoked`;
  await server.sql`update sessions set revoked_at = now(), revoked_for = 'ended'
                    where user_id = (select id from users where username = 'leaving')`;
  await server.sql`alter table sessions enable trigger session_revoked`;
  for (const sent of [key, newKey()]) {
    const response = await post(sent, { user });
    expect([response.status, replayed(response)]).toEqual([401, null]);
  }
  await server.sql`delete from users where username = 'leaving'`;
  expect((await post(key, { user })).status).toBe(401);
});

describe("a request whose key another one is using", () => {
  /** A transaction that has claimed a key, as a request does. */
  const claim = (key: string, then: () => Promise<void>) =>
    server.sql.begin(async (tx) => {
      await tx`insert into idempotency_keys (user_id, key, request_hash)
               select id, ${key.slice(1, -1)}, sha256('other') from users where username = 'anna'`;
      await then();
    });

  test("is 409 if that takes too long, and later succeeds", async () => {
    const key = newKey();
    await claim(key, async () => {
      const response = await post(key);
      expect([response.status, response.headers.get("Retry-After")]).toEqual([409, "1"]);
      expect(Object.keys(response.json.errors)).toEqual(["Idempotency-Key"]);
      throw new Error("rolled back");
    }).catch(() => {});
    expect((await post(key)).status).toBe(201);
  });

  test("takes its place if that ends without a result, as when its server was killed", async () => {
    const key = newKey();
    let waiting: ReturnType<typeof post> | undefined;
    await claim(key, async () => {
      waiting = post(key);
      await untilWaiting(server.sql, 1);
      throw new Error("rolled back");
    }).catch(() => {});
    expect((await waiting)?.status).toBe(201);
  });
});

test("what creates nothing ignores the header", async () => {
  const { slug } = await server.publish(anna);
  for (const path of [`/api/articles/${slug}/favorite`, "/api/profiles/anna/follow"]) {
    expect([path, (await post("not a key,", { user: ben, path, body: {} })).status]).toEqual([path, 200]);
  }
  const body = { user: { email: ben.email, password: ben.password } };
  const [one, two] = [
    await post('"login"', { path: "/api/users/login", body }),
    await post('"login"', { path: "/api/users/login", body }),
  ];
  expect([one.status, replayed(two)]).toEqual([200, null]);
  expect(two.json.user.token).not.toBe(one.json.user.token);
});

test("an article and its key are stored together or not at all", async () => {
  const user = await server.register("unlucky");
  await server.sql`alter table idempotency_keys add constraint refused check (response not like '%Unlucky%')`;
  const failed = await post('"k"', { user, body: { article: { ...ARTICLE, title: "Unlucky" } } });
  await server.sql`alter table idempotency_keys drop constraint refused`;
  expect([failed.status, await countOf(user)]).toEqual([500, 0]);
  const [{ keys }] = await server.sql`
    select count(*)::integer as keys from idempotency_keys where user_id = (select id from users where username = 'unlucky')`;
  expect(keys).toBe(0);
});

describe("what is kept for an account is bounded:", () => {
  const keysOf = async (user: TestUser): Promise<string[]> => {
    const rows = await server.sql`
      select key from idempotency_keys k join users u on u.id = k.user_id
       where u.username = ${user.username} order by k.created_at desc, key`;
    return rows.map(({ key }: { key: string }) => key);
  };
  const fill = (user: TestUser, count: number, bytes: number) => server.sql`
    insert into idempotency_keys (user_id, key, request_hash, response, created_at)
    select u.id, 'old' || lpad(n::text, 5, '0'), sha256('x'), repeat('r', ${bytes}), now() - n * interval '1 second'
      from users u, generate_series(1, ${count}) n where u.username = ${user.username}`;

  test("the oldest of 1,000 keys goes first", async () => {
    const user = await server.register("collector");
    await fill(user, 1_200, 10);
    await post('"new"', { user });
    const kept = await keysOf(user);
    expect([kept.length, kept[0], kept.at(-1)]).toEqual([1_000, "new", "old00999"]);
  });

  test("the oldest of 16 MiB go first", async () => {
    const user = await server.register("hoarder");
    await fill(user, 20, 1024 * 1024);
    await post('"new"', { user });
    expect((await keysOf(user)).length).toBe(17);
    expect((await post('"new"', { user })).headers.get("Idempotent-Replayed")).toBe("true");
  });
});

test("the clean-up deletes keys that are older than a day, in batches", async () => {
  await server.sql`delete from idempotency_keys`;
  await post('"young"');
  await server.sql`
    insert into idempotency_keys (user_id, key, request_hash, created_at)
    select u.id, 'k' || n, sha256('x'), now() - interval '24 hours 1 second'
      from users u, generate_series(1, ${PURGE_BATCH + 700}) n where u.username = 'anna'`;
  expect(await purgeIdempotencyKeys(server.db)).toBe(PURGE_BATCH);
  expect(await purgeIdempotencyKeys(server.db)).toBe(700);
  expect(await purgeIdempotencyKeys(server.db)).toBe(0);
  expect([...(await server.sql`select key from idempotency_keys`)]).toEqual([{ key: "young" }]);
});

test("a page of another origin may send both headers, and read whether a response was repeated", async () => {
  const asked = {
    "Access-Control-Request-Headers": "idempotency-key,if-match",
    "Access-Control-Request-Method": "POST",
  };
  const origin = { Origin: "https://example.com" };
  const preflight = await server.request("OPTIONS", "/api/articles", { headers: { ...origin, ...asked } });
  expect(preflight.headers.get("Access-Control-Allow-Headers")).toBe("idempotency-key,if-match");
  const exposed = (await post(newKey())).headers.get("Access-Control-Expose-Headers");
  expect(exposed?.split(",")).toContain("Idempotent-Replayed");
});
