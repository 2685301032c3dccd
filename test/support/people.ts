import { createTokens } from "../../src/features/identity/tokens.ts";
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
        select ${username}, ${sameKey(username)}, ${skeletonOf(username)}, ${email}, ${sameKey(email)}, password_hash
          from users where username = ${registered.username}
        returning id`;
      return { ...registered, username, email, token: tokens.issue(row.id, crypto.randomUUID()) };
    }),
  );
}

/** A user whose account was deleted, with a token that was valid before. */
export async function goneUser(server: TestServer, registered: TestUser, name: string): Promise<TestUser> {
  const [user] = (await addUsers(server, registered, [name])) as [TestUser];
  await server.sql`delete from users where username = ${name}`;
  return user;
}
