import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import { addUsers, goneUser } from "../../../support/people.ts";

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});
afterAll(() => server.stop());

const PASSWORD = "correct horse";
const register = (user: unknown) => server.request("POST", "/api/users", { body: { user } });
const login = (email: string, password: string) =>
  server.request("POST", "/api/users/login", { body: { user: { email, password } } });
const update = (user: unknown, token = anna.token) => server.request("PUT", "/api/user", { token, body: { user } });
const current = (token = anna.token) => server.request("GET", "/api/user", { token });

describe("POST /api/users", () => {
  test("returns 201 with the user and a valid token, and null as biography and image", async () => {
    const { status, headers, json } = await register({
      username: "berta",
      email: "Berta@Example.com",
      password: PASSWORD,
    });
    expect(status).toBe(201);
    expect(headers.get("content-type")).toStartWith("application/json");
    const { token, ...rest } = json.user;
    expect(rest).toEqual({
      username: "berta",
      email: "Berta@Example.com",
      email_verified: false,
      bio: null,
      image: null,
    });
    expect((await current(token)).json.user).toEqual(json.user);
  });

  test("stores no password, only an argon2id hash with 19 MiB and 2 passes", async () => {
    const [row] = await server.sql`select * from users where username = 'anna'`;
    expect(row.password_hash).toStartWith("$argon2id$v=19$m=19456,t=2,p=1$");
    expect(JSON.stringify(row)).not.toContain(PASSWORD);
  });

  test("reports all problems of the body at once", async () => {
    const { status, json } = await register({ username: "a/", email: "no-address", password: "short" });
    expect(status).toBe(422);
    expect(json.errors).toEqual({
      username: ["must be 3 to 50 characters long", "must not contain any of / ? # %"],
      email: ["is not a valid address"],
      password: ["is too short (minimum is 8 characters)"],
    });
  });

  test('reports a missing, null, empty or blank field as "can\'t be blank"', async () => {
    const blank = ["can't be blank"];
    for (const user of [
      {},
      { username: null, email: null, password: null },
      { username: "", email: "", password: "" },
    ]) {
      const { status, json } = await register(user);
      expect(status).toBe(422);
      expect(json.errors).toEqual({ username: blank, email: blank, password: blank });
    }
    expect((await register({ username: " \t ", email: "  ", password: PASSWORD })).json.errors).toEqual({
      username: blank,
      email: blank,
    });
  });

  test("reports fields that are not strings", async () => {
    const { status, json } = await register({ username: 1, email: ["a@b.c"], password: { $ne: "" } });
    expect(status).toBe(422);
    const problem = ["must be a string"];
    expect(json.errors).toEqual({ username: problem, email: problem, password: problem });
  });

  test("reports both the username and the email if both are taken", async () => {
    const { status, json } = await register({ username: "ANNA", email: "ANNA@EXAMPLE.COM", password: PASSWORD });
    expect(status).toBe(409);
    expect(json.errors).toEqual({
      username: ["has already been taken"],
      email: ["has already been taken"],
    });
  });

  test("reports the field that is taken, also if two users have one field each", async () => {
    await addUsers(server, anna, ["carl"]);
    expect((await register({ username: "anna", email: "new@example.com", password: PASSWORD })).json.errors).toEqual({
      username: ["has already been taken"],
    });
    expect((await register({ username: "newone", email: "anna@example.com", password: PASSWORD })).json.errors).toEqual(
      { email: ["has already been taken"] },
    );
    const both = await register({ username: "anna", email: "carl@example.com", password: PASSWORD });
    expect(both.json.errors).toEqual({ username: ["has already been taken"], email: ["has already been taken"] });
  });
});

