import type { Database } from "../../db/pool.ts";
import { read } from "../../db/statements.ts";
import type { Loaded } from "../../memory/memory.ts";
import { topics } from "../../memory/topics.ts";

/** What memory holds of a signed-in reader, by the flags that it decides: ids of articles and of users. */
export type Reader = {
  readonly favorited: ReadonlySet<string>;
  readonly following: ReadonlySet<string>;
  /** Whether the account was deleted. */
  readonly isGone: boolean;
};

export type Flag = "favorited" | "following";

/** A reader with more favourites, or who follows more users, is not held in memory: it would take too long to read. */
const IDS_MAX = 500;

/** The reader with this id; `value` is null if there is too much to hold. */
export async function findReader(db: Database, userId: string): Promise<Loaded<Reader | null>> {
  const row = await db.row(READER, [userId, IDS_MAX + 1]);
  if (row === undefined) throw new Error("a statement of one row returned none");
  const [favorited, following] = [idsOf(row.favorited), idsOf(row.following)];
  const isHeld = favorited.length <= IDS_MAX && following.length <= IDS_MAX;
  return {
    value: isHeld ? { favorited: new Set(favorited), following: new Set(following), isGone: row.isGone } : null,
    topics: [topics.favorites(userId), topics.follows(userId)],
    bytes: isHeld ? (favorited.length + following.length) * ID_BYTES : 0,
  };
}

/** An id in a set. */
const ID_BYTES = 100;

const idsOf = (ids: string): string[] => (ids === "" ? [] : ids.split(" "));

// As one text each: the driver takes three times as long for an array.
const READER = read<{ favorited: string; following: string; isGone: boolean }>(
  "reader",
  `select coalesce((select string_agg(article_id::text, ' ')
                      from (select article_id from favorites where user_id = $1::bigint limit $2::bigint) f), '') as favorited,
          coalesce((select string_agg(followee_id::text, ' ')
                      from (select followee_id from follows where follower_id = $1::bigint limit $2::bigint) f), '') as following,
          not exists (select from users where id = $1::bigint) as "isGone"`,
);
