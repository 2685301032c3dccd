import { SQL } from "bun";
import type { DatabaseAddress } from "../config/database-address.ts";
import { StartupError } from "../config/startup-error.ts";
import { connectionOptions } from "../db/pool.ts";
import { read } from "../db/statements.ts";
import { hashPassword } from "../features/identity/passwords.ts";
import { demonstrationParagraphs, insertDemonstration } from "./demonstration.ts";
import { insertLoadData, LOAD_USERS_MIN, type LoadSize, loadEmail, TABLES } from "./load.ts";

/** An account to sign in with. */
export type Login = { readonly email: string; readonly password: string };

/** The password of every account that a seed creates: they share one hash. */
export const SEED_PASSWORD = "conduit demonstration";

/**
 * The size from `--articles` and `--users`; undefined means the demonstration content.
 * @throws StartupError if one of them is not a valid number
 */
export function loadSize(flags: { articles?: string | undefined; users?: string | undefined }): LoadSize | undefined {
  if (flags.articles === undefined) {
    if (flags.users !== undefined)
      throw new StartupError("--users goes with --articles: --articles=20000 --users=1000");
    return undefined;
  }
  const articles = wholeNumber("articles", flags.articles, 100, 10_000_000);
  const users =
    flags.users === undefined
      ? Math.max(Math.round(articles / 10), LOAD_USERS_MIN)
      : wholeNumber("users", flags.users, LOAD_USERS_MIN, 10_000_000);
  return { articles, users };
}

function wholeNumber(flag: string, written: string, min: number, max: number): number {
  const value = Number(written);
  if (!/^[0-9]+$/.test(written) || value < min || value > max) {
    throw new StartupError(`--${flag} must be a whole number from ${min} to ${max}, not ${JSON.stringify(written)}`);
  }
  return value;
}

/**
 * Fills an empty, migrated database with demonstration content, or with a load-test data set of the given size. It is one
 * transaction: a seed that is interrupted leaves nothing behind.
 * @param site the address of the server, such as `https://conduit.example`, for pictures that it serves
 * @returns an account to sign in with
 * @throws StartupError if the database is not empty
 */
export async function seed(
  address: DatabaseAddress,
  size: LoadSize | undefined,
  onProgress: (message: string) => void,
  site = "http://localhost:3000",
): Promise<Login> {
  const sql = new SQL(
    connectionOptions(address, 1, {
      statement_timeout: "0",
      lock_timeout: "10s",
      jit: "off",
      // For sorts and hashes of some million rows, and for the indexes.
      work_mem: "256MB",
      maintenance_work_mem: "512MB",
    }),
  );
  try {
    const passwordHash = await hashPassword(SEED_PASSWORD, { address: null, isKnown: true });
    const email = await sql.begin(async (tx) => {
      // No registration and no other seed starts before this one has finished.
      await tx.unsafe("lock table users in share row exclusive mode");
      const [found] = (await tx.unsafe(IS_EMPTY.text)) as { empty: boolean }[];
      if (!found?.empty) throw notEmpty(address);
      if (size === undefined) return await insertDemonstration(tx, passwordHash, site);
      await insertLoadData(tx, size, { paragraphs: demonstrationParagraphs(), passwordHash }, onProgress);
      return loadEmail("reader_10");
    });
    // Index-only scans need the visibility map, and the planner its statistics, before autovacuum would run.
    onProgress("Vacuuming and analyzing …");
    await sql.unsafe(`vacuum (analyze) ${TABLES.join(", ")}`);
    return { email, password: SEED_PASSWORD };
  } finally {
    await sql.close({ timeout: 0 }).catch(() => {});
  }
}

// Everything else belongs to a user.
const IS_EMPTY = read<{ empty: boolean }>("seed_is_empty", "select not exists (select from users) as empty");

function notEmpty(address: DatabaseAddress): StartupError {
  const startOver =
    address.socketPath === undefined
      ? `drop and create the database "${address.database}"`
      : "move the data folder away (or choose another: --data-dir=./data-demo)";
  return new StartupError(
    `The database is not empty, so nothing was changed: seed needs an empty one. To start over, stop the server, ${startOver}, and run seed again.`,
  );
}
