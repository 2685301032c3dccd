// What an event cost, and whether that is more than docs/operations/cluster.md promises.

import { TTL_S } from "./environment.ts";
import type { Sample } from "./load.ts";

/** What a failover may take in addition to `TTL_S`, until a write succeeds. */
const MARGIN_MS = 5_000;
/** How soon a sign-out has to reach the other server. */
const SIGN_OUT_MAX_MS = 3_000;

/** What happened around an event, in milliseconds since it. */
export type Outcome = {
  readonly event: string;
  readonly newPrimaryMs: number | undefined;
  readonly firstWriteMs: number | undefined;
  readonly signOutMs: number | undefined;
  readonly samples: readonly Sample[];
  readonly lost: number;
  readonly repeated: number;
  readonly unseen: number;
};

export type Event = {
  readonly name: string;
  /** Whether another node becomes the primary. */
  readonly movesPrimary: boolean;
  /** Chooses what `run` ends. */
  prepare?(): Promise<void>;
  run(): Promise<void>;
  /** Brings back what the event has ended. */
  repair(): Promise<void>;
  /** Statuses beyond success and 503 that some requests may have. */
  readonly allowed?: readonly number[];
  readonly readsMayFail: boolean;
};

/** Whatever is worse than promised, one text each. */
export function judge(event: Event, { firstWriteMs, signOutMs, samples, lost, repeated, unseen }: Outcome): string[] {
  const unexpected = samples.filter(({ status }) => !isExpected(event, status)).map(({ status }) => status);
  const failedReads = samples.filter(({ kind, status }) => kind === "read" && (status === 0 || status >= 500)).length;
  const refused = samples.filter(({ isRefused }) => isRefused).length;
  return [
    ...(lost > 0 ? [`${lost} acknowledged writes were lost`] : []),
    ...(repeated > 0 ? [`${repeated} writes took effect twice`] : []),
    ...(unseen > 0 ? [`${unseen} writes were not in the next read of their author`] : []),
    ...(unexpected.length > 0 ? [`responses with the statuses ${[...new Set(unexpected)].join(", ")}`] : []),
    ...(refused > 0 ? [`HAProxy had no server for ${refused} requests`] : []),
    ...(failedReads > 0 && !event.readsMayFail ? [`${failedReads} reads failed`] : []),
    ...((firstWriteMs ?? Number.POSITIVE_INFINITY) > TTL_S * 1_000 + MARGIN_MS
      ? [`the first write succeeded after ${seconds(firstWriteMs)} s`]
      : []),
    ...((signOutMs ?? 0) > SIGN_OUT_MAX_MS
      ? [`a sign-out reached the other server after ${seconds(signOutMs)} s`]
      : []),
  ];
}

/** Success, 503, or what requests may get that the event itself has ended; 0 is a lost connection. */
const isExpected = ({ allowed = [] }: Event, status: number): boolean =>
  (status >= 200 && status < 300) || status === 503 || allowed.includes(status);

export function print(outcomes: readonly Outcome[]): void {
  const rows = outcomes.map(({ event, newPrimaryMs, firstWriteMs, signOutMs, samples, lost, repeated, unseen }) => {
    const failed = (kind: Sample["kind"]) =>
      samples.filter((sample) => sample.kind === kind && (sample.status === 0 || sample.status >= 500)).length;
    return {
      event,
      "new primary, s": seconds(newPrimaryMs),
      "first write, s": seconds(firstWriteMs),
      "slowest, s": seconds(Math.max(...samples.map(({ tookMs }) => tookMs))),
      requests: samples.length,
      "failed reads": failed("read"),
      "failed writes": failed("write"),
      "lost writes": lost,
      repeated,
      unseen,
      "sign-out, ms": signOutMs === undefined ? "" : Math.round(signOutMs),
    };
  });
  const [first] = rows;
  if (first === undefined) return;
  const names = Object.keys(first);
  for (const cells of [names, names.map(() => "---"), ...rows.map(Object.values)])
    console.log(`| ${cells.join(" | ")} |`);
}

const seconds = (ms: number | undefined): string => (ms === undefined ? "" : (ms / 1000).toFixed(1));
