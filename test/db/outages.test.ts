import { expect, test } from "bun:test";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { createOutages } from "../../src/db/outages.ts";

// What outages look like from outside is in failover.test.ts and standbys.test.ts.

/** Outages of a pool whose server is found when a test says so. */
function outagesOf() {
  const server = { hostname: "a.example" } as DatabaseAddress;
  const searches: (() => void)[] = [];
  const state = { replaced: 0, ended: 0, firstHasSent: Promise.resolve() };
  const outages = createOutages({
    server: {
      server: () => server,
      mustBePrimary: true,
      search: () => new Promise<void>((resolve) => searches.push(resolve)),
      searchingSince: () => undefined,
      onFound() {},
      stop() {},
    },
    limits: { connectTimeoutMs: 60_000, failoverWaitMs: 60_000 },
    whenFirstHasSent: () => state.firstHasSent,
    replaceConnections: () => state.replaced++,
    onEnd: () => state.ended++,
  });
  const found = async () => {
    const before = state.ended;
    searches.at(-1)?.();
    while (state.ended === before) await Bun.sleep(1);
  };
  return { outages, searches, state, found };
}

test("an outage continues the one before, unless a statement has succeeded or a search was all that it needed", async () => {
  const { outages, found } = outagesOf();
  const started = performance.now();
  expect(outages.begin(true)).toBe(0);
  await found();
  await Bun.sleep(20);
  expect(outages.begin(true)).toBeGreaterThan(20);
  expect(outages.isLong(started + 60_000)).toBe(false);
  expect(outages.isLong(performance.now() + 60_000)).toBe(true);
  await found();
  outages.succeeded();
  expect(outages.begin(false)).toBe(0);
  await found();
  await Bun.sleep(20);
  expect(outages.begin(false)).toBe(0);
});

test("what is lost after the search and before the end is searched for, too", async () => {
  const { outages, searches, state, found } = outagesOf();
  const { promise, resolve: firstSends } = Promise.withResolvers<void>();
  state.firstHasSent = promise;
  outages.begin(false);
  // During the search, a loss is no news.
  outages.begin(false);
  searches[0]?.();
  await Bun.sleep(1);
  outages.begin(true);
  firstSends();
  while (searches.length < 2) await Bun.sleep(1);
  expect([outages.isOn(), state.ended]).toEqual([true, 0]);
  await found();
  expect([outages.isOn(), searches.length, state.replaced]).toEqual([false, 2, 1]);
});
