import { randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { join } from "node:path";
import { type DatabaseAddress, locationOf } from "../config/database-address.ts";
import { secretFromFile } from "../config/secret-file.ts";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { configWarnings } from "../config/warnings.ts";
import type { PoolLimits } from "../db/bounded-pool.ts";
import { openListener } from "../db/listener.ts";
import { watchDatabase } from "../db/metrics.ts";
import { openDatabase, openFollowed } from "../db/pool.ts";
import { checkPooler, findServer } from "../db/reach.ts";
import { keepRevalidating } from "../features/articles/versions.ts";
import { createRevocations, followRevocations } from "../features/identity/sessions/revocations.ts";
import { openBlocklist } from "../features/identity/users/new-passwords.ts";
import type { WriteRates } from "../features/identity/write-limits.ts";
import { timerSeconds } from "../http/request-timer.ts";
import { mailboxKey } from "../mail/mailbox.ts";
import { hasMailbox, openMail, warnWithoutMail } from "../mail/open.ts";
import { watchMemory } from "../memory/metrics.ts";
import { openMemory } from "../memory/open.ts";
import { createLog, type Log } from "../observability/log.ts";
import type { Metrics } from "../observability/metrics.ts";
import { serveMetrics } from "../observability/metrics-server.ts";
import { createApp } from "./app.ts";
import { requireConnections } from "./connections.ts";
import { startEmbedded } from "./embedded.ts";
import { startBackgroundJobs } from "./jobs.ts";
import { limitRequests } from "./request-limit.ts";
import { updateSchema } from "./schema.ts";
import { observeStatements, openMetrics, openTracing, tracedMail, watchServer } from "./telemetry.ts";
import type { OtherWorkers } from "./worker-reports.ts";

export type RunningServer = {
  /** The address it listens on, as `http://host:port`. */
  readonly url: string;
  /** The address of the metrics; undefined without `METRICS_PORT`. */
  readonly metricsUrl: string | undefined;
  /** The path of the development mailbox, with the key that opens it; undefined if there is none. */
  readonly mailboxPath: string | undefined;
  readonly database: DatabaseAddress;
  /**
   * `/health/ready` returns 503 from now on. After `SHUTDOWN_DELAY` the server stops listening, lets requests in flight
   * finish within `SHUTDOWN_TIMEOUT`, and closes everything in reverse order. Idempotent.
   */
  stop(): Promise<void>;
};

/** What a worker gets from its supervisor. A server without workers creates these itself. */
export type Inheritance = {
  readonly database: DatabaseAddress;
  readonly jwtSecret: string;
  readonly port: number;
  readonly poolMax: number;
  readonly serverId: string;
  readonly otherWorkers: OtherWorkers;
  readonly log: Log;
  readonly metrics: Metrics | undefined;
};

/** Starts everything: database, schema, HTTP. Throws `StartupError` after closing what it had opened. */
export async function startServer(
  config: Config,
  onProgress: (message: string) => void,
  inherited?: Inheritance,
): Promise<RunningServer> {
  const closers: (() => unknown)[] = [];
  try {
    if (inherited === undefined) {
      requireConnections(config);
      await requireFreePort(config);
    }
    const log = inherited?.log ?? serverLog(config);
    const metrics = inherited === undefined ? await openMetrics(config) : inherited.metrics;
    if (metrics !== undefined) closers.push(metrics.close);
    const metricsServer =
      inherited === undefined && metrics !== undefined ? serveMetrics(config, () => metrics.text()) : undefined;
    if (metricsServer !== undefined) closers.push(() => metricsServer.stop(true));

    const address = inherited?.database ?? (await prepareDatabase(config, onProgress, log, closers));
    const poolMax = inherited?.poolMax ?? config.databasePoolMax;
    const tracing = await openTracing(config, log);
    if (tracing !== undefined) closers.push(tracing.close);
    const observer = observeStatements(metrics, tracing, address);
    const db = openDatabase(address, { ...poolLimits(config), poolMax }, observer);
    closers.push(() => db.close(config.databaseStatementTimeoutMs));
    if (metrics !== undefined) watchDatabase(metrics, db);
    const direct =
      address.direct === undefined ? db.primary : openFollowed(address.direct, config.databaseConnectTimeoutMs);
    closers.push(direct.stop);
    direct.onFound((hasMoved) => {
      if (hasMoved) log.warn({}, `the database has moved to ${locationOf(direct.server())}`);
    });

    const memoryOptions = {
      bytesMax: config.memoryMaxBytes,
      staleMaxMs: config.staleMaxMs,
      serverId: inherited?.serverId ?? crypto.randomUUID(),
      reportToWorkers: inherited?.otherWorkers.report ?? (async () => {}),
    };
    const { memory, ...opened } = openMemory(memoryOptions, db, log);
    closers.push(opened.stop);
    inherited?.otherWorkers.govern(memory);
    const revocations = createRevocations();
    const revocationsFollower = followRevocations(db, log, revocations);
    const subscribers = [revocationsFollower, ...opened.subscribers];
    const listener = await openListener(direct, db, log, subscribers);
    closers.push(listener.stop);
    await revocationsFollower.refresh();

    const secret = inherited?.jwtSecret ?? jwtSecret(config, onProgress);
    const mail = tracedMail(openMail(config, secret), tracing);
    if (inherited === undefined) warn(config, log);

    closers.push(keepRevalidating(db, memory).stop);
    // What is closed before this has bounds of its own; what is closed after it waits for its statements.
    closers.push(db.stopWaiting);

    let isDraining = false;
    const app = createApp({
      db,
      memory,
      log,
      jwtSecret: secret,
      sessionLimits: config,
      revocations,
      trustedProxies: config.trustedProxies,
      mail,
      web: config.web,
      mailbox: mail.mailbox,
      requireEmailConfirmation: config.requireEmailConfirmation,
      requireCurrentPassword: config.requireCurrentPassword,
      passwordBlocklist: await openBlocklist(config.passwordBlocklist),
      ...(config.rateLimits ? { writeRates: writeRates(config) } : { rateLimits: null }),
      deletedArticles: config.deletedArticles,
      corsOrigins: config.corsOrigins,
      baseUrl: config.baseUrl,
      links: config,
      keepAliveTimeoutMs: config.keepAliveTimeoutMs,
      isDraining: () => isDraining,
      // As long as requests wait for the database, or some do not need it.
      outageGraceMs: Math.max(config.failoverWaitMs, config.staleMaxMs),
      observer: metrics,
      tracer: tracing,
    });
    const http = listen(config, inherited, limitRequests(config, app.fetch));
    closers.push(() => stopListening(http, config.shutdownTimeoutMs));
    const jobs = await startBackgroundJobs(mail, config, direct, db, memory, log, http.url.origin);
    // Requests and jobs finish at the same time, within one SHUTDOWN_TIMEOUT.
    closers.push(() => Promise.all([stopListening(http, config.shutdownTimeoutMs), jobs.stop()]));
    if (metrics !== undefined) watchServer(metrics, http, db);
    if (metrics !== undefined && config.memoryMaxBytes > 0) watchMemory(metrics, memory);

    let stopped: Promise<void> | undefined;
    const stop = async () => {
      isDraining = true;
      await Bun.sleep(config.shutdownDelayMs);
      await closeAll(closers);
    };
    return {
      url: http.url.origin,
      metricsUrl: metricsServer?.url.origin,
      mailboxPath: mailboxPath(config, secret),
      database: address,
      stop() {
        stopped ??= stop();
        return stopped;
      },
    };
  } catch (error) {
    await closeAll(closers);
    throw error;
  }
}

/**
 * Reports a port in use, or not permitted, before the database is created. Another program may still take the port
 * afterwards, so `listen` handles the same errors. Skipped with `REUSE_PORT`: other servers may listen there, and even a
 * short-lived listener would take connections from them.
 * @throws StartupError that names another port
 */
export async function requireFreePort({ host, port, reusePort }: Config): Promise<void> {
  if (port === 0 || reusePort) return;
  try {
    // A plain listener: an HTTP server could respond to a health check before there is anything to check.
    Bun.listen({ hostname: host, port, socket: { data() {} } }).stop(true);
  } catch (error) {
    throw listenError(error, host, port);
  }
}

/** Calls them from the last to the first. */
export async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (let closer = closers.pop(); closer !== undefined; closer = closers.pop()) await closer();
}

