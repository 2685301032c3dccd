import { totalmem } from "node:os";
import type { PostgresAddress } from "./address.ts";

/** PostgreSQL settings by name, for example `{ work_mem: "16MB" }`. */
export type PostgresSettings = Readonly<Record<string, string | number>>;

/**
 * The server's settings as command line arguments, which take precedence over postgresql.conf: a new version of the
 * application brings its settings along.
 * @param mark identifies the cluster's processes
 * @param custom overrides the defaults, but not where PostgreSQL listens
 */
export function settingArguments(address: PostgresAddress, mark: string, custom: PostgresSettings): string[] {
  const all = { ...defaults(), ...custom, ...required(address, mark) };
  return Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

function defaults(): PostgresSettings {
  const memoryMb = Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem()) / (1024 * 1024);
  return {
    // A crash of PostgreSQL or of the machine loses no acknowledged transaction.
    fsync: "on",
    synchronous_commit: "on",
    full_page_writes: "on",
    restart_after_crash: "on",
    max_connections: 200,
    shared_buffers: `${Math.round(Math.min(Math.max(memoryMb / 8, 128), 512))}MB`,
    effective_cache_size: `${Math.round(Math.min(Math.max(memoryMb / 2, 256), 4096))}MB`,
    shared_memory_type: process.platform === "win32" ? "windows" : "mmap",
    // On Linux, System V segments have no limit, and a container's /dev/shm ends at 64 MB.
    ...(process.platform === "linux" ? { dynamic_shared_memory_type: "sysv" } : {}),
    // If a container announces huge pages without providing them, PostgreSQL dies of SIGBUS.
    huge_pages: "off",
    max_wal_size: "1GB",
    checkpoint_completion_target: 0.9,
    wal_compression: "on",
    random_page_cost: 1.1,
    // Compiling a short statement takes longer than running it.
    jit: "off",
    timezone: "UTC",
    log_timezone: "UTC",
    logging_collector: "off",
    log_destination: "stderr",
    log_line_prefix: "%m [%p] ",
    log_min_messages: "warning",
    // The log contains no values of rows and statements. The application logs the errors of its own statements.
    log_error_verbosity: "terse",
    log_min_error_statement: "panic",
    log_checkpoints: "off",
  };
}

function required(address: PostgresAddress, mark: string): PostgresSettings {
  return {
    cluster_name: mark,
    port: address.port,
    listen_addresses: address.socketPath === undefined ? address.hostname : "",
    // Relative to the cluster's folder, which only its owner can enter. So the path has no length limit, and PostgreSQL
    // needs no permission for the folders above.
    unix_socket_directories: address.socketPath === undefined ? "" : ".",
    unix_socket_permissions: "0700",
  };
}
