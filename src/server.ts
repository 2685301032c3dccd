import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { migrations } from "../migrations/index.ts";
import { createApp } from "./app.ts";
import type { Config } from "./config.ts";
import { openMail, startMail } from "./mail.ts";
import { openDatabase } from "./platform/database.ts";
import type { DatabaseAddress } from "./platform/database-address.ts";
import { createLog, type Log } from "./platform/log.ts";
import { migrate } from "./platform/migrations.ts";
import { secretFromFile } from "./platform/secret-file.ts";
import { StartupError } from "./platform/startup-error.ts";
import { createRevocations, followRevocations } from "./sessions/revocations.ts";

export type RunningServer = {
  /** Where it listens, as `http://host:port`. */
  readonly url: string;
  /** Lets requests under way finish, and closes everything in the reverse order of its opening. Idempotent. */
  stop(): Promise<void>;
};

/** Starts everything: database, schema, HTTP. Throws `StartupError`, with everything that was opened closed again. */
export async function startServer(config: Config, onProgress: (message: string) => void): Promise<RunningServer> {
  const closers: (() => Promise<void>)[] = [];
  const close = async () => {
    for (let closer = closers.pop(); closer !== undefined; closer = closers.pop()) await closer();
  };
  try {
    const log = createLog(config.logLevel);
    const database = await reachDatabase(config, onProgress, log);
    closers.push(database.release);

    for (const file of await migrate(database.address, migrations, config.databaseConnectTimeoutMs)) {
      onProgress(`Applied migration ${file}`);
    }
    const db = openDatabase(database.address, poolLimits(config));
    closers.push(() => db.close(config.databaseStatementTimeoutMs));

    const revocations = createRevocations();
    const follower = await followRevocations(database.address, db, log, revocations);
    closers.push(follower.stop);

    const secret = jwtSecret(config, onProgress);
    const mail = openMail(config, secret);

    const app = createApp({
      db,
      log,
      jwtSecret: secret,
      sessionLimits: config,
      revocations,
      trustedProxies: config.trustedProxies,
      outbox: mail.outbox,
      mailbox: mail.mailbox,
      requireEmailConfirmation: config.requireEmailConfirmation,
      corsOrigins: config.corsOrigins,
    });
    const http = listen(config, app.fetch);
    closers.push(() => stopListening(http, config.shutdownTimeoutMs));
    const sending = startMail(mail, config, db, log, http.url.origin);
    closers.push(sending.stop);

    let stopped: Promise<void> | undefined;
    return {
      url: http.url.origin,
      stop() {
        stopped ??= close();
        return stopped;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

type ReachedDatabase = { address: DatabaseAddress; release(): Promise<void> };

/** The PostgreSQL of `DATABASE_URL`, or the embedded one, started. */
export async function reachDatabase(
  config: Config,
  onProgress: (message: string) => void,
  log: Log,
): Promise<ReachedDatabase> {
  if (config.databaseUrl !== undefined) return { address: config.databaseUrl, release: async () => {} };
  const { startEmbeddedPostgres } = await import("./platform/embedded-postgres.ts");
  const postgres = await startEmbeddedPostgres({
    dataDir: config.dataDir,
    onProgress,
    onRestart: (message) => log.error({}, message),
  });
  return { address: postgres.address, release: () => postgres.stop() };
}

export function poolLimits(config: Config): Parameters<typeof openDatabase>[1] {
  return {
    poolMax: config.databasePoolMax,
    connectTimeoutMs: config.databaseConnectTimeoutMs,
    queueTimeoutMs: config.databaseQueueTimeoutMs,
    statementTimeoutMs: config.databaseStatementTimeoutMs,
  };
}

function jwtSecret(config: Config, onProgress: (message: string) => void): string {
  if (config.jwtSecret !== undefined) return config.jwtSecret.reveal();
  if (config.databaseUrl === undefined) return secretFromFile(join(config.dataDir, "jwt-secret"));
  onProgress("JWT_SECRET is not set: access tokens will end with this process");
  return randomBytes(32).toString("hex");
}

function listen(config: Config, fetch: (request: Request) => Response | Promise<Response>) {
  try {
    return Bun.serve({
      hostname: config.host,
      port: config.port,
      fetch,
      // A body is counted by the guard that reads it (platform/http.ts), which can answer in the API's error format.
      maxRequestBodySize: 64 * 1024 * 1024,
    });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EADDRINUSE") {
      throw new StartupError(
        `Port ${config.port} is taken by another program. Stop that one, or choose another port: --port=${config.port + 1} or PORT=${config.port + 1}.`,
      );
    }
    throw new StartupError(`Cannot listen on ${config.host}:${config.port}: ${(error as Error).message}`);
  }
}

async function stopListening(http: Bun.Server<undefined>, timeoutMs: number): Promise<void> {
  const graceful = http.stop();
  await Promise.race([graceful, Bun.sleep(timeoutMs)]);
  await http.stop(true);
}
