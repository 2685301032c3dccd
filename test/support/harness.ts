import type { SQL } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { loadConfig } from "../../src/config/settings.ts";
import type { PoolLimits } from "../../src/db/bounded-pool.ts";
import { type HeartbeatTimes, openListener } from "../../src/db/listener.ts";
import { type Database, openDatabase, openFollowed } from "../../src/db/pool.ts";
import { createRevocations } from "../../src/features/identity/sessions/revocations.ts";
import { createLinkTokens } from "../../src/mail/links.ts";
import { createMemory } from "../../src/memory/memory.ts";
import { type OpenMemoryOptions, openMemory } from "../../src/memory/open.ts";
import { type AppOptions, createApp } from "../../src/server/app.ts";
import { poolLimits } from "../../src/server/server.ts";
import { closeAtEnd, connect, testDatabase } from "./database.ts";
import { createResponseCheck, type ResponseCheck } from "./document.ts";
import type { TestServer } from "./types.ts";

export { connect, testDatabase, testPostgres } from "./database.ts";
export type * from "./types.ts";

/** Signs the tokens of every test server, so that tests can make tokens of their own. */
export const JWT_SECRET = "the secret of the test servers, 32 bytes or more";

/** The application, as the test servers serve it. */
export function testApp(db: Database, options: Partial<AppOptions> = {}): ReturnType<typeof createApp> {
  const config = loadConfig({});
  return createApp({
    db,
    memory: createMemory({ bytesMax: 0, report: async () => {} }),
    log: SILENT,
    jwtSecret: JWT_SECRET,
    sessionLimits: config,
    revocations: createRevocations(),
    trustedProxies: config.trustedProxies,
    // Written, and sent where a test starts a worker (test/support/mail.ts).
    mail: { isEnabled: true, ...createLinkTokens(JWT_SECRET) },
    mailbox: null,
    requireEmailConfirmation: false,
    requireCurrentPassword: false,
    passwordBlocklist: null,
    corsOrigins: config.corsOrigins,
    links: config,
    ...options,
  });
}

export type TestServerOptions = Partial<Omit<AppOptions, "memory">> & {
  /** Of another server, for a second one on the same database. */
  readonly address?: DatabaseAddress;
  readonly limits?: Partial<PoolLimits>;
  readonly memory?: Partial<OpenMemoryOptions>;
  readonly listener?: { readonly address?: DatabaseAddress; readonly times?: HeartbeatTimes };
};

/** @param options what differs from the defaults */
export async function testServer({ listener, ...options }: TestServerOptions = {}): Promise<TestServer> {
  const address = options.address ?? (await testDatabase());
  // Tests of outages say how long requests wait.
  const limits = { ...poolLimits(loadConfig({})), poolMax: 4, failoverWaitMs: 0, ...options.limits };
  const db = openDatabase(address, limits);
  const memoryOptions = { ...DEFAULT_MEMORY, serverId: crypto.randomUUID(), ...options.memory };
  const { memory, ...opened } = openMemory(memoryOptions, db, SILENT);
  const primary =
    listener?.address === undefined ? db.primary : openFollowed(listener.address, limits.connectTimeoutMs);
  const listening = await openListener(primary, db, SILENT, opened.subscribers, listener?.times);
  const app = testApp(db, { ...options, memory });
  responseCheck ??= createResponseCheck(app);
  const check = responseCheck;
  const http = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: app.fetch });
  const url = http.url.origin;
  // A test that changes rows by SQL does not wait until the values in memory are too old.
  let usedSql = false;
  const sql = new Proxy(connect(address), {
    apply(target, _, parameters: Parameters<SQL>) {
      usedSql = true;
      return target(...parameters);
    },
  });
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await http.stop(true);
    primary.stop();
    db.stopWaiting();
    await Promise.all([listening.stop(), opened.stop()]);
    await Promise.all([db.close(1_000), sql.close({ timeout: 0 })]);
  };
  closeAtEnd(stop);

  const request: TestServer["request"] = async (method, path, { token, body, headers } = {}) => {
    if (usedSql) memory.forgetEverything();
    usedSql = false;
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(token === undefined ? {} : { Authorization: `Token ${token}` }),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      redirect: "manual",
    });
    const text = await response.text();
    check(method, path, { status: response.status, headers: response.headers, text });
    // HEAD has the type and no body.
    const isJson = text !== "" && response.headers.get("content-type")?.startsWith("application/json") === true;
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined,
    };
  };

  return {
    url,
    address,
    db,
    memory,
    sql,
    request,
    async register(username) {
      const email = `${username.toLowerCase().replace(/[<>]/g, "")}@example.com`;
      const user = { username, email, password: "correct horse" };
      const response = await request("POST", "/api/users", { body: { user } });
      if (response.status !== 201)
        throw new Error(`could not register ${username}: ${response.status} ${response.text}`);
      return { ...user, token: response.json.user.token, refreshToken: response.json.refresh_token };
    },
    async publish(user, article = {}) {
      const response = await request("POST", "/api/articles", {
        token: user.token,
        body: { article: { title: "A title", description: "A description", body: "A body", ...article } },
      });
      if (response.status !== 201) throw new Error(`could not publish: ${response.status} ${response.text}`);
      return response.json.article;
    },
    stop,
  };
}

/** As many bytes of memory as a server has by default; none with MEMORY_MAX=0, under which all tests pass too. */
const DEFAULT_MEMORY = {
  bytesMax: loadConfig(process.env.MEMORY_MAX ? { MEMORY_MAX: process.env.MEMORY_MAX } : {}).memoryMaxBytes,
  reportToWorkers: async () => {},
};

/** Compares every response of every test with the document of the API. Compiled once per run. */
let responseCheck: ResponseCheck | undefined;

const nothing = (): void => {};
const SILENT = { debug: nothing, info: nothing, warn: nothing, error: nothing };
