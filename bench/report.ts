import type { Endpoint } from "./endpoints.ts";
import type { LoadFigures } from "./load.ts";
import type { StatementFigures } from "./statement-limit.ts";

/** One endpoint; each list has one figure per round. CPU times are in microseconds per request or statement. */
export type Measured = {
  readonly name: string;
  readonly kind: Endpoint["kind"];
  /** Through HTTP. */
  readonly http: (LoadFigures & { appCpuUs: number; postgresCpuUs: number })[];
  /** The same statements without HTTP. */
  readonly statement: (StatementFigures & { postgresCpuUs: number })[];
  /** The bytes of its first response, from a bare `Bun.serve`. */
  readonly bare: (LoadFigures & { appCpuUs: number })[];
};

export type Result = {
  readonly at: string;
  readonly articles: number;
  readonly setup: Record<string, string | number>;
  readonly measured: Measured[];
  /** Bare `select 1` through the pool, one figure per round. */
  readonly select1: (StatementFigures & { postgresCpuUs: number })[];
  readonly costs: Costs;
  /** Of the app, after this many requests. */
  readonly memory: { readonly requests: number; readonly MB: number }[];
  /** Requests that need no database, served by one process and by two: one figure per round. */
  readonly workers: { readonly name: string; readonly onePerS: number[]; readonly twoPerS: number[] }[];
  /** From `npm start` to the first response. */
  readonly starts: { readonly emptyFolderMs: number; readonly existingDataMs: number } | null;
};

export type Costs = {
  /** Verification of a token that is in the cache, and of one that is not. */
  readonly knownTokenUs: number;
  readonly newTokenUs: number;
  /** CPU of the app for a request of `article`: as in production, and without log and metrics. A figure of each round. */
  readonly loggedUs: number[];
  readonly silentUs: number[];
};

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** Half of the distance between the smallest and the largest, in per cent of the median. */
const spread = (values: readonly number[]): string =>
  values.length < 2 ? "" : `±${Math.round(((Math.max(...values) - Math.min(...values)) / 2 / median(values)) * 100)}%`;

/** Up to 150 MB without values in memory, and what the default of `MEMORY_MAX` takes: docs/operations/scaling.md. */
const MEMORY_MAX_MB = 150 + 1.4 * 134;

const HEAD = ["endpoint", "req/s", "±", "p50 ms", "p99 ms", "app µs", "PG µs", "load µs"].concat([
  "alone/s",
  "±",
  "client µs",
  "PG µs",
  "share",
  "bare/s",
]);

/** The whole result as text for a terminal: the table, the limits, the targets. */
export function report(result: Result): string {
  const { articles, setup, measured, select1, costs, memory } = result;
  const rows = measured.map(({ name, http, statement, bare }) => {
    const of = <T>(list: readonly T[], figure: (entry: T) => number): number => median(list.map(figure));
    const perS = of(http, (h) => h.perS);
    const errors = http.reduce((sum, h) => sum + h.errors, 0);
    return [
      name,
      whole(perS),
      spread(http.map((h) => h.perS)),
      of(http, (h) => h.p50Ms).toFixed(1),
      of(http, (h) => h.p99Ms).toFixed(1),
      whole(of(http, (h) => h.appCpuUs)),
      whole(of(http, (h) => h.postgresCpuUs)),
      whole(of(http, (h) => h.loadCpuUs)),
      whole(of(statement, (s) => s.perS)),
      spread(statement.map((s) => s.perS)),
      whole(of(statement, (s) => s.cpuUs)),
      whole(of(statement, (s) => s.postgresCpuUs)),
      percent(perS / of(statement, (s) => s.perS)),
      percent(of(statement, (s) => s.cpuUs + s.postgresCpuUs) / of(http, (h) => h.appCpuUs + h.postgresCpuUs)),
      whole(of(bare, (b) => b.perS)),
      errors === 0 ? "" : `${errors} errors!`,
    ];
  });
  return `
${articles.toLocaleString("en")} articles; ${Object.entries(setup)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ")}

${table(HEAD, rows)}

req/s, p50, p99: through HTTP. app, PG, load: CPU time of the server, PostgreSQL and the load generator for a request.
alone: the same statements through the same pool without HTTP. share: of that, what is reached through HTTP; by CPU: what
it would be if the load generator cost nothing. bare: the same bytes from a bare Bun.serve. ±: half of the distance
between the least and the largest round.

Limits: select 1 ${whole(median(select1.map((s) => s.perS)))}/s (client ${whole(median(select1.map((s) => s.cpuUs)))} µs, PG ${whole(median(select1.map((s) => s.postgresCpuUs)))} µs).
Memory of the app: ${memory.map(({ requests, MB }) => `${whole(MB)} MB after ${whole(requests)} requests`).join(", ")}.
A token: ${costs.knownTokenUs.toFixed(1)} µs in the cache, ${costs.newTokenUs.toFixed(1)} µs new.${
    costs.loggedUs.length === 0
      ? ""
      : ` Log and metrics on and off: ${median(costs.loggedUs).toFixed(1)} and ${median(costs.silentUs).toFixed(1)} µs a request.`
  }

${table(
  ["Target", "figure", "wanted", ""],
  targets(result).map(({ what, figure, target, isMet }) => [what, figure, target, isMet ? "met" : "NOT MET"]),
)}
`;
}

