import { existsSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import { StartupError } from "../config/startup-error.ts";
import { checksum, OLDEST_MAJOR } from "../db/migrations.ts";
import { connectionOptions } from "../db/pool.ts";
import { smtpServer } from "../mail/open.ts";
import { verifySmtp } from "../mail/transport.ts";
import { runningEmbedded } from "../server/embedded.ts";
import { isStandalone, reachDatabase, serverLog } from "../server/server.ts";

/** One thing that was looked at: what is so, or what is wrong and what to do. */
type Finding = { readonly about: string; readonly isGood: boolean; readonly what: string };

/** What is wrong, as a sentence for a person. */
class Problem extends Error {}

const GIB = 1024 ** 3;
/** Room for a day of a busy server's write-ahead log. */
const DISK_FREE_MIN = GIB;
const CLOCK_OFF_MAX_MS = 2_000;
/** When this was written: no clock that is right shows less. */
const EARLIEST = Date.UTC(2026, 0, 1);

/**
 * `conduit doctor`: looks at everything that a server needs, and says in plain words what is wrong. Changes nothing. That
 * the configuration can be read was seen before: its faults end every command.
 * @throws StartupError with the number of problems
 */
export async function doctor(config: Config): Promise<void> {
  const findings: Finding[] = [{ about: "configuration", isGood: true, what: "can be read" }];
  const look = async (about: string, check: () => string | Promise<string>): Promise<void> => {
    try {
      findings.push({ about, isGood: true, what: await check() });
    } catch (error) {
      if (!(error instanceof Problem || error instanceof StartupError)) throw error;
      findings.push({ about, isGood: false, what: error.message });
    }
  };

  await look("secrets", () => checkSecrets(config));
  await look("port", () => checkPort(config));
  if (config.databaseUrl === undefined && !isStandalone) await look("disk", () => checkDisk(config.dataDir));
  await look("mail", () => checkMail(config));
  let database: OpenDatabase | undefined;
  await look("database", async () => {
    database = await openDatabase(config);
    return describe(database);
  });
  if (database !== undefined) {
    const { sql, release } = database;
    await look("migrations", () => checkMigrations(sql));
    await look("clock", () => checkClock(sql));
    await sql.close({ timeout: 0 });
    await release();
  }

  for (const { about, isGood, what } of findings)
    console.log(`${isGood ? "ok     " : "PROBLEM"} ${about.padEnd(14)} ${what}`);
  const problems = findings.filter(({ isGood }) => !isGood).length;
  if (problems > 0) throw new StartupError(problems === 1 ? "There is a problem." : `There are ${problems} problems.`);
}

function checkSecrets(config: Config): string {
  if (config.jwtSecret !== undefined) return "JWT_SECRET is set";
  if (config.databaseUrl === undefined) return `JWT_SECRET is kept in ${config.dataDir}`;
  throw new Problem(
    "JWT_SECRET is not set: each start signs everybody out, and two servers do not know each other's tokens. Make one: openssl rand -base64 48",
  );
}

/** Whether we could listen, or are what listens. */
async function checkPort({ host, port }: Config): Promise<string> {
  if (port === 0) return "any free one";
  try {
    await Bun.listen({ hostname: host, port, socket: { data: () => {} } }).stop(true);
    return `${port} is free`;
  } catch {
    const answer = await ask(`http://${host === "0.0.0.0" || host === "::" ? "localhost" : host}:${port}/`);
    if (answer?.name === "conduit") return `${port} is where Conduit ${answer.version} runs`;
    throw new Problem(
      `${port} is taken by another program, or not ours to take on ${host}. Choose another: PORT=${port + 1}.`,
    );
  }
}

async function ask(url: string): Promise<{ name?: string; version?: string } | undefined> {
  try {
    const response = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(2_000) });
    return (await response.json()) as { name?: string; version?: string };
  } catch {
    return undefined;
  }
}

function checkDisk(dataDir: string): string {
  // The folder may not be there yet: then where it will be.
  let folder = dataDir;
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const gib = `${(free / GIB).toFixed(1)} GiB`;
  if (free < DISK_FREE_MIN)
    throw new Problem(`Only ${gib} are free for ${dataDir}. PostgreSQL stops when there is no room.`);
  return `${gib} are free for ${dataDir}`;
}

/** Connects to the mail server and signs in. */
async function checkMail(config: Config): Promise<string> {
  const server = smtpServer(config);
  if (server === null) {
    return config.production
      ? "none is sent: SMTP_URL is not set"
      : "kept in a mailbox at /dev/mail: SMTP_URL is not set";
  }
  const where = `${server.host}:${server.port}`;
  try {
    await verifySmtp(server, SMTP_TIMEOUT_MS);
  } catch (error) {
    const remedy = "Check SMTP_URL, and that this machine may connect there.";
    throw new Problem(`The mail server ${where} does not take mail from us: ${(error as Error).message}. ${remedy}`);
  }
  return `${where} lets us in${server.username === undefined ? "" : ` as ${server.username}`}`;
}

