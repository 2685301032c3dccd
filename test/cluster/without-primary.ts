// What a server with memory does while the cluster has no primary: docs/operations/cluster.md, "While the database is away".

import { until } from "./environment.ts";
import type { Writer } from "./load.ts";

/** Older than what memory serves at any other time. */
const CACHE_STATUS = /^conduit; hit; ttl=-\d+; detail="database unavailable"$/;
const READ_TIMEOUT_MS = 1_000;

/**
 * Reads an article, lets the primary end, and then reads it from memory, edits it, and reads it again.
 * @returns what is worse than promised, one text each
 */
export async function useWithoutPrimary(
  serverUrl: string,
  { token, slug }: Writer,
  endPrimary: () => Promise<void>,
): Promise<string[]> {
  const url = `${serverUrl}/api/articles/${slug}`;
  const read = () => fetch(url, { signal: AbortSignal.timeout(READ_TIMEOUT_MS) });
  await read();
  await endPrimary();
  const remembered = await until(10_000, "memory serves an old value", async () => {
    const response = await read().catch(() => undefined);
    return CACHE_STATUS.test(response?.headers.get("Cache-Status") ?? "") ? response : undefined;
  });
  const { status, headers } = remembered;
  const age = headers.get("Age") ?? "";
  const problems =
    status === 200 && /^\d+$/.test(age) ? [] : [`without a primary, a read got ${status} with Age: ${age}`];

  const description = "Written when there was no primary";
  const at = performance.now();
  const edited = await until(60_000, "an edit succeeds", async () => {
    const response = await fetch(url, {
      method: "PUT",
      headers: { Authorization: `Token ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify({ article: { description } }),
    });
    if (response.ok) return response;
    if (response.status === 503 && response.headers.has("Retry-After")) return undefined;
    throw new Error(`without a primary, an edit got ${response.status}: ${await response.text()}`);
  });
  const waitedS = (performance.now() - at) / 1000;
  await edited.arrayBuffer();
  const shown = (await (await fetch(url)).json()) as { article: { description: string } };
  if (shown.article.description !== description) problems.push("memory hid an edit that was acknowledged");
  console.log(`without a primary: a read got ${status} with Age: ${age}; an edit took ${waitedS.toFixed(1)} s`);
  return problems;
}
