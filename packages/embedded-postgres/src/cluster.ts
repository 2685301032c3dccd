import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { StartupError } from "../../../src/config/startup-error.ts";
import { type Account, accountForInitdb, chownTree } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { type DataFolder, diskFull, errorCode, folderFault } from "./folder.ts";
import { clusterMark, lastTelling, programEnvironment, programFault, programsIn } from "./process.ts";

const unfinishedPrefix = "postgres.new-";
const passwordFile = "conduit.password";
const initdbTimeoutMs = 120_000;

/** Where the cluster of a data folder is: everything that `initdb` makes, and the password beside it. */
export function clusterPathIn(folder: DataFolder): string {
  return join(folder.path, "postgres");
}

/**
 * Looks whether there is a cluster that this PostgreSQL can run.
 * @returns false when there is none yet
 * @throws StartupError when it was made by another major version, or the folder holds something else.
 */
export function hasCluster(folder: DataFolder, binaries: Binaries): boolean {
  const path = clusterPathIn(folder);
  let major: string;
  try {
    major = readFileSync(join(path, "PG_VERSION"), "utf8").trim();
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw folderFault(error, folder.name);
    if (isMissingOrEmpty(path)) return false;
    throw new StartupError(
      `${join(folder.name, "postgres")} is no PostgreSQL data folder (it has no PG_VERSION). ` +
        "Restore it from a backup, or set DATA_DIR to an empty folder.",
    );
  }
  if (major === binaries.major) return true;
  throw new StartupError(
    `The database in ${folder.name} was made by PostgreSQL ${major}, and this Conduit brings PostgreSQL ${binaries.major}, ` +
      "which cannot read it. Start the Conduit that made it and copy the data out with pg_dump, or set DATA_DIR to an empty folder.",
  );
}

function isMissingOrEmpty(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch (error) {
    return errorCode(error) === "ENOENT";
  }
}

/** Removes what a start left behind that was killed while it made the cluster. To be called with the folder locked. */
export async function removeUnfinishedClusters(folder: DataFolder): Promise<void> {
  for (const name of readdirSync(folder.path)) {
    if (!name.startsWith(unfinishedPrefix)) continue;
    const unfinished = join(folder.path, name);
    // Its initdb may have outlived the app, and go on writing for a moment after it is killed.
    for (let tries = 0; tries < 100 && existsSync(unfinished); tries++) {
      if (tries > 0) await Bun.sleep(10);
      for (const pid of programsIn(join(unfinished, "cluster"))) killIfAlive(pid);
      removeBestEffort(unfinished);
    }
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone by itself.
  }
}

/** A leftover does no harm but to the space on the disk, and the next start tries again. */
function removeBestEffort(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Must not hide why the cluster was not made.
  }
}

/**
 * Makes the cluster of an empty data folder. It is made in a folder beside its place and renamed, so that a kill at
 * any moment leaves either no cluster or a whole one.
 * @param account who will run the server, if not ourselves
 * @throws StartupError when the disk is full or `initdb` fails for another reason.
 */
export async function createCluster(folder: DataFolder, binaries: Binaries, account?: Account): Promise<void> {
  let unfinished: string | undefined;
  try {
    unfinished = mkdtempSync(join(folder.path, unfinishedPrefix));
    const cluster = join(unfinished, "cluster");
    const password = join(unfinished, passwordFile);
    mkdirSync(cluster, { mode: 0o700 });
    writeFileSync(password, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600, flush: true });
    const initAccount = account && accountForInitdb(account);
    if (initAccount)
      for (const path of [unfinished, cluster, password]) lchownSync(path, initAccount.uid, initAccount.gid);
    await runInitdb(binaries, cluster, folder, initAccount);
    if (account && account.uid !== initAccount?.uid) chownTree(cluster, account);
    if (account) lchownSync(password, folder.owner.uid, folder.owner.gid);
    renameSync(password, join(cluster, passwordFile));
    flushFolder(cluster);
    // An empty folder in its place would be in the way of the rename on Windows.
    rmSync(clusterPathIn(folder), { recursive: true, force: true });
    renameSync(cluster, clusterPathIn(folder));
    flushFolder(folder.path);
  } catch (error) {
    throw folderFault(error, folder.name);
  } finally {
    if (unfinished) removeBestEffort(unfinished);
  }
}

async function runInitdb(binaries: Binaries, cluster: string, folder: DataFolder, account?: Account): Promise<void> {
  const initdb = spawnInitdb(binaries, cluster, account);
  const endWithUs = (): void => {
    for (const pid of [...programsIn(cluster), initdb.pid]) killIfAlive(pid);
  };
  process.on("exit", endWithUs);
  const [output, status] = await Promise.all([initdb.stderr.text(), initdb.exited]);
  process.off("exit", endWithUs);
  if (status === 0) return;
  if (/No space left on device|Disk quota exceeded/.test(output)) throw diskFull(folder.name);
  if (output.includes("could not look up effective user ID")) {
    throw new StartupError(
      `PostgreSQL needs the user who starts Conduit to have an entry in /etc/passwd, and number ${process.getuid?.()} has none. ` +
        "Add one, start Conduit as another user, or set DATABASE_URL.",
    );
  }
  throw new StartupError(
    `The database in ${folder.name} could not be created: ${lastTelling(output) || `initdb ended with ${initdb.signalCode ?? status}`}`,
  );
}

function spawnInitdb(binaries: Binaries, cluster: string, account?: Account) {
  const command = [
    binaries.initdb,
    // Behind a folder that only root may enter, this link is the one way for another user to name its own folder.
    `--pgdata=${account ? "/proc/self/cwd" : cluster}`,
    "--username=postgres",
    `--pwfile=${join("..", passwordFile)}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    // The order of the built-in provider never changes; that of the C library does with its version, which breaks indexes.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--data-checksums",
    // To be known again, should it outlive us.
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
    throw programFault(error, binaries.initdb);
  }
}

/** Gives a cluster that is root's own, such as one from a backup, to the user who is to run it. */
export function adoptCluster(folder: DataFolder, account: Account | undefined): void {
  const cluster = clusterPathIn(folder);
  if (account === undefined || lstatSync(cluster).uid !== 0) return;
  chownTree(cluster, account);
  lchownSync(join(cluster, passwordFile), folder.owner.uid, folder.owner.gid);
  chmodSync(cluster, 0o700);
}

/** A rename survives a power failure only once the folder itself is on the disk. Windows has no such call. */
function flushFolder(path: string): void {
  if (process.platform === "win32") return;
  const handle = openSync(path, "r");
  fsyncSync(handle);
  closeSync(handle);
}

/** @throws StartupError when the password file of the cluster is missing or not ours to read. */
export function readPassword(folder: DataFolder): string {
  const path = join(clusterPathIn(folder), passwordFile);
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new StartupError(
      `The database password in ${path} cannot be read (${errorCode(error)}). Restore the file from a backup of the data folder, ` +
        "or start Conduit as the user who created it.",
    );
  }
}
