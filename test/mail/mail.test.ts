import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { loadConfig } from "../../src/config/settings.ts";
import { purgeMail } from "../../src/mail/queries.ts";
import { smtpTransport } from "../../src/mail/transport.ts";
import { backoffS } from "../../src/mail/worker.ts";
import { openMail, startMail } from "../../src/server/mail.ts";
import { JWT_SECRET, type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { linkIn, sendMail, type TestSmtp, testSmtp } from "../support/mail.ts";

let server: TestServer;
let users = 0;
const stops: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  server = await testServer();
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
  await server.sql`delete from outbox`;
});

async function smtpServer(options?: Parameters<typeof testSmtp>[0]): Promise<TestSmtp> {
  const smtp = await testSmtp(options);
  stops.push(smtp.stop);
  return smtp;
}
function work(to: Parameters<typeof sendMail>[1], options?: Parameters<typeof sendMail>[2]): { stop(): Promise<void> } {
  const worker = sendMail(server, to, options);
  stops.unshift(worker.stop);
  return worker;
}
const newUser = (): Promise<TestUser> => server.register(`mail-${++users}`);
const CONFIRM = "Confirm your email address";
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

type Row = { attempts: number; fault: string | null; sent: boolean; dead: boolean; waits: boolean; sealed: unknown };
/** The only row of the outbox, as soon as it is so. */
async function outboxRow(isSo: (row: Row) => boolean): Promise<Row> {
  let row: Row | undefined;
  for (let i = 0; i < 400; i++) {
    [row] = await server.sql`
      select attempts, fault, sent_at is not null as sent, dead_at is not null as dead, due_at > now() as waits, sealed
        from outbox`;
    if (row !== undefined && isSo(row)) return row;
    await Bun.sleep(25);
  }
  throw new Error(`the outbox has ${JSON.stringify(row)}`);
}
/** Makes what waits for its next attempt due now. */
const passBackoff = () => server.sql`update outbox set due_at = now() where sent_at is null and dead_at is null`;

describe("a mail server that", () => {
  test("refuses connections fails no request and loses no mail", async () => {
    const gone = await testSmtp();
    await gone.stop();
    const worker = work(gone);
    const user = await newUser();
    const row = await outboxRow(({ fault, waits }) => fault !== null && waits);
    expect(row).toMatchObject({ attempts: 1, sent: false, dead: false });
    await worker.stop();
    const smtp = await smtpServer();
    work(smtp);
    await passBackoff();
    const { token } = linkIn(await smtp.take(user.email, CONFIRM));
    expect((await server.request("POST", "/api/auth/verify-email", { body: { token } })).status).toBe(200);
    expect((await outboxRow(({ sent }) => sent)).sealed).toBeNull();
  });

  test("accepts and says nothing is given up on, and tried again", async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    stops.push(async () => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const worker = work({ port: (silent.address() as { port: number }).port }, { timeoutMs: 200 });
    const user = await newUser();
    await outboxRow(({ fault, waits, attempts }) => fault !== null && waits && attempts === 1);
    await worker.stop();
    const smtp = await smtpServer();
    work(smtp);
    await passBackoff();
    await smtp.take(user.email, CONFIRM);
  });

  test("drops the connection in the middle of a message gets it whole the next time, under the same number", async () => {
    const seen: string[] = [];
    const smtp = await smtpServer({
      onData(stream, session, done) {
        let text = "";
        stream.on("data", (chunk: Buffer) => {
          text += chunk;
        });
        stream.on("end", () => {
          seen.push(/^Message-ID: (.*)$/im.exec(text)?.[1] ?? "none");
          if (seen.length > 1) return done();
          // As a crash would: the client never learns whether it was taken.
          (session as unknown as { connection?: unknown }).connection = undefined;
          for (const connection of smtpConnections) connection.destroy();
        });
      },
      onConnect(_session, done) {
        done();
      },
    });
    const { default: net } = await import("node:net");
    // Between us and the server, so that the test has a connection to cut.
    const smtpConnections: Socket[] = [];
    const between = net.createServer((client) => {
      const upstream = net.connect(smtp.port, "127.0.0.1");
      smtpConnections.push(client, upstream);
      client.pipe(upstream).pipe(client);
      client.on("error", () => {});
      upstream.on("error", () => {});
    });
    await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
    stops.unshift(async () => between.close());
    work({ port: (between.address() as { port: number }).port });
    await newUser();
    await outboxRow(({ fault, attempts, waits }) => fault !== null && attempts === 1 && waits);
    await passBackoff();
    await outboxRow(({ sent }) => sent);
    expect(seen).toHaveLength(2);
    expect(seen[0]).toMatch(/^<[0-9a-f-]{36}@example\.com>$/);
    expect(seen[1]).toBe(seen[0]);
  });

  test("knows no such address ends the matter", async () => {
    const smtp = await smtpServer({
      onRcptTo: (_address, _session, done) => done(Object.assign(new Error("No such user"), { responseCode: 550 })),
    });
    work(smtp);
    await newUser();
    const row = await outboxRow(({ dead }) => dead);
    expect(row).toMatchObject({ attempts: 1, sent: false, sealed: null });
    expect(row.fault).toContain("550");
  });

  test("says for now that it cannot is asked again", async () => {
    let asked = 0;
    const smtp = await smtpServer({
      onRcptTo: (_address, _session, done) =>
        asked++ === 0 ? done(Object.assign(new Error("Greylisted"), { responseCode: 451 })) : done(),
    });
    work(smtp);
    const user = await newUser();
    await outboxRow(({ fault, waits }) => fault !== null && waits);
    await passBackoff();
    await smtp.take(user.email, CONFIRM);
  });
});

