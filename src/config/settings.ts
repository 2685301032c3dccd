import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import {
  DAY_MS,
  databaseAddress,
  duration,
  httpUrl,
  networks,
  nonEmpty,
  oneOf,
  origins,
  Secret,
  smtpUrl,
  webAddress,
  wholeNumber,
} from "./parsers.ts";
import { StartupError } from "./startup-error.ts";

/** How a setting is written: its name in the environment, its flag, its default and what it does. */
type Setting<Value> = {
  readonly name: string;
  /** Without the leading `--`. Secrets have none: other users of a machine see the command lines of its processes. */
  readonly flag?: string;
  /** As it would be written; undefined where the setting may be absent. */
  readonly fallback?: string;
  readonly what: string;
  /** Throws an `Error` whose message is the rest of a sentence that begins with the name. */
  readonly parse: (written: string) => Value;
};

const setting = <Value>(options: Setting<Value> & { fallback: string }) => options;
const optional = <Value>(options: Setting<Value>) => options;

/** Every setting. The table in the README is this one (test/config.test.ts compares them). */
export const SETTINGS = {
  host: setting({
    name: "HOST",
    flag: "host",
    fallback: "0.0.0.0",
    what: "Address to listen on.",
    parse: nonEmpty,
  }),
  port: setting({
    name: "PORT",
    flag: "port",
    fallback: "3000",
    what: "Port to listen on; 0 takes any free one.",
    parse: wholeNumber(0, 65_535),
  }),
  dataDir: setting({
    name: "DATA_DIR",
    flag: "data-dir",
    fallback: "./data",
    what: "Folder of the embedded PostgreSQL, its secrets, and the development mailbox.",
    parse: (written) => resolve(nonEmpty(written)),
  }),
  databaseUrl: optional({
    name: "DATABASE_URL",
    what: "`postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem` of a PostgreSQL from 15 on, instead of the embedded one.",
    parse: databaseAddress,
  }),
  databasePoolMax: setting({
    name: "DATABASE_POOL_MAX",
    flag: "database-pool-max",
    fallback: "8",
    what: "Maximum number of connections for writes. Reads get a quarter as many in addition, at least two. Each process uses six more: two for rare statements, one for notifications, three for background jobs.",
    parse: wholeNumber(1, 1_000),
  }),
  databaseConnectTimeoutMs: setting({
    name: "DATABASE_CONNECT_TIMEOUT",
    flag: "database-connect-timeout",
    fallback: "3s",
    what: "How long connecting to the database may take.",
    parse: duration(100, 60_000),
  }),
  databaseQueueTimeoutMs: setting({
    name: "DATABASE_QUEUE_TIMEOUT",
    flag: "database-queue-timeout",
    fallback: "3s",
    what: "How long a statement may wait for a connection.",
    parse: duration(100, 60_000),
  }),
  databaseStatementTimeoutMs: setting({
    name: "DATABASE_STATEMENT_TIMEOUT",
    flag: "database-statement-timeout",
    fallback: "5s",
    what: "How long a statement may run.",
    parse: duration(100, 600_000),
  }),
  jwtSecret: optional({
    name: "JWT_SECRET",
    what: "Signs the access tokens; at least 32 bytes. Without it, one is made and kept in `DATA_DIR`; with `DATABASE_URL` and `NODE_ENV=production` it is required.",
    parse: (written) => {
      if (Buffer.byteLength(written) < 32) throw new Error("must have at least 32 bytes");
      return new Secret(written);
    },
  }),
  accessTokenTtlS: setting({
    name: "ACCESS_TOKEN_TTL",
    flag: "access-token-ttl",
    fallback: "24h",
    what: "Lifetime of an access token.",
    parse: (written) => Math.ceil(duration(1_000, 365 * DAY_MS)(written) / 1000),
  }),
  refreshTokenTtlS: setting({
    name: "REFRESH_TOKEN_TTL",
    flag: "refresh-token-ttl",
    fallback: "30d",
    what: "Lifetime of a refresh token, and so of a session that is not used.",
    parse: (written) => Math.ceil(duration(1_000, 365 * DAY_MS)(written) / 1000),
  }),
  sessionsMax: setting({
    name: "SESSIONS_MAX",
    flag: "sessions-max",
    fallback: "10",
    what: "Sessions an account may have; a further one ends that which was idle longest.",
    parse: wholeNumber(1, 1_000),
  }),
  trustedProxies: setting({
    name: "TRUSTED_PROXIES",
    flag: "trusted-proxies",
    fallback: "none",
    what: "Networks of the proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8,fd00::/8`, or `none`.",
    parse: networks,
  }),
  rateLimits: setting({
    name: "RATE_LIMITS",
    flag: "rate-limits",
    fallback: "on",
    what: "`off` counts no attempts to register, sign in and so on: for load tests, not for a network.",
    parse: (written) => oneOf("on", "off")(written) === "on",
  }),
  baseUrl: optional({
    name: "BASE_URL",
    flag: "base-url",
    what: "Where people reach this server, for the links in mails: `https://conduit.example`. Without it, `http://localhost` and the port.",
    parse: webAddress,
  }),
  verifyUrl: optional({
    name: "VERIFY_URL",
    flag: "verify-url",
    what: "Page of one's own front end that mails link to for confirming an address, `?token=` added, instead of `/verify-email` here.",
    parse: webAddress,
  }),
  resetUrl: optional({
    name: "RESET_URL",
    flag: "reset-url",
    what: "The same for choosing a new password, instead of `/reset-password` here.",
    parse: webAddress,
  }),
  requireEmailConfirmation: setting({
    name: "REQUIRE_EMAIL_CONFIRMATION",
    flag: "require-email-confirmation",
    fallback: "false",
    what: "`true` keeps an account's old address until the new one is confirmed.",
    parse: (written) => oneOf("true", "false")(written) === "true",
  }),
  smtpUrl: optional({
    name: "SMTP_URL",
    what: "Mail server, as `smtp://user:password@host:587` (STARTTLS where offered) or `smtps://host` (TLS). Or its parts, below. Without any: a mailbox for development, at `/dev/mail`; in production, no mail.",
    parse: (written) => new Secret(smtpUrl(written)),
  }),
  smtpHost: optional({ name: "SMTP_HOST", flag: "smtp-host", what: "Mail server.", parse: nonEmpty }),
  smtpPort: setting({
    name: "SMTP_PORT",
    flag: "smtp-port",
    fallback: "587",
    what: "Its port; 465 is TLS from the first byte.",
    parse: wholeNumber(1, 65_535),
  }),
  smtpUsername: optional({ name: "SMTP_USERNAME", flag: "smtp-username", what: "User there.", parse: nonEmpty }),
  smtpPassword: optional({
    name: "SMTP_PASSWORD",
    what: "The password of that user.",
    parse: (written) => new Secret(written),
  }),
  smtpFromEmail: setting({
    name: "SMTP_FROM_EMAIL",
    flag: "smtp-from-email",
    fallback: "conduit@localhost",
    what: "Address that mails come from.",
    parse: (written) => {
      if (!/^[^\s<>@]+@[^\s<>@]+$/.test(written)) throw new Error("must be an address such as conduit@example.com");
      return written;
    },
  }),
  smtpFromName: setting({
    name: "SMTP_FROM_NAME",
    flag: "smtp-from-name",
    fallback: "Conduit",
    what: "Name that mails come from.",
    parse: nonEmpty,
  }),
  corsOrigins: setting({
    name: "CORS_ORIGINS",
    flag: "cors-origins",
    fallback: "*",
    what: "Origins whose pages may call the API, separated by commas; `*` stands for any.",
    parse: origins,
  }),
  shutdownDelayMs: setting({
    name: "SHUTDOWN_DELAY",
    flag: "shutdown-delay",
    fallback: "0s",
    what: "How long the server goes on as usual when it is told to stop, but with `/health/ready` answering 503, so that load balancers send no more.",
    parse: duration(0, 600_000),
  }),
  shutdownTimeoutMs: setting({
    name: "SHUTDOWN_TIMEOUT",
    flag: "shutdown-timeout",
    fallback: "10s",
    what: "How long requests under way may take to finish when the server is told to stop.",
    parse: duration(0, 600_000),
  }),
  requestTimeoutMs: setting({
    name: "REQUEST_TIMEOUT",
    flag: "request-timeout",
    fallback: "30s",
    what: "How long a request may take to arrive whole, and how long an idle connection is kept. Heads have 12 seconds in any case.",
    parse: duration(1_000, 255_000),
  }),
  requestsMax: setting({
    name: "REQUESTS_MAX",
    flag: "requests-max",
    fallback: "10000",
    what: "Requests under way at a time in each process, those still arriving included; what comes on top is answered 503 at once.",
    parse: wholeNumber(1, 1_000_000),
  }),
  reusePort: setting({
    name: "REUSE_PORT",
    flag: "reuse-port",
    fallback: "no",
    what: "`yes` lets several servers listen on the same port, so that one can be restarted while another answers (Linux).",
    parse: (written) => oneOf("yes", "no")(written) === "yes",
  }),
  workers: setting({
    name: "WORKERS",
    flag: "workers",
    fallback: "1",
    what: "Processes that answer requests, on one port (Linux); `auto` for one per core, at most 16. They share the pool: each takes its part of `DATABASE_POOL_MAX`, but two connections at least.",
    parse: (written) =>
      written === "auto" ? Math.min(availableParallelism(), WORKERS_AUTO_MAX) : wholeNumber(1, 256)(written),
  }),
  metricsPort: optional({
    name: "METRICS_PORT",
    flag: "metrics-port",
    what: "Port of `/metrics`, in Prometheus's format; 0 takes any free one. Without it there are no metrics.",
    parse: wholeNumber(0, 65_535),
  }),
  metricsHost: setting({
    name: "METRICS_HOST",
    flag: "metrics-host",
    fallback: "127.0.0.1",
    what: "Address of `/metrics`. It is for your own monitoring, not for the public.",
    parse: nonEmpty,
  }),
  otlpEndpoint: optional({
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    what: "Collector of OpenTelemetry traces (OTLP over HTTP), such as `http://localhost:4318`. Without it there are no traces. With it, all other standard `OTEL_*` variables apply too: the OpenTelemetry SDK reads them.",
    parse: httpUrl,
  }),
  tracesEndpoint: optional({
    name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    what: "The same as a whole URL, such as `http://localhost:4318/v1/traces`.",
    parse: httpUrl,
  }),
  otlpProtocol: setting({
    name: "OTEL_EXPORTER_OTLP_PROTOCOL",
    fallback: "http/protobuf",
    what: "How traces are encoded: `http/protobuf` or `http/json`.",
    parse: oneOf("http/protobuf", "http/json"),
  }),
  tracesProtocol: optional({
    name: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    what: "The same, for traces alone.",
    parse: oneOf("http/protobuf", "http/json"),
  }),
  tracesExporter: optional({
    name: "OTEL_TRACES_EXPORTER",
    what: "`none` turns traces off; `otlp` turns them on without an endpoint, for a collector on this machine.",
    parse: oneOf("otlp", "none"),
  }),
  otelDisabled: setting({
    name: "OTEL_SDK_DISABLED",
    fallback: "false",
    what: "`true` turns traces off.",
    parse: (written) => oneOf("true", "false")(written.toLowerCase()) === "true",
  }),
  logFormat: setting({
    name: "LOG_FORMAT",
    flag: "log-format",
    fallback: "auto",
    what: "`json` lines, `pretty` lines for a person, or `auto`: pretty in a terminal, except in production.",
    parse: oneOf("auto", "json", "pretty"),
  }),
  logLevel: setting({
    name: "LOG_LEVEL",
    flag: "log-level",
    fallback: "info",
    what: "Least level that is logged: `debug`, `info`, `warn`, `error` or `silent`.",
    parse: oneOf("debug", "info", "warn", "error", "silent"),
  }),
  nodeEnv: setting({
    name: "NODE_ENV",
    fallback: "development",
    what: "`production` refuses what is only good for development.",
    parse: nonEmpty,
  }),
} as const;

