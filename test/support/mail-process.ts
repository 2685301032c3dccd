// Sends mail in a process of its own, for a test that kills it: `bun mail-process.ts <database address as JSON> <port>`.
import { openDatabase } from "../../src/db/pool.ts";
import { startSending } from "./mail.ts";

const [address = "", port = ""] = process.argv.slice(2);
const db = openDatabase(JSON.parse(address), {
  poolMax: 2,
  connectTimeoutMs: 3_000,
  queueTimeoutMs: 3_000,
  statementTimeoutMs: 5_000,
});
await startSending(
  { address: JSON.parse(address), db, url: "http://localhost" },
  { port: Number(port) },
  { timeoutMs: 60_000 },
);
