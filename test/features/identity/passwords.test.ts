import { beforeAll, describe, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { createHashingQueue } from "../../../src/features/identity/hashing-queue.ts";
import { verifyPassword } from "../../../src/features/identity/passwords.ts";
import { type TestResponse, type TestServer, testServer } from "../../support/harness.ts";

let server: TestServer;
beforeAll(async () => {
  server = await testServer();
});

const login = (email: string, password: string, on = server): Promise<TestResponse> =>
  on.request("POST", "/api/users/login", { body: { user: { email, password } } });

describe("hashing passwords", () => {
  test("runs a bounded number at a time, in the order of the calls, and refuses with 503 beyond the queue", async () => {
    const queue = createHashingQueue(2, 3);
    const order: number[] = [];
    let running = 0;
    let most = 0;
    const hash = (i: number) =>
      queue.run(async () => {
        most = Math.max(most, ++running);
        await Bun.sleep(5);
        order.push(i);
        running--;
      });
    const results = await Promise.allSettled([0, 1, 2, 3, 4, 5, 6].map(hash));
    expect(results.map(({ status }) => status)).toEqual([...Array(5).fill("fulfilled"), "rejected", "rejected"]);
    expect((results[5] as PromiseRejectedResult).reason).toMatchObject({
      status: 503,
      headers: { "Retry-After": "5" },
    });
    expect([most, order]).toEqual([2, [0, 1, 2, 3, 4]]);
    // A failure frees its place too.
    await expect(queue.run(() => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
    await Promise.all([hash(7), hash(8)]);
    expect(most).toBe(2);
  });

  test("a login that is refused because too many wait does not count as a wrong password", async () => {
    const user = await server.register("busy");
    const { verify } = Bun.password;
    const { promise: verified, resolve: finish } = Promise.withResolvers<boolean>();
    Bun.password.verify = () => verified;
    const places = 101 * Math.max(1, availableParallelism() - 1);
    const busy = Array.from({ length: places }, () => verifyPassword("a horse", undefined));
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
    const length = 101 * Math.max(1, availableParallelism() - 1) + 60;
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
