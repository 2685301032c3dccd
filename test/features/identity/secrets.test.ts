import { expect, test } from "bun:test";
import { type TestUser, testServer } from "../../support/harness.ts";
import { identityRequests, linkTo, RESET_SUBJECT, VERIFY_SUBJECT } from "../../support/identity.ts";
import { startSending, testSmtp } from "../../support/mail.ts";
import { recordingLog } from "../../support/recording.ts";

test("no password, token or link is in the log or, in plain, in a table", async () => {
  const { log, lines } = recordingLog();
  const smtp = await testSmtp();
  const server = await testServer({ log });
  const api = identityRequests(server);
  const worker = await startSending(server, smtp, { log });
  const secrets: string[] = [];
  const secret = (...values: string[]) => void secrets.push(...values);
  const link = async (user: TestUser, subject: string) => {
    const { token } = await linkTo(smtp, user.email, subject);
    secret(token);
    return token;
  };

  const user = await api.newUser();
  secret(user.password, user.token, user.refreshToken);
  const first = await link(user, VERIFY_SUBJECT);
  await api.resend(user);
  expect((await api.verify(await link(user, VERIFY_SUBJECT))).status).toBe(200);
  expect((await api.verify(first)).status).toBe(410);
  expect((await server.request("GET", `/verify-email?token=${first}`)).status).toBe(410);

  const pair = (await api.refresh(user.refreshToken)).json;
  secret(pair.access_token, pair.refresh_token);
  secret("a mistyped horse", "a password of the form", "a password of the settings");
  expect((await api.login(user.email, "a mistyped horse")).status).toBe(401);
  await api.forgot(user.email);
  const reset = await link(user, RESET_SUBJECT);
  const form = { token: reset, new_password: "a password of the form" };
  expect((await api.submit("/reset-password", form)).status).toBe(200);
  const { access_token, refresh_token } = (await api.login(user.email, "a password of the form")).json;
  secret(access_token, refresh_token);
  const changes = { password: "a password of the settings", email: `new-${user.email}` };
  expect((await api.update({ ...user, token: access_token }, changes)).status).toBe(200);
  await link({ ...user, email: changes.email }, VERIFY_SUBJECT);
  await worker.stop();
  await smtp.stop();

  const tables = await server.sql`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`;
  const dumps = await Promise.all(
    tables.map(async ({ name }: { name: string }) =>
      JSON.stringify(await server.sql.unsafe(`select t::text as row, to_json(t)::text as json from ${name} t`)),
    ),
  );
  const everything = `${JSON.stringify(lines)}\n${dumps.join("\n")}`;
  expect(lines.length).toBeGreaterThan(12);
  expect(everything).toContain(changes.email);
  expect(secrets).toHaveLength(14);
  for (const value of secrets) {
    expect(everything.includes(value)).toBe(false);
    expect(everything.includes(Buffer.from(value).toString("hex"))).toBe(false);
  }
});
