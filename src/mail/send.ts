import { JobFailure, type RunningJob, type Task, task } from "../jobs/task.ts";
import type { Log } from "../observability/log.ts";
import { type LinkTokens, linkHash } from "./links.ts";
import { type LinkUrls, messageOf } from "./messages.tsx";
import { MAIL_JOB, type QueuedMail } from "./queue.ts";
import { PermanentRefusal, type Transport } from "./transport.ts";

/** What the features know about the users that get mail. */
export type MailUsers = {
  /** Whether the account still exists. */
  exists(userId: string): Promise<boolean>;
  /** Enqueues the mail with the link, if a user has this address. */
  completeReset(email: string): Promise<void>;
  /** Makes a link that is still good last its whole time again, as its mail goes out late. */
  renewLink(tokenHash: string): Promise<void>;
};

export type SendMailOptions = {
  readonly log: Log;
  readonly links: LinkTokens;
  readonly transport: Transport;
  readonly users: MailUsers;
  readonly urls: LinkUrls;
  /** The part of a Message-ID after the @. */
  readonly domain: string;
};

/** A mail that goes out so long after it was enqueued has its link renewed. */
const LATE_MS = 60_000;

/** The task that sends one mail. */
export function sendMail({ log, links, transport, users, urls, domain }: SendMailOptions): Task {
  async function send(mail: QueuedMail, job: RunningJob): Promise<void> {
    const { kind, userId } = mail;
    // Requesting a reset takes the same time for every address, as the user is looked up here.
    if (kind === "reset_password" && userId === null) return users.completeReset(mail.to);
    if (userId !== null && !(await users.exists(userId))) return;

    const token = tokenOf(mail);
    const isLate = job.attempt > 1 || Date.now() - job.createdAt.getTime() > LATE_MS;
    if (token !== null && isLate) await users.renewLink(linkHash(token));
    const message = messageOf(mail, token, urls, domain);
    await transport.send(message).catch((error) => {
      throw deliveryFailure(error, kind);
    });
    log.info({ "job.id": job.id, "job.attempt": job.attempt, "mail.kind": kind }, "mail sent");
  }

  function tokenOf({ kind, sealedToken }: QueuedMail): string | null {
    if (sealedToken === null) return null;
    try {
      return links.unseal(sealedToken);
    } catch {
      throw new JobFailure("The link was made with another JWT_SECRET.", {
        isPermanent: true,
        logFields: { "mail.kind": kind, "error.type": "JWT_SECRET" },
      });
    }
  }

  return task(MAIL_JOB, send);
}

type SmtpError = Error & { code?: string; command?: string; response?: string; responseCode?: number };

/**
 * The log has the reason. What a mail server says about a recipient or a message may name a person in any form: of that it
 * has the codes alone.
 */
function deliveryFailure(error: unknown, kind: string): JobFailure {
  const { cause, message } = error as Error;
  const { name, code, command, response, responseCode } = (
    error instanceof PermanentRefusal ? cause : error
  ) as SmtpError;
  const isAboutUs = responseCode === undefined || !ABOUT_THE_MAIL.test(command ?? "");
  return new JobFailure(message, {
    isPermanent: error instanceof PermanentRefusal,
    logFields: {
      "mail.kind": kind,
      "error.type": error instanceof PermanentRefusal ? error.name : (code ?? name),
      "error.message": isAboutUs ? message.replace(/\S+@\S+/g, "…").slice(0, 300) : undefined,
      "smtp.command": command?.split(" ")[0],
      "smtp.response.code": responseCode,
      "smtp.response.status": /^[245][0-9]{2}[ -]([245]\.[0-9]{1,3}\.[0-9]{1,3})\b/.exec(response ?? "")?.[1],
    },
  });
}

/** The commands whose response may be about the recipient or the content. */
const ABOUT_THE_MAIL = /^(?:RCPT|DATA|$)/;
