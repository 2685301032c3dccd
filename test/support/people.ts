import { createTokens } from "../../src/features/identity/tokens.ts";
import { emailKeyOf } from "../../src/features/identity/users/emails.ts";
import { skeletonOf } from "../../src/features/identity/users/names.ts";
import { sameKey } from "../../src/features/identity/users/rules.ts";
import { JWT_SECRET, type TestServer, type TestUser } from "./harness.ts";

const tokens = createTokens(JWT_SECRET, 3600);

/**
 * Adds users by SQL, with the password of a registered user, so that many users need no hashing.
 * @param names usernames, new to this server
 */
export async function addUsers(server: TestServer, registered: TestUser, names: string[]): Promise<TestUser[]> {
  return Promise.all(
    names.map(async (username) => {
      const email = `${username.toLowerCase()}@example.com`;
      const [row] = await server.sql`
        insert into users (username, username_key, username_skeleton, email, email_key, password_hash)
        select ${username}, ${sameKey(username)}, ${skeletonOf(username)}, ${email}, ${emailKeyOf(email)}, password_hash
          from users where username = ${registered.username}
        returning id`;
      return { ...registered, username, email, token: tokens.issue(row.id, await addSession(server, row.id)) };
    }),
  );
}

/** A session, written by SQL. Returns its id. */
export async function addSession({ sql }: Pick<TestServer, "sql">, userId: string): Promise<string> {
  const [row] = await sql`
    insert into sessions (user_id, device, family_hash, current_hash, access_expires_at, expires_at)
    select ${userId}, 'a test', sha256(secret), sha256(secret), now() + interval '1 day', now() + interval '1 day'
      from (select gen_random_uuid()::text::bytea as secret)
    returning id`;
  return row.id;
}

/** A user whose account was deleted, with a token that was valid before. */
export async function goneUser(server: TestServer, registered: TestUser, name: string): Promise<TestUser> {
  const [user] = (await addUsers(server, registered, [name])) as [TestUser];
  await server.sql`delete from users where username = ${name}`;
  return user;
}
