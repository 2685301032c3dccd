import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createLinkTokens } from "../../src/mail/links.ts";
import { withToken } from "../../src/mail/messages.tsx";
import { JWT_SECRET, type TestServer, testServer } from "../support/harness.ts";
import { linkIn, startSending, type TestSmtp, testSmtp } from "../support/mail.ts";

let server: TestServer;
let smtp: TestSmtp;
let sending: { stop(): Promise<void> };
const CONFIRM = "Verify your";

describe("a message", () => {
  beforeAll(async () => {
    [server, smtp] = await Promise.all([testServer(), testSmtp()]);
    sending = await startSending(server, smtp);
  });
  afterAll(async () => {
    await sending.stop();
    await smtp.stop();
  });

  test("is text and HTML, from the server's address, and loads nothing from elsewhere", async () => {
    const user = await server.register("reader");
    const mail = await smtp.take(user.email, CONFIRM);
    expect(mail.headers.get("content-type")).toMatchObject({ value: "multipart/alternative" });
    expect(mail.from?.text).toBe('"Conduit" <conduit@example.com>');
    expect(mail.headers.get("auto-submitted")).toBe("auto-generated");
    const html = mail.html || "";
    expect(html).toContain(linkIn(mail).token);
    expect(html).toContain('name="color-scheme" content="light dark"');
    expect(html).not.toMatch(/<(img|script|link|iframe)|url\(|@import/i);
  });

  test("shows a name as text, which can begin no other header", async () => {
    const { sealed } = createLinkTokens(JWT_SECRET).newLink();
    const name = '<b>x</b>\r\nBcc: evil@example.com\u2028"';
    await server.sql`
      select graphile_worker.add_job('mail', json_build_object('messageId', gen_random_uuid(), 'kind', 'reset_password',
        'userId', (select id from users limit 1)::text, 'to', 'named@example.com', 'username', ${name}::text, 'detail', null, 'sealedToken', ${sealed}::text))`;
    const mail = await smtp.take("named@example.com", "Choose a new password");
    expect(mail.subject).toBe("Choose a new password");
    expect(mail.text).toContain('Hello <b>x</b> Bcc: evil@example.com "');
    expect(mail.headers.has("bcc")).toBe(false);
    expect(mail.html).not.toContain("<b>x</b>");
    expect(mail.html).toMatch(/(&#60;|&lt;)b(&#62;|&gt;)x/);
  });
});

test("a link has its token where the page finds it: in the query, or behind a hash route", () => {
  for (const [url, link] of [
    ["https://a.example/verify", "https://a.example/verify?token=t-1"],
    ["https://a.example/verify?x=1&token=old", "https://a.example/verify?x=1&token=t-1"],
    ["https://a.example/verify#form", "https://a.example/verify?token=t-1#form"],
    ["https://a.example/#/verify", "https://a.example/#/verify?token=t-1"],
    ["https://a.example/app/?x=1#/verify?y=2", "https://a.example/app/?x=1#/verify?y=2&token=t-1"],
    ["https://a.example/#!/verify", "https://a.example/#!/verify?token=t-1"],
  ] as const) {
    expect(withToken(url, "t-1")).toBe(link);
  }
});
