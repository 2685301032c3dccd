import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { type Account, accountForInitdb, chownTree } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { diskFullError, EmbeddedPostgresError, folderError, systemCode } from "./errors.ts";
import type { DataFolder } from "./folder.ts";
import { flushFolder, readPrivateFile, writePrivateFile } from "./private-files.ts";
import {
  clusterMark,
  explainingLine,
  processesOf,
  programEnvironment,
  programError,
  signalIfAlive,
} from "./process.ts";

const unfinishedPrefix = "postgres.new-";
/** Of the superuser, `postgres`. Read only to create the application's role. */
const superuserPasswordFile = "postgres.password";
/** Of the application's role, which is not a superuser. */
const applicationPasswordFile = "application.password";
const initdbTimeoutMs = 120_000;

/** The folder of the cluster: everything that `initdb` creates, and the password. */
export function clusterPathIn(folder: DataFolder): string {
  return join(folder.path, "postgres");
}

/** Removes what is left if the process was killed while it created the cluster. Call it with the folder locked. */
export async function removeUnfinishedClusters(folder: DataFolder): Promise<void> {
  for (const name of readdirSync(folder.path)) {
    if (!name.startsWith(unfinishedPrefix)) continue;
    const unfinished = join(folder.path, name);
    // Its initdb may still be running, and may write for a moment after it is killed.
    for (let tries = 0; tries < 100 && existsSync(unfinished); tries++) {
      if (tries > 0) await Bun.sleep(10);
      for (const pid of processesOf(join(unfinished, "cluster"))) signalIfAlive(pid, "SIGKILL");
      tryToRemove(unfinished);
    }
  }
}

/** A leftover only takes space on the disk, and the next start tries again to remove it. */
function tryToRemove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Must not hide the reason why the cluster was not created.
  }
}

/**
 * Checks for a cluster that this PostgreSQL can run.
 * @returns false if there is none yet
 * @throws EmbeddedPostgresError if another major version created it, or the folder contains something else.
 */
export function hasCluster(folder: DataFolder, binaries: Binaries): boolean {
  const path = clusterPathIn(folder);
  let major: string;
  try {
    major = readFileSync(join(path, "PG_VERSION"), "utf8").trim();
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw folderError(error, folder.name);
    if (isMissingOrEmpty(path)) return false;
    throw new EmbeddedPostgresError(
      "folder-unusable",
      `${join(folder.name, "postgres")} is not a PostgreSQL data folder (it has no PG_VERSION). ` +
        "Restore it from a backup, or use an empty data folder.",
    );
  }
  if (major === binaries.major) return true;
  throw new EmbeddedPostgresError(
    "incompatible-version",
    `The database in ${folder.name} was created by PostgreSQL ${major}, and PostgreSQL ${binaries.major} cannot read it. ` +
      "Start the version of the application that created it and copy the data out with pg_dump, or use an empty data folder.",
  );
}

function isMissingOrEmpty(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch (error) {
    return systemCode(error) === "ENOENT";
  }
}

/**
 * Creates the cluster in a temporary folder and renames it, so that a kill at any moment leaves either no cluster or a
 * complete one.
 * @param account runs the server; undefined for the current user
 * @throws EmbeddedPostgresError if the disk is full, or `initdb` fails for another reason.
 */
export async function createCluster(folder: DataFolder, binaries: Binaries, account?: Account): Promise<void> {
  let unfinished: string | undefined;
  try {
    unfinished = mkdtempSync(join(folder.path, unfinishedPrefix));
    const cluster = join(unfinished, "cluster");
    const password = join(unfinished, superuserPasswordFile);
    mkdirSync(cluster, { mode: 0o700 });
    writePrivateFile(password, newPassword());
    const initAccount = account && accountForInitdb(account);
    if (initAccount)
      for (const path of [unfinished, cluster, password]) lchownSync(path, initAccount.uid, initAccount.gid);
    await runInitdb(binaries, cluster, folder, initAccount);
    if (account && account.uid !== initAccount?.uid) chownTree(cluster, account);
    if (account) lchownSync(password, folder.owner.uid, folder.owner.gid);
    renameSync(password, join(cluster, superuserPasswordFile));
    flushFolder(cluster);
    // Windows does not rename over an empty folder.
    rmSync(clusterPathIn(folder), { recursive: true, force: true });
    renameSync(cluster, clusterPathIn(folder));
    flushFolder(folder.path);
  } catch (error) {
    throw folderError(error, folder.name);
  } finally {
    if (unfinished) tryToRemove(unfinished);
  }
}

