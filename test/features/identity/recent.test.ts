import { expect, test } from "bun:test";
import { createRecent } from "../../../src/features/identity/recent.ts";

test("what was used lately is remembered: the last ones at least, and at most twice as many", () => {
  const recent = createRecent<number>(10);
  for (let i = 0; i < 1_000; i++) {
    recent.set(`key ${i}`, i);
    expect(recent.size).toBeLessThanOrEqual(20);
    for (let back = 0; back < Math.min(i, 10); back++) {
      // Looked at in the order of their coming, which keeps them all.
      expect(recent.get(`key ${i - Math.min(i, 9) + back}`)).toBe(i - Math.min(i, 9) + back);
    }
    expect(recent.get("key 0")).toBe(i < 10 ? 0 : recent.get("key 0"));
  }
  expect(recent.get("key 500")).toBeUndefined();
});

test("what is asked for all the time is never forgotten", () => {
  const recent = createRecent<string>(10);
  recent.set("often", "here");
  for (let i = 0; i < 1_000; i++) {
    recent.set(`key ${i}`, "x");
    expect(recent.get("often")).toBe("here");
  }
  recent.set("once", "here");
  for (let i = 0; i < 20; i++) recent.set(`other ${i}`, "x");
  expect(recent.get("once")).toBeUndefined();
});
