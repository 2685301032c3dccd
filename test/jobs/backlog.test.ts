import { expect, test } from "bun:test";
import { cleanUpBacklog, fillBacklog } from "../../bench/backlog.ts";
import { expectIndex } from "../support/explain.ts";
import { testServer } from "../support/harness.ts";

// bench/backlog.ts does the same with a million rows of each kind.

test("a backlog of 20,000 rows of each kind is deleted in short batches, next to requests", async () => {
  const limits = { statementTimeoutMs: 2_000 };
  const server = await testServer({ limits });
  const user = await server.register("reader");
  const { slug } = await server.publish(user);
  await fillBacklog(server.sql, 20_000);
  const { rows, batchesMs, requestsMs } = await cleanUpBacklog(server.db, async () => {
    const { status } = await server.request("POST", `/api/articles/${slug}/favorite`, { token: user.token });
    expect(status).toBe(200);
  });
  const revisions = ["old revisions", "excess revisions", "addresses of deleted articles"];
  const users = ["sessions", "email links", "idempotency keys", "rate limits", "known networks"];
  const kinds = ["dead letters", ...users, ...revisions];
  expect(rows).toEqual(Object.fromEntries(kinds.map((kind) => [kind, 20_000])));
  expect(batchesMs).toHaveLength(kinds.length * 3);
  expect(Math.max(...batchesMs)).toBeLessThan(limits.statementTimeoutMs);
  expect(requestsMs.length).toBeGreaterThan(0);
  // The session of the reader is left.
  expect((await server.request("GET", "/api/user", { token: user.token })).status).toBe(200);
});

test("dead letters are found by an index", async () => {
  await expectIndex(await testServer(), "jobs_purge", "conduit_dead_jobs_idx");
});
