import { diffArrays } from "diff";
import { createWorkerQueue } from "./worker-queue.ts";

/** A part of two texts that are compared: in both, in the first alone, or in the second alone. */
export type DiffPart = { readonly kind: "same" | "removed" | "added"; readonly text: string };

const WAITING_MAX = 50;
/** In characters, of both texts. */
const LENGTH_MAX = 2 * 1024 * 1024;
/** More different words than this are not worth reading one by one, and take long to find. */
const EDITS_MAX = 4_000;
const TIMEOUT_MS = 1_000;

/** Apart from the rendering of articles, for which readers wait. One for the process, as its cores are shared too. */
const queue = createWorkerQueue(WAITING_MAX);

/**
 * How a text differs from another, by words. The parts in both and those in the first are the first text, in order. Texts that
 * differ too much, or take too long to compare, are two parts: all of the first, and all of the second.
 */
export async function diffOf(before: string, after: string): Promise<DiffPart[]> {
  if (before === after) return before === "" ? [] : [{ kind: "same", text: before }];
  const size = before.length + after.length;
  const parts = size > LENGTH_MAX ? null : ((await queue.run([before, after], size)) as DiffPart[] | null);
  return parts ?? allDifferent(before, after);
}

function allDifferent(before: string, after: string): DiffPart[] {
  const parts: DiffPart[] = [
    { kind: "removed", text: before },
    { kind: "added", text: after },
  ];
  return parts.filter(({ text }) => text !== "");
}

/** The same in the calling thread, for the worker; null if the texts differ too much. */
export function compareTexts(before: string, after: string): DiffPart[] | null {
  const changes = diffArrays(unitsOf(before), unitsOf(after), { maxEditLength: EDITS_MAX, timeout: TIMEOUT_MS });
  return (
    changes?.map(({ added, removed, value }) => ({
      kind: added ? "added" : removed ? "removed" : "same",
      text: value.join(""),
    })) ?? null
  );
}

const unitsOf = (text: string): string[] => text.match(UNIT) ?? [];

/** A word, white space, or any other character. Chinese and Japanese have no spaces between words. */
const UNSPACED = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}";
const UNIT = new RegExp(`[[\\p{L}\\p{N}\\p{M}_]--[${UNSPACED}]]+|\\s+|[^]`, "gv");
