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
  /** Resolves when somebody else has taken the message over for good. Throws `RefusedForGood` or any other error. */
  send(message: Message): Promise<void>;
  close(): void;
};

/** The mail server will never take this message: there is no such address. */
export class RefusedForGood extends Error {
  override name = "RefusedForGood";
}

export type SmtpServer = {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte; otherwise STARTTLS where the server offers it. */
  readonly tls: boolean;
  readonly username?: string;
  readonly password?: string;
};

/** Sends by SMTP. @param timeoutMs for each step; a whole message takes at most four times as long */
export function smtpTransport(server: SmtpServer, from: Sender, timeoutMs: number): Transport {
  const transporter = openTransporter(server, timeoutMs);
  return {
    async send({ messageId, to, subject, text, html }) {
      const { promise: late, reject } = Promise.withResolvers<never>();
      const timer = setTimeout(() => reject(new Error("the mail server took too long")), 4 * timeoutMs);
      try {
        await Promise.race([
          transporter.sendMail({
            from,
            // As an object: an address is one address, whatever it contains.
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
        // RFC 5321, 4.2.1: 5yz is for good. Only of the recipient: a refused sender or login is our fault, and mended.
        if (command === "RCPT TO" && responseCode !== undefined && responseCode >= 500) {
          throw new RefusedForGood(`the mail server refuses the address (${responseCode})`, { cause: error });
        }
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    close: () => transporter.close(),
  };
}

/** Connects and signs in, and sends nothing. Throws what is wrong. */
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
    // A password goes over the network encrypted or not at all, also where somebody hides the server's offer.
    requireTLS: server.username !== undefined && !isLocal,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
    // A message is what we give, never a file or an address that a text names.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}
