import type { Database, Queries } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { read, write } from "../../db/statements.ts";
import { clearRateLimit } from "./rate-limits.ts";

// The networks from which a user has had a session in the last 30 days.

/** Notes that a user has a session in a network: `networkKeyOf`. */
export async function rememberNetwork(tx: Queries, userId: string, network: string): Promise<void> {
  await tx.rows(NETWORK_REMEMBER, [userId, network]);
}

const NETWORK_REMEMBER = write(
  "known_network_remember",
  `insert into known_networks (user_id, network) values ($1::bigint, $2)
   on conflict (user_id, network) do update set last_used_at = now()`,
);

/**
 * Whose attempts to sign in are counted together. Those from a network that the account knows are counted for that network
 * alone, so that an attacker elsewhere cannot lock the owner out. All others are counted for the account.
 * @param knownNetwork null if the account does not know it
 */
export const loginAttempts = (emailKey: string, knownNetwork: string | null): string =>
  knownNetwork === null ? emailKey : `${emailKey} from ${knownNetwork}`;

/** Forgets all attempts to sign in to an account: its owner has proved to be that by email. */
export async function clearLoginAttempts(tx: Queries, userId: string, emailKey: string): Promise<void> {
  const networks = await tx.rows(NETWORKS, [userId]);
  for (const network of [null, ...networks.map((row) => row.network)]) {
    await clearRateLimit(tx, "login", loginAttempts(emailKey, network));
  }
}

const NETWORKS = read<{ network: string }>(
  "known_networks",
  "select network from known_networks where user_id = $1::bigint order by last_used_at desc limit 100",
);

/** Removes networks that a user has had no session from for 30 days, at most 10,000. Returns how many. */
export async function purgeKnownNetworks(db: Database): Promise<number> {
  return (await db.row(NETWORKS_PURGE, []))?.purged ?? 0;
}

const NETWORKS_PURGE = write<{ purged: number }>(
  "known_networks_purge",
  `with purged as (
     delete from known_networks where (user_id, network) in (
       select user_id, network from known_networks where last_used_at < now() - interval '30 days'
        order by last_used_at limit ${PURGE_BATCH} for update skip locked)
     returning user_id)
   select count(*)::integer as purged from purged`,
);
