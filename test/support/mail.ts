import { type ParsedMail, simpleParser } from "mailparser";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { firstServer } from "../../src/db/followed-server.ts";
import { startJobs } from "../../src/jobs/runner.ts";
import { createLinkTokens } from "../../src/mail/links.ts";
import { sendMail } from "../../src/mail/send.ts";
import { smtpTransport, type Transport } from "../../src/mail/transport.ts";
import type { Log } from "../../src/observability/log.ts";
import { mailUsers } from "../../src/server/jobs.ts";
import { JWT_SECRET, type TestServer } from "./harness.ts";
import { until } from "./until.ts";

/** A mail that arrived, parsed and as received. */
export type Arrived = ParsedMail & { raw: string };

/** A real mail server on a free port of the loopback interface. */
export type TestSmtp = {
  readonly port: number;
  readonly arrived: Arrived[];
  /** The mail to this address whose subject has these words; waits for it. Removes it. */
  take(to: string, subject: string): Promise<Arrived>;
  stop(): Promise<void>;
};

export async function testSmtp(options: SMTPServerOptions = {}): Promise<TestSmtp> {
  const arrived: Arrived[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, _session, done) {
      textOf(stream).then(async (raw) => {
        arrived.push({ ...(await simpleParser(raw)), raw });
        done();
      }, done);
    },
    ...options,
  });
  // A client that aborts a handshake does not fail the test.
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.server.address() as { port: number }).port,
    arrived,
    take: (to, subject) =>
      until(
        () => {
          const at = arrived.findIndex((mail) => addressesOf(mail).includes(to) && mail.subject?.includes(subject));
          return at !== -1 && arrived.splice(at, 1)[0];
        },
        () => `a mail to ${to} about "${subject}" is among ${arrived.map((mail) => mail.subject).join(", ")}`,
      ),
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function addressesOf(mail: ParsedMail): string[] {
  const to = mail.to === undefined ? [] : Array.isArray(mail.to) ? mail.to : [mail.to];
  return to.flatMap(({ value }) => value.map(({ address }) => address ?? ""));
}

/** Sends the mail in the queue of a server, to this mail server or by this transport. */
export async function startSending(
  { address, db, url }: Pick<TestServer, "address" | "db" | "url">,
  to: { port: number } | Transport,
  { log = SILENT, timeoutMs = 1_000, secret = JWT_SECRET }: { log?: Log; timeoutMs?: number; secret?: string } = {},
): Promise<{ stop(): Promise<void> }> {
  const links = createLinkTokens(secret);
  const transport =
    "port" in to
      ? smtpTransport(
          { host: "127.0.0.1", port: to.port, tls: false },
          { address: "conduit@example.com", name: "Conduit" },
          timeoutMs,
        )
      : to;
  const tasks = [
    sendMail({
      log,
      links,
      transport,
      users: mailUsers(links, db),
      urls: {
        home: url,
        verify: `${url}/verify-email`,
        reset: `${url}/reset-password`,
        undo: `${url}/undo-email-change`,
        forgot: `${url}/forgot-password`,
      },
      domain: "example.com",
    }),
  ];
  const jobs = await startJobs({
    database: firstServer(address),
    db,
    log,
    groups: [{ tasks, concurrency: 5, pollIntervalMs: 100 }],
    connectTimeoutMs: 3_000,
    statementTimeoutMs: 5_000,
  });
  return {
    async stop() {
      await jobs.stop(2_000);
      transport.close();
    },
  };
}

/** The path and query of the one link in a mail that has a token, and that token. */
export function linkIn(mail: Arrived): { path: string; token: string } {
  const [url] = /https?:\/\/\S+token=\S+/.exec(mail.text ?? "") ?? [];
  if (url === undefined) throw new Error(`no link in: ${mail.text}`);
  const { pathname, search, searchParams } = new URL(url);
  return { path: pathname + search, token: searchParams.get("token") ?? "" };
}

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
