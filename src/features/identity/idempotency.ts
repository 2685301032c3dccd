import { createHash } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { sqlState } from "../../db/errors.ts";
import type { Database, Queries } from "../../db/pool.ts";
import { PURGE_BATCH } from "../../db/purge.ts";
import { read, textArray, write } from "../../db/statements.ts";
import { ApiError, invalid } from "../../http/errors.ts";
import { describeGuard } from "../../http/openapi.ts";
import { json, jsonText } from "../../http/validation.ts";
import type { Memory } from "../../memory/memory.ts";
import { type CurrentSession, currentUser, sessionEnded, sessionParameters } from "./current-session.ts";

const HEADER = "Idempotency-Key";

/** How long a response is kept. */
const KEPT = "interval '24 hours'";
/** What is kept for a user, besides the newest response. The oldest goes first. Bytes are those of the JSON. */
const KEYS_MAX = 1_000;
const BYTES_MAX = 16 * 1024 * 1024;
/** How long a request waits for another one with the same key. */
const WAIT_MS = 2_000;

/** Behind `idempotencyKey`, a route has the key of the request, or undefined. */
export type WithKey = { Variables: { idempotencyKey: string | undefined } };

/** What a request has created, and the topics that this has changed. */
type Created = { readonly value: object; readonly changed: readonly string[] };

/** Guard for routes that create something: reads `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header). Throws 400. */
export const idempotencyKey: MiddlewareHandler<WithKey> = (c, next) => {
  const header = c.req.header(HEADER);
  c.set("idempotencyKey", header === undefined ? undefined : keyIn(header));
  return next();
};
describeGuard(idempotencyKey, {
  headers: {
    [HEADER]: {
      description:
        "A random text of your choice, such as a UUID. If you repeat the request with the same key within 24 hours, nothing is created again, and you get the same response, with `Idempotent-Replayed: true`. A key belongs to your account. Under the key of another request, the status is 422.",
      pattern: String.raw`^("[ !#-\[\]-~]{1,255}"|[!#-+\--:<-\[\]-~]{1,255})$`,
    },
  },
  errors: ["conflict", "invalid"],
});

/** RFC 9651, 3.3.3: a string. Many clients leave out the quotation marks. */
function keyIn(header: string): string {
  const [, quoted, plain] = /^(?:"((?:[ !#-[\]-~]|\\["\\])+)"|([!#-+\--:<-[\]-~]+))$/.exec(header.trim()) ?? [];
  const key = quoted?.replace(/\\(.)/g, "$1") ?? plain;
  if (key === undefined || key.length > 255) {
    throw new ApiError("bad_request", { [HEADER]: ["must have 1 to 255 ASCII characters in quotation marks"] });
  }
  return key;
}

/**
 * Responds with what `create` has created, 201. With a key, it is created once, and the response is the same each time. For
 * routes behind `requireUser`, `idempotencyKey` and `body`.
 * @param create gets what runs its statements; it must change nothing but the database
 */
export async function respondOnce(
  c: Context,
  { db, memory }: { db: Database; memory: Memory },
  create: (queries: Queries) => Promise<Created>,
): Promise<Response> {
  const key: string | undefined = c.get("idempotencyKey");
  if (key === undefined) {
    const { value, changed } = await create(db);
    await memory.changed(changed);
    return json(c, value, 201);
  }
  const session: CurrentSession = { userId: c.get("userId"), sessionId: c.get("sessionId") };
  const request = [c.req.path, c.get("body")];
  const { text, changed, isReplayed } = await createOnce(db, session, key, request, create);
  await memory.changed(changed);
  if (isReplayed) c.header("Idempotent-Replayed", "true");
  return jsonText(c, text, undefined, 201);
}

/** The JSON of what a request has created, now or when it was sent for the first time. */
type CreatedOnce = { readonly text: string; readonly changed: readonly string[]; readonly isReplayed: boolean };

/**
 * Creates something in a transaction that also keeps the result under a key, or returns what was kept. So after a crash either
 * both exist or neither does. An error of `create` is not kept. Throws what `create` throws, 401, 409 if another request with
 * this key takes too long, and 422 if the key belongs to another request.
 * @param request what the request asks for
 */
