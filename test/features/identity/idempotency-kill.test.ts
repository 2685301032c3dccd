import { afterAll, expect, test } from "bun:test";
import { testServer } from "../../support/harness.ts";
import { expectExact } from "../../support/recounts.ts";
import { type Served, serve, stopServed } from "../../support/serve.ts";

afterAll(stopServed);

const ROUNDS = 5;
const WRITERS = 4;

type Published = { status: number; slug: string; isReplayed: boolean };

test("a server that is killed amid writes with keys has published each article once or not at all", async () => {
  const database = await testServer();
  const { token } = await database.register("writer");
  const start = () => serve(database.address, { DATABASE_POOL_MAX: "4", RATE_LIMITS: "off" });
  const publish = async ({ url }: Served, key: string): Promise<Published> => {
    const response = await fetch(`${url}/api/articles`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Token ${token}`, "Idempotency-Key": `"${key}"` },
      // With one title, the slug shows which of several articles a response is about.
      body: JSON.stringify({ article: { title: "Written", description: key, body: "while being killed" } }),
    });
    const { article } = (await response.json()) as { article: { slug: string } };
    return { status: response.status, slug: article?.slug, isReplayed: response.headers.has("Idempotent-Replayed") };
  };

  /** The slug of each key with a response. */
  const slugs = new Map<string, string>();
  let repeated = 0;
  let server = await start();
  for (let round = 1; round <= ROUNDS; round++) {
    const killed = server;
    const unanswered: string[] = [];
    const { promise: hasWritten, resolve: write } = Promise.withResolvers<void>();
    const writers = Array.from({ length: WRITERS }, async () => {
      for (;;) {
        const key = crypto.randomUUID();
        const published = await publish(killed, key).catch(() => undefined);
        if (published === undefined) return void unanswered.push(key);
        expect(published).toMatchObject({ status: 201, isReplayed: false });
        slugs.set(key, published.slug);
        write();
      }
    });
    await hasWritten;
    // Any moment of a write: nothing depends on which one it is.
    await Bun.sleep(200 * Math.random());
    killed.kill("SIGKILL");
    await Promise.all([killed.exited, ...writers]);
    expect(unanswered).toHaveLength(WRITERS);

    server = await start();
    for (const key of unanswered) {
      const [first, second] = [await publish(server, key), await publish(server, key)];
      expect([first.status, second]).toEqual([201, { status: 201, slug: first.slug, isReplayed: true }]);
      slugs.set(key, first.slug);
      repeated++;
    }
  }

  expect(repeated).toBe(ROUNDS * WRITERS);
  const articles: { key: string; slug: string }[] = await database.sql`select description as key, slug from articles`;
  const byKey = (a: { key: string }, b: { key: string }) => a.key.localeCompare(b.key);
  expect([...articles].sort(byKey)).toEqual([...slugs].map(([key, slug]) => ({ key, slug })).sort(byKey));
  await expectExact(database);
}, 60_000);