describe("the outbox", () => {
  test("sends no link that ended while the mail server was away: it is good from when it is sent", async () => {
    const gone = await testSmtp();
    await gone.stop();
    const worker = work(gone);
    const user = await newUser();
    await outboxRow(({ fault, waits }) => fault !== null && waits);
    await worker.stop();
    await server.sql`update email_links set expires_at = now() where email = ${user.email}`;
    const smtp = await smtpServer();
    work(smtp);
    await passBackoff();
    const { token } = linkIn(await smtp.take(user.email, CONFIRM));
    const [link] = await server.sql`
      select expires_at > now() + interval '23 hours' as is_long from email_links where email = ${user.email}`;
    expect(link.is_long).toBe(true);
    expect((await server.request("POST", "/api/auth/verify-email", { body: { token } })).status).toBe(200);
  });

  test("gives a mail up after a day, and keeps it to be looked at", async () => {
    const gone = await testSmtp();
    await gone.stop();
    await newUser();
    await server.sql`update outbox set created_at = now() - interval '25 hours'`;
    work(gone);
    expect(await outboxRow(({ dead }) => dead)).toMatchObject({ sent: false, sealed: null });
  });

  test("waits longer after each failure, up to about a quarter of an hour, never in step", () => {
    const of = (attempts: number) => Array.from({ length: 200 }, () => backoffS(attempts));
    expect(Math.min(...of(1))).toBeGreaterThanOrEqual(2.5);
    expect(Math.max(...of(1))).toBeLessThanOrEqual(7.5);
    expect(Math.min(...of(5))).toBeGreaterThan(Math.max(...of(2)));
    expect(Math.max(...of(100))).toBeLessThanOrEqual(1350);
    expect(new Set(of(3)).size).toBeGreaterThan(100);
  });

  test("is shared by workers: each mail is sent once", async () => {
    const smtp = await smtpServer();
    const user = await newUser();
    await server.sql`delete from outbox`;
    await server.sql`
      insert into outbox (kind, to_address, username, user_id)
      select 'password_changed', 'many-' || i || '@example.com', 'many', (select max(id) from users) from generate_series(1, 40) i`;
    for (let i = 0; i < 3; i++) work(smtp);
    for (let i = 0; i < 400 && smtp.arrived.length < 40; i++) await Bun.sleep(25);
    await Bun.sleep(200);
    expect(smtp.arrived).toHaveLength(40);
    expect(new Set(smtp.arrived.map(({ messageId }) => messageId)).size).toBe(40);
    expect(user.token).toBeDefined();
  });

  test("loses nothing when a worker is killed between claim and send", async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as { port: number };
    const script = join(import.meta.dir, "../support/mail-worker.ts");
    const child = Bun.spawn([process.execPath, script, JSON.stringify(server.address), String(port)]);
    stops.push(async () => {
      child.kill("SIGKILL");
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const user = await newUser();
    await outboxRow(({ attempts, waits }) => attempts === 1 && waits);
    child.kill("SIGKILL");
    await child.exited;
    const smtp = await smtpServer();
    work(smtp);
    // The claim holds, so that in ordinary operation nothing is sent twice; when it ends, another worker has it.
    await Bun.sleep(300);
    expect(smtp.arrived).toHaveLength(0);
    await passBackoff();
    await smtp.take(user.email, CONFIRM);
    expect((await outboxRow(({ sent }) => sent)).attempts).toBe(2);
  });

  test("is written with its cause or not at all", async () => {
    const user = await newUser();
    await server.sql`delete from outbox`;
    await server.sql`alter table outbox rename to outbox_away`;
    const body = { user: { password: "another horse" } };
    const answer = await server.request("PUT", "/api/user", { token: user.token, body });
    const registered = await server.request("POST", "/api/users", {
      body: { user: { username: "half", email: "half@example.com", password: "correct horse" } },
    });
    await server.sql`alter table outbox_away rename to outbox`;
    expect([answer.status, registered.status]).toEqual([500, 500]);
    const login = { user: { email: user.email, password: user.password } };
    expect((await server.request("POST", "/api/users/login", { body: login })).status).toBe(200);
    const [row] = await server.sql`select count(*)::int as users from users where username = 'half'`;
    expect(row.users).toBe(0);
  });

  test("gives up a link that was sealed under another secret, and says so", async () => {
    const smtp = await smtpServer();
    await newUser();
    work(smtp, { secret: "another secret of 32 bytes or more!!" });
    expect((await outboxRow(({ dead }) => dead)).fault).toContain("JWT_SECRET");
  });

  test("sends nothing to an account that is gone", async () => {
    const user = await newUser();
    await server.sql`delete from users where email = ${user.email}`;
    const [row] = await server.sql`select count(*)::int as mails from outbox`;
    expect(row.mails).toBe(0);
  });
});

describe("a password for the mail server", () => {
  const from = { address: "conduit@example.com", name: "Conduit" };
  const message = { messageId: "<1@example.com>", to: "a@example.com", subject: "S", text: "T", html: "<p>T</p>" };
  const seen: string[] = [];
  const guarded = (options: Parameters<typeof testSmtp>[0] = {}) =>
    smtpServer({
      authOptional: false,
      onAuth({ username, password }, _session, done) {
        seen.push(`${username}:${password}`);
        if (password === "hunter2") done(null, { user: username ?? "" });
        else done(Object.assign(new Error("no"), { responseCode: 535 }));
      },
      ...options,
    });
  async function send(port: number, server: { host: string; tls: boolean; password?: string }): Promise<string> {
    seen.length = 0;
    const transport = smtpTransport({ port, username: "ann", password: "hunter2", ...server }, from, 2_000);
    try {
      return await transport.send(message).then(
        () => "sent",
        (error) => error.code,
      );
    } finally {
      transport.close();
    }
  }

  test("signs in, over loopback in plain too; a wrong one sends nothing and gives no mail up", async () => {
    const { port, arrived } = await guarded();
    expect(await send(port, { host: "127.0.0.1", tls: false })).toBe("sent");
    expect([seen, arrived.length]).toEqual([["ann:hunter2"], 1]);
    expect(await send(port, { host: "127.0.0.1", tls: false, password: "wrong" })).toBe("EAUTH");
    expect(arrived).toHaveLength(1);
  });

  test("goes to no server elsewhere that does not offer TLS", async () => {
    const { port } = await guarded();
    // A name that is not known to be loopback, as far as we are concerned.
    expect(await send(port, { host: "LOCALHOST", tls: false })).toBe("ETLS");
    expect(seen).toEqual([]);
  });

  test("goes to no server whose certificate nobody vouches for, by STARTTLS or from the first byte", async () => {
    const offering = await guarded({ disabledCommands: [] });
    expect(await send(offering.port, { host: "127.0.0.1", tls: false })).not.toBe("sent");
    const encrypted = await guarded({ secure: true });
    expect(await send(encrypted.port, { host: "127.0.0.1", tls: true })).not.toBe("sent");
    expect(seen).toEqual([]);
  });
});

describe("links of mails", () => {
  test("lead to BASE_URL, or to the pages of VERIFY_URL and RESET_URL", async () => {
    const smtp = await smtpServer();
    const SMTP_URL = `smtp://127.0.0.1:${smtp.port}`;
    const sending = async (env: Record<string, string>) => {
      const config = loadConfig({ SMTP_URL, BASE_URL: "https://conduit.example/sub/", ...env });
      const mail = openMail(config, JWT_SECRET);
      const sender = await testServer({ address: server.address, outbox: mail.outbox });
      stops.unshift(startMail(mail, config, sender.db, SILENT, sender.url).stop, sender.stop);
      return sender;
    };
    const urlIn = (mail: { text?: string | undefined }) => /https:\S+token=/.exec(mail.text ?? "")?.[0];
    const user = await (await sending({})).register("linked");
    const confirm = await smtp.take(user.email, CONFIRM);
    expect(urlIn(confirm)).toBe("https://conduit.example/sub/verify-email?token=");
    expect(confirm.text).toContain("https://conduit.example/sub\n");
    await Promise.all(stops.splice(0, 1).map((stop) => stop()));
    const pages = { VERIFY_URL: "https://front.example/v?lang=en", RESET_URL: "https://front.example/r" };
    const fronted = await sending(pages);
    await fronted.request("POST", "/api/auth/resend-verification", { token: user.token });
    await fronted.request("POST", "/api/auth/forgot-password", { body: { email: user.email } });
    expect(urlIn(await smtp.take(user.email, CONFIRM))).toBe("https://front.example/v?lang=en&token=");
    expect(urlIn(await smtp.take(user.email, "Choose a new password"))).toBe("https://front.example/r?token=");
  });
});

test("the hourly tidying removes what has had its time, and nothing else", async () => {
  await server.sql`delete from outbox`;
  await server.sql`
    insert into outbox (kind, to_address, username, sent_at, dead_at)
    values ('password_changed', 'a@b.c', 'kept waiting', null, null),
           ('password_changed', 'a@b.c', 'kept sent', now() - interval '6 days', null),
           ('password_changed', 'a@b.c', 'kept dead', null, now() - interval '29 days'),
           ('password_changed', 'a@b.c', 'sent', now() - interval '8 days', null),
           ('password_changed', 'a@b.c', 'dead', null, now() - interval '31 days')`;
  await purgeMail(server.db);
  const mails = await server.sql`select username from outbox order by username`;
  expect(mails.map(({ username }: { username: string }) => username)).toEqual([
    "kept dead",
    "kept sent",
    "kept waiting",
  ]);
});

describe("a message", () => {
  test("is text and HTML, from the server's address, with nothing from elsewhere", async () => {
    const smtp = await smtpServer();
    work(smtp);
    const user = await newUser();
    const mail = await smtp.take(user.email, CONFIRM);
    expect(mail.headers.get("content-type")).toMatchObject({ value: "multipart/alternative" });
    expect(mail.from?.text).toBe('"Conduit" <conduit@example.com>');
    expect(mail.headers.get("auto-submitted")).toBe("auto-generated");
    const html = mail.html || "";
    expect(html).toContain(linkIn(mail).token);
    expect(html).toContain('name="color-scheme" content="light dark"');
    expect(html).not.toMatch(/<(img|script|link|iframe)|url\(|@import/i);
  });

  test("shows a name as text, and lets none begin another header", async () => {
    const smtp = await smtpServer();
    const user = await newUser();
    await server.sql`update outbox set username = ${'<b>x</b>\r\nBcc: evil@example.com\u2028"'}`;
    work(smtp);
    const mail = await smtp.take(user.email, CONFIRM);
    expect(mail.subject).toBe('Confirm your email address, <b>x</b> Bcc: evil@example.com "');
    expect(mail.headers.has("bcc")).toBe(false);
    expect(mail.html).not.toContain("<b>x</b>");
    expect(mail.html).toContain("&lt;b&gt;x&lt;/b&gt;");
  });
});
