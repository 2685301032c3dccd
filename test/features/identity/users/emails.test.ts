import { beforeAll, describe, expect, test } from "bun:test";
import { emailKeyOf, mailboxOf } from "../../../../src/features/identity/users/emails.ts";
import { type TestServer, testServer } from "../../../support/harness.ts";

let server: TestServer;
let users = 0;
beforeAll(async () => {
  server = await testServer();
});
const register = (email: string) =>
  server.request("POST", "/api/users", {
    body: { user: { username: `mailed-${++users}`, email, password: "correct horse" } },
  });

/** Spellings of one mailbox. */
const SAME: [string, string][] = [
  ["ann@bücher.example", "ann@xn--bcher-kva.example"],
  ["cas@BÜCHER.example", "Cas@bu\u0308cher.EXAMPLE"],
  ["jürgen@example.com", "Ju\u0308rgen@example.com"],
  ["ann@straße.example", "ann@xn--strae-oqa.example"],
  ["ann@ςίγμα.example", "ann@xn--kxaef0b1a.example"],
];
/** Different mailboxes that look or sound alike. */
const DIFFERENT: [string, string][] = [
  ["bob@straße.de", "bob@strasse.de"],
  ["strauß@example.org", "strauss@example.org"],
  ["ﬁnn@example.org", "finn@example.org"],
  ["ıvan@example.org", "ivan@example.org"],
  ["bob@example.org", "bob+1@example.org"],
  ["JÜRGEN@example.org", "jürgen@example.org"],
];

describe("an email address", () => {
  for (const [one, other] of SAME) {
    test(`is taken in another spelling: ${one}, ${other}`, async () => {
      const [first, second] = [await register(one), await register(other)];
      expect([first.status, second.status, second.json.errors]).toEqual([
        201,
        409,
        { email: ["has already been taken"] },
      ]);
      const body = { user: { email: other, password: "correct horse" } };
      expect((await server.request("POST", "/api/users/login", { body })).json.user.email).toBe(one);
      // As a mail program or a keyboard may paste it.
      const pasted = { user: { email: `\u200b ${other.replace("@", "\u00ad@")}\ufeff`, password: "correct horse" } };
      expect((await server.request("POST", "/api/users/login", { body: pasted })).status).toBe(200);
    });
  }

  for (const [one, other] of DIFFERENT) {
    test(`of another mailbox is free: ${one}, ${other}`, async () => {
      expect([(await register(one)).status, (await register(other)).status]).toEqual([201, 201]);
    });
  }

  for (const bad of [
    "a\u00add@example.com",
    "a\u200bd@example.com",
    "a@exam\u200bple.com",
    "a\u202ed@example.com",
    "a\u3164@b.c",
  ]) {
    test(`has no invisible characters: ${encodeURI(bad)}`, async () => {
      const { status, json } = await register(bad);
      expect([status, json.errors]).toEqual([422, { email: ["must not contain invisible or unassigned characters"] }]);
    });
  }

  for (const bad of ["a@1.2.3.4", "a@0x7f.1", "a@example.１", "a@xn--zzzzzz.example"]) {
    test(`has a domain that DNS could have: ${bad}`, async () => {
      const { status, json } = await register(bad);
      expect([status, json.errors]).toEqual([422, { email: ["is not a valid address"] }]);
    });
  }

  test("has a key for any text, and that of no address for text that is none", () => {
    for (const text of ["", "nonsense", "a@b@c", "a@b/c", "a@%41.com", "a@[::1]", "@", "x".repeat(254)]) {
      expect(emailKeyOf(text)).toStartWith("not an address: ");
    }
  });

  test("belongs to a mailbox without its suffix", () => {
    expect(mailboxOf(emailKeyOf("Ann+a+b@Example.com"))).toBe("ann@example.com");
    expect(mailboxOf(emailKeyOf("ann@example.com"))).toBe("ann@example.com");
  });
});
