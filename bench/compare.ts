import { type Measured, median, type Result, table, whole } from "./report.ts";

/** The cost of an endpoint may grow by this much from 20,000 to 1,000,000 articles. */
const GROWTH_MAX = 1.3;

/**
 * Two results side by side as text: of two versions of the program, or of two sizes of the data set, where the target
 * for reads is printed too. The cost of a request is the CPU time of app and PostgreSQL together.
 */
export function compare(before: Result, after: Result): string {
  const isGrowth = before.articles !== after.articles;
  const rows = after.measured.flatMap((now) => {
    const then = before.measured.find(({ name }) => name === now.name);
    if (then === undefined) return [];
    const growth = costUs(now) / costUs(then);
    return [
      [
        now.name,
        whole(perS(then)),
        whole(perS(now)),
        `${(perS(now) / perS(then)).toFixed(2)}x`,
        whole(costUs(then)),
        whole(costUs(now)),
        `${growth.toFixed(2)}x`,
        whole(median(then.http.map((h) => h.postgresCpuUs))),
        whole(median(now.http.map((h) => h.postgresCpuUs))),
        !isGrowth || now.kind !== "read" ? "" : growth <= GROWTH_MAX ? "met" : `NOT MET (<= ${GROWTH_MAX}x)`,
      ],
    ];
  });
  const head = [
    "endpoint",
    "req/s before",
    "after",
    "",
    "app + PG µs before",
    "after",
    "",
    "PG µs before",
    "after",
    "",
  ];
  return `
before: ${before.articles.toLocaleString("en")} articles, ${before.at}
after:  ${after.articles.toLocaleString("en")} articles, ${after.at}

${table(head, rows)}
`;
}

const perS = ({ http }: Measured): number => median(http.map((h) => h.perS));
const costUs = ({ http }: Measured): number => median(http.map((h) => h.appCpuUs + h.postgresCpuUs));
