/** How to connect to a PostgreSQL. Every field is explicit, so that no `PG*` environment variable changes it. */
export type DatabaseAddress = {
  /** Host name or IP address. Ignored when `socketPath` is set. */
  readonly hostname: string;
  readonly port: number;
  /** Full path of the Unix socket file (`…/.s.PGSQL.5432`), for a server reached without TCP. */
  readonly socketPath?: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
  /** libpq's `sslmode`. Without effect on a Unix socket. */
  readonly tls: "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";
  /** Path of a PEM file with the certificate authorities to trust (libpq's `sslrootcert`). */
  readonly tlsCaFile?: string;
};
