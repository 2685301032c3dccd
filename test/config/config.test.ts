import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type Config, loadConfig, SETTINGS } from "../../src/config/settings.ts";
import { StartupError } from "../../src/config/startup-error.ts";
import { configWarnings } from "../../src/config/warnings.ts";
import { smtpServer } from "../../src/mail/open.ts";

const SECRET = "a secret of 32 bytes or more, by hand";
const URL = "postgres://ann:p%40ss@db.example:6543/conduit";

/** The problems that the error for a configuration lists. */
function problems(env: Record<string, string>, flags: Record<string, string> = {}): string[] {
  try {
    loadConfig(env, flags);
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    const [head, ...lines] = error.message.split("\n");
    expect(head).toBe("The configuration is invalid:");
    return lines.map((line) => line.trim());
  }
  return [];
}

describe("the configuration", () => {
  test("has defaults for everything", () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      host: "0.0.0.0",
      port: 3000,
      dataDir: resolve("data"),
      accessTokenTtlS: 24 * 3600,
      corsOrigins: "*",
      production: false,
    });
    expect(config.databaseUrl).toBeUndefined();
    expect(config.jwtSecret).toBeUndefined();
  });

  test("has one setting for each name, and valid defaults", () => {
    const settings = Object.values(SETTINGS) as { name: string; flag?: string; fallback?: string; what: string }[];
    expect(new Set(settings.map(({ name }) => name)).size).toBe(settings.length);
    const flags = settings.flatMap(({ flag }) => flag ?? []);
    expect(new Set(flags).size).toBe(flags.length);
    expect(
      problems(Object.fromEntries(settings.flatMap(({ name, fallback }) => (fallback ? [[name, fallback]] : [])))),
    ).toEqual([]);
    for (const { name, flag, what } of settings) {
      expect(what).toEndWith(".");
      if (flag !== undefined) expect(flag).toBe(name.toLowerCase().replaceAll("_", "-"));
    }
  });

  test("reports all problems together, each under the name that was used", () => {
    const found = problems(
      { DATABASE_CONNECT_TIMEOUT: "soon", JWT_SECRET: "short", CORS_ORIGINS: "example.com", LOG_LEVEL: "loud" },
      { port: "70000" },
    );
    expect(found).toEqual([
      '--port must be a whole number from 0 to 65535, not "70000"',
      expect.stringMatching(/^DATABASE_CONNECT_TIMEOUT must be a duration from 100ms to 60s, such as .*, not "soon"$/),
      "JWT_SECRET must have at least 32 bytes",
      'CORS_ORIGINS must be * or origins such as https://example.com, not "example.com"',
      expect.stringMatching(/^LOG_LEVEL must be one of debug, info, warn, error, silent, not "loud"$/),
    ]);
  });

  test("prefers a flag to the environment, and treats an empty variable as unset", () => {
    expect(loadConfig({ PORT: "4000" }, { port: "5000" }).port).toBe(5000);
    expect(loadConfig({ PORT: "4000" }).port).toBe(4000);
    expect(loadConfig({ PORT: "", JWT_SECRET: "", DATABASE_URL: "" }).port).toBe(3000);
    expect(problems({}, { port: "" })).toHaveLength(1);
  });

  const values: [name: string, key: keyof Config, good: Record<string, unknown>, bad: string[]][] = [
    ["PORT", "port", { "0": 0, "65535": 65_535 }, ["-1", "65536", "3000.5", "3e3", "http", " "]],
    ["DATABASE_POOL_MAX", "databasePoolMax", { "1": 1, "1000": 1000 }, ["0", "1001", "many"]],
    [
      "DATABASE_STATEMENT_TIMEOUT",
      "databaseStatementTimeoutMs",
      { "500ms": 500, "5s": 5_000, "1.5m": 90_000, " 2 s ": 2_000 },
      ["5", "0s", "1h", "-5s", "5 sec", ""].filter(Boolean),
    ],
    ["ACCESS_TOKEN_TTL", "accessTokenTtlS", { "1s": 1, "15m": 900, "30d": 2_592_000 }, ["500ms", "366d", "never"]],
    [
      "CORS_ORIGINS",
      "corsOrigins",
      {
        "*": "*",
        "https://a.example": ["https://a.example"],
        "https://a.example, http://localhost:4100": ["https://a.example", "http://localhost:4100"],
      },
      ["a.example", "https://a.example/", "https://a.example/path", "https://*.example", "*,https://a.example"],
    ],
    ["HOST", "host", { "::1": "::1", localhost: "localhost" }, [" "]],
  ];
  for (const [name, key, good, bad] of values) {
    test(`accepts valid values of ${name} only`, () => {
      for (const [written, value] of Object.entries(good)) {
        expect([written, loadConfig({ [name]: written })[key] as unknown]).toEqual([written, value]);
      }
      for (const written of bad) {
        expect([written, problems({ [name]: written })]).toEqual([
          written,
          [expect.stringMatching(new RegExp(`^${name} must `))],
        ]);
      }
    });
  }
});

