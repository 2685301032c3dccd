import { expect, test } from "bun:test";
import fc from "fast-check";
import { type DiffPart, diffOf } from "../../src/markup/diff.ts";
import { SEED } from "../support/random.ts";

const textOf = (parts: readonly DiffPart[], without: DiffPart["kind"]): string =>
  parts.flatMap(({ kind, text }) => (kind === without ? [] : text)).join("");

test(`the parts are both texts, whatever they are (TEST_SEED=${SEED})`, async () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.string({ unit: fc.constantFrom("a", "b", " ", "\n", "字", "é", "e\u0301", "😀"), maxLength: 60 }),
  );
  await fc.assert(
    fc.asyncProperty(text, text, async (before, after) => {
      const parts = await diffOf(before, after);
      expect(textOf(parts, "added")).toBe(before);
      expect(textOf(parts, "removed")).toBe(after);
    }),
    { numRuns: 300, seed: SEED },
  );
});

test("words stay whole, in every script", async () => {
  expect(await diffOf("ein großer Öfen", "ein großes Öfen")).toEqual([
    { kind: "same", text: "ein " },
    { kind: "removed", text: "großer" },
    { kind: "added", text: "großes" },
    { kind: "same", text: " Öfen" },
  ]);
});

test("texts that differ too much are two parts, and nothing else waits for the comparison", async () => {
  const words = (first: string) => Array.from({ length: 100_000 }, (_, i) => `${first}${i}`).join(" ");
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const parts = await diffOf(words("a"), words("b"));
  clearInterval(timer);
  expect(parts.map(({ kind }) => kind)).toEqual(["removed", "added"]);
  // The worker compared while this thread went on.
  expect(turns).toBeGreaterThan(3);
});
