import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { seed } from "../../src/seed/seed.ts";
import { clickable } from "../../src/server/startup-lines.ts";
import { testDatabase } from "../support/harness.ts";
import { serve, stopServed } from "../support/serve.ts";

setDefaultTimeout(60_000);

afterAll(stopServed);

/** The lines that the program prints during startup and shutdown. */
async function printed(...[address, settings]: Parameters<typeof serve>): Promise<{ url: string; lines: string[] }> {
  const served = await serve(address, settings);
  served.kill("SIGTERM");
  expect(await served.exited).toBe(0);
  const text = served.output().replaceAll(served.metricsUrl, "METRICS").replaceAll(served.url, "URL");
  return { url: served.url, lines: text.trimEnd().split("\n") };
}

test("startup prints the addresses of the API reference, the development mailbox, the metrics and the server", async () => {
  const { lines } = await printed(await testDatabase(), { LOG_FORMAT: "pretty" });
  expect(lines).toEqual([
    "API reference: URL/docs",
    expect.stringMatching(/^Development mailbox: URL\/dev\/mail\?key=[\w-]{20,}$/),
    "Metrics are on METRICS",
    "Server is running on URL",
    "Stopping …",
  ]);
});

test("startup prints the demo login if the database has the demonstration content, but never into a JSON log", async () => {
  const address = await testDatabase();
  await seed(address, undefined, () => {});
  const login = 'Demo login: demo@conduit.example, password "conduit demonstration"';
  expect((await printed(address, { LOG_FORMAT: "pretty" })).lines).toContain(login);
  expect((await printed(address, { LOG_FORMAT: "json" })).lines.join()).not.toContain("demo@");
});

test("production has no mailbox and prints no login", async () => {
  const address = await testDatabase();
  await seed(address, undefined, () => {});
  const settings = { NODE_ENV: "production", LOG_FORMAT: "pretty", LOG_LEVEL: "error" };
  expect((await printed(address, settings)).lines).toEqual([
    "API reference: URL/docs",
    "Metrics are on METRICS",
    "Server is running on URL",
    "Stopping …",
  ]);
});

test("every line is JSON if standard output is not a terminal, whatever LOG_LEVEL says", async () => {
  for (const settings of [{}, { LOG_LEVEL: "silent" }, { WORKERS: "2" }]) {
    const { lines } = await printed(await testDatabase({ migrated: false }), settings as Record<string, string>);
    const messages = lines.map((line) => JSON.parse(line).msg);
    expect(messages.some((message) => message.startsWith("Applied migration "))).toBe(true);
    expect(messages).toContain("API reference: URL/docs");
    expect(messages).toContain("Server is running on URL");
    expect(messages.at(-1)).toBe("Stopping …");
  }
});

test("addresses that mean all interfaces become localhost", () => {
  expect(clickable("http://0.0.0.0:3000")).toBe("http://localhost:3000");
  expect(clickable("http://[::]:3000")).toBe("http://localhost:3000");
  for (const url of ["http://127.0.0.1:3000", "http://[::1]:3000", "http://10.0.0.0:3000"])
    expect(clickable(url)).toBe(url);
});