describe("a username", () => {
  // By PUT /api/user, which applies the same rules and hashes no password.
  test("has 3 to 50 characters (code points), after trimming", async () => {
    const [user] = (await addUsers(server, anna, ["length"])) as [TestUser];
    for (const bad of ["ab", "  ab  ", "👩👩", "x".repeat(51)]) {
      const { status, json } = await update({ username: bad }, user.token);
      expect([bad, status, json.errors]).toEqual([bad, 422, { username: ["must be 3 to 50 characters long"] }]);
    }
    for (const good of ["abc", "👩👩👩", "👩".repeat(50), "x".repeat(50)]) {
      const { status, json } = await update({ username: good }, user.token);
      expect([status, json.user.username]).toEqual([200, good]);
    }
    expect((await update({ username: " \n Zoë Łuk \t" }, user.token)).json.user.username).toBe("Zoë Łuk");
  });

  test("has none of / ? # %, and does not consist of dots", async () => {
    for (const bad of ["a/bc", "a?bc", "a#bc", "a%bc"]) {
      const { status, json } = await update({ username: bad });
      expect([bad, status, json.errors.username]).toEqual([bad, 422, ["must not contain any of / ? # %"]]);
    }
    expect((await update({ username: "..." })).json.errors.username).toEqual(["must not consist only of dots"]);
  });

  const same: [string, string, string][] = [
    ["in every case", "Dora", "dORA"],
    ["in every case in Cyrillic", "Ольга", "ОЛЬГА"],
    ["composed or decomposed", "\u00c9mile", "e\u0301MILE"],
    ["with the ligature ﬁ or the letters fi", "ﬁnn", "FINN"],
    ["with ß or ss", "Strauß", "STRAUSS"],
    ["with ß or its capital", "Preuß", "PREUẞ"],
    ["with a final sigma or another one", "Άλφας", "ΆΛΦΑΣ"],
    ["in full and half width", "ｗｉｄｅ", "wide"],
    ["with the Kelvin sign or the letter k", "\u212aarl", "karl"],
  ];
  for (const [how, first, second] of same) {
    test(`is unique ${how}`, async () => {
      const name = `u${Bun.hash(how)}`;
      const [one, other] = (await addUsers(server, anna, [name, `${name}b`])) as [TestUser, TestUser];
      expect((await update({ username: first }, one.token)).json.user.username).toBe(first);
      const { status, json } = await update({ username: second }, other.token);
      expect([status, json.errors]).toEqual([409, { username: ["has already been taken"] }]);
      // The profile is found by either form.
      const profile = await server.request("GET", `/api/profiles/${encodeURIComponent(second)}`);
      expect(profile.json.profile.username).toBe(first);
    });
  }

  test("differs if a letter or an accent differs", async () => {
    const [one, other] = (await addUsers(server, anna, ["accent1", "accent2"])) as [TestUser, TestUser];
    expect((await update({ username: "rené" }, one.token)).status).toBe(200);
    expect((await update({ username: "rene" }, other.token)).status).toBe(200);
  });
});

describe("an email", () => {
  test("must be an address", async () => {
    for (const bad of [
      "no-address",
      "@example.com",
      "a@",
      "a b@example.com",
      "a@b@c",
      '"a"@b.c',
      "a..b@example.com",
      ".a@example.com",
      "a@example..com",
      "a@.example.com",
      "a@example.com.",
      "a@-example.com",
      "a@example.com,b",
      "a<b>@example.com",
      "a@exam_ple.com",
      "a@example.com/b",
      "a\u0001@example.com",
      "a@example\u0085.com",
      "a@example\u2028.com",
      `${"x".repeat(65)}@example.com`,
      `${"x".repeat(250)}@b.c`,
    ]) {
      const { status, json } = await update({ email: bad });
      expect([bad, status, Object.keys(json.errors)]).toEqual([bad, 422, ["email"]]);
    }
    const [user] = (await addUsers(server, anna, ["address"])) as [TestUser];
    for (const good of ["a@localhost", "!#$%&'*+/=?^_`{|}~-.a@b-c.d", "用户@例子.广告", `${"x".repeat(64)}@b.c`]) {
      const { status, json } = await update({ email: good }, user.token);
      expect([status, json.user.email]).toEqual([200, good]);
    }
  });

  test("is stored as typed without white space around it, and unique in every ASCII case and Unicode form", async () => {
    const [one, other] = (await addUsers(server, anna, ["mail1", "mail2"])) as [TestUser, TestUser];
    expect((await update({ email: " Jürgen.O'Hara+news@Exämple.COM " }, one.token)).json.user.email).toBe(
      "Jürgen.O'Hara+news@Exämple.COM",
    );
    const { status, json } = await update({ email: "Ju\u0308rgen.o'hara+NEWS@exämple.com" }, other.token);
    expect([status, json.errors]).toEqual([409, { email: ["has already been taken"] }]);
    expect((await login("jürgen.o'hara+news@xn--exmple-cua.COM", PASSWORD)).json.user.email).toBe(
      "Jürgen.O'Hara+news@Exämple.COM",
    );
  });
});

describe("a password", () => {
  test("has at least 8 code points and at most 1,024 bytes", async () => {
    const [user] = (await addUsers(server, anna, ["length2"])) as [TestUser];
    for (const [bad, problem] of [
      ["1234567", "is too short (minimum is 8 characters)"],
      // 14 UTF-16 units, 28 bytes.
      ["🐎".repeat(7), "is too short (minimum is 8 characters)"],
      ["x".repeat(1025), "is too long (maximum is 1024 bytes)"],
      // 1,026 bytes in 513 characters.
      ["é".repeat(513), "is too long (maximum is 1024 bytes)"],
      ["password\0", "contains a character that is not allowed"],
    ] as const) {
      const { status, json } = await update({ password: bad }, user.token);
      expect([status, json.errors]).toEqual([422, { password: [problem] }]);
    }
    for (const good of ["🐎".repeat(8), "x".repeat(1024)]) {
      expect((await update({ password: good }, user.token)).status).toBe(200);
      expect((await login(user.email, good)).status).toBe(200);
    }
    // Every byte counts.
    expect((await login(user.email, `${"x".repeat(1023)}y`)).status).toBe(401);
  });

  test("is the same in every Unicode form, and keeps its white space", async () => {
    const [user] = (await addUsers(server, anna, ["form"])) as [TestUser];
    expect((await update({ password: "  Ünsere ﬁxe Idee" }, user.token)).status).toBe(200);
    expect((await login(user.email, "  U\u0308nsere fixe Idee")).status).toBe(200);
    expect((await login(user.email, "Ünsere ﬁxe Idee")).status).toBe(401);
    expect((await login(user.email, "  ünsere ﬁxe Idee")).status).toBe(401);
  });
});