/** Logs what is configured in a way that a deployment should not be. Called once, however many processes there are. */
export function warn(config: Config, log: Log): void {
  warnWithoutMail(config, log);
  for (const warning of configWarnings(config)) log.warn({}, warning);
}

/** @param base fields of every line */
export function serverLog(config: Config, base: Record<string, number> = {}): Log {
  return createLog(config.logLevel, { format: logFormat(config), base });
}

export function logFormat(config: Config): "json" | "pretty" {
  if (config.logFormat !== "auto") return config.logFormat;
  return process.stdout.isTTY && !config.production ? "pretty" : "json";
}

/** Starts or finds the database, and updates its schema. Returns its address, and adds to `closers` what has to be closed. */
export async function prepareDatabase(
  config: Config,
  onProgress: (message: string) => void,
  log: Log,
  closers: (() => unknown)[],
): Promise<DatabaseAddress> {
  for (const warning of config.warnings) log.warn({}, warning);
  const database = await reachDatabase(config, onProgress, log);
  closers.push(database.release);
  await updateSchema(database.address, config, onProgress);
  if (database.address.direct !== undefined) {
    for (const warning of await checkPooler(database.address, poolLimits(config))) log.warn({}, warning);
  }
  return database.address;
}

type ReachedDatabase = { address: DatabaseAddress; release(): Promise<void> };

/** Set by scripts/build.ts in the compiled executable, and nowhere else. */
declare const STANDALONE: true | undefined;

