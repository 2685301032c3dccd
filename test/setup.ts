// One PostgreSQL for the whole run, embedded and in a folder of its own, or TEST_DATABASE_URL's. Each test file takes
// databases of its own from it (test/harness.ts).
import { afterAll, setDefaultTimeout } from "bun:test";
import { stopHarness } from "./harness.ts";

// No test measures time, and the machine may be busy: many databases are dropped at the end.
setDefaultTimeout(60_000);
afterAll(stopHarness, 60_000);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    await stopHarness();
    process.exit(1);
  });
}
