import { beforeAll, describe, expect, test } from "bun:test";
import { purgeEmailLinks, renewLink } from "../../../src/features/identity/email-links.ts";
import { expectIndex } from "../../support/explain.ts";
import { type TestServer, testServer } from "../../support/harness.ts";
import { identityRequests } from "../../support/identity.ts";

let server: TestServer;
let api: ReturnType<typeof identityRequests>;
beforeAll(async () => {
  server = await testServer();
  api = identityRequests(server);
});

describe("purging email links", () => {
  const insert = (count: number, expiredDaysAgo: number) => server.sql`
    insert into email_links (token_hash, user_id, purpose, email, email_key, expires_at, used_at)
    select sha256(${`${expiredDaysAgo} days `}::bytea || i::text::bytea), (select max(id) from users), 'reset', 'a@b.c', 'a@b.c',
           now() - ${expiredDaysAgo} * interval '1 day', now()
      from generate_series(1, ${count}) i`;
  const remaining = async (): Promise<number> =>
    (await server.sql`select count(*)::int as n from email_links where purpose = 'reset'`)[0].n;

  test("removes those that expired 30 days ago, and no others", async () => {
    await api.newUser();
    await insert(1, 29);
    await insert(1, 31);
    expect(await purgeEmailLinks(server.db)).toBe(1);
    expect(await remaining()).toBe(1);
  });

  test("removes a backlog in batches of 10,000, and uses an index", async () => {
    await insert(25_000, 40);
    const counts: number[] = [];
    for (let i = 0; i < 4; i++) counts.push(await purgeEmailLinks(server.db));
    expect(counts).toEqual([10_000, 10_000, 5_000, 0]);
    expect(await remaining()).toBe(1);
    await expectIndex(server, "email_links_purge", "email_links_expires_at_idx");
  });
});

test("renewing a link gives it its whole time again, but not if it was used", async () => {
  const user = await api.newUser();
  const links = () => server.sql`
    select encode(token_hash, 'hex') as hash, expires_at > now() + interval '23 hours' as is_long
      from email_links where email = ${user.email}`;
  await server.sql`update email_links set expires_at = now() where email = ${user.email}`;
  const [link] = await links();
  await renewLink(server.db, link.hash);
  expect((await links())[0].is_long).toBe(true);
  await server.sql`update email_links set expires_at = now(), used_at = now() where email = ${user.email}`;
  await renewLink(server.db, link.hash);
  expect((await links())[0].is_long).toBe(false);
});