describe("POST /api/users/login", () => {
  test("returns the user and a new valid token", async () => {
    const { status, json } = await login("ANNA@example.com", PASSWORD);
    expect(status).toBe(200);
    const { token, ...rest } = json.user;
    expect(rest).toEqual({
      username: "anna",
      email: "anna@example.com",
      email_verified: false,
      bio: null,
      image: null,
    });
    expect(token).not.toBe(anna.token);
    expect((await current(token)).status).toBe(200);
  });

  test("returns the same error for a wrong password and an unknown email", async () => {
    const wrong = await login("anna@example.com", "wrong horse");
    const unknown = await login("unknown@example.com", PASSWORD);
    expect([wrong.status, wrong.text]).toEqual([401, '{"errors":{"credentials":["invalid"]}}']);
    expect([unknown.status, unknown.text]).toEqual([wrong.status, wrong.text]);
  });

  test("verifies a hash of the same cost for an unknown email as for a wrong password", async () => {
    const verify = Bun.password.verify;
    const parameters: (string | undefined)[] = [];
    Bun.password.verify = (password, hash, ...rest) => {
      parameters.push(/^\$argon2id\$v=\d+\$[^$]+\$/.exec(String(hash))?.[0]);
      return verify.call(Bun.password, password, hash, ...rest);
    };
    try {
      await login("anna@example.com", "wrong horse");
      await login("unknown@example.com", "wrong horse");
      // Too long for a valid password; no shortcut for that either.
      await login("unknown@example.com", "x".repeat(2000));
    } finally {
      Bun.password.verify = verify;
    }
    const cost = "$argon2id$v=19$m=19456,t=2,p=1$";
    expect(parameters).toEqual([cost, cost, cost]);
  });

  test("takes no longer for thousands of combining marks", async () => {
    const marks = "\u0301\u0316".repeat(3_500);
    const started = performance.now();
    const answers = [
      await login("anna@example.com", marks),
      await login("unknown@example.com", marks),
      await login(marks, PASSWORD),
    ];
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 422]);
    expect(answers[2]?.json.errors).toEqual({ email: ["is too long (maximum is 254 characters)"] });
  });

  test("needs both fields", async () => {
    const blank = ["can't be blank"];
    expect((await login("", "")).json.errors).toEqual({ email: blank, password: blank });
    const { status, json } = await server.request("POST", "/api/users/login", { body: { user: {} } });
    expect([status, json.errors]).toEqual([422, { email: blank, password: blank }]);
  });
});

describe("GET /api/user", () => {
  test("returns the user and the token of the request", async () => {
    const { status, json } = await current();
    expect(status).toBe(200);
    expect(json.user).toEqual({
      username: "anna",
      email: anna.email,
      email_verified: false,
      token: anna.token,
      bio: null,
      image: null,
    });
  });

  test("needs the token of a user who exists", async () => {
    expect((await server.request("GET", "/api/user")).json.errors).toEqual({ token: ["is missing"] });
    const deleted = await goneUser(server, anna, "goner");
    const { status, json } = await current(deleted.token);
    expect([status, json.errors]).toEqual([401, { token: ["belongs to a session that has ended"] }]);
  });
});

