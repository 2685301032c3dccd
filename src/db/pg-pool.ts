import { readFileSync } from "node:fs";
import { dirname, extname } from "node:path";
import pg from "pg";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { CurrentServer } from "./followed-server.ts";

export type PgPoolOptions = {
  /** Connections at most. */
  readonly max: number;
  readonly applicationName: string;
  readonly connectTimeoutMs: number;
  /** How long a statement may run; 0 for any time. */
  readonly statementTimeoutMs: number;
  /** How long a statement may wait for a lock at a time; without it, any time. */
  readonly lockTimeoutMs?: number;
  /** Gets the errors of connections that closed by themselves. The pool replaces them. */
  readonly onError: (error: Error) => void;
};

/**
 * A pool of the `pg` driver, for the job queue, which works with no other. Everything is set explicitly, so that no `PG*`
 * variable and no `.pgpass` changes it.
 * @throws the driver's error if `sslmode` is `allow` or `prefer` and the database cannot be reached
 */
export async function openPgPool(current: CurrentServer, options: PgPoolOptions): Promise<pg.Pool> {
  const client = await clientConfig(current.server(), options);
  const pool = new pg.Pool({ ...client, max: options.max, Client: clientOf(current) });
  // Without listeners, a connection that closes would end the process.
  pool.on("error", options.onError);
  pool.on("connect", (connection) => connection.on("error", options.onError));
  // The pool would use a connection again whose statement timed out, though the next one would hang behind it.
  pool.on("release", (_error, connection) => {
    if (!(connection as pg.PoolClient & { readyForQuery: boolean }).readyForQuery)
      void connection.end().catch(() => {});
  });
  return pool;
}

/** Connects to the server of the moment, and closes when there is another one. */
function clientOf(current: CurrentServer): typeof pg.Client {
  const open = new Set<pg.Client>();
  current.onFound((hasMoved) => {
    if (!hasMoved) return;
    // A server that stands still gives no signal, and would never confirm the end of the session.
    for (const { connection } of open as Set<pg.Client & { connection: pg.Connection }>) connection.stream.destroy();
  });
  return class extends pg.Client {
    constructor(config: pg.ClientConfig) {
      // The pool hides the password from what copies its options.
      super({ ...config, password: config.password, ...hostOf(current.server()) });
      open.add(this);
      this.once("end", () => open.delete(this));
    }
  };
}

function hostOf({ socketPath, hostname, port }: DatabaseAddress): Pick<pg.ClientConfig, "host" | "port"> {
  return socketPath === undefined
    ? { host: hostname, port }
    : { host: dirname(socketPath), port: Number(extname(socketPath).slice(1)) };
}

async function clientConfig(address: DatabaseAddress, options: PgPoolOptions): Promise<pg.ClientConfig> {
  const { connectTimeoutMs, statementTimeoutMs } = options;
  const config: pg.ClientConfig = {
    ...hostOf(address),
    user: address.username,
    // A function, as an empty password would be replaced by one from the environment.
    password: () => address.password,
    database: address.database,
    application_name: options.applicationName.replace(/^conduit/, address.applicationName ?? "conduit"),
    // The last of several settings counts.
    options: `${address.options ?? ""} -c timezone=UTC -c default_transaction_isolation=read\\ committed -c jit=off`,
    ...(options.lockTimeoutMs === undefined ? {} : { lock_timeout: options.lockTimeoutMs }),
    enableChannelBinding: ["prefer", "require"].includes(address.channelBinding ?? "disable"),
    client_encoding: "utf8",
    sslnegotiation: "postgres",
    // Missing in its types.
    ...{ replication: "false" },
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    ...(statementTimeoutMs === 0 ? {} : { query_timeout: statementTimeoutMs + connectTimeoutMs }),
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
  return { ...config, ssl: await tlsOptions(address, config) };
}

/** libpq's `sslmode` in the terms of `pg`. */
async function tlsOptions(address: DatabaseAddress, config: pg.ClientConfig): Promise<pg.ClientConfig["ssl"]> {
  if (address.socketPath !== undefined || address.tls === "disable") return false;
  const ca = address.tlsCaFile === undefined ? {} : { ca: readFileSync(address.tlsCaFile, "utf8") };
  switch (address.tls) {
    case "verify-full":
      return { ...ca, rejectUnauthorized: true };
    case "verify-ca":
      return { ...ca, rejectUnauthorized: true, checkServerIdentity: () => undefined };
    case "require":
      // With a certificate authority, it checks as verify-ca does (libpq, 34.19.1).
      return address.tlsCaFile === undefined
        ? { rejectUnauthorized: false }
        : { ...ca, rejectUnauthorized: true, checkServerIdentity: () => undefined };
    case "allow":
    case "prefer":
      return (await supportsTls(config)) && { rejectUnauthorized: false };
  }
}

/** Whether the server offers TLS, as `pg` does not fall back by itself. */
async function supportsTls(config: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client({ ...config, ssl: { rejectUnauthorized: false } });
  client.on("error", () => {});
  try {
    await client.connect();
    return true;
  } catch (error) {
    if ((error as Error).message === "The server does not support SSL connections") return false;
    throw error;
  } finally {
    await client.end().catch(() => {});
  }
}
