import { write } from "../../db/statements.ts";

/*
 * What a restore ends, because it was perhaps ended after the backup was taken: sessions, and links in mails that change a
 * password or an address. A link that undoes a change of the address stays. It is the way back for an owner whose account a
 * thief had when the backup was taken, and it works no longer than it would have without the restore.
 */

const SESSIONS_FORGET = write("restored_sessions_forget", "delete from sessions");

const LINKS_END = write(
  "restored_links_end",
  "update email_links set ended_at = now() where purpose <> 'undo' and used_at is null and ended_at is null",
);

/**
 * Ends the access tokens from before, also those of sessions that the backup does not know: see `followRevocations`. Tokens
 * have whole seconds, so this waits for the next one: the first new token is not older than the restore.
 */
const RESTORE_NOTE = write(
  "restore_note",
  `insert into restores (restored_at) values (date_trunc('second', clock_timestamp()) + interval '1 second')
   returning pg_sleep(extract(epoch from restored_at - clock_timestamp()))`,
);

/** For `restoreBackup`. */
export const AFTER_RESTORE = [SESSIONS_FORGET, LINKS_END, RESTORE_NOTE];
