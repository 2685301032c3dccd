import { join } from "node:path";
import type { Secret } from "../config/parsers.ts";
import type { Config } from "../config/settings.ts";
import type { Log } from "../observability/log.ts";
import { createLinkTokens, type LinkTokens } from "./links.ts";
import { type Mailbox, openMailbox } from "./mailbox.ts";
import type { LinkUrls } from "./messages.tsx";
import type { Mail } from "./queue.ts";
import { type SmtpServer, smtpTransport, type Transport } from "./transport.ts";

/** How this server sends mail. */
export type OpenMail = Mail & {
  readonly links: LinkTokens;
  /** The development mailbox. Null if there is a mail server, and in production. */
  readonly mailbox: Mailbox | null;
  /** Null in production without a mail server. */
  readonly transport: Transport | null;
};

/** For each step of a conversation with the mail server. */
const SMTP_TIMEOUT_MS = 15_000;

/** Mail goes out by SMTP, into the development mailbox, or not at all. Connects to nothing yet. */
export function openMail(config: Config, secret: string): OpenMail {
  const server = smtpServer(config);
  const mailbox = hasMailbox(config) ? openMailbox(join(config.dataDir, "mail")) : null;
  const sender = { address: config.smtpFromEmail, name: config.smtpFromName };
  const transport = server === null ? mailbox : smtpTransport(server, sender, SMTP_TIMEOUT_MS);
  const links = createLinkTokens(secret);
  return { isEnabled: transport !== null, newLink: links.newLink, links, mailbox, transport };
}

/** Whether mail stays in the development mailbox. */
export const hasMailbox = (config: Config): boolean => !config.production && smtpServer(config) === null;

/** Warns if no mail will be sent. Called once, however many processes there are. */
export function warnWithoutMail(config: Config, log: Log): void {
  if (config.production && smtpServer(config) === null) {
    log.warn({}, "SMTP_URL is not set: requests that need mail get 503");
  }
}

/** The mail server of `SMTP_URL`, or of the settings of its parts; null if there is none. */
export function smtpServer(config: Config): SmtpServer | null {
  const server = config.smtpUrl === undefined ? serverOfParts(config) : serverOfUrl(config.smtpUrl);
  return server === null || config.smtpCaFile === undefined ? server : { ...server, caFile: config.smtpCaFile };
}

function serverOfUrl(smtpUrl: Secret): SmtpServer {
  const url = new URL(smtpUrl.reveal());
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

function serverOfParts(config: Config): SmtpServer | null {
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

/**
 * The pages that links in mails open.
 * @param serverUrl where this server listens, for when `BASE_URL` is not set
 */
export function linkUrls(config: Config, serverUrl: string): LinkUrls {
  const home = config.baseUrl ?? `http://localhost:${new URL(serverUrl).port}`;
  return {
    home,
    verify: config.verifyUrl ?? `${home}/verify-email`,
    reset: config.resetUrl ?? `${home}/reset-password`,
    undo: `${home}/undo-email-change`,
    forgot: `${home}/forgot-password`,
  };
}
