import { SQL } from "bun";
import { connectionOptions } from "../src/db/pool.ts";
import { statements } from "../src/db/statements.ts";
import type { Dataset } from "./dataset.ts";
import type { Endpoint } from "./endpoints.ts";
import { table, whole } from "./report.ts";
import type { StatementFinder } from "./statements.ts";

/** Of one endpoint's first request. `buffers` are pages of 8 kB that were looked at, all of them in memory or not. */
export type Explained = {
  readonly endpoint: string;
  readonly statement: string;
  readonly planMs: number;
  readonly executeMs: number;
  readonly buffers: number;
  /** How the rows are found, each way once: `Index Only Scan articles_author_id_idx`. */
  readonly ways: readonly string[];
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

/** `explain (analyze, buffers)` of every endpoint's statement, with the plan that the server runs. What it writes is undone. */
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
      if (found === undefined) throw new Error(`${endpoint.name} made no statement`);
      const [name, parameters] = found;
      const literals = parameters.map((value) =>
        value === null ? "null" : `'${String(value).replaceAll("'", "''")}'`,
      );
      const execute = `execute explained${literals.length === 0 ? "" : `(${literals.join(", ")})`}`;
      await sql.unsafe(`prepare explained as ${statements.get(name)?.text}`);
      const undone = async (statement: string): Promise<Record<string, unknown>[]> => {
        await sql.unsafe("begin");
        try {
          return await sql.unsafe(statement);
        } finally {
          await sql.unsafe("rollback");
        }
      };
      // Not the first time, which reads what is cached afterwards.
      for (let i = 0; i < 3; i++) await undone(execute);
      const [json] = await undone(`explain (analyze, buffers, format json) ${execute}`);
      const text = await undone(`explain (analyze, buffers, costs off) ${execute}`);
      await sql.unsafe("deallocate explained");
      if (endpoint.kind === "write") await dataset.tidy();

      if (json === undefined) throw new Error(`${name} has no plan`);
      const [plan] = json["QUERY PLAN"] as [PlanJson];
      const ways = new Set<string>();
      collectWays(plan.Plan, ways);
      explained.push({
        endpoint: endpoint.name,
        statement: name,
        planMs: plan["Planning Time"],
        executeMs: plan["Execution Time"],
        buffers: plan.Plan["Shared Hit Blocks"] + plan.Plan["Shared Read Blocks"],
        ways: [...ways],
        plan: text.map((row) => row["QUERY PLAN"]).join("\n"),
      });
    }
  } finally {
    await sql.close({ timeout: 0 });
  }
  return explained;
}

function collectWays(node: PlanNode, ways: Set<string>): void {
  const { "Node Type": type, "Index Name": index, "Relation Name": relation } = node;
  // A part that the statement did not come to, such as what is done for a viewer where there is none.
  if (node["Actual Loops"] === 0) return;
  if (type === "Seq Scan") ways.add(`Seq Scan ${relation}`);
  else if (index !== undefined) ways.add(`${type} ${index}`);
  for (const child of node.Plans ?? []) collectWays(child, ways);
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
  return ["found by", ...explained.map(({ ways }) => ways.join(", "))]
    .map((ways, i) => `${figures[i]}  ${ways}`)
    .join("\n");
}
