import { readFileSync } from "node:fs";
import type { DatabaseAddress, DatabaseHost } from "./database-address.ts";
import { filePath, percentDecoded } from "./parsers.ts";

/** A connection URI, and what its reader should know: parameters that have no effect. */
export type DatabaseUrl = { readonly address: DatabaseAddress; readonly warnings: readonly string[] };

const TLS_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
const CHANNEL_BINDINGS = ["disable", "prefer", "require"] as const;
const CONNECT_TIMEOUT_MAX_MS = 60_000;

/** Settings of libpq that change how it connects but not whether a connection is safe. This program does without them. */
const WITHOUT_EFFECT = new Set([
  "fallback_application_name",
  "keepalives",
  "keepalives_count",
  "keepalives_idle",
  "keepalives_interval",
  "load_balance_hosts",
  "sslcompression",
  "sslsni",
  "tcp_user_timeout",
]);

/** Parameters of other programs: Prisma, Django, Rails, SQLAlchemy, node-postgres, JDBC, Go's drivers. */
const OF_OTHER_PROGRAMS = new Set([
  "binary_parameters",
  "connection_limit",
  "connectionlimit",
  "idle_timeout",
  "max_idle_connection_lifetime",
  "pgbouncer",
  "pool",
  "pool_max_conns",
  "pool_mode",
  "pool_size",
  "pool_timeout",
  "prepare",
  "preparethreshold",
  "prepared_statements",
  "schema",
  "single_use_connections",
  "socket_timeout",
  "sslaccept",
  "sslidentity",
  "statement_cache_capacity",
  "statement_cache_size",
  "supa",
  "uselibpqcompat",
  "workaround",
]);

/**
 * Reads a connection URI in the forms of libpq (PostgreSQL 34.1.1.2): several hosts, percent-encoded socket folders, and
 * parameters that override what comes before them. Unlike libpq, it requires the name of a database.
 * @param use "reads" for the standbys of a cluster, "all" for anything else
 * @throws Error that completes a sentence which begins with the setting's name. Neither it nor a warning quotes the text,
 *   as it contains a password.
 */
export function parseDatabaseUrl(text: string, use: "all" | "reads" = "all"): DatabaseUrl {
  const [, authority, path = "", query = ""] =
    /^postgres(?:ql)?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text.trim()) ?? [];
  if (authority === undefined) throw urlError(text);
  const given = parametersOf(query);
  const parameter = (name: string) => given.get(name) || undefined;
  const at = authority.lastIndexOf("@");
  const [username = "", password = ""] = splitAt(authority.slice(0, Math.max(at, 0)), ":").map(percentDecoded);
  const database = parameter("dbname") ?? percentDecoded(path);
  if (database === "") throw new Error("must name a database: postgres://user:password@host:5432/database");
  const [first, ...others] = hostsOf(authority.slice(at + 1), parameter("host"), parameter("port"));
  if (first === undefined) throw urlError(text);
  const connectTimeoutMs = connectTimeout(parameter("connect_timeout"));
  const channelBinding = parameter("channel_binding");
  const options = parameter("options");
  const applicationName = parameter("application_name") ?? parameter("fallback_application_name");
  const encoding = parameter("client_encoding");
  if (encoding !== undefined && !/^(auto|utf-?8)$/i.test(encoding)) {
    throw new Error("has a client_encoding other than UTF8, which is the only one that Conduit works with");
  }
  return {
    address: {
      ...first,
      username: parameter("user") ?? (username || "postgres"),
      password: parameter("password") ?? password,
      database,
      ...tlsOf(parameter("sslmode"), parameter("ssl"), parameter("sslrootcert")),
      ...(channelBinding === undefined
        ? {}
        : { channelBinding: known("channel_binding", channelBinding, CHANNEL_BINDINGS) }),
      ...(applicationName === undefined ? {} : { applicationName }),
      ...(options === undefined ? {} : { options }),
      ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
      ...(others.length === 0 ? {} : { otherHosts: others }),
      ...targetOf(parameter("target_session_attrs"), use),
    },
    warnings: warningsOf(given),
  };
}

/** The usual mistakes. */
function urlError(text: string): Error {
  if (!/^postgres(ql)?:\/\//.test(text.trim())) return new Error("must start with postgres:// or postgresql://");
  if (text.includes("#")) return new Error("contains a #: write it as %23");
  return new Error("must be a URL such as postgres://user:password@host:5432/database");
}

/** Of parameters that occur twice, the last counts, as in libpq. `+` is a plus sign there, not a space. */
function parametersOf(query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const part of query.split("&")) {
    if (part === "") continue;
    const [name = "", value = ""] = splitAt(part, "=");
    parameters.set(percentDecoded(name), percentDecoded(value));
  }
  return parameters;
}

/** The text before and after the first separator. */
function splitAt(text: string, separator: string): [string, string] {
  const index = text.indexOf(separator);
  return index < 0 ? [text, ""] : [text.slice(0, index), text.slice(index + 1)];
}

