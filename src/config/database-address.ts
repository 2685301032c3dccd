/** One place where PostgreSQL may listen. */
export type DatabaseHost = {
  /** Host name or IP address. Ignored when `socketPath` is set. */
  readonly hostname: string;
  readonly port: number;
  /** Full path of the Unix socket file (`…/.s.PGSQL.5432`), for a server reached without TCP. */
  readonly socketPath?: string;
};

/** How to connect to a PostgreSQL. Every field is explicit, so that no `PG*` environment variable changes it. */
export type DatabaseAddress = DatabaseHost & {
  readonly username: string;
  readonly password: string;
  readonly database: string;
  /** libpq's `sslmode`. Without effect on a Unix socket. */
  readonly tls: "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";
  /** Path of a PEM file with the certificate authorities to trust (libpq's `sslrootcert`). */
  readonly tlsCaFile?: string;
  /** libpq's `channel_binding`. */
  readonly channelBinding?: "disable" | "prefer" | "require";
  /** Instead of "conduit", in `pg_stat_activity`. */
  readonly applicationName?: string;
  /** libpq's `options`, such as `-c search_path=conduit`. The program's own session settings take precedence. */
  readonly options?: string;
  /** Maximum time to connect, in milliseconds, unless `DATABASE_CONNECT_TIMEOUT` says otherwise. */
  readonly connectTimeoutMs?: number;
  /** Further servers of the same database. `findServer` chooses the first one to use, and `followServer` others later. */
  readonly otherHosts?: readonly DatabaseHost[];
  /** Which of the servers to choose (libpq's `target_session_attrs`): one that responds, the primary, or a standby. */
  readonly target?: "any" | "primary" | "standby";
  /** Standbys of the same cluster, for reads. */
  readonly replicas?: DatabaseAddress;
  /**
   * PostgreSQL itself, if this address is a transaction pooler's, such as PgBouncer's. A pooler keeps no session, so
   * settings of a session, notifications and advisory locks need a direct connection.
   */
  readonly direct?: DatabaseAddress;
};

/** The address for what needs a session: migrations, notifications, the job queue, backups. */
export const directAddress = (address: DatabaseAddress): DatabaseAddress => address.direct ?? address;

/** Where an address points, for messages: `db.example.com:5432`, or the path of a socket. Never the password. */
export const locationOf = ({ socketPath, hostname, port }: DatabaseHost): string =>
  socketPath ?? `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;

/** The servers of an address, each as an address of its own. The first one comes first. */
export function serversOf({ otherHosts = [], ...first }: DatabaseAddress): DatabaseAddress[] {
  const { socketPath: _, ...rest } = first;
  return [first, ...otherHosts.map((host) => ({ ...rest, ...host }))];
}
