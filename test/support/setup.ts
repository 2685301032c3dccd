// One PostgreSQL for the whole run, embedded and in a folder of its own, or TEST_DATABASE_URL's. Each test file takes
// databases of its own from it (test/harness.ts).
import { afterAll } from "bun:test";
import { stopHarness } from "./harness.ts";

// As `npm test` gives every test by --timeout (neither bunfig.toml nor this file can, for more than the first test
// file): no test measures time, and the machine may be busy.
afterAll(stopHarness, 60_000);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    await stopHarness();
    process.exit(1);
  });
}
