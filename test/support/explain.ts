import { expect } from "bun:test";
import { statements } from "../../src/db/statements.ts";
import type { TestServer } from "./harness.ts";

/** Expects that PostgreSQL can run a statement without parameters by this index, and sorts nothing. */
export async function expectIndex(server: TestServer, statement: string, index: string): Promise<void> {
  const text = statements.get(statement)?.text;
  const connection = await server.sql.reserve();
  try {
    // Otherwise PostgreSQL reads a small table sequentially.
    await connection`set enable_seqscan = off`;
    // Which of the two scans of an index is cheaper depends on statistics that autovacuum may just have taken.
    await connection`set enable_bitmapscan = off`;
    const rows = await connection.unsafe(`explain (costs off) ${text}`);
    const plan = rows.map((row: { "QUERY PLAN": string }) => row["QUERY PLAN"]).join("\n");
    expect(plan).toContain(`Index Scan using ${index}`);
    expect(plan).not.toContain("Sort");
  } finally {
    await connection`reset enable_seqscan`;
    await connection`reset enable_bitmapscan`;
    connection.release();
  }
}