test("a refresh token may not expire before an access token", () => {
  expect(problems({ ACCESS_TOKEN_TTL: "31d" })).toEqual([
    "REFRESH_TOKEN_TTL must not be shorter than ACCESS_TOKEN_TTL",
  ]);
  expect(loadConfig({ ACCESS_TOKEN_TTL: "31d", REFRESH_TOKEN_TTL: "31d" }).accessTokenTtlS).toBe(31 * 86_400);
});

describe("secrets", () => {
  const config = loadConfig({ JWT_SECRET: SECRET, DATABASE_URL: URL });

  test("are available through reveal(), and never printed", () => {
    expect(config.jwtSecret?.reveal()).toBe(SECRET);
    const printed = [
      Bun.inspect(config),
      JSON.stringify(config),
      String(config.jwtSecret),
      `${config.jwtSecret}`,
      require("node:util").inspect(config, { depth: 9, showHidden: true }),
      Object.values(config).join(),
    ];
    for (const text of printed) expect(text).not.toContain(SECRET);
  });

  test("have at least 32 bytes, counted as bytes", () => {
    expect(problems({ JWT_SECRET: "x".repeat(31) })).toEqual(["JWT_SECRET must have at least 32 bytes"]);
    expect(problems({ JWT_SECRET: `${"éàüöäßñç".repeat(2)}x` })).not.toContain(
      "JWT_SECRET must have at least 32 bytes",
    );
  });

  test("are refused if somebody could guess them", () => {
    const weak = [
      "x".repeat(32),
      "0123456789".repeat(4),
      "abcdefghijklmnopqrstuvwxyz0123456789",
      "changeme-changeme-please-changeme!",
      "change_this_secret_in_production_42",
      "your-256-bit-secret-goes-in-here-ok",
      "correct horse correct horse correct horse ",
      "ababababababababababababababababababab1",
      "my-super-secret-jwt-secret-key-1234567890",
      "passwordpasswordpasswordpassword1",
      "REPLACE_WITH_A_LONG_RANDOM_STRING_PLEASE",
      "qwertyuiopasdfghjklzxcvbnm123456",
      "zyxwvutsrqponmlkjihgfedcba987654",
    ];
    for (const secret of weak) {
      expect([secret, problems({ JWT_SECRET: secret })]).toEqual([
        secret,
        ["JWT_SECRET is easy to guess: create one with openssl rand -base64 48"],
      ]);
    }
    for (let i = 0; i < 200; i++) {
      for (const encoding of ["hex", "base64"] as const) {
        expect(problems({ JWT_SECRET: randomBytes(32).toString(encoding) })).toEqual([]);
      }
    }
    expect(problems({ JWT_SECRET: SECRET })).toEqual([]);
  });

  test("have no flag, and appear in no error message", () => {
    const settings = Object.values(SETTINGS) as { name: string; flag?: string }[];
    for (const { name, flag } of settings) {
      // URLs of pages contain no password: the parser rejects one.
      if (["BASE_URL", "SITE_URL", "VERIFY_URL", "RESET_URL"].includes(name)) continue;
      // About passwords, without one.
      if (["REQUIRE_CURRENT_PASSWORD", "PASSWORD_BLOCKLIST"].includes(name)) continue;
      if (/SECRET|PASSWORD|URL|KEY$/.test(name)) expect([name, flag]).toEqual([name, undefined]);
    }
    for (const url of [
      "hunter2-not-a-url",
      "mysql://ann:hunter2@db/conduit",
      "postgres://ann:hunter2@db",
      "postgres://ann:hunter2@db/conduit?sslmode=maybe",
      "postgres://ann:hunter2@db:99999/conduit",
      "postgres://ann:hunter2%@db/conduit",
    ]) {
      const [problem, ...more] = problems({ DATABASE_URL: url, JWT_SECRET: "hunter2" });
      expect([url, problem, more]).toEqual([
        url,
        expect.stringMatching(/^DATABASE_URL (must|has) /),
        ["JWT_SECRET must have at least 32 bytes"],
      ]);
      expect(problem).not.toContain("hunter2");
    }
  });

  test("are required in production with an external database", () => {
    const env = { NODE_ENV: "production", DATABASE_URL: URL };
    expect(problems(env)).toEqual(["JWT_SECRET must be set in production (create one: openssl rand -base64 48)"]);
    expect(problems({ ...env, JWT_SECRET: SECRET })).toEqual([]);
    expect(problems({ DATABASE_URL: URL })).toEqual([]);
    // With the embedded database, the server creates one.
    expect(problems({ NODE_ENV: "production" })).toEqual([]);
  });
});

