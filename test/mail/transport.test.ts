import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { loadConfig } from "../../src/config/settings.ts";
import { smtpServer } from "../../src/mail/open.ts";
import { smtpTransport } from "../../src/mail/transport.ts";
import { type TestSmtp, testSmtp } from "../support/mail.ts";

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

describe("the password of the mail server", () => {
  const from = { address: "conduit@example.com", name: "Conduit" };
  const message = { messageId: "<1@example.com>", to: "a@example.com", subject: "S", text: "T", html: "<p>T</p>" };
  const logins: string[] = [];
  async function guarded(options: Parameters<typeof testSmtp>[0] = {}): Promise<TestSmtp> {
    const smtp = await testSmtp({
      authOptional: false,
      onAuth({ username, password }, _session, done) {
        logins.push(`${username}:${password}`);
        if (password === "hunter2") done(null, { user: username ?? "" });
        else done(Object.assign(new Error("no"), { responseCode: 535 }));
      },
      ...options,
    });
    stops.push(smtp.stop);
    return smtp;
  }
  async function send(port: number, server: { host: string; tls: boolean; password?: string }): Promise<string> {
    logins.length = 0;
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

  test("signs in, over loopback without TLS too; a wrong one sends nothing, and the mail can be tried again", async () => {
    const { port, arrived } = await guarded();
    expect(await send(port, { host: "127.0.0.1", tls: false })).toBe("sent");
    expect([logins, arrived.length]).toEqual([["ann:hunter2"], 1]);
    expect(await send(port, { host: "127.0.0.1", tls: false, password: "wrong" })).toBe("EAUTH");
    expect(arrived).toHaveLength(1);
  });

  test("is not sent to another host that does not offer TLS", async () => {
    const { port } = await guarded();
    // A name that is not known to be loopback.
    expect(await send(port, { host: "LOCALHOST", tls: false })).toBe("ETLS");
    expect(logins).toEqual([]);
  });

  test("is not sent to a server whose certificate is not trusted, by STARTTLS or from the first byte", async () => {
    const offering = await guarded({ disabledCommands: [] });
    expect(await send(offering.port, { host: "127.0.0.1", tls: false })).not.toBe("sent");
    const encrypted = await guarded({ secure: true });
    expect(await send(encrypted.port, { host: "127.0.0.1", tls: true })).not.toBe("sent");
    expect(logins).toEqual([]);
  });
});

test("SMTP_CA_FILE names the authority of the mail server's certificate, for STARTTLS and from the first byte", async () => {
  const file = (name: string) => join(import.meta.dir, "../support/tls", name);
  const [key, cert] = await Promise.all([Bun.file(file("server.key")).text(), Bun.file(file("server.pem")).text()]);
  for (const secure of [false, true]) {
    const smtp = await testSmtp({ secure, disabledCommands: [], key, cert });
    stops.push(smtp.stop);
    const env = { SMTP_URL: `${secure ? "smtps" : "smtp"}://localhost:${smtp.port}` };
    const outcomeOf = async (settings: Record<string, string>) => {
      const server = smtpServer(loadConfig({ ...env, ...settings }));
      if (server === null) throw new Error("no mail server");
      const transport = smtpTransport(server, { address: "conduit@example.com", name: "Conduit" }, 2_000);
      const message = { messageId: "<1@example.com>", to: "a@example.com", subject: "S", text: "T", html: "<p>T</p>" };
      try {
        return await transport.send(message).then(
          () => "sent",
          (error) => error.message,
        );
      } finally {
        transport.close();
      }
    };
    expect(await outcomeOf({})).toMatch(/certificate|issuer/);
    expect(await outcomeOf({ SMTP_CA_FILE: file("ca.pem") })).toBe("sent");
    expect(smtp.arrived).toHaveLength(1);
  }
});
