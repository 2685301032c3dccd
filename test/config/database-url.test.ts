import { describe, expect, test } from "bun:test";
import { homedir } from "node:os";
import { join } from "node:path";
import { parseDatabaseUrl } from "../../src/config/database-url.ts";
import { loadConfig } from "../../src/config/settings.ts";

const DEFAULTS = {
  hostname: "localhost",
  port: 5432,
  username: "postgres",
  password: "",
  database: "db",
  tls: "prefer",
};

describe("a connection URI is read as libpq reads it", () => {
  const forms: [url: string, differences: object][] = [
    ["postgres:///db", {}],
    ["postgresql://ann@host/db", { hostname: "host", username: "ann" }],
    ["postgres://ann:p%40ss@host:6543/db", { hostname: "host", port: 6543, username: "ann", password: "p@ss" }],
    ["postgres://ann:p@ss:word@host/db", { hostname: "host", username: "ann", password: "p@ss:word" }],
    ["postgres://host/my%20db", { hostname: "host", database: "my db" }],
    ["  postgres://host/db\n", { hostname: "host" }],
    ["postgres://[::1]:6543/db", { hostname: "::1", port: 6543 }],
    // Sockets
    ["postgres:///db?host=/run/postgresql", { socketPath: "/run/postgresql/.s.PGSQL.5432" }],
    ["postgres://%2Fvar%2Frun%2Fpostgresql/db", { socketPath: "/var/run/postgresql/.s.PGSQL.5432" }],
    ["postgres://%2Fvar%2Frun%2Fpostgresql:5433/db", { port: 5433, socketPath: "/var/run/postgresql/.s.PGSQL.5433" }],
    [
      "postgres://ann:pw@/db?host=/cloudsql/project:region:instance",
      { username: "ann", password: "pw", socketPath: "/cloudsql/project:region:instance/.s.PGSQL.5432" },
    ],
    [
      "postgres://ann:pw@localhost/db?host=/cloudsql/project:region:instance/.s.PGSQL.5432",
      { username: "ann", password: "pw", socketPath: "/cloudsql/project:region:instance/.s.PGSQL.5432" },
    ],
    // Parameters override what comes before them.
    [
      "postgres://a:b@c:1/d?host=h&port=2&user=u&password=p%26w&dbname=n",
      { hostname: "h", port: 2, username: "u", password: "p&w", database: "n" },
    ],
    ["postgres://?host=h&dbname=db&user=a+b", { hostname: "h", username: "a+b" }],
    ["postgres://h/db?user=a&user=b", { hostname: "h", username: "b" }],
    // Several hosts
    [
      "postgres://a.example,b.example/db",
      { hostname: "a.example", otherHosts: [{ hostname: "b.example", port: 5432 }] },
    ],
    [
      "postgres://ann:pw@a.example:1,b.example:2/db?target_session_attrs=read-write",
      {
        hostname: "a.example",
        port: 1,
        username: "ann",
        password: "pw",
        otherHosts: [{ hostname: "b.example", port: 2 }],
        target: "primary",
      },
    ],
    [
      "postgres:///db?host=a,/run&port=6&target_session_attrs=primary",
      {
        hostname: "a",
        port: 6,
        otherHosts: [{ hostname: "localhost", port: 6, socketPath: "/run/.s.PGSQL.6" }],
        target: "primary",
      },
    ],
    ["postgres://h/db?target_session_attrs=any", { hostname: "h", target: "any" }],
    // TLS
    ["postgres://h/db?sslmode=require", { hostname: "h", tls: "require" }],
    ["postgres://h/db?ssl=true", { hostname: "h", tls: "require" }],
    ["postgres://h/db?sslrootcert=system", { hostname: "h", tls: "verify-full" }],
    [
      "postgres://h/db?sslmode=verify-ca&sslrootcert=package.json",
      { hostname: "h", tls: "verify-ca", tlsCaFile: join(process.cwd(), "package.json") },
    ],
    [
      "postgres://ann:pw@ep-cool-1.neon.tech/db?sslmode=require&channel_binding=require",
      { hostname: "ep-cool-1.neon.tech", username: "ann", password: "pw", tls: "require", channelBinding: "require" },
    ],
    // Sessions
    ["postgres://h/db?connect_timeout=10", { hostname: "h", connectTimeoutMs: 10_000 }],
    ["postgres://h/db?connect_timeout=0", { hostname: "h", connectTimeoutMs: 60_000 }],
    ["postgres://h/db?application_name=blog", { hostname: "h", applicationName: "blog" }],
    ["postgres://h/db?options=-c%20search_path%3Dblog", { hostname: "h", options: "-c search_path=blog" }],
    ["postgres://h/db?options=endpoint%3Dep-cool-1", { hostname: "h", options: "endpoint=ep-cool-1" }],
    ["postgres://h/db?client_encoding=utf8", { hostname: "h" }],
    [
      "postgres://h/db?keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=1&gssencmode=prefer",
      { hostname: "h" },
    ],
  ];
  test.each(forms)("%p", (url, differences) => {
    expect(parseDatabaseUrl(url)).toEqual({ address: { ...DEFAULTS, ...differences } as never, warnings: [] });
  });
});

