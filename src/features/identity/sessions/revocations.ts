import { SQL } from "bun";
import type { DatabaseAddress } from "../../../config/database-address.ts";
import { connectionOptions, type Database } from "../../../db/pool.ts";
import { read } from "../../../db/statements.ts";
import type { Log } from "../../../observability/log.ts";

/** A session that was revoked, and when its last access token ends, in seconds since 1970. */
export type Revocation = { readonly id: string; readonly until_s: number };

/** The revoked sessions whose access tokens have not all ended by themselves. In memory: asked at every request. */
export type Revocations = {
  has(sessionId: string): boolean;
  add(revoked: readonly Revocation[]): void;
  /** Forgets those whose tokens have ended. */
  sweep(): void;
};

/** Tokens end by our clock, rows by the database's. */
const CLOCKS_DIFFER_S = 300;

export function createRevocations(): Revocations {
  const untilS = new Map<string, number>();
  return {
    has: (sessionId) => untilS.has(sessionId),
    add(revoked) {
      for (const { id, until_s } of revoked) untilS.set(id, until_s);
    },
    sweep() {
      const nowS = Date.now() / 1000;
      for (const [id, until] of untilS) if (until + CLOCKS_DIFFER_S < nowS) untilS.delete(id);
    },
  };
}

/**
 * Keeps the revocations those of the whole database: read once, then by PostgreSQL's notifications, and read again
 * whenever the connection for these was lost, and every `rereadMs` besides, as a connection can be dead for minutes
 * before anybody notices. Resolves when they have been read.
 */
export async function followRevocations(
  address: DatabaseAddress,
  db: Database,
  log: Log,
  revocations: Revocations,
  rereadMs = 15_000,
): Promise<{ stop(): Promise<void> }> {
  // A connection of its own, outside the pools: it is never idle and never shared.
  const sql = new SQL(connectionOptions(address, 1, { application_name: "conduit listen" }));
  // The database's clock, not ours: asked for with a minute's overlap, as a transaction becomes visible after its now().
  let readUpTo: string | null = null;

  async function reread(): Promise<void> {
    const rows = await db.rows(REVOKED_SINCE, [readUpTo]);
    revocations.add(rows.flatMap(({ id, until_s }) => (id === null ? [] : [{ id, until_s }])));
    readUpTo = rows[0]?.read_at ?? readUpTo;
    revocations.sweep();
  }
  const rereadOrWarn = () =>
    reread().catch((error) => log.warn({ err: error }, "cannot read the revoked sessions; trying again"));

  const subscription = await sql.listen(
    "conduit_session_revoked",
    (payload) => {
      const [id, until] = payload.split(" ");
      if (id !== undefined) revocations.add([{ id, until_s: Number(until) }]);
    },
    // After each (re)connection. What was missed meanwhile is in the table.
    () => void rereadOrWarn(),
  );
  await reread();
  const timer = setInterval(rereadOrWarn, rereadMs);
  timer.unref();

  return {
    async stop() {
      clearInterval(timer);
      await subscription.unlisten().catch(() => {});
      await sql.close({ timeout: 0 });
    },
  };
}

// One row at least, for the time.
const REVOKED_SINCE = read<{ id: string | null; until_s: number; read_at: string }>(
  "sessions_revoked_since",
  `select s.id, ceil(extract(epoch from s.access_expires_at))::float8 as until_s,
          (now() - interval '1 minute')::text as read_at
     from (select) as one
     left join sessions s
       on s.revoked_at >= coalesce($1::timestamptz, '-infinity') and s.access_expires_at > now() - interval '5 minutes'`,
);
