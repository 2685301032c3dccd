import { loadEmail } from "../src/seed/load.ts";
import { SEED_PASSWORD } from "../src/seed/seed.ts";

/** Signs in users of the load-test data set. Returns their tokens by username. */
export async function signIn(url: string, usernames: readonly string[]): Promise<Map<string, string>> {
  const tokens = new Map<string, string>();
  for (const username of usernames) {
    const response = await fetch(`${url}/api/users/login`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: { email: loadEmail(username), password: SEED_PASSWORD } }),
    });
    if (!response.ok) throw new Error(`${username} cannot sign in: ${response.status} ${await response.text()}`);
    tokens.set(username, ((await response.json()) as { user: { token: string } }).user.token);
  }
  return tokens;
}
