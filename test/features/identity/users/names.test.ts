import { beforeAll, describe, expect, test } from "bun:test";
import { SCRIPTS } from "../../../../src/http/unicode-data.ts";
import { type TestServer, type TestUser, testServer } from "../../../support/harness.ts";
import { addUsers } from "../../../support/people.ts";

let server: TestServer;
let anna: TestUser;
beforeAll(async () => {
  server = await testServer();
  anna = await server.register("anna");
});

const rename = (user: TestUser, username: string) =>
  server.request("PUT", "/api/user", { token: user.token, body: { user: { username } } });

let users = 0;
async function newUser(): Promise<TestUser> {
  const [user] = (await addUsers(server, anna, [`person-${++users}`])) as [TestUser];
  return user;
}

const INVISIBLE = "must not contain invisible or unassigned characters";
const MIXED = "must not mix letters of different scripts";
const ACCENTS = "must not stack or repeat accents";
const BLANK = "can't be blank";

describe("a username is rejected", () => {
  const rejected: [what: string, username: string, problem: string][] = [
    ["with a zero-width space", "look\u200balike", INVISIBLE],
    ["with a soft hyphen", "look\u00adalike", INVISIBLE],
    ["with a right-to-left override", "look\u202ealike", INVISIBLE],
    ["with a right-to-left mark", "look\u200falike", INVISIBLE],
    ["with a word joiner", "look\u2060alike", INVISIBLE],
    ["with a byte order mark inside", "look\ufeffalike", INVISIBLE],
    ["with a Hangul filler", "look\u3164alike", INVISIBLE],
    ["with a combining grapheme joiner", "look\u034falike", INVISIBLE],
    ["with a variation selector", "look\ufe0falike", INVISIBLE],
    ["with a tag character", "look\u{e0061}alike", INVISIBLE],
    ["with a blank Braille pattern", "look\u2800alike", INVISIBLE],
    ["with a control character", "look\u0007alike", INVISIBLE],
    ["with a line break", "look\nalike", INVISIBLE],
    ["with a delete character", "look\u007falike", INVISIBLE],
    ["with a C1 control character", "look\u0085alike", INVISIBLE],
    ["with a line separator", "look\u2028alike", INVISIBLE],
    ["with a private-use character", "look\ue000alike", INVISIBLE],
    ["with an unassigned character", "look\u0378alike", INVISIBLE],
    ["with a noncharacter", "look\ufdd0alike", INVISIBLE],
    ["with a ZWNJ between Latin letters", "look\u200calike", INVISIBLE],
    ["with a ZWJ between Latin letters", "look\u200dalike", INVISIBLE],
    ["with a ZWNJ after an Arabic letter that does not join", "دا\u200cر", INVISIBLE],
    ["with a ZWNJ at the end", "نامه\u200c", INVISIBLE],
    ["with a ZWJ without a virama", "दा\u200dद", INVISIBLE],
    ["with a ZWNJ after a virama at the end", "क्षक्\u200c", INVISIBLE],
    ["with two ZWNJ", "نامه\u200c\u200cای", INVISIBLE],
    ["with a ZWJ between emoji that form none", "👩\u200d\u200d👩x", INVISIBLE],
    ["of Hangul fillers alone", "\u3164\u3164\u3164", BLANK],
    ["of soft hyphens alone", "\u00ad\u00ad\u00ad", BLANK],
    ["of zero-width spaces and spaces alone", "\u200b \u200b \u200b", BLANK],
    ["of blank Braille patterns alone", "\u2800\u2800\u2800", BLANK],
    ["in Latin and Cyrillic", "аdmin", MIXED],
    ["in Latin and Greek", "adminα", MIXED],
    ["in Latin and Armenian", "gօօgle", MIXED],
    ["in Latin and Cherokee", "ᎪᎠmin", MIXED],
    ["in Latin and Thai", "somchai สมชาย", MIXED],
    ["in Latin and Cyrillic, as mathematical letters", "𝐚дмін", MIXED],
    ["in Cyrillic and Hiragana", "ゆきтест", MIXED],
    ["in Hangul and Hiragana", "김ゆき", MIXED],
    ["with a mark at the start", "\u0301abc", ACCENTS],
    ["with the same mark twice", "cafe\u0301\u0301", ACCENTS],
    ["with five marks on a letter", "zo\u0300\u0301\u0302\u0303\u0304", ACCENTS],
  ];
  for (const [what, username, problem] of rejected) {
    test(what, async () => {
      const { status, json } = await rename(await newUser(), username);
      expect([status, json.errors]).toEqual([422, { username: [problem] }]);
    });
  }

  test("at the registration", async () => {
    const user = { username: "look\u200balike", email: "look@example.com", password: "correct horse" };
    const { status, json } = await server.request("POST", "/api/users", { body: { user } });
    expect([status, json.errors]).toEqual([422, { username: [INVISIBLE] }]);
  });
});

