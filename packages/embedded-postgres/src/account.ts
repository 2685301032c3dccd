import { lchownSync, lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { EmbeddedPostgresError } from "./errors.ts";
import { processIds } from "./process.ts";

/** A user and a group of the operating system, by number. */
export type Account = { readonly uid: number; readonly gid: number };

/**
 * The user that runs PostgreSQL when root starts the application. It has no entry in /etc/passwd, so no other service
 * uses it (many share `nobody`), and only root and PostgreSQL can read the data or open the socket. It is below 65536
 * because containers with user namespaces often map no more than that.
 */
const dedicatedUid = 65_432;

/**
 * Decides who runs PostgreSQL, which refuses to run as root.
 * @returns undefined for the current user. For root: the owner of the cluster or of the data folder if that is an
 *   ordinary user, otherwise a dedicated user.
 * @throws EmbeddedPostgresError if the cluster belongs to another user and the current user is not root.
 */
export function accountForServer(
  folder: { readonly name: string; readonly owner: Account },
  clusterPath: string,
): Account | undefined {
  const currentUid = process.getuid?.();
  if (currentUid === undefined) return undefined;
  const cluster = lstatSync(clusterPath, { throwIfNoEntry: false });
  if (cluster?.isSymbolicLink()) {
    throw new EmbeddedPostgresError(
      "folder-unusable",
      `${clusterPath} is a symbolic link. Use the folder above the one that it leads to as data folder.`,
    );
  }
  if (currentUid !== 0) {
    if (cluster === undefined || cluster.uid === currentUid) return undefined;
    throw new EmbeddedPostgresError(
      "folder-unusable",
      `The database in ${folder.name} belongs to another user (number ${cluster.uid}; the current user is ${currentUid}). ` +
        "Start the application as the user who created the database (root, if root did), or use another data folder.",
    );
  }
  requireCapabilities();
  if (cluster !== undefined && cluster.uid !== 0) return { uid: cluster.uid, gid: cluster.gid };
  if (folder.owner.uid !== 0) return folder.owner;
  const uid = unnamedUid();
  return { uid, gid: uid };
}

/** In a container, root may lack what it takes to run a program as another user. */
function requireCapabilities(): void {
  // linux/capability.h
  const required = { CAP_CHOWN: 0, CAP_DAC_OVERRIDE: 1, CAP_KILL: 5, CAP_SETGID: 6, CAP_SETUID: 7 };
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText("/proc/self/status"))?.[1];
  if (effective === undefined) return;
  const missing = Object.entries(required).filter(([, bit]) => ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 0n);
  if (missing.length === 0) return;
  throw new EmbeddedPostgresError(
    "cannot-run",
    `PostgreSQL does not run as root, and this root cannot run it as another user (it lacks ${missing.map(([name]) => name).join(", ")}). ` +
      "Start the application as an ordinary user.",
  );
}

function unnamedUid(): number {
  const named = new Set(passwdEntries().map((entry) => entry.uid));
  for (let uid = dedicatedUid; uid > dedicatedUid - 100; uid--) {
    if (!named.has(uid) && isMapped(uid)) return uid;
  }
  throw new EmbeddedPostgresError(
    "cannot-run",
    `PostgreSQL does not run as root, and this container has no user number ${dedicatedUid} to run it as. ` +
      "Start the application as an ordinary user.",
  );
}

/** Whether the user namespace has a number. Each line is a range: first inside, first outside, length (user_namespaces(7)). */
function isMapped(uid: number): boolean {
  const ranges = [...readText("/proc/self/uid_map").matchAll(/^\s*(\d+)\s+\d+\s+(\d+)$/gm)];
  return (
    ranges.length === 0 ||
    ranges.some(([, first, length]) => uid >= Number(first) && uid < Number(first) + Number(length))
  );
}

/**
 * Decides who runs `initdb`, which requires an entry in /etc/passwd: the server's user if it has one, otherwise a user
 * without running processes, which could read the files meanwhile. Prefers `nobody`.
 */
export function accountForInitdb(server: Account): Account {
  const entries = passwdEntries();
  if (entries.some((entry) => entry.uid === server.uid)) return server;
  const busy = uidsWithProcesses();
  const candidates = entries.filter((entry) => entry.uid > 0);
  const idle = candidates.filter((entry) => !busy.has(entry.uid));
  const chosen = idle.find((entry) => entry.name === "nobody") ?? idle[0] ?? candidates[0];
  if (chosen === undefined) {
    throw new EmbeddedPostgresError(
      "cannot-run",
      "PostgreSQL does not run as root, and /etc/passwd has no other user. Start the application as an ordinary user.",
    );
  }
  return { uid: chosen.uid, gid: chosen.gid };
}

function passwdEntries(): { name: string; uid: number; gid: number }[] {
  const lines = readText("/etc/passwd").split("\n");
  return lines.flatMap((line) => {
    const [name, , uid, gid] = line.split(":");
    return name && uid && gid && /^\d+$/.test(uid) && /^\d+$/.test(gid)
      ? [{ name, uid: Number(uid), gid: Number(gid) }]
      : [];
  });
}

/** The text of a file, or "" if it cannot be read. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function uidsWithProcesses(): Set<number> {
  return new Set(processIds().map((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid ?? -1));
}

/** Changes the owner of a folder and everything in it. Changes symbolic links themselves and does not follow them. */
export function chownTree(path: string, account: Account): void {
  lchownSync(path, account.uid, account.gid);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) chownTree(child, account);
    else lchownSync(child, account.uid, account.gid);
  }
}
