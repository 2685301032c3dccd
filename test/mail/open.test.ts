import { afterEach, expect, test } from "bun:test";
import { loadConfig } from "../../src/config/settings.ts";
import { openMail } from "../../src/mail/open.ts";
import { startBackgroundJobs } from "../../src/server/jobs.ts";
import { JWT_SECRET, type TestServer, testDatabase, testServer } from "../support/harness.ts";
import { testSmtp } from "../support/mail.ts";

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

test("links of mails open pages of BASE_URL, or those of VERIFY_URL and RESET_URL", async () => {
  const smtp = await testSmtp();
  const address = await testDatabase();
  stops.push(smtp.stop);
  const start = async (env: Record<string, string>): Promise<TestServer> => {
    const base = { SMTP_URL: `smtp://127.0.0.1:${smtp.port}`, BASE_URL: "https://conduit.example/sub/" };
    const config = loadConfig({ ...base, ...env });
    const mail = openMail(config, JWT_SECRET);
    const server = await testServer({ address, mail });
    const jobs = await startBackgroundJobs(
      mail,
      config,
      server.db.primary,
      server.db,
      server.memory,
      SILENT,
      server.url,
    );
    stops.unshift(jobs.stop, server.stop);
    return server;
  };
  const urlIn = (mail: { text?: string | undefined }) => /https:\S+token=/.exec(mail.text ?? "")?.[0];

  const user = await (await start({})).register("linked");
  const confirm = await smtp.take(user.email, "Verify your");
  expect(urlIn(confirm)).toBe("https://conduit.example/sub/verify-email?token=");
  expect(confirm.text).toContain("https://conduit.example/sub\n");
  await stops.shift()?.();

  const fronted = await start({ VERIFY_URL: "https://front.example/v?lang=en", RESET_URL: "https://front.example/r" });
  await fronted.request("POST", "/api/auth/resend-verification", { token: user.token });
  await fronted.request("POST", "/api/auth/forgot-password", { body: { email: user.email } });
  expect(urlIn(await smtp.take(user.email, "Verify your"))).toBe("https://front.example/v?lang=en&token=");
  expect(urlIn(await smtp.take(user.email, "Choose a new password"))).toBe("https://front.example/r?token=");
});
