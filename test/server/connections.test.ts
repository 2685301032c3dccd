import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectionsNeeded, requireConnections } from "../../src/server/connections.ts";
import { testDatabase } from "../support/harness.ts";
import { serve, stopServed } from "../support/serve.ts";

setDefaultTimeout(60_000);
afterAll(stopServed);

describe("the connections of all workers", () => {
  const folder = join(tmpdir(), `conduit-connections-${process.pid}`);
  const embedded = { DATA_DIR: folder, DATABASE_URL: "", JWT_SECRET: "" };

  test.each([{ WORKERS: "60" }, { DATABASE_POOL_MAX: "1000" }])(
    "that are too many for the embedded PostgreSQL are reported before anything is created: %p",
    async (settings) => {
      await expect(serve(await testDatabase(), { ...embedded, ...settings })).rejects.toThrow(
        /did not start:\nWORKERS=\d+ with DATABASE_POOL_MAX=\d+ needs up to \d+ connections, and the embedded PostgreSQL has 210\..*\n$/,
      );
      expect(existsSync(folder)).toBe(false);
    },
  );

  test("are as many as the documentation says", async () => {
    expect(connectionsNeeded({ workers: 1, databasePoolMax: 8 })).toBeWithin(16, 18);
    expect(connectionsNeeded({ workers: 4, databasePoolMax: 8 })).toBeWithin(40, 45);
    // The most that WORKERS=auto chooses.
    expect(() => requireConnections({ workers: 16, databasePoolMax: 8, databaseUrl: undefined })).not.toThrow();
  });
});