export function createOnce(
  db: Database,
  session: CurrentSession,
  key: string,
  request: unknown,
  create: (queries: Queries) => Promise<Created>,
): Promise<CreatedOnce> {
  const { userId } = session;
  const requestHash = createHash("sha256").update(JSON.stringify(request)).digest("hex");
  return db.transaction(async (tx) => {
    if (!(await claimKey(tx, session, key, requestHash))) {
      const kept = await tx.row(KEY_FIND, [userId, key, requestHash]);
      if (!kept?.isSame) throw invalid({ [HEADER]: ["was used for another request"] });
      return { text: kept.response, changed: kept.changed, isReplayed: true };
    }
    // First, as what `create` locks is better locked for a short time.
    await tx.rows(KEYS_FORGET, [userId, key]);
    const { value, changed } = await create(tx);
    const text = JSON.stringify(value);
    await tx.rows(KEY_KEEP, { userId, key, response: text, changed: textArray(changed) });
    return { text, changed, isReplayed: false };
  });
}

/** Returns whether the key is new. Waits for another transaction that has claimed it. Throws 401, 409. */
async function claimKey(tx: Queries, session: CurrentSession, key: string, requestHash: string): Promise<boolean> {
  try {
    const parameters = { ...sessionParameters(session), key, requestHash, waitMs: String(WAIT_MS) };
    const claim = await tx.row(KEY_CLAIM, parameters);
    if (claim?.viewer == null) throw sessionEnded();
    return claim.isNew;
  } catch (error) {
    // lock_not_available
    if (sqlState(error) !== "55P03") throw error;
    const problem = "belongs to a request that is in flight, try again in a second";
    throw new ApiError("conflict", { [HEADER]: [problem] }, { "Retry-After": "1" });
  }
}

// The lock on the user comes first, as the deletion of a user locks it before the keys. A row that is neither inserted nor
// updated stays locked, so it is there for the next statement.
const KEY_CLAIM = write<{ viewer: string | null; isNew: boolean }>(
  "idempotency_key_claim",
  `with viewer as materialized (${currentUser("id", "for key share")}),
        claimed as (
          insert into idempotency_keys as k (user_id, key, request_hash)
          select id, :key, decode(:requestHash, 'hex') from viewer where set_config('lock_timeout', :waitMs, true) <> ''
          on conflict (user_id, key) do update
             set request_hash = excluded.request_hash, response = default, changed = default, created_at = default
           where k.created_at <= now() - ${KEPT}
          returning user_id)
   select v.id as viewer, c.user_id is not null as "isNew"
     from (select) as one left join viewer v on true left join claimed c on true`,
);

const KEY_FIND = read<{ isSame: boolean; response: string; changed: string[] }>(
  "idempotency_key_find",
  `select request_hash = decode($3, 'hex') as "isSame", response, changed
     from idempotency_keys where user_id = $1::bigint and key = $2`,
);

// Rows that another request holds are skipped: two of these statements do not wait for each other.
const KEYS_FORGET = write(
  "idempotency_keys_forget",
  `delete from idempotency_keys where user_id = $1::bigint and key in (
     select k.key
       from idempotency_keys k join (
              select key, row_number() over newest as place, sum(octet_length(response)) over newest as bytes
                from idempotency_keys where user_id = $1::bigint
              window newest as (order by created_at desc, key)) n on n.key = k.key
      where k.user_id = $1::bigint and k.key <> $2 and (n.place > ${KEYS_MAX} or n.bytes > ${BYTES_MAX})
        for update of k skip locked)`,
);

const KEY_KEEP = write(
  "idempotency_key_keep",
  `update idempotency_keys set response = :response, changed = :changed::text[]
    where user_id = :userId::bigint and key = :key`,
);

/** A response may have megabytes, so fewer rows than `PURGE_BATCH` fit into a statement timeout. */
const ROWS_PER_PURGE = 500;

/** Removes keys that are older than a day, about 10,000 at most. Returns how many. */
export async function purgeIdempotencyKeys(db: Database): Promise<number> {
  let purged = 0;
  for (let rows = ROWS_PER_PURGE; rows === ROWS_PER_PURGE && purged < PURGE_BATCH; purged += rows) {
    rows = (await db.row(KEYS_PURGE, []))?.purged ?? 0;
  }
  return purged;
}

// Rows that a request is claiming at the moment are skipped.
const KEYS_PURGE = write<{ purged: number }>(
  "idempotency_keys_purge",
  `with purged as (
     delete from idempotency_keys where (user_id, key) in (
       select user_id, key from idempotency_keys where created_at <= now() - ${KEPT}
        order by created_at limit ${ROWS_PER_PURGE} for update skip locked)
     returning key)
   select count(*)::integer as purged from purged`,
);
