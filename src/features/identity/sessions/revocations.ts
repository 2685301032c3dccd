import type { Subscriber } from "../../../db/listener.ts";
import type { Database } from "../../../db/pool.ts";
import { read } from "../../../db/statements.ts";
import type { Log } from "../../../observability/log.ts";
import type { TokenClaims } from "../tokens.ts";

/** A revoked session, and when its last access token expires, in seconds since 1970. */
export type Revocation = { readonly id: string; readonly expires_at_s: number };

/** The revoked sessions with access tokens that have not expired. In memory, because every request needs it. */
export type Revocations = {
  /** Whether a token is of a revoked session, or older than the data: issued before they were restored from a backup. */
  isRevoked(token: Pick<TokenClaims, "sid" | "iat">): boolean;
  add(revoked: readonly Revocation[]): void;
  /** Revokes all tokens from before a time, in seconds since 1970. */
  addBefore(timeS: number): void;
  /** Removes those whose tokens have expired. */
  sweep(): void;
};

/** Tokens expire by the clock of this machine, rows by that of the database. */
const CLOCK_DIFFERENCE_MAX_S = 300;

export function createRevocations(): Revocations {
  const expiresAtS = new Map<string, number>();
  let beforeS = 0;
  return {
    isRevoked: ({ sid, iat }) => iat < beforeS || expiresAtS.has(sid),
    add(revoked) {
      for (const { id, expires_at_s } of revoked) expiresAtS.set(id, expires_at_s);
    },
    addBefore(timeS) {
      beforeS = Math.max(beforeS, timeS);
    },
    sweep() {
      const nowS = Date.now() / 1000;
      for (const [id, expiry] of expiresAtS) if (expiry + CLOCK_DIFFERENCE_MAX_S < nowS) expiresAtS.delete(id);
    },
  };
}

/** How often the table is read in any case, and what has expired is forgotten. */
const REFRESH_MS = 60_000;

/**
 * Adds the revocations of all instances to those of this one: `refresh` reads them, and then PostgreSQL's notifications
 * report them. The table is read again after each new connection, at every beat while the connection is silent, and once a
 * minute.
 */
export function followRevocations(
  db: Database,
  log: Log,
  revocations: Revocations,
  refreshMs = REFRESH_MS,
): Subscriber & { refresh(): Promise<void> } {
  // By the database's clock, with an overlap of a minute: a transaction becomes visible after its now().
  let readUpTo: string | null = null;
  let refreshedAt = performance.now();

  async function refresh(): Promise<void> {
    refreshedAt = performance.now();
    // In a transaction, the primary runs it: the clock of a standby may differ.
    const rows = await db.transaction((tx) => tx.rows(REVOKED_SINCE, [readUpTo]));
    revocations.add(rows.flatMap(({ id, expires_at_s }) => (id === null ? [] : [{ id, expires_at_s }])));
    const [first] = rows;
    readUpTo = first?.read_at ?? readUpTo;
    revocations.addBefore(first?.restored_at_s ?? 0);
    revocations.sweep();
  }
  const refreshOrWarn = () =>
    refresh().catch((error) => log.warn({ err: error }, "cannot read the revoked sessions; will try again"));

  return {
    refresh,
    channel: "conduit_session_revoked",
    hear(payload) {
      const [id, expiresAtS] = payload.split(" ");
      if (id !== undefined && expiresAtS !== undefined) revocations.add([{ id, expires_at_s: Number(expiresAtS) }]);
    },
    onConnected: () => void refreshOrWarn(),
    async onBeat(isSilent) {
      if (isSilent || performance.now() - refreshedAt >= refreshMs) await refreshOrWarn();
    },
  };
}

// At least one row, for the times.
const REVOKED_SINCE = read<{ id: string | null; expires_at_s: number; read_at: string; restored_at_s: number | null }>(
  "sessions_revoked_since",
  `select s.id, ceil(extract(epoch from s.access_expires_at))::float8 as expires_at_s,
          (now() - interval '1 minute')::text as read_at,
          (select extract(epoch from max(restored_at))::float8 from restores) as restored_at_s
     from (select) as one
     left join sessions s
       on s.revoked_at >= coalesce($1::timestamptz, '-infinity') and s.access_expires_at > now() - interval '5 minutes'`,
);
