// Runs before the test files of each process, and stops afterwards what they started.
import { afterAll } from "bun:test";
import { stopHarness } from "./database.ts";

afterAll(stopHarness, 60_000);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    await stopHarness();
    process.exit(1);
  });
}
