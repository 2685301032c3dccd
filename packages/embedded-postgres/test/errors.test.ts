import { expect, test } from "bun:test";
import { chownSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  copyPackage,
  folderWithDatabase,
  isLinux,
  isRoot,
  nativeFolder,
  newFolder,
  nobody,
  onCleanUp,
  setUpTests,
  start,
  startApp,
  startError,
  testAsNobody,
} from "./support.ts";

setUpTests();

test("the data folder is a file", async () => {
  const file = join(newFolder(), "file");
  writeFileSync(file, "");
  expect(await startError(file, "folder-unusable")).toContain("is not a folder");
  expect(await startError(join(file, "data"), "folder-unusable")).toContain("is not a folder");
});

test("the name of the data folder is too long", async () => {
  const message = await startError(join(newFolder(), "x".repeat(300)), "folder-unusable");
  expect(message).toContain("cannot be created: ENAMETOOLONG");
});

testAsNobody("the data folder belongs to another user", async () => {
  const folder = newFolder();
  const existing = await startApp(folder, { account: nobody }).until((line) => line.error !== undefined);
  expect(existing.code).toBe("folder-unusable");
  expect(existing.error).toContain(`${folder} is not writable`);
  const missing = startApp("/embedded-postgres-data", { account: nobody });
  expect((await missing.until((line) => line.error !== undefined)).error).toContain("is not writable");
});

testAsNobody("the database in the data folder belongs to another user", async () => {
  const folder = folderWithDatabase();
  for (const name of ["", "postgres.lock"]) chownSync(join(folder, name), nobody.uid, nobody.gid);
  const { code, error } = await startApp(folder, { account: nobody }).until((line) => line.error !== undefined);
  expect(code).toBe("folder-unusable");
  expect(error).toContain("belongs to another user");
});

test.skipIf(!canMount())("the disk is full or read-only", async () => {
  const folder = newFolder();
  mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder);
  onCleanUp(() => Bun.spawnSync(["umount", folder]));
  expect(await startError(folder, "disk-full")).toContain("is full");
  expect(readdirSync(folder)).toEqual(["postgres.lock"]);
  mount("-o", "remount,size=200m", folder);
  await (await start(folder)).stop();
  Bun.spawnSync(["dd", "if=/dev/zero", `of=${join(folder, "ballast")}`, "bs=1M"]);
  expect(await startError(folder, "disk-full")).toContain("is full");
  mount("-o", "remount,ro", folder);
  expect(await startError(folder, "folder-unusable")).toContain("read-only file system");
});

function canMount(): boolean {
  if (!isRoot || !isLinux) return false;
  const folder = mkdtempSync(join(tmpdir(), "embedded-postgres-mount-"));
  const isMounted = mount("-t", "tmpfs", "tmpfs", folder);
  if (isMounted) Bun.spawnSync(["umount", folder]);
  rmdirSync(folder);
  return isMounted;
}

function mount(...args: string[]): boolean {
  return Bun.spawnSync(["mount", ...args]).exitCode === 0;
}

test("another major version created the data, which stays untouched", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "postgres"));
  writeFileSync(join(folder, "postgres", "PG_VERSION"), "17\n");
  const message = await startError(folder, "incompatible-version");
  expect(message).toContain("created by PostgreSQL 17, and PostgreSQL 18 cannot read it");
  expect(message).toContain("pg_dump");
  expect(readdirSync(join(folder, "postgres"))).toEqual(["PG_VERSION"]);
});

test("the folder of the cluster contains something else, which stays untouched", async () => {
  const folder = newFolder();
  mkdirSync(join(folder, "postgres"));
  writeFileSync(join(folder, "postgres", "thesis.txt"), "");
  expect(await startError(folder, "folder-unusable")).toContain("is not a PostgreSQL data folder");
  expect(readdirSync(join(folder, "postgres"))).toEqual(["thesis.txt"]);
});

test("PostgreSQL cannot start: the message has its reason and the path of its log", async () => {
  const folder = folderWithDatabase();
  unlinkSync(join(folder, "postgres", "global", "pg_control"));
  const message = await startError(folder, "not-started");
  expect(message).toContain("pg_control");
  expect(message).toContain(join(folder, "postgres.log"));
});

test("a missing or wrong password of the application is replaced", async () => {
  const folder = folderWithDatabase();
  const file = join(folder, "postgres", "application.password");
  unlinkSync(file);
  await (await start(folder)).stop();
  writeFileSync(file, "it's wrong\n");
  const { sql, address } = await start(folder);
  expect(address.password).toBe("it's wrong");
  expect([...(await sql`select 1 as one`)]).toEqual([{ one: 1 }]);
});

test("both password files are missing", async () => {
  const folder = folderWithDatabase();
  for (const name of ["application", "postgres"]) unlinkSync(join(folder, "postgres", `${name}.password`));
  expect(await startError(folder, "not-started")).toContain("postgres.password cannot be read (ENOENT)");
});

test("both password files have another password", async () => {
  const folder = folderWithDatabase();
  for (const name of ["application", "postgres"])
    writeFileSync(join(folder, "postgres", `${name}.password`), "wrong\n");
  expect(await startError(folder, "not-started")).toContain("PostgreSQL runs but refuses the login");
});

test("the programs cannot run on this system", async () => {
  const root = newFolder();
  const from = copyPackage(root);
  // As on a system without the dynamic linker that the program needs.
  writeFileSync(join(nativeFolder(root), "bin", "initdb"), "#!/lib/ld-other.so\n");
  const { code, error } = await startApp(newFolder(), { from }).until((line) => line.error !== undefined);
  expect(code).toBe("cannot-run");
  expect(error).toContain("glibc");
});

test("npm did not install PostgreSQL", async () => {
  const from = copyPackage(newFolder(), () => false);
  const { code, error } = await startApp(newFolder(), { from }).until((line) => line.error !== undefined);
  expect(code).toBe("not-installed");
  expect(error).toContain("--omit=optional");
});
