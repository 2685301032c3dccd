import { SQL } from "bun";
import { connectionOptions } from "../src/db/pool.ts";
import { positional, type Statement, statements } from "../src/db/statements.ts";
import type { Dataset } from "./dataset.ts";
import type { Endpoint } from "./endpoints.ts";
import { table, whole } from "./report.ts";
import type { StatementFinder } from "./statements.ts";

/** The first request of one endpoint. `buffers` counts pages of 8 kB, in memory or not. */
export type Explained = {
  readonly endpoint: string;
  readonly statement: string;
  readonly planMs: number;
  readonly executeMs: number;
  readonly buffers: number;
  /** The access paths, each once: `Index Only Scan articles_author_id_idx`. */
  readonly paths: readonly string[];
  /** As `explain (analyze, buffers)` prints it. */
  readonly plan: string;
};

type PlanNode = {
  "Node Type": string;
  "Index Name"?: string;
  "Relation Name"?: string;
  "Actual Loops": number;
  "Shared Hit Blocks": number;
  "Shared Read Blocks": number;
  Plans?: PlanNode[];
};
type PlanJson = { Plan: PlanNode; "Planning Time": number; "Execution Time": number };

/** `explain (analyze, buffers)` of every endpoint's statement, with the plan that the server runs. What they write is rolled back. */
export async function explain(
  dataset: Pick<Dataset, "address" | "sample" | "prepare" | "tidy">,
  endpoints: readonly Endpoint[],
  findStatements: StatementFinder,
): Promise<Explained[]> {
  const sql = new SQL(connectionOptions(dataset.address, 1, { plan_cache_mode: "force_generic_plan", jit: "off" }));
  const explained: Explained[] = [];
  try {
    for (const endpoint of endpoints) {
      if (endpoint.kind === "mix") continue;
      const nonce = `${Date.now().toString(36)}e`;
      await dataset.prepare(endpoint, nonce);
      const calls = endpoint.calls(dataset.sample, nonce).slice(0, 1);
      const [found] = await findStatements(calls);
      if (found === undefined) throw new Error(`${endpoint.name} ran no statement`);
      const [name, parameters] = found;
      const statement = statements.get(name) as Statement<unknown>;
      const literals = positional(statement, parameters).map((value) =>
        value === null ? "null" : `'${String(value).replaceAll("'", "''")}'`,
      );
      const execute = `execute explained${literals.length === 0 ? "" : `(${literals.join(", ")})`}`;
      await sql.unsafe(`prepare explained as ${statement.text}`);
      const rolledBack = async (statement: string): Promise<Record<string, unknown>[]> => {
        await sql.unsafe("begin");
        try {
          return await sql.unsafe(statement);
        } finally {
          await sql.unsafe("rollback");
        }
      };
      // The first runs fill the caches.
      for (let i = 0; i < 3; i++) await rolledBack(execute);
      const [json] = await rolledBack(`explain (analyze, buffers, format json) ${execute}`);
      const text = await rolledBack(`explain (analyze, buffers, costs off) ${execute}`);
      await sql.unsafe("deallocate explained");
      if (endpoint.kind === "write") await dataset.tidy();

      if (json === undefined) throw new Error(`${name} has no plan`);
      const [plan] = json["QUERY PLAN"] as [PlanJson];
      const paths = new Set<string>();
      collectPaths(plan.Plan, paths);
      explained.push({
        endpoint: endpoint.name,
        statement: name,
        planMs: plan["Planning Time"],
        executeMs: plan["Execution Time"],
        buffers: plan.Plan["Shared Hit Blocks"] + plan.Plan["Shared Read Blocks"],
        paths: [...paths],
        plan: text.map((row) => row["QUERY PLAN"]).join("\n"),
      });
    }
  } finally {
    await sql.close({ timeout: 0 });
  }
  return explained;
}

function collectPaths(node: PlanNode, paths: Set<string>): void {
  const { "Node Type": type, "Index Name": index, "Relation Name": relation } = node;
  // A part of the plan that did not run.
  if (node["Actual Loops"] === 0) return;
  if (type === "Seq Scan") paths.add(`Seq Scan ${relation}`);
  else if (index !== undefined) paths.add(`${type} ${index}`);
  for (const child of node.Plans ?? []) collectPaths(child, paths);
}

export function explainedTable(explained: readonly Explained[]): string {
  const figures = table(
    ["endpoint", "plan ms", "run ms", "pages"],
    explained.map(({ endpoint, planMs, executeMs, buffers }) => [
      endpoint,
      planMs.toFixed(2),
      executeMs.toFixed(2),
      whole(buffers),
    ]),
  ).split("\n");
  return ["found by", ...explained.map(({ paths }) => paths.join(", "))]
    .map((paths, i) => `${figures[i]}  ${paths}`)
    .join("\n");
}
