import { existsSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import packageJson from "../../package.json" with { type: "json" };
import { type DatabaseAddress, locationOf } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { configWarnings } from "../config/warnings.ts";
import { checksum } from "../db/migration-steps.ts";
import { mayRunBeside } from "../db/migrations.ts";
import { connectionOptions } from "../db/pool.ts";
import { checkPooler, connectionProblem, requireSuitable } from "../db/reach.ts";
import { smtpServer } from "../mail/open.ts";
import { verifySmtp } from "../mail/transport.ts";
import { connectionsNeeded, EMBEDDED_CONNECTIONS_AVAILABLE, requireConnections } from "../server/connections.ts";
import { isStandalone, listenError, poolLimits } from "../server/server.ts";
import type { Command } from "./command.ts";
import { type CommandDatabase, openDatabase, runningDatabase } from "./database.ts";
import { fetchHere, urlHere } from "./fetch-here.ts";

/** The result of one check: the state, or the problem and its remedy. */
type Finding = { readonly subject: string; readonly result: "ok" | "WARNING" | "PROBLEM"; readonly text: string };

/** A failed check. The message is a sentence for a person. */
class Problem extends Error {}

const GIB = 1024 ** 3;
/** Room for a day of a busy server's write-ahead log. */
const DISK_FREE_MIN = GIB;
const CLOCK_OFF_MAX_MS = 2_000;
/** When this was written: a correct clock shows a later time. */
const EARLIEST = Date.UTC(2026, 0, 1);
const SMTP_TIMEOUT_MS = 5_000;

/**
 * Checks everything that a server needs. Changes nothing. An invalid configuration ends every command before it runs,
 * so here it is valid.
 */
export const doctor: Command = {
  name: "doctor",
  summary: "Check configuration, port, disk, database, schema, clock and mail, and report problems",
  async run({ config: readConfig }) {
    const findings = await examine(readConfig());
    for (const { subject, result, text } of findings) {
      console.log(`${result.padEnd(7)} ${subject.padEnd(14)} ${text}`);
    }
    const problems = findings.filter(({ result }) => result === "PROBLEM").length;
    if (problems > 0) throw new StartupError(problems === 1 ? "Found 1 problem." : `Found ${problems} problems.`);
  },
};

async function examine(config: Config): Promise<Finding[]> {
  const findings: Finding[] = [{ subject: "configuration", result: "ok", text: "valid" }];
  for (const text of [...config.warnings, ...configWarnings(config)])
    findings.push({ subject: "configuration", result: "WARNING", text });
  const check = async (subject: string, run: () => string | Promise<string>): Promise<void> => {
    try {
      findings.push({ subject, result: "ok", text: await run() });
    } catch (error) {
      if (!(error instanceof Problem || error instanceof StartupError)) throw error;
      findings.push({ subject, result: "PROBLEM", text: error.message });
    }
  };

  await check("secrets", () => checkSecrets(config));
  await check("port", () => checkPort(config));
  if (config.databaseUrl === undefined && !isStandalone) {
    await check("disk", () => checkDisk(config.dataDir));
    await check("connections", () => checkConnections(config));
  }
  await check("mail", () => checkMail(config));
  let database: CheckedDatabase | undefined;
  await check("database", async () => {
    database = await checkDatabase(config);
    if (database === undefined) return "does not exist yet; the first start creates it";
    return `PostgreSQL ${database.version} ${database.location}, round trip ${database.roundTripMs.toFixed(1)} ms`;
  });
  if (database !== undefined) {
    const { sql, release } = database;
    await check("migrations", () => checkMigrations(sql));
    await check("clock", () => checkClock(sql));
    const url = config.databaseUrl;
    if (url?.direct !== undefined) await check("pooler", () => checkRequests(config, url));
    await sql.close({ timeout: 0 });
    await release();
  }
  return findings;
}

function checkSecrets(config: Config): string {
  if (config.jwtSecret !== undefined) return "JWT_SECRET is set";
  if (config.databaseUrl === undefined) return `the signing secret is stored in ${config.dataDir}`;
  throw new Problem(
    "JWT_SECRET is not set: each restart signs everyone out, and a second server rejects this one's tokens. Create one: openssl rand -base64 48",
  );
}

/** Passes if the port is free, or if Conduit is what listens on it. */
async function checkPort({ host, port }: Config): Promise<string> {
  if (port === 0) return "any free port";
  try {
    await Bun.listen({ hostname: host, port, socket: { data: () => {} } }).stop(true);
    return `${port} is free`;
  } catch (error) {
    const server = await identify(urlHere({ host, port }, "/"));
    if (server?.name === "conduit") return `Conduit ${server.version} is running on ${port}`;
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw listenError(error, host, port);
    throw new Problem(`Port ${port} is in use by another program. Choose another port: PORT=${port + 1}.`);
  }
}

async function identify(url: string): Promise<{ name?: string; version?: string } | undefined> {
  try {
    const response = await fetchHere(url, 2_000);
    return (await response.json()) as { name?: string; version?: string };
  } catch {
    return undefined;
  }
}

function checkDisk(dataDir: string): string {
  // The folder may not exist yet. Then the nearest existing parent is on the same disk.
  let folder = dataDir;
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const gib = `${(free / GIB).toFixed(1)} GiB`;
  if (free < DISK_FREE_MIN) {
    throw new Problem(`Only ${gib} free for ${dataDir}. PostgreSQL stops when the disk is full: free some space.`);
  }
  return `${gib} free for ${dataDir}`;
}

function checkConnections(config: Config): string {
  requireConnections(config);
  return `at most ${connectionsNeeded(config)} of ${EMBEDDED_CONNECTIONS_AVAILABLE}`;
}

/** Connects to the mail server and signs in. */
async function checkMail(config: Config): Promise<string> {
  const server = smtpServer(config);
  if (server === null) {
    return config.production
      ? "SMTP_URL is not set: no mail is sent"
      : "SMTP_URL is not set: mail goes to the development mailbox";
  }
  const address = `${server.host}:${server.port}`;
  try {
    await verifySmtp(server, SMTP_TIMEOUT_MS);
  } catch (error) {
    throw new Problem(
      `The mail server ${address} rejects us: ${(error as Error).message}. Check SMTP_URL, and whether this machine may connect to it.`,
    );
  }
  return `signed in to ${address}${server.username === undefined ? " without a user" : ` as ${server.username}`}`;
}

type CheckedDatabase = {
  sql: SQL;
  version: string;
  /** As in "at db.example.com:5432". */
  location: string;
  roundTripMs: number;
  release(): Promise<void>;
};

/** @returns undefined if the embedded database was never created */
async function checkDatabase(config: Config): Promise<CheckedDatabase | undefined> {
  const found = await findDatabase(config);
  if (found === undefined) return undefined;
  const { address, location, release } = found;
  const sql = new SQL({
    ...connectionOptions(address, 1, {}),
    connectionTimeout: config.databaseConnectTimeoutMs / 1000,
  } as SQL.Options);
  try {
    const [row] = (await sql`select current_setting('server_version') as version,
      current_setting('server_version_num')::integer / 10000 as major,
      current_setting('server_encoding') as encoding,
      current_setting('transaction_read_only')::boolean as "isReadOnly"`) as {
      version: string;
      major: number;
      encoding: string;
      isReadOnly: boolean;
    }[];
    const started = performance.now();
    await sql`select 1`;
    const roundTripMs = performance.now() - started;
    const { version = "", major = 0, encoding = "", isReadOnly = false } = row ?? {};
    requireSuitable(address, { major, version, encoding });
    if (isReadOnly)
      throw new Problem(`PostgreSQL ${version} ${location} takes no writes: it is a standby or read-only.`);
    return { sql, version, location, roundTripMs, release };
  } catch (error) {
    await sql.close({ timeout: 0 });
    await release();
    if (error instanceof Problem || error instanceof StartupError) throw error;
    throw new Problem(`${connectionProblem(error, address)}.`);
  }
}

async function findDatabase(config: Config): Promise<(CommandDatabase & { location: string }) | undefined> {
  const { databaseUrl, dataDir } = config;
  if (databaseUrl !== undefined) {
    const database = await openDatabase(config);
    return { ...database, location: `at ${locationOf(database.address)}` };
  }
  // A check must not create a data folder.
  if (!isStandalone && !existsSync(join(dataDir, "postgres"))) return undefined;
  const running = await runningDatabase(config);
  if (running !== undefined) return { ...running, location: `in ${dataDir}, next to its running server` };
  return { ...(await openDatabase(config, () => {})), location: `in ${dataDir}, started for this check` };
}

/** Requests go through the pooler, everything else does not. */
async function checkRequests(config: Config, pooler: DatabaseAddress): Promise<string> {
  const [problem] = await checkPooler(pooler, poolLimits(config));
  if (problem !== undefined) throw new Problem(`${problem}.`);
  return `prepared statements work through ${locationOf(pooler)}`;
}

async function checkMigrations(sql: SQL): Promise<string> {
  type Applied = { file: string; checksum: string; oldestProgram: string | null };
  const [found] = (await sql`select to_regclass('schema_migrations') is not null as any`) as { any: boolean }[];
  const applied: Applied[] = found?.any
    ? await sql`select file, checksum, oldest_program as "oldestProgram" from schema_migrations order by version`
    : [];
  for (const [i, { file, checksum: sum, oldestProgram }] of applied.entries()) {
    const known = migrations[i];
    if (known === undefined) {
      if (mayRunBeside(oldestProgram, packageJson.version)) continue;
      throw new Problem(`The database has migration ${file}, which this version does not know. Start a newer version.`);
    }
    if (known.file !== file || checksum(known) !== sum) {
      throw new Problem(
        `The database has another ${file} than this version's ${known.file}. It belongs to another program.`,
      );
    }
  }
  const missing = migrations.length - applied.length;
  if (missing < 0)
    return `all ${migrations.length} are applied, and ${-missing} of a newer version, beside which this one may run`;
  if (missing === 0) return `all ${migrations.length} are applied`;
  throw new Problem(
    `${missing} of ${migrations.length} are missing. The next start applies them, or run: conduit migrate`,
  );
}

/** @returns the difference between the clocks of this machine and the database, if it is small */
export async function checkClock(sql: SQL): Promise<string> {
  if (Date.now() < EARLIEST) {
    throw new Problem(`This machine's clock shows ${new Date().toISOString()}. Set it, for example with NTP.`);
  }
  const before = Date.now();
  const [row] = (await sql`select extract(epoch from clock_timestamp()) * 1000 as now`) as { now: string }[];
  const offMs = Math.round(Number(row?.now) - (before + Date.now()) / 2);
  if (Math.abs(offMs) > CLOCK_OFF_MAX_MS) {
    throw new Problem(
      `This machine's clock is ${Math.round(Math.abs(offMs) / 1000)} s ${offMs > 0 ? "behind" : "ahead of"} the database's, so tokens expire at the wrong time. Set both with NTP.`,
    );
  }
  return `${Math.abs(offMs)} ms from the database's`;
}
