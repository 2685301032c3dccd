import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

/** A message, ready to be sent. */
export type Message = {
  /** With the angle brackets. The same whenever the message is sent again (RFC 5322, 3.6.4). */
  readonly messageId: string;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
};

export type Sender = { readonly address: string; readonly name: string };

export type Transport = {
  /** Resolves when the mail server has accepted the message. Throws `PermanentRefusal` or any other error. */
  send(message: Message): Promise<void>;
  close(): void;
};

/** The mail server will never accept this message, such as for an address that does not exist. */
export class PermanentRefusal extends Error {
  override name = "PermanentRefusal";
  /** The server's reply code, such as 550. */
  readonly responseCode: number;

  constructor(responseCode: number, cause: unknown) {
    super(`the mail server refuses the address: ${(cause as Error).message}`, { cause });
    this.responseCode = responseCode;
  }
}

export type SmtpServer = {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte; otherwise STARTTLS where the server offers it. */
  readonly tls: boolean;
  readonly username?: string;
  readonly password?: string;
  /** PEM file with the certificate authorities to trust instead of the system's. */
  readonly caFile?: string;
};

/** Sends by SMTP. @param timeoutMs for each step; a whole message takes at most four times as long */
export function smtpTransport(server: SmtpServer, from: Sender, timeoutMs: number): Transport {
  const transporter = openTransporter(server, timeoutMs);
  return {
    async send({ messageId, to, subject, text, html }) {
      const { promise: late, reject } = Promise.withResolvers<never>();
      const timer = setTimeout(() => reject(new Error("the mail server did not respond in time")), 4 * timeoutMs);
      try {
        await Promise.race([
          transporter.sendMail({
            from,
            // As an object, so that it is one address, whatever it contains.
            to: { address: to, name: "" },
            subject,
            text,
            html,
            messageId,
            headers: { "Auto-Submitted": "auto-generated" },
          }),
          late,
        ]);
      } catch (error) {
        const { responseCode, command } = error as { responseCode?: number; command?: string };
        // RFC 5321, 4.2.1: 5yz is permanent. Only for the recipient: a refused sender or login is ours to correct.
        if (command === "RCPT TO" && responseCode !== undefined && responseCode >= 500) {
          throw new PermanentRefusal(responseCode, error);
        }
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    close: () => transporter.close(),
  };
}

/** Connects and signs in, and sends nothing. Throws if that fails. */
export async function verifySmtp(server: SmtpServer, timeoutMs: number): Promise<void> {
  const transporter = openTransporter(server, timeoutMs);
  try {
    await transporter.verify();
  } finally {
    transporter.close();
  }
}

function openTransporter(server: SmtpServer, timeoutMs: number) {
  const isLocal = /^(localhost|127\.[0-9.]+|::1)$/.test(server.host);
  return nodemailer.createTransport({
    host: server.host,
    port: server.port,
    secure: server.tls,
    ...(server.username === undefined ? {} : { auth: { user: server.username, pass: server.password ?? "" } }),
    // A password goes over the network encrypted or not at all, even if an attacker hides the server's STARTTLS.
    requireTLS: server.username !== undefined && !isLocal,
    ...(server.caFile === undefined ? {} : { tls: { ca: readFileSync(server.caFile) } }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
    // A message has what we pass, never the contents of a file or URL that a text names.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}
