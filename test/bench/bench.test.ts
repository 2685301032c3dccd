import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { compare } from "../../bench/compare.ts";
import { makeArticles } from "../../bench/dataset.ts";
import { ENDPOINTS } from "../../bench/endpoints.ts";
import { explain, explainedTable } from "../../bench/explain.ts";
import { type Measured, type Result, report, targets } from "../../bench/report.ts";
import { takeSample } from "../../bench/sample.ts";
import { createStatementFinder, wireForm } from "../../bench/statements.ts";
import { statements } from "../../src/db/statements.ts";
import { loadEmail } from "../../src/seed/load.ts";
import { loadSize, SEED_PASSWORD, seed } from "../../src/seed/seed.ts";
import { JWT_SECRET, testServer } from "../support/harness.ts";

// On a machine that does much else, the first to start PostgreSQL may take longer than Bun's 5 s.
setDefaultTimeout(60_000);

describe("the bench", () => {
  test("makes requests that succeed, and finds the statement of each, for every endpoint", async () => {
    const server = await testServer();
    await seed(server.address, loadSize({ articles: "300", users: "100" }), () => {});
    const sample = await takeSample(server.sql);
    const tokens = new Map<string, string>();
    for (const username of ["reader_10", "reader_1000", "writer_1", "writer_2"]) {
      const { json } = await server.request("POST", "/api/users/login", {
        body: { user: { email: loadEmail(username), password: SEED_PASSWORD } },
      });
      tokens.set(username, json.user.token);
    }
    const findStatements = createStatementFinder(server.db, JWT_SECRET, tokens);
    for (const endpoint of ENDPOINTS) {
      if (endpoint.articlesBefore !== undefined) await makeArticles(server.sql, "test", 2, sample.tags);
      const calls = endpoint.calls(sample, "test");
      // Shared out among 32 connections in whole blocks.
      expect(calls.length === 1 || calls.length % (2 * 64 * 32) === 0).toBe(true);
      const first = calls.filter(({ as }) => as === undefined || tokens.has(as)).slice(0, 2);
      const found = await findStatements(first);
      for (const [i, call] of first.entries()) {
        const statement = statements.get(found[i]?.[0] ?? "");
        if (endpoint.kind !== "mix") expect(statement?.kind).toBe(endpoint.kind);
        const answer = await fetch(server.url + call.path, {
          method: call.method,
          ...withBody(wireForm(call, tokens)),
        });
        expect({ endpoint: endpoint.name, ok: answer.ok }).toEqual({ endpoint: endpoint.name, ok: true });
      }
      await server.sql.unsafe("delete from articles where slug like 'bench-%'");
    }
  });

  test("explains every statement, and leaves nothing behind", async () => {
    const server = await testServer();
    await seed(server.address, loadSize({ articles: "300", users: "100" }), () => {});
    const sample = await takeSample(server.sql);
    const login = await server.request("POST", "/api/users/login", {
      body: { user: { email: loadEmail("writer_1"), password: SEED_PASSWORD } },
    });
    const tokens = new Map(
      ["reader_10", "reader_1000", "writer_1"].map((username) => [username, login.json.user.token]),
    );
    const rows = async () =>
      (await server.sql`select (select count(*) from articles) + (select count(*) from comments) as n`)[0].n;
    const before = await rows();
    const explained = await explain(
      {
        address: server.address,
        sample,
        prepare: async ({ articlesBefore = 0 }, nonce) =>
          articlesBefore > 0 ? makeArticles(server.sql, nonce, 1, sample.tags) : undefined,
        tidy: async () => void (await server.sql.unsafe("delete from articles where slug like 'bench-%'")),
      },
      ENDPOINTS,
      (calls) =>
        createStatementFinder(
          server.db,
          JWT_SECRET,
          tokens,
        )(calls.map((call) => ({ ...call, ...(call.as ? { as: "writer_1" } : {}) }))),
    );
    expect(explained.map(({ endpoint }) => endpoint)).toEqual(
      ENDPOINTS.filter(({ kind }) => kind !== "mix").map(({ name }) => name),
    );
    for (const { plan, executeMs, buffers } of explained) {
      expect(plan).toContain("Execution Time");
      expect(executeMs * buffers).toBeGreaterThan(0);
    }
    expect(explainedTable(explained)).toMatch(/^article +0\.[0-9]+ +[0-9.]+ +[0-9]+ {2}.*articles_slug_key/m);
    expect(await rows()).toBe(before);
  });

  test("prints every target beside its figure, met or not met", () => {
    const result = resultOf(20_000, [
      measured("article", { perS: 700, appCpuUs: 44, postgresCpuUs: 40 }),
      measured("list", { perS: 500, appCpuUs: 91, postgresCpuUs: 100 }),
    ]);
    expect(targets(result).map(({ what, figure, isMet }) => [what, figure, isMet])).toEqual([
      ["article: share of the statement alone", "70%", true],
      ["list: share of the statement alone", "50%", false],
      ["article: CPU of the app", "44.0 µs", true],
      ["list: CPU of the app", "91.0 µs", false],
      ["checking a token", "9.0 µs", false],
      ["request logging and metrics", "7.0 µs", true],
      ["401: two workers against one", "1.50x", false],
      ["memory after a million requests", "149.0 MB", true],
      ["memory after the second million", "170.0 MB", false],
      ["npm start, on existing data", "1.0 s", true],
      ["npm start, on an empty folder", "3.1 s", false],
    ]);
    expect(report(result)).toMatch(/list: share of the statement alone +50% +>= 60% +NOT MET\n/);
  });

  test("compares two sizes by what a request costs", () => {
    const small = resultOf(20_000, [measured("list", { perS: 900, appCpuUs: 50, postgresCpuUs: 50 })]);
    const large = resultOf(1_000_000, [measured("list", { perS: 800, appCpuUs: 50, postgresCpuUs: 90 })]);
    expect(compare(small, large)).toMatch(/^list .* 100 +140 +1\.40x .*NOT MET \(<= 1\.3x\)$/m);
    const better = resultOf(1_000_000, [measured("list", { perS: 800, appCpuUs: 50, postgresCpuUs: 70 })]);
    expect(compare(small, better)).toMatch(/^list .* 100 +120 +1\.20x .* met$/m);
  });
});

const withBody = ({ headers, body }: ReturnType<typeof wireForm>) => ({
  headers,
  ...(body === undefined ? {} : { body }),
});

function measured(name: string, http: { perS: number; appCpuUs: number; postgresCpuUs: number }): Measured {
  const times = { p50Ms: 1, p99Ms: 2, count: 10, errors: 0 };
  return {
    name,
    kind: "read",
    http: [{ ...times, loadCpuUs: 10, ...http }],
    statement: [{ ...times, perS: 1_000, cpuUs: 20, postgresCpuUs: 40 }],
    bare: [],
  };
}

function resultOf(articles: number, list: Measured[]): Result {
  return {
    at: "2026-11-22T00:00:00.000Z",
    articles,
    setup: {},
    measured: list,
    select1: [],
    costs: { knownTokenUs: 2, newTokenUs: 9, loggedUs: [40], silentUs: [33] },
    memory: [
      { requests: 0, MB: 60 },
      { requests: 1_000_000, MB: 149 },
      { requests: 2_000_000, MB: 170 },
    ],
    workers: [{ name: "401", onePerS: [100], twoPerS: [150] }],
    starts: { existingDataMs: 1_000, emptyFolderMs: 3_100 },
  };
}
