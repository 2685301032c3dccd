import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { connect as connectTo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { MAIL_JOB } from "../../src/mail/queue.ts";
import { type TestServer, type TestUser, testServer } from "../support/harness.ts";
import { jobsOf, passBackoff, passTime, type QueuedJob, whenJobs } from "../support/jobs.ts";
import { linkIn, startSending, type TestSmtp, testSmtp } from "../support/mail.ts";
import { recordingLog } from "../support/recording.ts";
import { until } from "../support/until.ts";

let server: TestServer;
let users = 0;
const stops: (() => unknown)[] = [];
beforeAll(async () => {
  server = await testServer();
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
  await clearQueue();
});

async function smtpServer(options?: Parameters<typeof testSmtp>[0]): Promise<TestSmtp> {
  const smtp = await testSmtp(options);
  stops.push(smtp.stop);
  return smtp;
}
/** A mail server that was there once. */
async function absentSmtp(): Promise<TestSmtp> {
  const smtp = await testSmtp();
  await smtp.stop();
  return smtp;
}
/** A server that accepts connections and never responds. */
async function silentServer(): Promise<{ port: number }> {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  stops.push(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  return { port: (silent.address() as { port: number }).port };
}
async function send(...[to, options]: Parameters<typeof startSending> extends [unknown, ...infer Rest] ? Rest : never) {
  const sending = await startSending(server, to, options);
  stops.unshift(sending.stop);
  return sending;
}
const newUser = (): Promise<TestUser> => server.register(`mail-${++users}`);
const clearQueue = () => server.sql`delete from graphile_worker._private_jobs`;
const whenMails = (areSo: (jobs: QueuedJob[]) => boolean) => whenJobs(server.sql, "mail", areSo);
const failedOnce = ([job]: QueuedJob[]) => job?.attempts === 1 && job.waits;
const isDead = ([job]: QueuedJob[]) => job?.isDead === true;
const isEmpty = (jobs: QueuedJob[]) => jobs.length === 0;
const verify = (token: string) => server.request("POST", "/api/auth/verify-email", { body: { token } });
const CONFIRM = "Verify your";

test("a mail goes from the request to the mailbox and back, and leaves nothing in the queue", async () => {
  const smtp = await smtpServer();
  const { log, lines } = recordingLog();
  await send(smtp, { log });
  const user = await newUser();
  const mail = await smtp.take(user.email, CONFIRM);
  expect(mail.messageId).toMatch(/^<[0-9a-f-]{36}@example\.com>$/);
  expect((await verify(linkIn(mail).token)).status).toBe(200);
  await whenMails(isEmpty);
  const sent = lines.find(({ message }) => message === "mail sent");
  expect(sent).toMatchObject({ level: "info", fields: { "mail.kind": "verify_email", "job.attempt": 1 } });
  expect(JSON.stringify(lines)).not.toContain(user.email);
});

describe("a mail server that", () => {
  test("refuses connections fails no request and loses no mail", async () => {
    const sending = await send(await absentSmtp());
    const user = await newUser();
    const [job] = await whenMails(failedOnce);
    expect(job?.last_error).toContain("ECONNREFUSED");
    await sending.stop();
    const smtp = await smtpServer();
    await send(smtp);
    await passBackoff(server.sql);
    const { token } = linkIn(await smtp.take(user.email, CONFIRM));
    expect((await verify(token)).status).toBe(200);
    await whenMails(isEmpty);
  });

  test("accepts the connection and never responds is left after the timeout, and tried again", async () => {
    const sending = await send(await silentServer(), { timeoutMs: 200 });
    const user = await newUser();
    await whenMails(failedOnce);
    await sending.stop();
    const smtp = await smtpServer();
    await send(smtp);
    await passBackoff(server.sql);
    await smtp.take(user.email, CONFIRM);
  });

  test("closes the connection in the middle of a message gets the same message again", async () => {
    const ids: string[] = [];
    const connections: Socket[] = [];
    const smtp = await smtpServer({
      onData(stream, _session, done) {
        let text = "";
        stream.on("data", (chunk: Buffer) => {
          text += chunk;
        });
        stream.on("end", () => {
          ids.push(/^Message-ID: (.*)$/im.exec(text)?.[1] ?? "none");
          if (ids.length > 1) return done();
          // As in a crash: the client never learns whether the message was accepted.
          for (const connection of connections) connection.destroy();
        });
      },
    });
    // Between the two, for the test to have connections to close.
    const between = createServer((client) => {
      const upstream = connectTo(smtp.port, "127.0.0.1");
      connections.push(client, upstream);
      client.pipe(upstream).pipe(client);
      client.on("error", () => {});
      upstream.on("error", () => {});
    });
    await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
    stops.unshift(() => void between.close());
    await send({ port: (between.address() as { port: number }).port });
    await newUser();
    await whenMails(failedOnce);
    await passBackoff(server.sql);
    await whenMails(isEmpty);
    expect(ids).toHaveLength(2);
    expect(ids[1]).toBe(ids[0] as string);
  });

  test("has no such mailbox makes the mail a dead letter at once, without the address in the log", async () => {
    const smtp = await smtpServer({
      onRcptTo: ({ address }, _session, done) =>
        done(Object.assign(new Error(`No such user ${address}`), { responseCode: 550 })),
    });
    const { log, lines } = recordingLog();
    await send(smtp, { log });
    const user = await newUser();
    const [job] = await whenMails(isDead);
    expect(job?.last_error).toContain(`No such user ${user.email}`);
    const failed = lines.find(({ level }) => level === "error");
    expect(failed?.fields).toMatchObject({ "job.type": "mail", "job.attempt": 1, "smtp.response.code": 550 });
    expect(failed?.fields).toMatchObject({ "error.type": "PermanentRefusal", "smtp.command": "RCPT" });
    expect(JSON.stringify(lines)).not.toContain(user.email);
  });

  test("cannot be reached or refuses this server: the reason is in the log", async () => {
    const { log, lines } = recordingLog();
    const absent = await send(await absentSmtp(), { log });
    await newUser();
    await whenMails(failedOnce);
    await absent.stop();
    const refusing = await smtpServer({
      onMailFrom: (_address, _session, done) =>
        done(Object.assign(new Error("5.7.1 Sender conduit@example.com is not allowed here"), { responseCode: 550 })),
    });
    await clearQueue();
    await send(refusing, { log });
    const user = await newUser();
    await whenMails(failedOnce);
    const failures = lines.filter(({ level }) => level === "warn").map(({ fields }) => fields);
    expect(failures[0]).toMatchObject({
      "error.message": expect.stringMatching(/ECONNREFUSED|connect/),
      "smtp.command": "CONN",
    });
    expect(failures.at(-1)).toMatchObject({
      "error.message": expect.stringContaining("5.7.1 Sender … is not allowed here"),
      "smtp.command": "MAIL",
      "smtp.response.code": 550,
      "smtp.response.status": "5.7.1",
    });
    expect(JSON.stringify(lines)).not.toContain(user.email);
  });

  test("refuses for now is tried again", async () => {
    let recipients = 0;
    const smtp = await smtpServer({
      onRcptTo: (_address, _session, done) =>
        recipients++ === 0 ? done(Object.assign(new Error("Greylisted"), { responseCode: 451 })) : done(),
    });
    await send(smtp);
    const user = await newUser();
    await whenMails(failedOnce);
    await passBackoff(server.sql);
    await smtp.take(user.email, CONFIRM);
  });
});

describe("a queued mail", () => {
  test("has a link that lasts its whole time from when it is sent", async () => {
    const user = await newUser();
    await server.sql`update email_links set expires_at = now() where email = ${user.email}`;
    await server.sql`update graphile_worker._private_jobs set created_at = now() - interval '2 minutes'`;
    const smtp = await smtpServer();
    await send(smtp);
    const { token } = linkIn(await smtp.take(user.email, CONFIRM));
    const [link] = await server.sql`
      select expires_at > now() + interval '23 hours' as "isWhole" from email_links where email = ${user.email}`;
    expect(link.isWhole).toBe(true);
    expect((await verify(token)).status).toBe(200);
  });

  test("is a dead letter after about a day", async () => {
    await send(await absentSmtp());
    await newUser();
    await whenMails(failedOnce);
    await server.sql`update graphile_worker._private_jobs set attempts = max_attempts - 1 where attempts > 0`;
    await passBackoff(server.sql);
    await whenMails(isDead);
    // graphile-worker waits e^n seconds after attempt n; the queue's maintenance shortens that to 15 minutes, within one.
    let hours = 0;
    for (let attempt = 1; attempt < MAIL_JOB.attemptsMax; attempt++) {
      hours += Math.min(Math.exp(Math.min(attempt, 10)), 15.5 * 60) / 3600;
    }
    expect(Math.round(hours)).toBe(24);
  });

  test("is sent once, however many servers send", async () => {
    const smtp = await smtpServer();
    await server.sql`
      select graphile_worker.add_job('mail', json_build_object('messageId', gen_random_uuid(), 'kind', 'password_changed',
        'userId', null, 'to', 'many-' || i || '@example.com', 'username', 'many', 'detail', null, 'sealedToken', null))
        from generate_series(1, 40) i`;
    await Promise.all([send(smtp), send(smtp), send(smtp)]);
    await whenMails(isEmpty);
    expect(smtp.arrived).toHaveLength(40);
    expect(new Set(smtp.arrived.map(({ messageId }) => messageId)).size).toBe(40);
  });

  test("is sent five at a time", async () => {
    await send(await silentServer(), { timeoutMs: 10_000 });
    for (let i = 0; i < 7; i++) await newUser();
    await whenMails((jobs) => jobs.filter(({ isRunning }) => isRunning).length === 5);
    expect((await jobsOf(server.sql, "mail")).filter(({ attempts }) => attempts === 0)).toHaveLength(2);
  });

  test("whose process is killed while it is being sent is sent by another server", async () => {
    const { port } = await silentServer();
    const script = join(import.meta.dir, "../support/mail-process.ts");
    const child = Bun.spawn([process.execPath, script, JSON.stringify(server.address), String(port)]);
    stops.push(() => child.kill("SIGKILL"));
    const user = await newUser();
    await whenMails(([job]) => job?.isRunning === true);
    child.kill("SIGKILL");
    await child.exited;
    // Its last statement may still run, and take a job for the process that has ended.
    await until(async () => {
      const jobs = await server.sql`
        select from pg_stat_activity where datname = current_database() and application_name = 'conduit jobs'`;
      return jobs.length === 0;
    });

    const smtp = await smtpServer();
    await send(smtp);
    // It could still be running: a mail may take 65 s, and 10 s are added. Each minute the queue is looked after.
    await passTime(server.sql, 60);
    // Not `isEmpty`: at the start of a minute, the process may have been killed while it ran that job, which runs once.
    await whenJobs(server.sql, "maintain_queue", (jobs) => jobs.every(({ isDead }) => isDead));
    expect(await jobsOf(server.sql, "mail")).toMatchObject([{ attempts: 1, isRunning: true }]);
    await passTime(server.sql, 20);
    await smtp.take(user.email, CONFIRM);
    await whenMails(isEmpty);
  });

  test("is enqueued with its cause or not at all", async () => {
    const user = await newUser();
    await clearQueue();
    await server.sql`alter function graphile_worker.add_job rename to add_job_away`;
    const body = { user: { password: "another horse" } };
    const changed = await server.request("PUT", "/api/user", { token: user.token, body });
    const registered = await server.request("POST", "/api/users", {
      body: { user: { username: "half", email: "half@example.com", password: "correct horse" } },
    });
    await server.sql`alter function graphile_worker.add_job_away rename to add_job`;
    expect([changed.status, registered.status]).toEqual([500, 500]);
    const login = { user: { email: user.email, password: user.password } };
    expect((await server.request("POST", "/api/users/login", { body: login })).status).toBe(200);
    const [row] = await server.sql`select count(*)::int as users from users where username = 'half'`;
    expect(row.users).toBe(0);
  });

  test("has its token encrypted, and is a dead letter if the secret has changed since", async () => {
    const { log, lines } = recordingLog();
    const smtp = await smtpServer();
    const user = await newUser();
    const [job] = await jobsOf(server.sql, "mail");
    const payload = job?.payload ?? {};
    expect(Object.keys(payload).sort()).toEqual(
      ["detail", "kind", "messageId", "sealedToken", "to", "userId", "username"].sort(),
    );
    const [link] =
      await server.sql`select encode(token_hash, 'hex') as hash from email_links where email = ${user.email}`;
    const sealed = Buffer.from(String(payload.sealedToken), "hex");
    // Nonce, 43 characters of the token, tag.
    expect(sealed.length).toBe(12 + 43 + 16);
    expect(new Bun.CryptoHasher("sha256").update(sealed.subarray(12, -16)).digest("hex")).not.toBe(link.hash);
    await send(smtp, { log, secret: "another secret of 32 bytes or more!!" });
    expect((await whenMails(isDead))[0]?.last_error).toContain("JWT_SECRET");
    expect(lines.find(({ level }) => level === "error")?.fields).toMatchObject({ "error.type": "JWT_SECRET" });
    expect(smtp.arrived).toHaveLength(0);
  });

  test("is not sent if the account has been deleted meanwhile", async () => {
    const [user, kept] = [await newUser(), await newUser()];
    await server.sql`delete from users where email = ${user.email}`;
    const smtp = await smtpServer();
    await send(smtp);
    await smtp.take(kept.email, CONFIRM);
    await whenMails(isEmpty);
    expect(smtp.arrived).toHaveLength(0);
  });
});
