import type { Range } from "../../features/articles/search/schema.ts";

/** A text in which the words of a search are marked. */
export function Highlighted({ text, ranges = [] }: { text: string; ranges?: readonly Range[] | undefined }) {
  return (
    <>
      {ranges.map(({ start, end }, i) => (
        <>
          {text.slice(ranges[i - 1]?.end ?? 0, start)}
          <mark>{text.slice(start, end)}</mark>
        </>
      ))}
      {text.slice(ranges.at(-1)?.end ?? 0)}
    </>
  );
}