type Target = { what: string; figure: string; target: string; isMet: boolean };

/** The targets that one run can check; `compare` also checks the cost at two sizes. */
export function targets({ measured, costs, memory, workers, starts }: Result): Target[] {
  const all: Target[] = [];
  for (const { name, kind, http, statement } of measured) {
    if (kind === "mix") continue;
    const share = median(http.map((h) => h.perS)) / median(statement.map((s) => s.perS));
    const least = kind === "read" ? 0.6 : 0.7;
    all.push({
      what: `${name}: share of the statement alone`,
      figure: percent(share),
      target: `>= ${percent(least)}`,
      isMet: share >= least,
    });
  }
  const appCpuUs: [pattern: RegExp, most: number][] = [
    [/^article/, 45],
    [/^(list|feed)/, 90],
  ];
  for (const { name, kind, http } of measured) {
    const most = kind === "read" ? appCpuUs.find(([pattern]) => pattern.test(name))?.[1] : undefined;
    if (most !== undefined)
      all.push(atMost(`${name}: CPU of the app`, median(http.map((h) => h.appCpuUs)), most, "µs"));
  }
  all.push(atMost("checking a token", Math.max(costs.knownTokenUs, costs.newTokenUs), 8, "µs"));
  if (costs.loggedUs.length > 0) {
    all.push(atMost("request logging and metrics", median(costs.loggedUs) - median(costs.silentUs), 8, "µs"));
  }
  for (const { name, onePerS, twoPerS } of workers) {
    const times = median(twoPerS) / median(onePerS);
    all.push({
      what: `${name}: two workers against one`,
      figure: `${times.toFixed(2)}x`,
      target: ">= 1.6x",
      isMet: times >= 1.6,
    });
  }
  // The last two are those after each half of the soak, which are requests of the same kind.
  const [first, second] = memory.filter(({ requests }) => requests >= 1_000_000).slice(-2);
  if (first !== undefined) all.push(atMost("memory after a million requests", first.MB, MEMORY_MAX_MB, "MB"));
  // Less than a twentieth is noise of the garbage collector.
  if (first !== undefined && second !== undefined) {
    all.push(atMost("memory after the second million", second.MB, first.MB * 1.05, "MB"));
  }
  if (starts !== null) {
    all.push(atMost("npm start, on existing data", starts.existingDataMs / 1000, 1.5, "s"));
    all.push(atMost("npm start, on an empty folder", starts.emptyFolderMs / 1000, 3, "s"));
  }
  return all;
}

function atMost(what: string, figure: number, most: number, unit: string): Target {
  return {
    what,
    figure: `${figure.toFixed(1)} ${unit}`,
    target: `<= ${Math.round(most * 10) / 10} ${unit}`,
    isMet: figure <= most,
  };
}

/** Columns as wide as their widest cell: the first to the left, the others to the right. */
export function table(head: string[], rows: string[][]): string {
  const lines = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...lines.map((cells) => cells[i]?.length ?? 0)));
  return lines
    .map((cells) =>
      cells
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export const whole = (value: number): string => (Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "–");
export const percent = (value: number): string => (Number.isFinite(value) ? `${Math.round(value * 100)}%` : "–");
