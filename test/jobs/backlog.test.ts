import { expect, test } from "bun:test";
import { cleanUpBacklog, fillBacklog } from "../../bench/backlog.ts";
import { expectIndex } from "../support/explain.ts";
import { testServer } from "../support/harness.ts";

// bench/backlog.ts does the same with a million rows of each kind.

test("a backlog of 50,000 rows of each kind is deleted in short batches, next to requests", async () => {
  const limits = { statementTimeoutMs: 2_000 };
  const server = await testServer({ limits });
  const user = await server.register("reader");
  const { slug } = await server.publish(user);
  await fillBacklog(server.sql, 50_000);
  const { rows, batchesMs, requestsMs } = await cleanUpBacklog(server.db, async () => {
    const { status } = await server.request("POST", `/api/articles/${slug}/favorite`, { token: user.token });
    expect(status).toBe(200);
  });
  const revisions = ["old revisions", "excess revisions", "addresses of deleted articles"];
  const kinds = ["dead letters", "sessions", "email links", "rate limits", "known networks", ...revisions];
  expect(rows).toEqual(Object.fromEntries(kinds.map((kind) => [kind, 50_000])));
  expect(batchesMs).toHaveLength(kinds.length * 6);
  expect(Math.max(...batchesMs)).toBeLessThan(limits.statementTimeoutMs);
  expect(requestsMs.length).toBeGreaterThan(0);
  // The session of the reader is left.
  expect((await server.request("GET", "/api/user", { token: user.token })).status).toBe(200);
});

test("dead letters are found by an index", async () => {
  await expectIndex(await testServer(), "jobs_purge", "conduit_dead_jobs_idx");
});
