import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRevocations, followRevocations } from "../../../src/features/identity/sessions/revocations.ts";
import { linkHash } from "../../../src/mail/links.ts";
import { backUp, restoreInto } from "../../support/backup.ts";
import { type TestServer, type TestUser, testDatabase, testServer } from "../../support/harness.ts";
import { identityRequests } from "../../support/identity.ts";

// A backup of one server, restored as another one that has the same JWT_SECRET.

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const PURPOSES = ["verify", "reset", "undo"] as const;
const linkToken = (purpose: string) => purpose.padEnd(43, "x");

let folder: string;
let restored: TestServer;
let api: ReturnType<typeof identityRequests>;
let signedIn: TestUser;
let signedOut: TestUser;
/** Registered after the backup, with an id that the restored data give to somebody else. */
let late: TestUser;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "conduit-restored-"));
  const original = await testServer();
  const before = identityRequests(original);
  signedIn = await before.newUser();
  signedOut = await before.newUser();
  for (const purpose of PURPOSES) {
    await original.sql`
      insert into email_links (token_hash, user_id, purpose, email, email_key, expires_at)
      select decode(${linkHash(linkToken(purpose))}, 'hex'), id, ${purpose}, email, email_key, now() + interval '1 hour'
        from users where username = ${signedOut.username}
      on conflict (user_id, purpose) where purpose <> 'undo' and used_at is null and ended_at is null
        do update set token_hash = excluded.token_hash`;
  }
  const file = join(folder, "it.backup");
  await backUp(original.address, file);
  await before.logOut(signedOut);
  late = await before.newUser();

  const address = await testDatabase();
  await restoreInto(address, file);
  const revocations = createRevocations();
  restored = await testServer({ address, revocations });
  await followRevocations(restored.db, SILENT, revocations).refresh();
  api = identityRequests(restored);
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each<[string, () => TestUser]>([
  ["was live when the backup was taken", () => signedIn],
  ["has ended since then", () => signedOut],
  ["has begun since then", () => late],
])("a session that %s is not valid in restored data", async (_when, userOf) => {
  const { token, refreshToken } = userOf();
  expect((await api.current(token)).status).toBe(401);
  expect((await restored.request("GET", "/api/articles", { token })).headers.get("www-authenticate")).toContain(
    "invalid_token",
  );
  expect((await restored.request("POST", "/api/profiles/user-1/follow", { token })).status).toBe(401);
  expect((await api.refresh(refreshToken)).status).toBe(401);
});

test("a user signs in again, and the first access token is valid at once", async () => {
  const login = await api.login(signedIn.email, signedIn.password);
  expect(login.status).toBe(200);
  expect((await api.current(login.json.user.token)).status).toBe(200);
  expect(await api.sessions(login.json.user.token)).toHaveLength(1);
  // Its id is that in the token of the user who registered after the backup.
  const { token } = await restored.register("heir");
  expect((await api.current(token)).json.user.username).toBe("heir");
});

test("a running server learns of a restore when it reads the revoked sessions", async () => {
  const revocations = createRevocations();
  const other = await testServer({ address: await testDatabase(), revocations });
  const { refresh } = followRevocations(other.db, SILENT, revocations);
  await refresh();
  const user = await other.register("ann");
  expect((await other.request("GET", "/api/user", { token: user.token })).status).toBe(200);
  await other.sql`insert into restores (restored_at) values (now() + interval '1 second')`;
  await refresh();
  expect((await other.request("GET", "/api/user", { token: user.token })).status).toBe(401);
});

test("links in mails that verify an address or reset a password have ended, and those that undo a change work", async () => {
  const statusOf = async (purpose: (typeof PURPOSES)[number]) => {
    const token = linkToken(purpose);
    if (purpose === "verify") return (await api.verify(token)).status;
    if (purpose === "reset") return (await api.reset(token)).status;
    return (await api.post("/api/auth/undo-email-change", { token, new_password: "a brand new horse" })).status;
  };
  expect(await Promise.all(PURPOSES.map(statusOf))).toEqual([410, 410, 200]);
});
