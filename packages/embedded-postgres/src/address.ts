import { join } from "node:path";

/** Where PostgreSQL listens, and the login for the application's database. */
export type PostgresAddress = {
  /** `localhost`, or `127.0.0.1` over TCP. */
  readonly hostname: string;
  readonly port: number;
  /** Path of the Unix socket file. Not set when PostgreSQL listens on TCP. */
  readonly socketPath?: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
  /** Connections never leave the machine, so PostgreSQL does not encrypt them. */
  readonly tls: "disable";
};

/** The application's role and database. */
export type Login = Pick<PostgresAddress, "username" | "password" | "database">;

/** PostgreSQL chooses this name from its port, which does not matter here. */
export const socketName = ".s.PGSQL.5432";

/** Bun accepts a socket path of any length on Linux. On macOS, the kernel's limit of 104 bytes applies. */
export function canUseUnixSocket(clusterPath: string): boolean {
  if (process.platform === "win32") return false;
  return process.platform === "linux" || Buffer.byteLength(join(clusterPath, socketName)) < 104;
}

export function socketAddress(clusterPath: string, login: Login): PostgresAddress {
  return { ...login, hostname: "localhost", port: 5432, socketPath: join(clusterPath, socketName), tls: "disable" };
}

/** Chooses a free port on the loopback interface. */
export function tcpAddress(login: Login): PostgresAddress {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = probe;
  probe.stop(true);
  return { ...login, hostname: "127.0.0.1", port, tls: "disable" };
}
