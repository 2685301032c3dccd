/** Articles on a page of a list. */
const PAGE_SIZE = 10;

/** The filters of `listArticles` for a page of a list, from 1, without any restriction. */
export const pageOf = (page: number) => ({
  limit: PAGE_SIZE,
  offset: (page - 1) * PAGE_SIZE,
  cursor: undefined,
  tag: undefined,
  author: undefined,
  favorited: undefined,
});

/** How many pages to show on each side of the current one. */
const AROUND = 2;

/**
 * The pages of a list; nothing if there is only one.
 * @param path of the first page, which may have a query
 */
export function Pagination({ count, page, path }: { count: number; page: number; path: string }) {
  const last = Math.ceil(count / PAGE_SIZE);
  if (last < 2) return null;
  return (
    <nav aria-label="Pages">
      <ul class="pagination">
        {shownPages(page, last).map((number) =>
          number === "…" ? (
            <li class="page-gap" aria-hidden="true">
              …
            </li>
          ) : (
            <li class={number === page ? "page-item active" : "page-item"}>
              <a
                class="page-link"
                href={pageHref(path, number)}
                aria-current={number === page ? "page" : undefined}
                aria-label={`Page ${number}`}
              >
                {number}
              </a>
            </li>
          ),
        )}
      </ul>
    </nav>
  );
}

/** The first, the last and those around the current one, with gaps between them. */
export function shownPages(page: number, last: number): (number | "…")[] {
  const near = Array.from({ length: 2 * AROUND + 1 }, (_, i) => page - AROUND + i);
  const numbers = [...new Set([1, ...near, last])].filter((number) => number >= 1 && number <= last);
  return numbers.flatMap((number, i) => {
    const missing = number - (numbers[i - 1] ?? 0) - 1;
    if (missing === 0) return [number];
    return missing === 1 ? [number - 1, number] : ["…" as const, number];
  });
}

export function pageHref(path: string, page: number): string {
  if (page === 1) return path;
  return `${path}${path.includes("?") ? "&" : "?"}page=${page}`;
}
