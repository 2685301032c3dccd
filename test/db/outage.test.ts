import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@conduit/embedded-postgres";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { migrate } from "../../src/db/migrations.ts";
import { type TestResponse, type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { startProxy } from "../support/proxy.ts";

setDefaultTimeout(60_000);

const limits = { connectTimeoutMs: 400, queueTimeoutMs: 400, statementTimeoutMs: 400 };
/** A request that hangs is one without an answer after this; ten times what the limits add up to. */
const HANGS_MS = 12_000;
const AWAY_MS = 1_500;

describe("the database goes away and returns", () => {
  const stops: (() => unknown)[] = [];
  afterAll(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  async function behindProxy() {
    const proxy = startProxy(await testDatabase());
    stops.push(proxy.stop);
    return { address: proxy.address, restore: proxy.restore, proxy };
  }

  test("connections refused", async () => {
    const { address, proxy } = await behindProxy();
    const during = await outage(address, proxy.refuse, proxy.restore);
    expect(statuses(during)).toContain(503);
  });

  test("connections hang: nothing is answered, nothing is closed, and what hung stays hung", async () => {
    const { address, proxy } = await behindProxy();
    const during = await outage(address, proxy.hang, proxy.restore);
    expect(statuses(during)).toContain(503);
  });

  test("connections cut while idle: no request sees it", async () => {
    const { address, proxy } = await behindProxy();
    const server = await testServer({ address, limits });
    for (let round = 0; round < 3; round++) {
      await Promise.all(Array.from({ length: 12 }, () => server.request("GET", "/api/articles")));
      proxy.cut();
      const answers = await Promise.all(Array.from({ length: 12 }, () => server.request("GET", "/api/articles")));
      expect(statuses(answers)).toEqual([200]);
    }
    await server.stop();
  });

  test("a read whose connection closes under it is asked again; a write is not, as it may have been done", async () => {
    const address = await testDatabase();
    const server = await testServer({ address, limits: { ...limits, statementTimeoutMs: 4_000 } });
    const ada = await server.register("ada");
    await server.publish(ada);
    // Hold the statements in the database, and end their connections there.
    const hold = await server.sql.reserve();
    await hold`begin`;
    await hold`lock table articles in access exclusive mode`;
    const reading = server.request("GET", "/api/articles/a-title");
    const writing = server.request("DELETE", "/api/articles/a-title", { token: ada.token });
    for (let waiting = 0; waiting < 2; await Bun.sleep(20)) {
      const [row] = await server.sql`
        select count(*)::integer as waiting from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
      waiting = row.waiting;
    }
    await server.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    expect((await writing).status).toBe(503);
    await hold`rollback`;
    hold.release();
    expect((await reading).status).toBe(200);
    await server.stop();
  });

  test("PostgreSQL stopped at once (SIGQUIT) and started again; standing still (SIGSTOP) and going on", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "conduit-outage-"));
    stops.push(() => rm(dataDir, { recursive: true, force: true }));
    const postgres: EmbeddedPostgres = await startEmbeddedPostgres({ dataDir });
    stops.push(() => postgres.stop());
    await migrate(postgres.address, migrations, 5_000);

    // The supervisor of the embedded PostgreSQL starts it again.
    const first = postmaster(dataDir);
    const restarted = await outage(
      postgres.address,
      () => process.kill(first.pid, "SIGQUIT"),
      async () => {
        while (postmaster(dataDir).pid === first.pid || !postmaster(dataDir).isReady) await Bun.sleep(10);
      },
      0,
    );
    expect(statuses(restarted)).toContain(503);

    const stopped: number[] = [];
    const during = await outage(
      postgres.address,
      () => {
        for (const pid of family(postmaster(dataDir).pid)) {
          process.kill(pid, "SIGSTOP");
          stopped.push(pid);
        }
      },
      () => {
        for (const pid of stopped.splice(0)) process.kill(pid, "SIGCONT");
      },
    );
    expect(statuses(during)).toContain(503);
  });
});

/**
 * A steady load over an outage. Fails on an answer other than success or 503, on one that hangs, and where the first
 * good answer comes later than two seconds after the end of the outage.
 * @returns the answers to what was asked before that end
 */
async function outage(
  address: DatabaseAddress,
  begin: () => void,
  end: () => void | Promise<void>,
  awayMs = AWAY_MS,
): Promise<TestResponse[]> {
  const server = await testServer({ address, limits });
  const answers: { asked: number; answered: number; answer: TestResponse }[] = [];
  let goesOn = true;
  const load = Promise.all(
    [0, 1, 2, 3, 4, 5].map(async (i) => {
      while (goesOn) {
        const asked = performance.now();
        const answer = await within(HANGS_MS, i < 4 ? readSomething(server) : writeSomething(server));
        answers.push({ asked, answered: performance.now(), answer });
        await Bun.sleep(25);
      }
    }),
  );
  let ended = 0;
  let firstGood: number | undefined;
  try {
    await Bun.sleep(200);
    try {
      begin();
      await Bun.sleep(awayMs);
    } finally {
      await end();
    }
    ended = performance.now();
    while (firstGood === undefined && performance.now() - ended < HANGS_MS) {
      await Bun.sleep(20);
      firstGood = answers.find(({ answered, answer }) => answered > ended && answer.status < 300)?.answered;
    }
  } finally {
    goesOn = false;
    await load;
    await server.stop();
  }
  for (const { answer } of answers) {
    expect([200, 201, 503]).toContain(answer.status);
    if (answer.status === 503) {
      expect(answer.headers.get("retry-after")).toBe("1");
      expect(answer.json.errors).toEqual({ database: ["is unavailable, try again later"] });
    }
  }
  if (process.env.SHOW) {
    const longest = Math.max(...answers.map(({ asked, answered }) => answered - asked));
    console.log(
      `${answers.length} answers, ${answers.filter(({ answer }) => answer.status === 503).length} of them 503, longest ${longest.toFixed(0)} ms, first good ${((firstGood ?? Number.NaN) - ended).toFixed(0)} ms after the return`,
    );
  }
  expect((firstGood ?? Number.POSITIVE_INFINITY) - ended).toBeLessThan(2_000);
  return answers.filter(({ asked }) => asked <= ended).map(({ answer }) => answer);
}

let names = 0;
const readSomething = (server: TestServer) => server.request("GET", "/api/articles");
const writeSomething = (server: TestServer) => {
  const username = `user${++names}`;
  const user = { username, email: `${username}@example.com`, password: "correct horse" };
  return server.request("POST", "/api/users", { body: { user } });
};

async function within<Value>(ms: number, promise: Promise<Value>): Promise<Value> {
  const late = Bun.sleep(ms).then((): never => {
    throw new Error(`no answer within ${ms} ms`);
  });
  return await Promise.race([promise, late]);
}

const statuses = (answers: TestResponse[]) => [...new Set(answers.map(({ status }) => status))].sort();

function postmaster(dataDir: string): { pid: number; isReady: boolean } {
  const file = join(dataDir, "postgres/postmaster.pid");
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  return { pid: Number(lines[0]), isReady: lines[7]?.trim() === "ready" };
}

/** A process and its children. */
function family(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
  return [pid, ...children.map(Number)];
}
