import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../config/database-address.ts";
import type { Config } from "../config/settings.ts";
import { migrate } from "../db/migrations.ts";

/**
 * Brings the schema of a database and of its job queue up to date, for `serve`, `migrate`, `seed` and `restore`.
 * @throws StartupError as `migrate`
 */
export async function updateSchema(
  address: DatabaseAddress,
  config: Config,
  onProgress: (message: string) => void,
): Promise<void> {
  const wait = { timeoutMs: config.databaseStartTimeoutMs, onProgress };
  for (const file of await migrate(address, migrations, config.databaseConnectTimeoutMs, wait)) {
    onProgress(`Applied migration ${file}`);
  }
}
