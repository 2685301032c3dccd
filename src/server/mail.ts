import { join } from "node:path";
import type { Config } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { purgeEmailLinks, renewLink } from "../features/identity/email-links.ts";
import { completeReset } from "../features/identity/password-reset/queries.ts";
import { purgeRateLimits } from "../features/identity/rate-limits.ts";
import { purgeSessions } from "../features/identity/sessions/queries.ts";
import { type Mailbox, openMailbox } from "../mail/mailbox.ts";
import { createOutbox, type OutboxKeys } from "../mail/outbox.ts";
import { purgeMail } from "../mail/queries.ts";
import type { Mail as MailQueue } from "../mail/queue.ts";
import { type SmtpServer, smtpTransport, type Transport } from "../mail/transport.ts";
import { startMailWorker } from "../mail/worker.ts";
import type { Log } from "../observability/log.ts";

export type Mail = {
  readonly outbox: MailQueue & OutboxKeys;
  /** Null where there is a mail server, and in production. */
  readonly mailbox: Mailbox | null;
  /** Null in production without a mail server. */
  readonly transport: Transport | null;
};

/** Each step of a conversation with the mail server. */
const SMTP_TIMEOUT_MS = 15_000;

/** How mail goes out: by SMTP, into the development mailbox, or not at all. Connects to nothing yet. */
export function openMail(config: Config, secret: string): Mail {
  const server = smtpServer(config);
  const mailbox = server === null && !config.production ? openMailbox(join(config.dataDir, "mail")) : null;
  const sender = { address: config.smtpFromEmail, name: config.smtpFromName };
  const transport = server === null ? mailbox : smtpTransport(server, sender, SMTP_TIMEOUT_MS);
  return { outbox: createOutbox(secret, transport !== null), mailbox, transport };
}

/** Says, where it is so, that no mail will be sent. Once a start, however many processes there are. */
export function warnWithoutMail(config: Config, log: Log): void {
  if (config.production && smtpServer(config) === null) {
    log.warn({}, "no mail server is set (SMTP_URL): what needs mail answers 503");
  }
}

/** The parts of `SMTP_URL`, or those that were set one by one; null where there is no mail server. */
export function smtpServer(config: Config): SmtpServer | null {
  if (config.smtpUrl !== undefined) {
    const url = new URL(config.smtpUrl.reveal());
    const tls = url.protocol === "smtps:";
    return {
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: Number(url.port || (tls ? 465 : 587)),
      tls,
      ...(url.username === ""
        ? {}
        : { username: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }),
    };
  }
  if (config.smtpHost === undefined) return null;
  return {
    host: config.smtpHost,
    port: config.smtpPort,
    tls: config.smtpPort === 465,
    ...(config.smtpUsername === undefined
      ? {}
      : { username: config.smtpUsername, password: config.smtpPassword?.reveal() ?? "" }),
  };
}

const TIDY_EVERY_MS = 3600_000;
const TIDY_FIRST_MS = 60_000;

/** Removes what has had its time. */
export async function tidyUp(db: Database): Promise<void> {
  await Promise.all([purgeMail(db), purgeSessions(db), purgeEmailLinks(db), purgeRateLimits(db)]);
}

/**
 * Starts sending, and tidying up what has had its time.
 * @param serverUrl where this server listens, for links where `BASE_URL` is not set
 */
export function startMail(
  { outbox, transport }: Mail,
  config: Config,
  db: Database,
  log: Log,
  serverUrl: string,
): { stop(): Promise<void> } {
  const home = config.baseUrl ?? `http://localhost:${new URL(serverUrl).port}`;
  const worker =
    transport === null
      ? undefined
      : startMailWorker({
          db,
          log,
          outbox,
          transport,
          urls: {
            home,
            verify: config.verifyUrl ?? `${home}/verify-email`,
            reset: config.resetUrl ?? `${home}/reset-password`,
          },
          domain: config.smtpFromEmail.replace(/^.*@/, ""),
          completeReset: (email) => completeReset(db, email, outbox.newLink()),
          renewLink: (tokenHash) => renewLink(db, tokenHash),
        });
  const tidy = () => tidyUp(db).catch((error) => log.warn({ err: error }, "could not tidy up"));
  // Also soon after the start, for servers that are started anew more often than that.
  const timers = [setTimeout(tidy, TIDY_FIRST_MS), setInterval(tidy, TIDY_EVERY_MS)];
  for (const timer of timers) timer.unref();
  return {
    async stop() {
      for (const timer of timers) clearTimeout(timer);
      await worker?.stop();
    },
  };
}
