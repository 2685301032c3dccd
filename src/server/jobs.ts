import type { DatabaseAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { purgeDeletedAddresses } from "../features/articles/addresses.ts";
import {
  purgeExcessRevisions,
  purgeOldRevisions,
  type RevisionLimits,
} from "../features/articles/revisions/queries.ts";
import { startIndexing } from "../features/articles/search/indexing.ts";
import { purgeEmailLinks, renewLink } from "../features/identity/email-links.ts";
import { purgeKnownNetworks } from "../features/identity/known-networks.ts";
import { completeReset } from "../features/identity/password-reset/queries.ts";
import { purgeRateLimits } from "../features/identity/rate-limits.ts";
import { purgeSessions } from "../features/identity/sessions/queries.ts";
import { userExists } from "../features/identity/users/queries.ts";
import { cleanUp, type Purge } from "../jobs/clean-up.ts";
import { purgeDeadJobs } from "../jobs/queue.ts";
import { startJobs, type TaskGroup } from "../jobs/runner.ts";
import { linkUrls, type OpenMail } from "../mail/open.ts";
import type { Mail } from "../mail/queue.ts";
import { type MailUsers, sendMail } from "../mail/send.ts";
import type { Log } from "../observability/log.ts";

/** Maximum number of mails sent at the same time. */
const MAILS_MAX = 5;

/** The background tasks. The features implement them; add a task here. */
export function taskGroups(mail: OpenMail, config: Config, db: Database, log: Log, serverUrl: string): TaskGroup[] {
  const general: TaskGroup = {
    tasks: [cleanUp(purges(db, config), log)],
    concurrency: 2,
    // Jobs for a time in the future start within a second of it.
    pollIntervalMs: 800,
  };
  if (mail.transport === null) return [general];
  const mails: TaskGroup = {
    tasks: [
      sendMail({
        log,
        links: mail.links,
        transport: mail.transport,
        users: mailUsers(mail, db),
        urls: linkUrls(config, serverUrl),
        domain: config.smtpFromEmail.replace(/^.*@/, ""),
      }),
    ],
    concurrency: MAILS_MAX,
    // Only retries have a time in the future.
    pollIntervalMs: 5_000,
  };
  return [general, mails];
}

export type PurgeOptions = RevisionLimits & Pick<Config, "deletedArticles">;

/** What the clean-up deletes, by name. */
export function purges(db: Database, config: PurgeOptions): Readonly<Record<string, Purge>> {
  return {
    "dead letters": () => purgeDeadJobs(db),
    sessions: () => purgeSessions(db),
    "known networks": () => purgeKnownNetworks(db),
    "email links": () => purgeEmailLinks(db),
    "rate limits": () => purgeRateLimits(db),
    "old revisions": () => purgeOldRevisions(db, config),
    "excess revisions": () => purgeExcessRevisions(db, config),
    ...(config.deletedArticles === 404 ? { "addresses of deleted articles": () => purgeDeletedAddresses(db) } : {}),
  };
}

export function mailUsers(mail: Pick<Mail, "newLink">, db: Database): MailUsers {
  return {
    exists: (userId) => userExists(db, userId),
    completeReset: (email) => completeReset(db, email, mail.newLink()),
    renewLink: (tokenHash) => renewLink(db, tokenHash),
  };
}

/**
 * Starts the background jobs of this server.
 * @param serverUrl the address it listens on, for links if `BASE_URL` is not set
 */
export async function startBackgroundJobs(
  mail: OpenMail,
  config: Config,
  address: DatabaseAddress,
  db: Database,
  log: Log,
  serverUrl: string,
): Promise<{ stop(): Promise<void> }> {
  const jobs = await startJobs({
    address,
    db,
    log,
    groups: taskGroups(mail, config, db, log, serverUrl),
    connectTimeoutMs: config.databaseConnectTimeoutMs,
    statementTimeoutMs: config.databaseStatementTimeoutMs,
  });
  const indexing = startIndexing(db, log);
  return {
    async stop() {
      await Promise.all([jobs.stop(config.shutdownTimeoutMs), indexing.stop(config.shutdownTimeoutMs)]);
      mail.transport?.close();
    },
  };
}
