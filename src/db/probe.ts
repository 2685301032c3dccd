import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { TimedOut } from "./bounded-pool.ts";
import type { FollowedServer } from "./followed-server.ts";
import { read } from "./statements.ts";

export type DatabaseState = {
  /** The checksums of the applied migrations by version. */
  readonly migrations: ReadonlyMap<string, string>;
  /** A standby, or `default_transaction_read_only` is on. */
  readonly isReadOnly: boolean;
};

/** Asks for the state of a database on a connection of its own. */
export type Probe = {
  /**
   * Callers share what is in flight, so there is never more than one statement.
   * @throws TimedOut after `PROBE_TIMEOUT_MS`, or the driver's error
   */
  check(): Promise<DatabaseState>;
  close(): Promise<void>;
};

/** Whoever asks has a patience of its own, often of two or three seconds. */
export const PROBE_TIMEOUT_MS = 2_000;

/** A session keeps the defaults of its beginning. A newer one shows what `alter database … set` has changed meanwhile. */
const CONNECTION_LIFETIME_MS = 10_000;

/** Opens nothing: the first check connects. */
export function openProbe(primary: FollowedServer, options: (server: DatabaseAddress) => SQL.Options): Probe {
  let connection: { sql: SQL; openedAt: number } | undefined;
  let running: Promise<DatabaseState> | undefined;

  function open(): SQL {
    if (connection !== undefined && performance.now() - connection.openedAt > CONNECTION_LIFETIME_MS) void discard();
    connection ??= {
      sql: new SQL({ ...options(primary.server()), connectionTimeout: PROBE_TIMEOUT_MS / 1000 } as SQL.Options),
      openedAt: performance.now(),
    };
    return connection.sql;
  }

  async function discard(): Promise<void> {
    const old = connection?.sql;
    connection = undefined;
    await old?.close({ timeout: 0 }).catch(() => {});
  }

  primary.onFound((hasMoved) => {
    if (hasMoved) void discard();
  });

  async function check(): Promise<DatabaseState> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new TimedOut("the database")), PROBE_TIMEOUT_MS);
    try {
      return await Promise.race([readState(open()), late]);
    } catch (error) {
      // A connection that hangs gives no signal. The next check opens another.
      void discard();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    check() {
      running ??= check().finally(() => {
        running = undefined;
      });
      return running;
    },
    close: discard,
  };
}

async function readState(sql: SQL): Promise<DatabaseState> {
  const [state] = (await sql.unsafe(STATE.text)) as { isReadOnly: boolean; hasMigrations: boolean }[];
  const applied = state?.hasMigrations
    ? ((await sql.unsafe(APPLIED.text)) as { version: string; checksum: string }[])
    : [];
  return {
    isReadOnly: state?.isReadOnly === true,
    migrations: new Map(applied.map(({ version, checksum }) => [version, checksum])),
  };
}

// On a standby, transaction_read_only is on as well.
const STATE = read<{ isReadOnly: boolean; hasMigrations: boolean }>(
  "database_state",
  `select current_setting('transaction_read_only')::boolean as "isReadOnly",
          to_regclass('schema_migrations') is not null as "hasMigrations"`,
);

const APPLIED = read<{ version: string; checksum: string }>(
  "migrations_applied",
  "select version, checksum from schema_migrations",
);