/** Whether this is the executable, which has no embedded PostgreSQL. */
export const isStandalone = typeof STANDALONE !== "undefined";

/** The PostgreSQL of `DATABASE_URL`, or the embedded one, started. */
export async function reachDatabase(
  config: Config,
  onProgress: (message: string) => void,
  log: Log,
): Promise<ReachedDatabase> {
  if (config.databaseUrl !== undefined) {
    return { address: await chooseHosts(config.databaseUrl, config, onProgress), release: async () => {} };
  }
  if (isStandalone) {
    throw new StartupError(
      "DATABASE_URL is not set. This executable contains no PostgreSQL. Set DATABASE_URL to postgres://user:password@host:5432/database (PostgreSQL 15 or newer).",
    );
  }
  const postgres = await startEmbedded(config.dataDir, onProgress, (message) => log.error({}, message));
  return { address: postgres.address, release: () => postgres.stop() };
}

/** The servers to use, of a pooler and of PostgreSQL itself. */
async function chooseHosts(
  address: DatabaseAddress,
  config: Config,
  onProgress: (message: string) => void,
): Promise<DatabaseAddress> {
  const chosen = await chooseHost(address, config, onProgress);
  const { direct } = address;
  return direct === undefined ? chosen : { ...chosen, direct: await chooseHost(direct, config, onProgress) };
}

/** With one host there is no choice, and the first who connects reports what is wrong. */
async function chooseHost(
  address: DatabaseAddress,
  config: Config,
  onProgress: (message: string) => void,
): Promise<DatabaseAddress> {
  if (address.otherHosts === undefined && address.target !== "primary") return address;
  return await findServer(address, {
    connectTimeoutMs: config.databaseConnectTimeoutMs,
    timeoutMs: config.databaseStartTimeoutMs,
    mustWrite: false,
    onProgress,
  });
}

export function poolLimits(config: Config): PoolLimits {
  return {
    poolMax: config.databasePoolMax,
    connectTimeoutMs: config.databaseConnectTimeoutMs,
    queueTimeoutMs: config.databaseQueueTimeoutMs,
    statementTimeoutMs: config.databaseStatementTimeoutMs,
    failoverWaitMs: config.failoverWaitMs,
  };
}

export function mailboxPath(config: Config, secret: string): string | undefined {
  return hasMailbox(config) ? `/dev/mail?key=${mailboxKey(secret)}` : undefined;
}

export const writeRates = (config: Config): WriteRates => ({
  articles: config.rateLimitArticles,
  "article-bytes": config.rateLimitArticleBytes,
  comments: config.rateLimitComments,
  follows: config.rateLimitFollows,
  favorites: config.rateLimitFavorites,
  renames: config.rateLimitRenames,
  networkFactor: config.rateLimitNetworkFactor,
});

export function jwtSecret(config: Config, onProgress: (message: string) => void): string {
  if (config.jwtSecret !== undefined) return config.jwtSecret.reveal();
  if (config.databaseUrl === undefined) return secretFromFile(join(config.dataDir, "jwt-secret"));
  onProgress("JWT_SECRET is not set: access tokens become invalid when this process ends");
  return randomBytes(32).toString("hex");
}

function listen(
  config: Config,
  inherited: Inheritance | undefined,
  fetch: (request: Request, server: Bun.Server<undefined>) => Response | Promise<Response>,
) {
  const port = inherited?.port ?? config.port;
  try {
    return Bun.serve({
      hostname: config.host,
      port,
      reusePort: inherited !== undefined || config.reusePort,
      fetch,
      // limitRequests sets the timer of every request.
      idleTimeout: timerSeconds(config.keepAliveTimeoutMs),
      // The guard that reads a body counts it (src/http/validation.ts), and responds in the API's error format. Bun keeps no
      // body that nobody reads.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    });
  } catch (error) {
    throw listenError(error, config.host, port);
  }
}

/** What to do about an address that cannot be listened on. */
export function listenError(error: unknown, host: string, port: number): StartupError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return new StartupError(
      `Port ${port} is taken by another program. Stop that one, or choose another port: --port=${port + 1} or PORT=${port + 1}.`,
    );
  }
  if (code === "EACCES") {
    return new StartupError(
      `This user may not listen on port ${port}. Choose a port above 1023: --port=3000 or PORT=3000.`,
    );
  }
  return new StartupError(
    isIP(host) === 0
      ? `Cannot listen on ${host}:${port}: HOST=${host} is not a name of this machine. conda and some shells set HOST for their own purposes. Choose the address: --host=0.0.0.0 or HOST=127.0.0.1.`
      : `Cannot listen on ${host}:${port}: ${message}. Choose an address of this machine: --host=0.0.0.0 or HOST=127.0.0.1.`,
  );
}

async function stopListening(http: Bun.Server<undefined>, timeoutMs: number): Promise<void> {
  const graceful = http.stop();
  await Promise.race([graceful, Bun.sleep(timeoutMs)]);
  await http.stop(true);
}