test.each([
  ["mysql://ann:hunter2@h/db", "must start with postgres:// or postgresql://"],
  ["postgres://ann:hunter2@h", "must name a database: postgres://user:password@host:5432/database"],
  ["postgres://ann:hunter2#@h/db", "contains a #: write it as %23"],
  ["postgres://ann:hunter2%@h/db", "has an invalid percent-encoding (write % as %25)"],
  ["postgres://h:hunter2/db", "has an invalid port"],
  ["postgres://h:99999/db", "has an invalid port"],
  ["postgres:///db?host=a,b,c&port=1,2", "has 3 hosts and 2 ports"],
  ["postgres:///db?host=~/socket", "has a host that is neither a host name nor the absolute path of a socket's folder"],
  [
    "postgres://h/db?sslmode=maybe",
    "has an unknown sslmode (known: disable, allow, prefer, require, verify-ca, verify-full)",
  ],
  ["postgres://h/db?sslmode=require&sslrootcert=system", "has sslrootcert=system, which needs sslmode=verify-full"],
  ["postgres://h/db?sslrootcert=/no/such.pem", "has an unreadable sslrootcert: /no/such.pem"],
  ["postgres://h/db?sslrootcert=~/no/such.pem", `has an unreadable sslrootcert: ${homedir()}/no/such.pem`],
  ["postgres://h/db?channel_binding=yes", "has an unknown channel_binding (known: disable, prefer, require)"],
  ["postgres://h/db?connect_timeout=soon", "has a connect_timeout that is not a number of seconds"],
  [
    "postgres://h/db?target_session_attrs=best",
    "has an unknown target_session_attrs (known: any, read-write, primary)",
  ],
  [
    "postgres://h/db?target_session_attrs=prefer-standby",
    "has target_session_attrs=prefer-standby, but Conduit writes: use read-write or primary",
  ],
  [
    "postgres://h/db?client_encoding=latin1",
    "has a client_encoding other than UTF8, which is the only one that Conduit works with",
  ],
])("%p is refused, without its password", (url, problem) => {
  expect(() => parseDatabaseUrl(url)).toThrow(new Error(problem));
  expect(problem).not.toContain("hunter2");
});

test("parameters of other programs, and unknown ones, are ignored with a warning that names them", () => {
  const { address, warnings } = parseDatabaseUrl(
    "postgres://h/db?schema=public&pgbouncer=true&connection_limit=5&pool_timeout=10&sslaccept=strict&wings=2&sslcert=a",
  );
  expect(address).toEqual({ ...DEFAULTS, hostname: "h" } as never);
  expect(warnings).toEqual([
    "parameters of other programs are ignored: schema, pgbouncer, connection_limit, pool_timeout, sslaccept",
    "unknown or unsupported parameters are ignored: wings, sslcert",
  ]);
  expect(loadConfig({ DATABASE_URL: "postgres://h/db?schema=public" }).warnings).toEqual([
    "DATABASE_URL: parameters of other programs are ignored: schema",
  ]);
});

test("connect_timeout applies unless DATABASE_CONNECT_TIMEOUT is set", () => {
  const DATABASE_URL = "postgres://h/db?connect_timeout=10";
  expect(loadConfig({ DATABASE_URL }).databaseConnectTimeoutMs).toBe(10_000);
  expect(loadConfig({ DATABASE_URL, DATABASE_CONNECT_TIMEOUT: "2s" }).databaseConnectTimeoutMs).toBe(2_000);
});

test("DATABASE_DIRECT_URL is the direct address of DATABASE_URL, and needs one", () => {
  const { databaseUrl } = loadConfig({ DATABASE_URL: "postgres://pooler/db", DATABASE_DIRECT_URL: "postgres://h/db" });
  expect(databaseUrl).toMatchObject({ hostname: "pooler", direct: { hostname: "h" } });
  expect(() => loadConfig({ DATABASE_DIRECT_URL: "postgres://h/db" })).toThrow(
    "DATABASE_DIRECT_URL needs DATABASE_URL",
  );
});

test("~ in DATA_DIR is the home folder, and that of another user is refused", () => {
  expect(loadConfig({ DATA_DIR: "~/data" }).dataDir).toBe(join(homedir(), "data"));
  expect(loadConfig({}, { "data-dir": "~" }).dataDir).toBe(homedir());
  expect(() => loadConfig({ DATA_DIR: "~ann/data" })).toThrow(
    "DATA_DIR must be a path without the name of a user after ~",
  );
});