describe("a username is accepted", () => {
  const accepted: [what: string, username: string][] = [
    ["in Latin with accents", "Zoë Łukasiewicz"],
    ["in Vietnamese, with two marks on a letter", "Nguyễn Phước"],
    ["in Cyrillic", "Ольга Ёжикова"],
    ["in Greek", "Άλφας"],
    ["in Arabic with vowel signs", "مُحَمَّد"],
    ["in Hebrew with points", "שָׁלוֹם"],
    ["in Thai", "สมชาย"],
    ["in Georgian", "ნინო"],
    ["in Armenian", "Արամ"],
    ["in Canadian syllabics", "ᐃᓄᒃ"],
    ["in Latin, Han, Hiragana and Katakana", "yuki 田中ゆきタナカー"],
    ["in Latin, Han and Bopomofo", "li 李ㄌㄧ"],
    ["in Latin, Han and Hangul", "kim 金김철수"],
    ["in Persian with ZWNJ", "نامه\u200cای"],
    ["in Persian with ZWNJ after a prefix", "می\u200cخواهم"],
    ["in Hindi with ZWJ", "क्\u200dषमा"],
    ["in Hindi with ZWNJ", "रक्\u200cषा"],
    ["in Sinhala with ZWJ", "ශ්\u200dරී ලංකා"],
    ["in Malayalam with ZWJ at the end", "അവന്\u200d"],
    ["with an emoji that contains ZWJ", "anna 👩\u200d👩\u200d👧"],
    ["with an emoji that contains a variation selector", "anna ❤\ufe0f"],
    ["with an emoji that contains tags", "anna 🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
    ["with a flag, a keycap and a skin tone", "anna 🇩🇪1\ufe0f\u20e3👩🏽"],
    ["with punctuation", "o'hara_anna-maria.2"],
  ];
  for (const [what, username] of accepted) {
    test(what, async () => {
      const user = await newUser();
      const { status, json } = await rename(user, username);
      expect([status, json.user?.username]).toEqual([200, username]);
      const profile = await server.request("GET", `/api/profiles/${encodeURIComponent(username)}`);
      expect(profile.json.profile.username).toBe(username);
    });
  }

  test("with runs of spaces of every kind made one space", async () => {
    const user = await newUser();
    const { json } = await rename(user, " two \u00a0\u3000 words\u2003here ");
    expect(json.user.username).toBe("two words here");
  });
});

describe("a username is taken", () => {
  const taken: [how: string, first: string, second: string][] = [
    ["by its Cyrillic look-alike", "ѕсоре", "scope"],
    ["by the name that its Cyrillic look-alike imitates", "hopa", "Нора"],
    ["by its look-alike in capitals", "Max Bec", "МАХ ВЕС"],
    ["by its Greek look-alike", "νίκος", "ΝΊΚΟΣ"],
    ["by one with other spaces", "blank space", "blank\u00a0\u00a0space"],
    ["by one with a dotless i", "silvia", "sılvia"],
    ["by one with a capital I for l", "Zoë Bell", "Zoë BeII"],
    ["by one with a script g", "gregor", "ɡregor"],
    ["by one with ZWNJ", "نامهها", "نامه\u200cها"],
    ["by one with another hyphen", "jean-luc", "jean‐luc"],
    ["by one with another apostrophe", "o'brien", "o’brien"],
    ["by one with a variation selector", "red ❤", "red ❤\ufe0f"],
    ["by one with mathematical letters", "gamma", "𝐠𝐚𝐦𝐦𝐚"],
    ["by a full-width name with a confusable letter", "rnango", "ｍango"],
  ];
  for (const [how, first, second] of taken) {
    test(how, async () => {
      const [one, other] = [await newUser(), await newUser()];
      expect((await rename(one, first)).json.user?.username).toBe(first);
      const { status, json } = await rename(other, second);
      expect([status, json.errors]).toEqual([409, { username: ["has already been taken"] }]);
      // Whichever comes first.
      expect((await rename(one, `free-${users}`)).status).toBe(200);
      expect((await rename(other, second)).status).toBe(200);
      expect((await rename(one, first)).status).toBe(409);
    });
  }

  test("and the email too, both reported", async () => {
    await rename(await newUser(), "cocoa");
    const user = { username: "сосоа", email: anna.email, password: "correct horse" };
    const { status, json } = await server.request("POST", "/api/users", { body: { user } });
    expect(status).toBe(409);
    expect(Object.keys(json.errors).sort()).toEqual(["email", "username"]);
  });

  test("not by another ASCII name, whatever it looks like", async () => {
    for (const [first, second] of [
      ["modern", "rnodern"],
      ["alice-1", "alice-l"],
      ["John0", "JohnO"],
      ["IIIIII", "llllll"],
    ] as const) {
      const [one, other] = [await newUser(), await newUser()];
      expect((await rename(one, first)).status).toBe(200);
      expect((await rename(other, second)).status).toBe(200);
    }
  });

  test("not by oneself: a user may switch between look-alikes", async () => {
    const user = await newUser();
    for (const name of ["peace", "реасе", "Peace", "peace"]) expect((await rename(user, name)).status).toBe(200);
  });

  test("not by names that differ in an accent, or in letters that look different", async () => {
    for (const name of ["renée", "renee", "rénee", "ольга", "олега", "νίνα"]) {
      expect((await rename(await newUser(), name)).status).toBe(200);
    }
  });
});

test("of look-alikes that come at the same time, one wins", async () => {
  const names = ["сосо", "coco", "ｃoco", "сосо", "COCO", "ϲοϲο"];
  const crowd = await Promise.all(names.map(newUser));
  const responses = await Promise.all(names.map((name, i) => rename(crowd[i] as TestUser, name)));
  expect(responses.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409, 409]);
});

test("the longest skeletons fit their index, several on a page", async () => {
  // 30 bytes for a character: the longest there is.
  const names = [...new Set("بتثجحخدرسصطع")].map((letter) => "\ufdfa".repeat(49) + letter);
  for (const name of names) expect((await rename(await newUser(), name)).status).toBe(200);
});

test("every character with a script has one in the list of scripts", () => {
  const listed = SCRIPTS.split(" ").map((script) => `\\p{Script=${script}}`);
  const unlisted = new RegExp(`[^\\p{Script=Common}\\p{Script=Inherited}\\p{Script=Unknown}${listed.join("")}]`, "u");
  let characters = "";
  for (let i = 0; i <= 0x10ffff; i++) if (i < 0xd800 || i > 0xdfff) characters += String.fromCodePoint(i);
  expect(unlisted.exec(characters)?.[0]).toBeUndefined();
});
