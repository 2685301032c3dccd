// A PostgreSQL in a temporary folder, for commands that need DATABASE_URL: prints the URL, and stops on SIGTERM, on
// SIGINT, or when its parent process has exited.
//
//   bun scripts/postgres.ts

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { startEmbedded } from "../src/server/embedded.ts";

const dataDir = await mkdtemp(join(tmpdir(), "conduit-postgres-"));
const { address, stop } = await startEmbedded(dataDir, () => {});
const { username, password, hostname, port, database, socketPath } = address;
const socket = socketPath === undefined ? "" : `?host=${encodeURIComponent(dirname(socketPath))}`;
console.log(`postgres://${username}:${password}@${hostname}:${port}/${database}${socket}`);

let stopping = false;
const end = async (): Promise<void> => {
  if (stopping) return;
  stopping = true;
  await stop();
  await rm(dataDir, { recursive: true, force: true });
  process.exit(0);
};
process.on("SIGTERM", end);
process.on("SIGINT", end);
const parent = process.ppid;
setInterval(() => process.ppid !== parent && end(), 200);
