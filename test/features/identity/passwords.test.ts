import { beforeAll, describe, expect, test } from "bun:test";
import {
  createHashingQueue,
  type HashCaller,
  type HashingBounds,
  hashingBounds,
} from "../../../src/features/identity/hashing-queue.ts";
import { hashingState, verifyPassword } from "../../../src/features/identity/passwords.ts";
import { type TestResponse, type TestServer, testServer } from "../../support/harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await testServer();
});

const login = (email: string, password: string, on = server): Promise<TestResponse> =>
  on.request("POST", "/api/users/login", { body: { user: { email, password } } });

/** Callers of a network each, whose address is unknown to the account. */
const from = (address: string, isKnown = false) => ({ address, isKnown });
const BOUNDS = { runningMax: 1, networkMax: 4, waitingMax: 8 };

/** A queue whose hashes end one by one: `order` has the callers in the order in which they were served. */
function manualQueue(bounds: HashingBounds) {
  const queue = createHashingQueue(bounds);
  const order: string[] = [];
  const running: (() => void)[] = [];
  return {
    order,
    running,
    checkRoom: (caller: HashCaller) => queue.checkRoom(caller),
    run(name: string, caller: HashCaller): Promise<"served" | number> {
      const hash = () => {
        order.push(name);
        return new Promise<void>((resolve) => running.push(resolve));
      };
      return queue.run(caller, hash).then(
        () => "served" as const,
        (error: { status: number }) => error.status,
      );
    },
    async finishAll() {
      for (let i = 0; i < 50; i++) {
        running.shift()?.();
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}

describe("the hashing queue", () => {
  test("runs a bounded number at a time, in the order of the calls of one address, and refuses with 503 beyond", async () => {
    const queue = manualQueue({ runningMax: 2, networkMax: 3, waitingMax: 3 });
    const results = ["a", "b", "c", "d", "e", "f", "g"].map((name) => queue.run(name, from("192.0.2.1")));
    await Bun.sleep(0);
    expect(queue.running.length).toBe(2);
    await queue.finishAll();
    expect(await Promise.all(results)).toEqual([...Array(5).fill("served"), 503, 503]);
    expect(queue.order).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("frees the place of a failure", async () => {
    const queue = createHashingQueue({ runningMax: 1, networkMax: 1, waitingMax: 1 });
    await expect(queue.run(from("192.0.2.1"), () => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
    expect(await queue.run(from("192.0.2.1"), () => Promise.resolve(1))).toBe(1);
    expect(queue.state()).toEqual({ running: 0, waiting: 0 });
  });

  test("serves networks in turns, and the addresses of a network in turns", async () => {
    const queue = manualQueue({ ...BOUNDS, networkMax: 6 });
    const calls: [string, string][] = [
      ["a1", "192.0.2.1"],
      ["a1", "192.0.2.1"],
      ["a1", "192.0.2.1"],
      ["a1", "192.0.2.1"],
      ["a2", "192.0.2.2"],
      ["b1", "198.51.100.1"],
      ["b1", "198.51.100.1"],
      ["c1", "2001:db8:1::1"],
    ];
    const results = calls.map(([name, address]) => queue.run(name, from(address)));
    await queue.finishAll();
    expect(queue.order).toEqual(["a1", "a1", "b1", "c1", "a2", "b1", "a1", "a1"]);
    expect(new Set(await Promise.all(results))).toEqual(new Set(["served"]));
  });

  test("makes room for a new address in a full network, and for a new network in a full queue", async () => {
    const queue = manualQueue(BOUNDS);
    const results = Array.from({ length: 5 }, () => queue.run("a1", from("192.0.2.1")));
    // The newest waiter of the first address gives way.
    results.push(queue.run("a2", from("192.0.2.2")));
    results.push(...Array.from({ length: 4 }, () => queue.run("b1", from("198.51.100.1"))));
    // The queue is full.
    results.push(queue.run("c1", from("203.0.113.1")));
    await queue.finishAll();
    const outcomes = await Promise.all(results);
    expect(outcomes.filter((outcome) => outcome === 503).length).toBe(2);
    expect([outcomes[5], outcomes[10]]).toEqual(["served", "served"]);
  });

  test("serves known callers in every second turn, whatever strangers wait, also at the same address", async () => {
    const queue = manualQueue(BOUNDS);
    const flood = Array.from({ length: 9 }, (_, i) => queue.run(`stranger-${i}`, from(`10.0.${i}.1`)));
    expect(() => queue.checkRoom(from("10.0.1.1"))).toThrow();
    expect(await queue.run("stranger", from("203.0.113.1"))).toBe(503);
    const known = ["10.0.1.1", "10.0.1.1", "203.0.113.1"].map((address) => queue.run("known", from(address, true)));
    await queue.finishAll();
    expect(new Set(await Promise.all([...flood, ...known]))).toEqual(new Set(["served"]));
    expect(queue.order.slice(0, 7).filter((name) => name === "known")).toHaveLength(3);
  });

  test("bounds known callers likewise", async () => {
    const queue = manualQueue(BOUNDS);
    const results = Array.from({ length: 6 }, () => queue.run("known", from("192.0.2.1", true)));
    await queue.finishAll();
    expect(await Promise.all(results)).toEqual([...Array(5).fill("served"), 503]);
  });
});

describe("a login", () => {
  const PROXIED = { trustedProxies: ["127.0.0.1/32"] };
  const by = (address: string) => ({ "X-Forwarded-For": address });

  test("succeeds from another address while 140 from one address are waiting, in 12 of 12 attempts", async () => {
    const proxied = await testServer(PROXIED);
    const owner = await proxied.register("owner");
    const flood = Array.from({ length: 140 }, (_, i) =>
      proxied.request("POST", "/api/users/login", {
        body: { user: { email: `flood-${i}@example.com`, password: "wrong horse" } },
        headers: by("192.0.2.1"),
      }),
    );
    // The flood has reached the queue.
    while (hashingState().waiting < 90) await Bun.sleep(1);
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++) {
      const { status } = await proxied.request("POST", "/api/users/login", {
        body: { user: { email: owner.email, password: owner.password } },
        // Of the same network as the flood.
        headers: by(`192.0.2.${i + 2}`),
      });
      statuses.push(status);
    }
    expect(hashingState().waiting).toBeGreaterThan(0);
    await Promise.all(flood);
    expect(statuses).toEqual(Array(12).fill(200));
  });

  test("succeeds from the very address of the flood if the account knows its network", async () => {
    const proxied = await testServer(PROXIED);
    const headers = by("203.0.113.1");
    const user = { username: "colleague", email: "colleague@example.com", password: "correct horse" };
    expect((await proxied.request("POST", "/api/users", { body: { user }, headers })).status).toBe(201);
    const loginAs = (email: string, password: string) =>
      proxied.request("POST", "/api/users/login", { body: { user: { email, password } }, headers });
    const { verify } = Bun.password;
    const { promise: verified, resolve: finish } = Promise.withResolvers<boolean>();
    Bun.password.verify = () => verified;
    const { runningMax, networkMax } = hashingBounds();
    const flood = Array.from({ length: runningMax + networkMax }, () =>
      verifyPassword("a horse", undefined, from("203.0.113.1")),
    );
    let colleague: Promise<TestResponse>;
    try {
      expect((await loginAs("stranger@example.com", "a horse")).status).toBe(503);
      colleague = loginAs(user.email, user.password);
      while (hashingState().waiting <= networkMax) await Bun.sleep(1);
    } finally {
      Bun.password.verify = verify;
      finish(false);
      await Promise.all(flood);
    }
    expect((await colleague).status).toBe(200);
  });

  test("that the queue refuses counts against its sender", async () => {
    const proxied = await testServer(PROXIED);
    const { verify } = Bun.password;
    const { promise: verified, resolve: finish } = Promise.withResolvers<boolean>();
    Bun.password.verify = () => verified;
    const { runningMax, networkMax } = hashingBounds();
    const busy = Array.from({ length: runningMax + networkMax }, () =>
      verifyPassword("a horse", undefined, from("192.0.2.1")),
    );
    const counts = async () =>
      (await proxied.sql`select coalesce(sum(count), 0)::int as n from rate_limits where key like 'login:address:%'`)[0]
        .n;
    try {
      const refused = await proxied.request("POST", "/api/users/login", {
        body: { user: { email: "x@example.com", password: "wrong horse" } },
        headers: by("192.0.2.1"),
      });
      expect([refused.status, await counts()]).toEqual([503, 1]);
    } finally {
      finish(false);
      await Promise.all(busy);
      Bun.password.verify = verify;
    }
  });
});

describe("hashing passwords", () => {
  test("a login that is refused because too many wait does not count as a wrong password", async () => {
    const user = await server.register("busy");
    const { verify } = Bun.password;
    const { promise: verified, resolve: finish } = Promise.withResolvers<boolean>();
    Bun.password.verify = () => verified;
    const { runningMax, networkMax } = hashingBounds();
    // As the account knows this network.
    const busy = Array.from({ length: runningMax + networkMax }, () =>
      verifyPassword("a horse", undefined, from("127.0.0.1", true)),
    );
    try {
      for (let i = 0; i < 12; i++) expect((await login(user.email, user.password)).status).toBe(503);
    } finally {
      finish(false);
      await Promise.all(busy);
      Bun.password.verify = verify;
    }
    expect((await login(user.email, user.password)).status).toBe(200);
  });

  test("in a flood of logins, the excess is refused with 503 and Retry-After, and reads go on meanwhile", async () => {
    const free = await testServer({ rateLimits: null });
    // As many as can hash and wait, and some more.
    const { runningMax, networkMax } = hashingBounds();
    const length = runningMax + networkMax + 60;
    const flood = Array.from({ length }, (_, i) => login(`flood-${i}@example.com`, "wrong horse", free));
    const reads: number[] = [];
    let isOver = false;
    const over = Promise.all(flood).finally(() => {
      isOver = true;
    });
    while (!isOver) reads.push((await free.request("GET", "/api/articles")).status);
    const answers = await over;
    const refused = answers.filter(({ status }) => status === 503);
    expect(answers.every(({ status }) => status === 401 || status === 503)).toBe(true);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.headers.get("Retry-After")).toBe("5");
    expect(reads.length).toBeGreaterThan(20);
    expect(new Set(reads)).toEqual(new Set([200]));
  });
});
