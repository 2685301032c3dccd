import { rmSync } from "node:fs";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@conduit/embedded-postgres";
import { $, SQL } from "bun";
import { migrations } from "../../migrations/index.ts";
import type { DatabaseAddress } from "../../src/config/database-address.ts";
import { migrate } from "../../src/db/migrations.ts";
import { connectionOptions } from "../../src/db/pool.ts";
import { superuserPassword } from "./database.ts";
import { until } from "./until.ts";

/** PostgreSQL servers with the same history, each of which can be a primary or a standby. */
export type Nodes = {
  startPrimary(node: number): Promise<DatabaseAddress>;
  /** @param of what the standby follows; undefined for nothing */
  startStandby(node: number, of: DatabaseAddress | undefined): Promise<DatabaseAddress>;
  /** Turns a standby into a primary, on a timeline of its own. */
  promote(node: number): Promise<void>;
  /** Refuses further connections of everybody but superusers. */
  refuse(node: number): Promise<void>;
  /** What a superuser sees in the first column. */
  ask(node: number, statement: string): Promise<unknown>;
  /** An orderly end: what follows the node has received everything. */
  stop(node: number): Promise<void>;
  stopAll(): Promise<void>;
};

/** The data does not outlive the test. */
const SETTINGS = { fsync: "off", wal_level: "replica", shared_buffers: "32MB" };

/** Creates a migrated database, and copies of its files for further nodes. */
export async function createNodes(count: number): Promise<Nodes> {
  const folder = await mkdtemp(join(tmpdir(), "conduit-nodes-"));
  const folderOf = (node: number) => join(folder, `node${node}`);
  const running = new Map<number, EmbeddedPostgres>();

  async function start(node: number, settings: Record<string, string> = {}): Promise<DatabaseAddress> {
    const postgres = await startEmbeddedPostgres({
      dataDir: folderOf(node),
      username: "conduit",
      database: "conduit",
      cacheDir: "/var/cache/conduit",
      overTcp: true,
      settings: { ...SETTINGS, ...settings },
    });
    running.set(node, postgres);
    return postgres.address;
  }

  async function stop(node: number): Promise<void> {
    await running.get(node)?.stop();
    running.delete(node);
  }

  async function ask(node: number, statement: string): Promise<unknown> {
    const address = running.get(node)?.address;
    if (address === undefined) throw new Error(`node ${node} is not running`);
    const password = await superuserPassword(folderOf(node));
    const sql = new SQL(connectionOptions({ ...address, username: "postgres", password }, 1, {}));
    try {
      const [row] = (await sql.unsafe(statement)) as Record<string, unknown>[];
      return Object.values(row ?? {})[0];
    } finally {
      await sql.close();
    }
  }

  await migrate(await start(0), migrations, 5_000);
  await stop(0);
  for (let node = 1; node < count; node++) await $`cp -a ${folderOf(0)} ${folderOf(node)}`;

  return {
    ask,
    stop,
    startPrimary: (node) => start(node),
    async startStandby(node, of) {
      const data = join(folderOf(node), "postgres");
      // A copy of some file, for its owner. The content does not matter.
      await $`cp -p ${join(data, "PG_VERSION")} ${join(data, "standby.signal")}`;
      const password = await superuserPassword(folderOf(node));
      return await start(
        node,
        of && {
          primary_conninfo: `host=${of.hostname} port=${of.port} user=postgres password=${password}`,
          wal_retrieve_retry_interval: "100ms",
        },
      );
    },
    async promote(node) {
      await ask(node, "select pg_promote()");
    },
    async refuse(node) {
      const file = join(folderOf(node), "postgres/pg_hba.conf");
      const rules = await readFile(file, "utf8");
      // Overwritten, so that it stays the same user's.
      await writeFile(file, `host all conduit all reject\n${rules}`);
      await ask(node, "select pg_reload_conf()");
      await until(
        async () =>
          (await ask(node, "select count(*)::integer from pg_hba_file_rules where auth_method = 'reject'")) === 1,
      );
    },
    async stopAll() {
      await Promise.all([...running.keys()].map(stop));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