describe("PUT /api/user", () => {
  test("changes the fields it is given and leaves the others", async () => {
    const [user] = (await addUsers(server, anna, ["changes"])) as [TestUser];
    const first = await update({ bio: "I work at a farm", image: "https://example.com/a.png" }, user.token);
    expect(first.status).toBe(200);
    expect(first.json.user).toEqual({
      email_verified: false,
      username: "changes",
      email: "changes@example.com",
      token: user.token,
      bio: "I work at a farm",
      image: "https://example.com/a.png",
    });
    const second = await update({ username: "Changed", email: "Changed@example.com" }, user.token);
    expect(second.json.user).toEqual({ ...first.json.user, username: "Changed", email: "Changed@example.com" });
    expect((await current(user.token)).json.user).toEqual(second.json.user);
    expect((await login("changed@example.com", PASSWORD)).status).toBe(200);
    expect((await login("changes@example.com", PASSWORD)).status).toBe(401);
    expect((await server.request("GET", "/api/profiles/changes")).headers.get("location")).toBe(
      "/api/profiles/Changed",
    );
  });

  test("distinguishes absent, null and value for the biography and the image; the empty string is null", async () => {
    const [user] = (await addUsers(server, anna, ["three"])) as [TestUser];
    const change = async (fields: unknown) => {
      const { bio, image } = (await update(fields, user.token)).json.user;
      return [bio, image];
    };
    expect(await change({ bio: "b", image: "i" })).toEqual(["b", "i"]);
    expect(await change({ bio: null })).toEqual([null, "i"]);
    expect(await change({ bio: "b", image: null })).toEqual(["b", null]);
    expect(await change({ image: "i" })).toEqual(["b", "i"]);
    expect(await change({ bio: "" })).toEqual([null, "i"]);
    expect(await change({ bio: "b", image: "" })).toEqual(["b", null]);
    expect(await change({ username: "three" })).toEqual(["b", null]);
  });

  test("stores the image as sent and does not fetch it", async () => {
    let requests = 0;
    const imageHost = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(String(++requests)) });
    try {
      for (const image of [
        `${imageHost.url}a.png`,
        "javascript:alert(1)",
        " not a URL ",
        "data:image/gif;base64,R0lG",
      ]) {
        expect((await update({ image })).json.user.image).toBe(image);
        expect((await server.request("GET", "/api/profiles/anna")).json.profile.image).toBe(image);
      }
      expect(requests).toBe(0);
    } finally {
      await imageHost.stop(true);
      await update({ image: null });
    }
  });

  test("accepts a biography of 1,000 characters and an image of 2,048, and nothing longer", async () => {
    expect((await update({ bio: "é".repeat(1_000), image: "x".repeat(2_048) })).status).toBe(200);
    const { status, json } = await update({ bio: "x".repeat(1_001), image: "x".repeat(2_049) });
    expect(status).toBe(422);
    expect(json.errors).toEqual({
      bio: ["is too long (maximum is 1000 characters)"],
      image: ["is too long (maximum is 2048 characters)"],
    });
    await update({ bio: null, image: null });
  });

  test("refuses null and empty for a required field, and changes nothing", async () => {
    const blank = ["can't be blank"];
    for (const value of [null, ""]) {
      const { status, json } = await update({ username: value, email: value, password: value, bio: "not this" });
      expect(status).toBe(422);
      expect(json.errors).toEqual({ username: blank, email: blank, password: blank });
    }
    expect((await current()).json.user.bio).toBeNull();
  });

  test("refuses a body without any known field", async () => {
    const { status, json } = await update({});
    expect([status, Object.keys(json.errors)]).toEqual([422, ["user"]]);
    expect((await update({ nickname: "A" })).status).toBe(422);
  });

  test("returns 409 for values of another user, and lets users keep or respell their own", async () => {
    const [user] = (await addUsers(server, anna, ["keeper"])) as [TestUser];
    const { status, json } = await update({ username: "Anna", email: "ANNA@EXAMPLE.COM" }, user.token);
    expect([status, json.errors]).toEqual([
      409,
      { username: ["has already been taken"], email: ["has already been taken"] },
    ]);
    expect((await update({ username: "KEEPER", email: "KEEPER@example.com" }, user.token)).json.user.username).toBe(
      "KEEPER",
    );
  });

  test("changes the password: the new one works, the old one does not", async () => {
    const [user] = (await addUsers(server, anna, ["rotator"])) as [TestUser];
    expect((await update({ password: "a new password" }, user.token)).status).toBe(200);
    expect((await login(user.email, "a new password")).status).toBe(200);
    expect((await login(user.email, PASSWORD)).status).toBe(401);
  });

  test("checks the token before the body", async () => {
    const missing = await server.request("PUT", "/api/user", { body: "{" });
    expect([missing.status, missing.json.errors]).toEqual([401, { token: ["is missing"] }]);
    const deleted = await goneUser(server, anna, "goner2");
    const { status, json } = await update({ bio: "b" }, deleted.token);
    expect([status, json.errors]).toEqual([401, { token: ["belongs to a session that has ended"] }]);
  });

  test("is visible in the next read of the profile and of the author's articles", async () => {
    const [user] = (await addUsers(server, anna, ["renamer"])) as [TestUser];
    const article = await server.publish(user);
    await update({ username: "Renamed", bio: "new" }, user.token);
    const read = await server.request("GET", `/api/articles/${article.slug}`);
    expect(read.json.article.author).toEqual({ username: "Renamed", bio: "new", image: null, following: false });
    const list = await server.request("GET", "/api/articles?author=renamed");
    expect(list.json.articles[0]?.author.username).toBe("Renamed");
  });
});