describe("mail", () => {
  const production = { NODE_ENV: "production", DATABASE_URL: URL, JWT_SECRET: SECRET };

  test("needs BASE_URL in production with a mail server, and only then", () => {
    const problem = "BASE_URL must be set in production, as emails link to it";
    expect(problems({ ...production, SMTP_URL: "smtp://mail.example" })).toEqual([problem]);
    expect(problems({ ...production, SMTP_HOST: "mail.example" })).toEqual([problem]);
    const BASE_URL = "https://conduit.example";
    expect(problems({ ...production, SMTP_URL: "smtp://mail.example", BASE_URL })).toEqual([]);
    expect(problems(production)).toEqual([]);
    expect(problems({ SMTP_URL: "smtp://mail.example" })).toEqual([]);
  });

  test("is required in production to confirm email addresses", () => {
    expect(problems({ ...production, REQUIRE_EMAIL_CONFIRMATION: "true" })).toEqual([
      "REQUIRE_EMAIL_CONFIRMATION=true needs a mail server in production: set SMTP_URL",
    ]);
    // In development, there is the mailbox.
    expect(problems({ REQUIRE_EMAIL_CONFIRMATION: "true" })).toEqual([]);
  });

  test("accepts URLs of pages in BASE_URL, VERIFY_URL and RESET_URL", () => {
    for (const name of ["BASE_URL", "SITE_URL", "VERIFY_URL", "RESET_URL"]) {
      for (const bad of ["conduit.example", "ftp://conduit.example", "https://me:pw@conduit.example"]) {
        expect(problems({ [name]: bad })).toEqual([expect.stringMatching(new RegExp(`^${name} must be a URL`))]);
      }
    }
    for (const bad of ["https://a.example/#c", "https://a.example/?x=1"]) {
      expect(problems({ BASE_URL: bad })).toEqual([
        expect.stringContaining("BASE_URL must have nothing after the path"),
      ]);
    }
    const hash = loadConfig({ VERIFY_URL: "https://a.example/#/verify", RESET_URL: "https://a.example/#!/reset?x=1" });
    expect([hash.verifyUrl, hash.resetUrl]).toEqual(["https://a.example/#/verify", "https://a.example/#!/reset?x=1"]);
    const { baseUrl, verifyUrl } = loadConfig({
      BASE_URL: "https://a.example/",
      VERIFY_URL: "https://a.example/v?x=1",
    });
    expect([baseUrl, verifyUrl]).toEqual(["https://a.example", "https://a.example/v?x=1"]);
  });

  test("decodes SMTP_URL, and reports an invalid percent-encoding without the password", () => {
    const server = smtpServer(loadConfig({ SMTP_URL: "smtps://ann%40x:p%2Fw%25@mail.example" }));
    expect(server).toEqual({ host: "mail.example", port: 465, tls: true, username: "ann@x", password: "p/w%" });
    const [problem = ""] = problems({ SMTP_URL: "smtp://ann:hunter2%@mail.example" });
    expect(problem).toStartWith("SMTP_URL has an invalid percent-encoding");
    expect(problem).not.toContain("hunter2");
  });
});

