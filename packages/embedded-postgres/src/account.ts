import { lchownSync, lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { StartupError } from "../../../src/config/startup-error.ts";
import type { DataFolder } from "./folder.ts";

/** A user and a group of the operating system, by number. */
export type Account = { readonly uid: number; readonly gid: number };

/**
 * The user that PostgreSQL runs as when root starts Conduit. It has no entry in /etc/passwd, so that no other
 * service shares it (`nobody` is shared by many) and nobody but root may read the data or enter the socket. Below
 * 65536, because containers with user namespaces often map no more.
 */
const dedicatedUid = 65_432;

/**
 * Who PostgreSQL runs as: ourselves (`undefined`), or, since it refuses to run as root, the owner of the data when
 * that is an ordinary user, else a user of its own.
 * @throws StartupError when the cluster belongs to another user and we are not root.
 */
export function accountForServer(folder: DataFolder, clusterPath: string): Account | undefined {
  const ourUid = process.getuid?.();
  if (ourUid === undefined) return undefined;
  const cluster = lstatSync(clusterPath, { throwIfNoEntry: false });
  if (ourUid !== 0) {
    if (cluster === undefined || cluster.uid === ourUid) return undefined;
    throw new StartupError(
      `The database in ${folder.name} belongs to another user (number ${cluster.uid}; we are ${ourUid}). ` +
        "Start Conduit as the user who created it (root, if root did), or set DATA_DIR to another folder.",
    );
  }
  requireRootsPowers();
  if (cluster !== undefined && cluster.uid !== 0) return { uid: cluster.uid, gid: cluster.gid };
  if (folder.owner.uid !== 0) return folder.owner;
  const uid = unnamedUid();
  return { uid, gid: uid };
}

/** A container may have a root that cannot do what it takes to run something as another user. */
function requireRootsPowers(): void {
  // linux/capability.h
  const needed = { CAP_CHOWN: 0, CAP_DAC_OVERRIDE: 1, CAP_KILL: 5, CAP_SETGID: 6, CAP_SETUID: 7 };
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText("/proc/self/status"))?.[1];
  if (effective === undefined) return;
  const missing = Object.entries(needed).filter(([, bit]) => ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 0n);
  if (missing.length === 0) return;
  throw new StartupError(
    `PostgreSQL does not run as root, and this root may not run it as another user (it lacks ${missing.map(([name]) => name).join(", ")}). ` +
      "Start Conduit as an ordinary user, or set DATABASE_URL.",
  );
}

function unnamedUid(): number {
  const named = new Set(passwdEntries().map((entry) => entry.uid));
  for (let uid = dedicatedUid; uid > dedicatedUid - 100; uid--) {
    if (!named.has(uid) && isMapped(uid)) return uid;
  }
  throw new StartupError(
    `PostgreSQL does not run as root, and this container has no user number ${dedicatedUid} to run it as. ` +
      "Start Conduit as an ordinary user, or set DATABASE_URL.",
  );
}

/** Whether the user namespace knows a number (user_namespaces(7)): each line is a range: first inside, first outside, length. */
function isMapped(uid: number): boolean {
  const ranges = [...readText("/proc/self/uid_map").matchAll(/^\s*(\d+)\s+\d+\s+(\d+)$/gm)];
  return (
    ranges.length === 0 ||
    ranges.some(([, first, length]) => uid >= Number(first) && uid < Number(first) + Number(length))
  );
}

/**
 * Who runs `initdb`, which wants an entry in /etc/passwd: the server's own user if it has one, else one that has no
 * process at this moment which could look over its shoulder, `nobody` before others.
 */
export function accountForInitdb(server: Account): Account {
  const entries = passwdEntries();
  if (entries.some((entry) => entry.uid === server.uid)) return server;
  const busy = uidsWithProcesses();
  const candidates = entries.filter((entry) => entry.uid > 0);
  const idle = candidates.filter((entry) => !busy.has(entry.uid));
  const chosen = idle.find((entry) => entry.name === "nobody") ?? idle[0] ?? candidates[0];
  if (chosen === undefined) {
    throw new StartupError(
      "PostgreSQL does not run as root, and /etc/passwd names no other user. Start Conduit as an ordinary user, or set DATABASE_URL.",
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

/** The text of a file, or "" where there is none such. */
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

/** Numbers of all processes that /proc shows; empty where there is no /proc (macOS, Windows). */
export function processIds(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** Gives a whole tree to a user. Symbolic links are changed, not followed. */
export function chownTree(path: string, account: Account): void {
  lchownSync(path, account.uid, account.gid);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) chownTree(child, account);
    else lchownSync(child, account.uid, account.gid);
  }
}