const SMTP_TIMEOUT_MS = 5_000;

type OpenDatabase = { sql: SQL; version: string; where: string; roundTripMs: number; release(): Promise<void> };

/** Connects, to the embedded PostgreSQL too: that of a running server, or started for the moment. */
async function openDatabase(config: Config): Promise<OpenDatabase | undefined> {
  const reached = await reach(config);
  if (reached === undefined) return undefined;
  const { address, where, release } = reached;
  const sql = new SQL({
    ...connectionOptions(address, 1, {}),
    connectionTimeout: config.databaseConnectTimeoutMs / 1000,
  } as SQL.Options);
  try {
    const [row] = (await sql`select current_setting('server_version') as version,
      current_setting('server_version_num')::integer / 10000 as major`) as { version: string; major: number }[];
    const started = performance.now();
    await sql`select 1`;
    const roundTripMs = performance.now() - started;
    const { version = "", major = 0 } = row ?? {};
    if (major < OLDEST_MAJOR) {
      throw new Problem(`PostgreSQL ${version} ${where} is too old: Conduit needs ${OLDEST_MAJOR} or newer.`);
    }
    return { sql, version, where, roundTripMs, release };
  } catch (error) {
    await sql.close({ timeout: 0 });
    await release();
    if (error instanceof Problem) throw error;
    throw new Problem(
      `The database "${address.database}" cannot be reached ${where} as user "${address.username}": ${(error as Error).message}.`,
    );
  }
}

async function reach(
  config: Config,
): Promise<{ address: DatabaseAddress; where: string; release(): Promise<void> } | undefined> {
  const { databaseUrl, dataDir } = config;
  const release = async (): Promise<void> => {};
  if (databaseUrl !== undefined) {
    return {
      address: databaseUrl,
      where: `at ${databaseUrl.socketPath ?? `${databaseUrl.hostname}:${databaseUrl.port}`}`,
      release,
    };
  }
  // Nothing is made here that was not there.
  if (!isStandalone && !existsSync(join(dataDir, "postgres"))) return undefined;
  const address = await runningEmbedded(dataDir);
  if (address !== undefined) return { address, where: `in ${dataDir}, with its server`, release };
  return { ...(await reachDatabase(config, () => {}, serverLog(config))), where: `in ${dataDir}, without a server` };
}

function describe(database: OpenDatabase | undefined): string {
  if (database === undefined) return "there is none yet; the first start makes it";
  const { version, where, roundTripMs } = database;
  return `PostgreSQL ${version} ${where}, ${roundTripMs.toFixed(1)} ms away`;
}

async function checkMigrations(sql: SQL): Promise<string> {
  const [found] = (await sql`select to_regclass('schema_migrations') is not null as any`) as { any: boolean }[];
  const applied = found?.any
    ? ((await sql`select file, checksum from schema_migrations order by version`) as {
        file: string;
        checksum: string;
      }[])
    : [];
  for (const [i, { file, checksum: sum }] of applied.entries()) {
    const known = migrations[i];
    if (known === undefined)
      throw new Problem(`The database has ${file}, which this Conduit does not know: start a newer one.`);
    if (known.file !== file || checksum(known) !== sum) {
      throw new Problem(
        `${file} of the database is not this Conduit's ${known.file}: the database belongs to another program.`,
      );
    }
  }
  const missing = migrations.length - applied.length;
  if (missing === 0) return `all ${migrations.length} are applied`;
  throw new Problem(`${missing} of ${migrations.length} are missing. The next start applies them, or: conduit migrate`);
}

/** @returns how far the clocks of this machine and the database are apart, if that is not far */
export async function checkClock(sql: SQL): Promise<string> {
  if (Date.now() < EARLIEST) throw new Problem(`This machine's clock shows ${new Date().toISOString()}: set it (NTP).`);
  const before = Date.now();
  const [row] = (await sql`select extract(epoch from clock_timestamp()) * 1000 as now`) as { now: string }[];
  const offMs = Math.round(Number(row?.now) - (before + Date.now()) / 2);
  if (Math.abs(offMs) > CLOCK_OFF_MAX_MS) {
    throw new Problem(
      `This machine's clock is ${Math.round(Math.abs(offMs) / 1000)} s ${offMs > 0 ? "behind" : "ahead of"} the database's: tokens will end at the wrong time. Set both by NTP.`,
    );
  }
  return `${Math.abs(offMs)} ms off the database's`;
}