describe("warnings", () => {
  const production = { NODE_ENV: "production", JWT_SECRET: SECRET, DATABASE_URL: URL };
  const warningsOf = (env: Record<string, string>) => configWarnings(loadConfig(env));

  test("are given in production for links over http, and for encryption that can be turned off", () => {
    const both = warningsOf({ ...production, BASE_URL: "http://conduit.example" });
    expect(both).toEqual([
      expect.stringMatching(/^BASE_URL begins with http:/),
      expect.stringMatching(/^DATABASE_URL has sslmode=prefer/),
    ]);
    const pages = { VERIFY_URL: "http://app.example/#/verify", RESET_URL: "http://app.example/#/reset" };
    expect(warningsOf({ ...production, ...pages, DATABASE_URL: `${URL}?sslmode=require` })).toEqual([
      expect.stringMatching(/^VERIFY_URL begins with http:/),
      expect.stringMatching(/^RESET_URL begins with http:/),
    ]);
    const pooled = { DATABASE_URL: `${URL}?sslmode=require`, DATABASE_DIRECT_URL: URL };
    expect(warningsOf({ ...production, ...pooled })).toEqual([
      expect.stringMatching(/^DATABASE_DIRECT_URL has sslmode=prefer/),
    ]);
    expect(warningsOf({ ...production, DATABASE_URL: `${URL}?sslmode=allow` })).toEqual([
      expect.stringMatching(/^DATABASE_URL has sslmode=allow/),
    ]);
    expect(both.join()).not.toContain("p@ss");
  });

  test("are not given for what is safe, or meant", () => {
    for (const env of [
      { ...production, DATABASE_URL: `${URL}?sslmode=verify-full`, BASE_URL: "https://conduit.example" },
      { ...production, DATABASE_URL: `${URL}?sslmode=disable` },
      { ...production, DATABASE_URL: "postgres://ann:pw@127.0.0.1/conduit" },
      { ...production, DATABASE_URL: "postgres://ann:pw@[::1]/conduit" },
      { ...production, DATABASE_URL: "postgres:///conduit?host=/run/postgresql" },
      { NODE_ENV: "production", BASE_URL: "http://localhost:3000" },
      { DATABASE_URL: URL, BASE_URL: "http://conduit.example" },
    ]) {
      expect([env, warningsOf(env)]).toEqual([env, []]);
    }
  });
});

test("METRICS_PORT differs from PORT, unless both are any free port", () => {
  expect(problems({ METRICS_PORT: "3000" })).toEqual(["METRICS_PORT must be another port than PORT"]);
  expect(problems({ METRICS_PORT: "3000", PORT: "3001" })).toEqual([]);
  expect(problems({ METRICS_PORT: "0", PORT: "0" })).toEqual([]);
});

test("SMTP_CA_FILE must be a PEM file", () => {
  expect(problems({ SMTP_CA_FILE: "/no/such.pem" })).toEqual([
    'SMTP_CA_FILE must be a file that can be read, not "/no/such.pem"',
  ]);
  expect(problems({ SMTP_CA_FILE: "package.json" })).toEqual([
    'SMTP_CA_FILE must be a PEM file with certificates, not "package.json"',
  ]);
});

test("~ in SMTP_CA_FILE is the home folder", async () => {
  const file = join(homedir(), `.conduit-test-${process.pid}.pem`);
  await writeFile(file, "-----BEGIN CERTIFICATE-----");
  try {
    expect(loadConfig({ SMTP_CA_FILE: file.replace(homedir(), "~") }).smtpCaFile).toBe(file);
  } finally {
    await rm(file);
  }
});

test("METRICS_ALLOWED_HOSTS are names without ports", () => {
  expect(loadConfig({ METRICS_ALLOWED_HOSTS: "A.example, b" }).metricsAllowedHosts).toEqual(["a.example", "b"]);
  for (const bad of ["a.example:80", "*", "http://a", "a,,b"]) {
    expect(problems({ METRICS_ALLOWED_HOSTS: bad })).toEqual([
      expect.stringMatching(/^METRICS_ALLOWED_HOSTS must be host names/),
    ]);
  }
});