async function runInitdb(binaries: Binaries, cluster: string, folder: DataFolder, account?: Account): Promise<void> {
  const initdb = spawnInitdb(binaries, cluster, account);
  const killAtExit = (): void => {
    for (const pid of [...processesOf(cluster), initdb.pid]) signalIfAlive(pid, "SIGKILL");
  };
  process.on("exit", killAtExit);
  const [output, status] = await Promise.all([new Response(initdb.stderr).text(), initdb.exited]);
  process.off("exit", killAtExit);
  if (status === 0) return;
  if (/No space left on device|Disk quota exceeded/.test(output)) throw diskFullError(folder.name);
  if (output.includes("could not look up effective user ID")) {
    throw new EmbeddedPostgresError(
      "cannot-run",
      `PostgreSQL needs an entry in /etc/passwd for the user who starts the application, and number ${process.getuid?.()} has none. ` +
        "Add one, or start the application as another user.",
    );
  }
  throw new EmbeddedPostgresError(
    "not-started",
    `The database in ${folder.name} could not be created: ${explainingLine(output) || `initdb ended with ${initdb.signalCode ?? status}`}`,
  );
}

function spawnInitdb(binaries: Binaries, cluster: string, account?: Account) {
  const command = [
    binaries.initdb,
    // With this link, another user can name the folder even if only root can enter the folders above it.
    `--pgdata=${account ? "/proc/self/cwd" : cluster}`,
    "--username=postgres",
    `--pwfile=${join("..", superuserPasswordFile)}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    // The sort order of the built-in provider never changes. That of the C library changes with its version, which breaks
    // indexes.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--data-checksums",
    // Identifies the process if it outlives this one.
    `--set=cluster_name=${clusterMark(cluster)}`,
  ];
  try {
    return Bun.spawn(command, {
      cwd: cluster,
      env: programEnvironment(),
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
      ...account,
      timeout: initdbTimeoutMs,
      killSignal: "SIGKILL",
    });
  } catch (error) {
    throw programError(error, binaries.initdb);
  }
}

/** Gives a cluster that belongs to root, for example after restoring files from a backup, to the user who runs it. */
export function adoptCluster(folder: DataFolder, account: Account | undefined): void {
  const cluster = clusterPathIn(folder);
  if (account === undefined || lstatSync(cluster).uid !== 0) return;
  chownTree(cluster, account);
  lchownSync(join(cluster, superuserPasswordFile), folder.owner.uid, folder.owner.gid);
  chmodSync(cluster, 0o700);
}

/**
 * The password of the application's role. Creates the file if it is missing; the role gets that password when its login
 * fails.
 * @throws EmbeddedPostgresError if the file is not readable, or not private.
 */
export function applicationPassword(folder: DataFolder): string {
  const path = join(clusterPathIn(folder), applicationPasswordFile);
  const existing = readPassword(path, folder);
  if (existing !== undefined) return existing;
  try {
    writePrivateFile(path, newPassword());
  } catch (error) {
    throw folderError(error, folder.name);
  }
  return existingPassword(path, folder);
}

/** The same of a running server, which has created the file. Changes nothing. */
export function existingApplicationPassword(folder: DataFolder): string {
  return existingPassword(join(clusterPathIn(folder), applicationPasswordFile), folder);
}

/** @throws EmbeddedPostgresError if the file is missing, not readable, or not private. */
export function superuserPassword(folder: DataFolder): string {
  return existingPassword(join(clusterPathIn(folder), superuserPasswordFile), folder);
}

const newPassword = (): string => `${randomBytes(32).toString("hex")}\n`;

function existingPassword(path: string, folder: DataFolder): string {
  const password = readPassword(path, folder);
  if (password !== undefined) return password;
  throw new EmbeddedPostgresError(
    "not-started",
    `The database password in ${path} cannot be read (ENOENT). Restore the file from a backup of the data folder.`,
  );
}

function readPassword(path: string, folder: DataFolder): string | undefined {
  try {
    return readPrivateFile(path)?.trim();
  } catch (error) {
    throw folderError(error, folder.name);
  }
}
