import { availableParallelism } from "node:os";
import { parseDatabaseUrl } from "./database-url.ts";
import {
  certificateFile,
  DAY_MS,
  duration,
  filePath,
  hostNames,
  httpUrl,
  networks,
  nonEmpty,
  oneOf,
  origins,
  pageAddress,
  pathPattern,
  rate,
  requireStrong,
  Secret,
  smtpUrl,
  webAddress,
  wholeNumber,
} from "./parsers.ts";
import { StartupError } from "./startup-error.ts";

/** One setting: its names, its default and its description. */
type Setting<Value> = {
  readonly name: string;
  /** Without the leading `--`. Secrets have no flag, as other users of a machine can see command lines. */
  readonly flag?: string;
  /** The default, as text. Undefined if the setting is optional. */
  readonly fallback?: string;
  readonly what: string;
  /** Throws an `Error` whose message completes a sentence that begins with the name. */
  readonly parse: (text: string) => Value;
};

/** The table of counts has integers. */
const RATE_MAX = 1_000_000_000;

const MEMORY_MAX_BYTES = 64 * 1024 ** 3;

const setting = <Value>(options: Setting<Value> & { fallback: string }) => options;
const optional = <Value>(options: Setting<Value>) => options;

/** Every setting. `npm run format` writes them to docs/operations/settings.md, and a test compares the two. */
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
    what: "Port to listen on. 0 picks a free port.",
    parse: wholeNumber(0, 65_535),
  }),
  dataDir: setting({
    name: "DATA_DIR",
    flag: "data-dir",
    fallback: "./data",
    what: "Folder of the embedded PostgreSQL, its secrets and the development mailbox.",
    parse: filePath,
  }),
  databaseUrl: optional({
    name: "DATABASE_URL",
    what: "External PostgreSQL, version 15 or newer: `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem`, or another form that libpq accepts ([deploy](deploy.md)). Without it, the server starts the embedded one.",
    parse: (text) => parseDatabaseUrl(text).address,
  }),
  databaseDirectUrl: optional({
    name: "DATABASE_DIRECT_URL",
    what: "PostgreSQL itself, if `DATABASE_URL` is a transaction pooler such as PgBouncer 1.21 or newer. For migrations, notifications, background jobs and backups.",
    parse: (text) => parseDatabaseUrl(text).address,
  }),
  databaseReadUrl: optional({
    name: "DATABASE_READ_URL",
    what: "Standbys of the same cluster, one or several hosts, which serve reads while they are up to date. No proxy in front of several ([cluster](cluster.md#reads-from-replicas)).",
    parse: (text) => parseDatabaseUrl(text, "reads").address,
  }),
  databasePoolMax: setting({
    name: "DATABASE_POOL_MAX",
    flag: "database-pool-max",
    fallback: "8",
    what: "Maximum number of connections for writes. Reads get a quarter as many in addition, at least two. Each process uses nine more: two for slow reads, two for searches, one for health checks, one for notifications, three for background jobs.",
    parse: wholeNumber(1, 1_000),
  }),
  databaseConnectTimeoutMs: setting({
    name: "DATABASE_CONNECT_TIMEOUT",
    flag: "database-connect-timeout",
    fallback: "3s",
    what: "Maximum time to connect to the database.",
    parse: duration(100, 60_000),
  }),
  databaseQueueTimeoutMs: setting({
    name: "DATABASE_QUEUE_TIMEOUT",
    flag: "database-queue-timeout",
    fallback: "3s",
    what: "Maximum time that a statement waits for a connection, also behind others on it.",
    parse: duration(100, 60_000),
  }),
  databaseStatementTimeoutMs: setting({
    name: "DATABASE_STATEMENT_TIMEOUT",
    flag: "database-statement-timeout",
    fallback: "5s",
    what: "Maximum time that a statement runs.",
    parse: duration(100, 600_000),
  }),
  failoverWaitMs: setting({
    name: "FAILOVER_WAIT",
    flag: "failover-wait",
    fallback: "40s",
    what: "How long after the beginning of an outage of the database requests wait for its end ([cluster](cluster.md)). Longer than a failover takes. Requests that come later get a 503 at once.",
    parse: duration(0, 600_000),
  }),
  databaseStartTimeoutMs: setting({
    name: "DATABASE_START_TIMEOUT",
    flag: "database-start-timeout",
    fallback: "1m",
    what: "Maximum time that a start waits for another server's migration, for locks on tables that it migrates, and for a standby to become writable.",
    parse: duration(0, 3_600_000),
  }),
  jwtSecret: optional({
    name: "JWT_SECRET",
    what: "Secret that signs access tokens, at least 32 bytes. Without it, the server creates one in `DATA_DIR`. Required with `DATABASE_URL` in production.",
    parse: (text) => {
      if (Buffer.byteLength(text) < 32) throw new Error("must have at least 32 bytes");
      requireStrong(text);
      return new Secret(text);
    },
  }),
  accessTokenTtlS: setting({
    name: "ACCESS_TOKEN_TTL",
    flag: "access-token-ttl",
    fallback: "24h",
    what: "Lifetime of an access token.",
    parse: (text) => Math.ceil(duration(1_000, 365 * DAY_MS)(text) / 1000),
  }),
  refreshTokenTtlS: setting({
    name: "REFRESH_TOKEN_TTL",
    flag: "refresh-token-ttl",
    fallback: "30d",
    what: "Lifetime of a refresh token, and of an unused session.",
    parse: (text) => Math.ceil(duration(1_000, 365 * DAY_MS)(text) / 1000),
  }),
  sessionMaxAgeS: setting({
    name: "SESSION_MAX_AGE",
    flag: "session-max-age",
    fallback: "365d",
    what: "Maximum lifetime of a session, however often it is refreshed. After it, the user signs in again.",
    parse: (text) => Math.ceil(duration(1_000, 3_650 * DAY_MS)(text) / 1000),
  }),
  sessionsMax: setting({
    name: "SESSIONS_MAX",
    flag: "sessions-max",
    fallback: "10",
    what: "Maximum number of sessions per user. A new one ends the one that was idle longest.",
    parse: wholeNumber(1, 1_000),
  }),
  trustedProxies: setting({
    name: "TRUSTED_PROXIES",
    flag: "trusted-proxies",
    fallback: "none",
    what: "Networks of proxies whose `X-Forwarded-For` is trusted, such as `10.0.0.0/8,fd00::/8`, or `none`.",
    parse: networks,
  }),
  rateLimits: setting({
    name: "RATE_LIMITS",
    flag: "rate-limits",
    fallback: "on",
    what: "`off` disables the limits on sign-ins, registrations, writes and other attempts. For load tests only.",
    parse: (text) => oneOf("on", "off")(text) === "on",
  }),
  rateLimitArticles: setting({
    name: "RATE_LIMIT_ARTICLES",
    flag: "rate-limit-articles",
    fallback: "120/10m",
    what: "Articles that an account may create or change, in a time.",
    parse: rate(RATE_MAX),
  }),
  rateLimitArticleBytes: setting({
    name: "RATE_LIMIT_ARTICLE_BYTES",
    flag: "rate-limit-article-bytes",
    fallback: "50000000/1d",
    what: "Bytes of their bodies together.",
    parse: rate(RATE_MAX),
  }),
  rateLimitComments: setting({
    name: "RATE_LIMIT_COMMENTS",
    flag: "rate-limit-comments",
    fallback: "300/10m",
    what: "Comments that an account may write.",
    parse: rate(RATE_MAX),
  }),
  rateLimitFollows: setting({
    name: "RATE_LIMIT_FOLLOWS",
    flag: "rate-limit-follows",
    fallback: "300/10m",
    what: "How often an account may follow or unfollow.",
    parse: rate(RATE_MAX),
  }),
  rateLimitFavorites: setting({
    name: "RATE_LIMIT_FAVORITES",
    flag: "rate-limit-favorites",
    fallback: "600/10m",
    what: "How often an account may favorite or unfavorite.",
    parse: rate(RATE_MAX),
  }),
  rateLimitRenames: setting({
    name: "RATE_LIMIT_RENAMES",
    flag: "rate-limit-renames",
    fallback: "10/1d",
    what: "How often an account may change its username.",
    parse: rate(RATE_MAX),
  }),
  rateLimitNetworkFactor: setting({
    name: "RATE_LIMIT_NETWORK_FACTOR",
    flag: "rate-limit-network-factor",
    fallback: "20",
    what: "How many times as much as one account all accounts at one address may write, and in one IPv6 /64.",
    parse: wholeNumber(1, 1_000),
  }),
  baseUrl: optional({
    name: "BASE_URL",
    flag: "base-url",
    what: "Public URL of this server for links in emails and pages, such as `https://conduit.example`. It may have a path, which the proxy in front removes. Default: `http://localhost` with the port.",
    parse: webAddress,
  }),
  web: setting({
    name: "WEB",
    flag: "web",
    fallback: "on",
    what: "`off` serves the API alone, for teams with a front end of their own. The pages that links in emails open stay.",
    parse: (text) => oneOf("on", "off")(text) === "on",
  }),
  siteUrl: optional({
    name: "SITE_URL",
    flag: "site-url",
    what: "Address of your front end, if readers do not use the app of this server: links in feeds and the sitemap lead there. Default: `BASE_URL`.",
    parse: webAddress,
  }),
  articlePath: setting({
    name: "ARTICLE_PATH",
    flag: "article-path",
    fallback: "/article/{slug}",
    what: "Where that front end shows an article, also as a hash route: `/#/article/{slug}`.",
    parse: pathPattern("slug"),
  }),
  profilePath: setting({
    name: "PROFILE_PATH",
    flag: "profile-path",
    fallback: "/profile/{username}",
    what: "Where it shows a profile.",
    parse: pathPattern("username"),
  }),
  tagPath: setting({
    name: "TAG_PATH",
    flag: "tag-path",
    fallback: "/tag/{tag}",
    what: "Where it lists the articles with a tag.",
    parse: pathPattern("tag"),
  }),
  revisionsMax: setting({
    name: "REVISIONS_MAX",
    flag: "revisions-max",
    fallback: "100",
    what: "Former versions that are kept of an article. The clean-up, once an hour, deletes older ones.",
    parse: wholeNumber(0, 10_000),
  }),
  revisionsMaxAgeMs: setting({
    name: "REVISIONS_MAX_AGE",
    flag: "revisions-max-age",
    fallback: "365d",
    what: "How long a former version is kept after it was replaced.",
    parse: duration(60_000, 3_650 * DAY_MS),
  }),
  deletedArticles: setting({
    name: "DELETED_ARTICLES",
    flag: "deleted-articles",
    fallback: "404",
    what: "`410` remembers the addresses of articles that their authors delete from now on, and responds with 410 to them.",
    parse: (text) => (oneOf("404", "410")(text) === "410" ? 410 : 404),
  }),
  verifyUrl: optional({
    name: "VERIFY_URL",
    flag: "verify-url",
    what: "Page of your front end that verifies an email address, instead of `/verify-email` here. Emails add `?token=`, in a hash route (`https://app.example/#/verify`) behind the route.",
    parse: pageAddress,
  }),
  resetUrl: optional({
    name: "RESET_URL",
    flag: "reset-url",
    what: "Page of your front end that resets a password, instead of `/reset-password` here. Emails add `?token=` likewise.",
    parse: pageAddress,
  }),
  requireEmailConfirmation: setting({
    name: "REQUIRE_EMAIL_CONFIRMATION",
    flag: "require-email-confirmation",
    fallback: "false",
    what: "`true` keeps a user's old email address until the new one is verified.",
    parse: (text) => oneOf("true", "false")(text) === "true",
  }),
  requireCurrentPassword: setting({
    name: "REQUIRE_CURRENT_PASSWORD",
    flag: "require-current-password",
    fallback: "false",
    what: "`true` requires the current password (`currentPassword` in `PUT /api/user`) for a new password or email address.",
    parse: (text) => oneOf("true", "false")(text) === "true",
  }),
  passwordBlocklist: setting({
    name: "PASSWORD_BLOCKLIST",
    flag: "password-blocklist",
    fallback: "off",
    what: "`on` rejects new passwords that are among the 49,000 most common ones.",
    parse: (text) => oneOf("on", "off")(text) === "on",
  }),
  smtpUrl: optional({
    name: "SMTP_URL",
    what: "Mail server: `smtp://user:password@host:587` (STARTTLS if offered) or `smtps://host` (TLS). Alternatively, set the variables below. Without a mail server, emails go to the development mailbox at `/dev/mail`, and in production nowhere.",
    parse: (text) => new Secret(smtpUrl(text)),
  }),
  smtpHost: optional({ name: "SMTP_HOST", flag: "smtp-host", what: "Host name of the mail server.", parse: nonEmpty }),
  smtpPort: setting({
    name: "SMTP_PORT",
    flag: "smtp-port",
    fallback: "587",
    what: "Port of the mail server. 465 uses TLS from the start.",
    parse: wholeNumber(1, 65_535),
  }),
  smtpUsername: optional({
    name: "SMTP_USERNAME",
    flag: "smtp-username",
    what: "User name for the mail server.",
    parse: nonEmpty,
  }),
  smtpPassword: optional({
    name: "SMTP_PASSWORD",
    what: "Password for the mail server.",
    parse: (text) => new Secret(text),
  }),
  smtpCaFile: optional({
    name: "SMTP_CA_FILE",
    flag: "smtp-ca-file",
    what: "PEM file with the certificate authorities that the mail server's certificate is verified by, instead of the system's.",
    parse: certificateFile,
  }),
  smtpFromEmail: setting({
    name: "SMTP_FROM_EMAIL",
    flag: "smtp-from-email",
    fallback: "conduit@localhost",
    what: "Sender address of emails.",
    parse: (text) => {
      if (!/^[^\s<>@]+@[^\s<>@]+$/.test(text)) throw new Error("must be an email address such as conduit@example.com");
      return text;
    },
  }),
  smtpFromName: setting({
    name: "SMTP_FROM_NAME",
    flag: "smtp-from-name",
    fallback: "Conduit",
    what: "Sender name of emails.",
    parse: nonEmpty,
  }),
  memoryMaxBytes: setting({
    name: "MEMORY_MAX",
    flag: "memory-max",
    fallback: "134217728",
    what: "Bytes of memory in which each process holds what many requests read ([scaling](scaling.md#memory)). 0 turns it off.",
    parse: wholeNumber(0, MEMORY_MAX_BYTES),
  }),
  staleMaxMs: setting({
    name: "STALE_MAX",
    flag: "stale-max",
    fallback: "60s",
    what: "How old what is in memory may be that anonymous readers get while the database is away ([cluster](cluster.md)). 0s turns that off.",
    parse: duration(0, DAY_MS),
  }),
  corsOrigins: setting({
    name: "CORS_ORIGINS",
    flag: "cors-origins",
    fallback: "*",
    what: "Origins whose pages may call the API, separated by commas. `*` allows all.",
    parse: origins,
  }),
  shutdownDelayMs: setting({
    name: "SHUTDOWN_DELAY",
    flag: "shutdown-delay",
    fallback: "0s",
    what: "Time between a stop signal and the shutdown. The server still handles requests, but `/health/ready` returns 503, so load balancers send no new ones.",
    parse: duration(0, 600_000),
  }),
  shutdownTimeoutMs: setting({
    name: "SHUTDOWN_TIMEOUT",
    flag: "shutdown-timeout",
    fallback: "10s",
    what: "Maximum time for requests in flight to finish at shutdown.",
    parse: duration(0, 600_000),
  }),
  requestTimeoutMs: setting({
    name: "REQUEST_TIMEOUT",
    flag: "request-timeout",
    fallback: "30s",
    what: "Maximum time to receive the body of a request, to within 4 seconds. The headers have 12 seconds in any case.",
    parse: duration(1_000, 250_000),
  }),
  keepAliveTimeoutMs: setting({
    name: "KEEP_ALIVE_TIMEOUT",
    flag: "keep-alive-timeout",
    fallback: "75s",
    what: "Minimum time to keep an idle connection open; it is closed within 5 seconds afterwards. Must be longer than that of a proxy or load balancer in front, often 60 seconds.",
    parse: duration(1_000, 250_000),
  }),
  requestsMax: setting({
    name: "REQUESTS_MAX",
    flag: "requests-max",
    fallback: "10000",
    what: "Maximum number of requests in flight per process, including those still being received. Any further request gets a 503 at once.",
    parse: wholeNumber(1, 1_000_000),
  }),
  reusePort: setting({
    name: "REUSE_PORT",
    flag: "reuse-port",
    fallback: "no",
    what: "`yes` lets several servers listen on the same port, so that you can restart one while another handles requests (Linux).",
    parse: (text) => oneOf("yes", "no")(text) === "yes",
  }),
  workers: setting({
    name: "WORKERS",
    flag: "workers",
    fallback: "1",
    what: "Number of processes that share the port (Linux). `auto` starts one per core, at most 16. They divide `DATABASE_POOL_MAX`, with at least two connections each.",
    parse: (text) => (text === "auto" ? Math.min(availableParallelism(), WORKERS_AUTO_MAX) : wholeNumber(1, 256)(text)),
  }),
  metricsPort: optional({
    name: "METRICS_PORT",
    flag: "metrics-port",
    what: "Port of `/metrics`, in the Prometheus format. 0 picks a free port. Without it, there are no metrics.",
    parse: wholeNumber(0, 65_535),
  }),
  metricsAllowedHosts: setting({
    name: "METRICS_ALLOWED_HOSTS",
    flag: "metrics-allowed-hosts",
    fallback: "none",
    what: "Host names under which `/metrics` is available, besides `METRICS_HOST`, `localhost`, IP addresses and names without a dot, separated by commas. Others are refused, as a page on the web may have made its name resolve to this server.",
    parse: hostNames,
  }),
  metricsHost: setting({
    name: "METRICS_HOST",
    flag: "metrics-host",
    fallback: "127.0.0.1",
    what: "Address that `/metrics` listens on. Keep it reachable for your monitoring only.",
    parse: nonEmpty,
  }),
  otlpEndpoint: optional({
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    what: "OpenTelemetry collector for traces (OTLP over HTTP), such as `http://localhost:4318`. Without it, there are no traces. With it, the OpenTelemetry SDK reads all other standard `OTEL_*` variables too.",
    parse: httpUrl,
  }),
  tracesEndpoint: optional({
    name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    what: "The same with the whole path, such as `http://localhost:4318/v1/traces`.",
    parse: httpUrl,
  }),
  otlpProtocol: setting({
    name: "OTEL_EXPORTER_OTLP_PROTOCOL",
    fallback: "http/protobuf",
    what: "Encoding of traces: `http/protobuf` or `http/json`.",
    parse: oneOf("http/protobuf", "http/json"),
  }),
  tracesProtocol: optional({
    name: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    what: "The same, for traces only.",
    parse: oneOf("http/protobuf", "http/json"),
  }),
  tracesExporter: optional({
    name: "OTEL_TRACES_EXPORTER",
    what: "`none` turns traces off. `otlp` turns them on without an endpoint, for a collector on this machine.",
    parse: oneOf("otlp", "none"),
  }),
  otelDisabled: setting({
    name: "OTEL_SDK_DISABLED",
    fallback: "false",
    what: "`true` turns traces off.",
    parse: (text) => oneOf("true", "false")(text.toLowerCase()) === "true",
  }),
  logFormat: setting({
    name: "LOG_FORMAT",
    flag: "log-format",
    fallback: "auto",
    what: "`json`, `pretty` for people, or `auto`: pretty in a terminal, except in production.",
    parse: oneOf("auto", "json", "pretty"),
  }),
  logLevel: setting({
    name: "LOG_LEVEL",
    flag: "log-level",
    fallback: "info",
    what: "Lowest level to log: `debug`, `info`, `warn`, `error` or `silent`.",
    parse: oneOf("debug", "info", "warn", "error", "silent"),
  }),
  nodeEnv: setting({
    name: "NODE_ENV",
    fallback: "development",
    what: "`development`, `production` or `test`. `production` turns off what is meant for development, and requires what a deployment needs.",
    parse: oneOf("development", "production", "test"),
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
  /** What is valid but probably not meant, for the log and `doctor`. */
  readonly warnings: readonly string[];
};

/**
 * The complete, validated configuration. Nothing else reads the environment.
 * @param flags values of command-line flags by name, without `--`; they take precedence over the environment
 * @throws StartupError that lists every invalid setting
 */
export function loadConfig(env: Record<string, string | undefined>, flags: Record<string, string> = {}): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, { name, flag, fallback, parse }] of Object.entries(SETTINGS) as [string, Setting<unknown>][]) {
    const byFlag = flag === undefined ? undefined : flags[flag];
    // Shells and compose files leave a variable out by setting it to "".
    const text = byFlag ?? (env[name] || fallback);
    if (text === undefined) continue;
    try {
      values[key] = parse(text);
    } catch (error) {
      problems.push(`${byFlag === undefined ? name : `--${flag}`} ${error instanceof Error ? error.message : error}`);
    }
  }
  const production = values.nodeEnv === "production";
  if (values.databaseDirectUrl !== undefined && !env[SETTINGS.databaseUrl.name]) {
    problems.push("DATABASE_DIRECT_URL needs DATABASE_URL, the address of the pooler");
  }
  if (values.databaseReadUrl !== undefined && !env[SETTINGS.databaseUrl.name]) {
    problems.push("DATABASE_READ_URL needs DATABASE_URL, the address of the primary");
  }
  if (production && env[SETTINGS.databaseUrl.name] && !env[SETTINGS.jwtSecret.name]) {
    problems.push("JWT_SECRET must be set in production (create one: openssl rand -base64 48)");
  }
  const sendsMail = env[SETTINGS.smtpUrl.name] || values.smtpHost !== undefined;
  if (production && sendsMail && !values.baseUrl) {
    problems.push("BASE_URL must be set in production, as emails link to it");
  }
  if (production && !sendsMail && values.requireEmailConfirmation) {
    problems.push("REQUIRE_EMAIL_CONFIRMATION=true needs a mail server in production: set SMTP_URL");
  }
  if (Number(values.metricsPort) > 0 && values.metricsPort === values.port) {
    problems.push("METRICS_PORT must be another port than PORT");
  }
  if (Number(values.refreshTokenTtlS) < Number(values.accessTokenTtlS)) {
    // The session would expire before its access token, and nobody could revoke that token.
    problems.push("REFRESH_TOKEN_TTL must not be shorter than ACCESS_TOKEN_TTL");
  }
  if (problems.length > 0)
    throw new StartupError(`The configuration is invalid:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
  return { ...withDatabase(values as Values, env, flags), production, warnings: warningsOf(env) };
}

/** Joins what several settings say about the database. */
function withDatabase(values: Values, env: Record<string, string | undefined>, flags: Record<string, string>): Values {
  const { databaseUrl, databaseDirectUrl, databaseReadUrl } = values;
  if (databaseUrl === undefined) return values;
  const { name, flag } = SETTINGS.databaseConnectTimeoutMs;
  const hasConnectTimeout = Boolean(env[name]) || flags[flag ?? name] !== undefined;
  return {
    ...values,
    databaseUrl: {
      ...databaseUrl,
      ...(databaseDirectUrl === undefined ? {} : { direct: databaseDirectUrl }),
      ...(databaseReadUrl === undefined ? {} : { replicas: databaseReadUrl }),
    },
    databaseConnectTimeoutMs: hasConnectTimeout
      ? values.databaseConnectTimeoutMs
      : (databaseUrl.connectTimeoutMs ?? values.databaseConnectTimeoutMs),
  };
}

function warningsOf(env: Record<string, string | undefined>): string[] {
  const { databaseUrl, databaseDirectUrl, databaseReadUrl } = SETTINGS;
  return [databaseUrl, databaseDirectUrl, databaseReadUrl].flatMap(({ name }) => {
    const text = env[name];
    return text
      ? parseDatabaseUrl(text, name === databaseReadUrl.name ? "reads" : "all").warnings.map(
          (warning) => `${name}: ${warning}`,
        )
      : [];
  });
}

/** Ten connections each are what the embedded PostgreSQL has room for. */
const WORKERS_AUTO_MAX = 16;