type Values = {
  [Key in keyof typeof SETTINGS]: (typeof SETTINGS)[Key] extends Setting<infer Value>
    ? (typeof SETTINGS)[Key] extends { fallback: string }
      ? Value
      : Value | undefined
    : never;
};

export type Config = Values & {
  readonly production: boolean;
};

/**
 * The configuration, whole and checked. The only reader of the environment.
 * @param flags values of command line flags by name, without `--`; they win over the environment
 * @throws StartupError that lists every fault
 */
export function loadConfig(env: Record<string, string | undefined>, flags: Record<string, string> = {}): Config {
  const faults: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, { name, flag, fallback, parse }] of Object.entries(SETTINGS) as [string, Setting<unknown>][]) {
    const byFlag = flag === undefined ? undefined : flags[flag];
    // An empty variable is an unset one: that is how shells and compose files leave one out.
    const written = byFlag ?? (env[name] || fallback);
    if (written === undefined) continue;
    try {
      values[key] = parse(written);
    } catch (error) {
      faults.push(`${byFlag === undefined ? name : `--${flag}`} ${error instanceof Error ? error.message : error}`);
    }
  }
  const production = values.nodeEnv === "production";
  if (production && env[SETTINGS.databaseUrl.name] && !env[SETTINGS.jwtSecret.name]) {
    faults.push("JWT_SECRET must be set in production (make one: openssl rand -base64 48)");
  }
  const sendsMail = env[SETTINGS.smtpUrl.name] || values.smtpHost !== undefined;
  if (production && sendsMail && !values.baseUrl) {
    faults.push("BASE_URL must be set in production: mails link to it");
  }
  if (production && !sendsMail && values.requireEmailConfirmation) {
    faults.push("REQUIRE_EMAIL_CONFIRMATION=true needs a mail server in production: set SMTP_URL");
  }
  if (Number(values.refreshTokenTtlS) < Number(values.accessTokenTtlS)) {
    // Its session would be gone while its access token still worked, and could not be ended.
    faults.push("REFRESH_TOKEN_TTL must not be shorter than ACCESS_TOKEN_TTL");
  }
  if (faults.length > 0)
    throw new StartupError(`The configuration is wrong:\n${faults.map((f) => `  ${f}`).join("\n")}`);
  return { ...(values as Values), production };
}

/** Ten connections each are what the embedded PostgreSQL has room for. */
const WORKERS_AUTO_MAX = 16;