/** The hosts of the authority, or those of the parameters. One port is for all hosts. */
function hostsOf(authority: string, hostList: string | undefined, portList: string | undefined): DatabaseHost[] {
  const written = authority.split(",").map((part) => {
    const [, host = "", port = ""] = /^(\[[^\]]*\]|[^:]*)(?::([^:]*))?$/.exec(part) ?? [];
    if (host === "" && part !== "" && !part.startsWith(":")) throw new Error("has an invalid host");
    return { host: percentDecoded(host), port: percentDecoded(port) };
  });
  const hosts = hostList?.split(",") ?? written.map(({ host }) => host);
  const ports = portList?.split(",") ?? written.map(({ port }) => port);
  if (ports.length !== 1 && ports.length !== hosts.length) {
    throw new Error(`has ${hosts.length} hosts and ${ports.length} ports`);
  }
  return hosts.map((host, i) => hostOf(host.trim(), (ports.length === 1 ? ports[0] : ports[i]) ?? ""));
}

function hostOf(host: string, portText: string): DatabaseHost {
  const port = Number(portText.trim() || 5432);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error("has an invalid port");
  if (host.startsWith("/")) {
    // Vendors name the folder of a socket, as libpq does. Some name the socket.
    const socketPath = /\/\.s\.PGSQL\.\d+$/.test(host) ? host : `${host.replace(/\/+$/, "")}/.s.PGSQL.${port}`;
    return { hostname: "localhost", port, socketPath };
  }
  if (/^[@~.]/.test(host) || host.includes("/")) {
    throw new Error("has a host that is neither a host name nor the absolute path of a socket's folder");
  }
  return { hostname: host.replace(/^\[|\]$/g, "") || "localhost", port };
}

function tlsOf(mode: string | undefined, ssl: string | undefined, caFile: string | undefined) {
  // JDBC's and node-postgres's spelling.
  const written = mode ?? (ssl === "true" || ssl === "1" ? "require" : "prefer");
  // libpq: the system's authorities, with which only verify-full makes sense.
  if (caFile === "system") {
    if (mode !== undefined && mode !== "verify-full") {
      throw new Error("has sslrootcert=system, which needs sslmode=verify-full");
    }
    return { tls: "verify-full" as const };
  }
  const tls = known("sslmode", written, TLS_MODES);
  if (caFile === undefined) return { tls };
  const tlsCaFile = filePath(caFile);
  try {
    readFileSync(tlsCaFile);
  } catch {
    throw new Error(`has an unreadable sslrootcert: ${tlsCaFile}`);
  }
  return { tls, tlsCaFile };
}

/** libpq counts in seconds; 0 and less wait for ever, which this program never does. */
function connectTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?[0-9]+$/.test(text)) throw new Error("has a connect_timeout that is not a number of seconds");
  const ms = Number(text) * 1000;
  return ms > 0 ? Math.min(ms, CONNECT_TIMEOUT_MAX_MS) : CONNECT_TIMEOUT_MAX_MS;
}

function targetOf(text: string | undefined, use: "all" | "reads"): Pick<DatabaseAddress, "target"> {
  switch (text) {
    case undefined:
    case "any":
      return use === "reads" ? { target: "standby" } : text === undefined ? {} : { target: "any" };
    case "read-write":
    case "primary":
      if (use === "all") return { target: "primary" };
      throw new Error(`has target_session_attrs=${text}, but is for standbys: use prefer-standby`);
    case "read-only":
    case "standby":
    case "prefer-standby":
      if (use === "reads") return { target: "standby" };
      throw new Error(`has target_session_attrs=${text}, but Conduit writes: use read-write or primary`);
    default:
      throw new Error(
        `has an unknown target_session_attrs (known: ${use === "reads" ? "any, prefer-standby, standby, read-only" : "any, read-write, primary"})`,
      );
  }
}

function known<Choice extends string>(name: string, text: string, choices: readonly Choice[]): Choice {
  const choice = choices.find((candidate) => candidate === text);
  if (choice === undefined) throw new Error(`has an unknown ${name} (known: ${choices.join(", ")})`);
  return choice;
}

const USED = new Set([
  "application_name",
  "channel_binding",
  "client_encoding",
  "connect_timeout",
  "dbname",
  "host",
  "options",
  "password",
  "port",
  "ssl",
  "sslmode",
  "sslrootcert",
  "target_session_attrs",
  "user",
]);

function warningsOf(given: ReadonlyMap<string, string>): string[] {
  const ignored = [...given].filter(([name, value]) => {
    if (USED.has(name) || WITHOUT_EFFECT.has(name)) return false;
    if (name === "gssencmode") return value === "require";
    if (name === "sslnegotiation") return value !== "postgres";
    return true;
  });
  const ofOthers = ignored.flatMap(([name]) => (OF_OTHER_PROGRAMS.has(name.toLowerCase()) ? [name] : []));
  const unknown = ignored.flatMap(([name]) => (OF_OTHER_PROGRAMS.has(name.toLowerCase()) ? [] : [name]));
  return [
    ...(ofOthers.length > 0 ? [`parameters of other programs are ignored: ${ofOthers.join(", ")}`] : []),
    ...(unknown.length > 0 ? [`unknown or unsupported parameters are ignored: ${unknown.join(", ")}`] : []),
  ];
}
