import type { Metrics } from "../observability/metrics.ts";
import type { Memory } from "./memory.ts";

/** Adds the metrics of a memory. */
export function watchMemory(metrics: Metrics, memory: Memory): void {
  metrics.counter({
    name: "memory_hits_total",
    help: "Look-ups in memory that found a value.",
    value: () => memory.state().hits,
  });
  metrics.counter({
    name: "memory_misses_total",
    help: "Look-ups in memory that found none, or one that had changed or was too old.",
    value: () => memory.state().misses,
  });
  metrics.counter({
    name: "memory_changes_total",
    help: "Reports of changes, by this process and by others.",
    value: () => memory.state().changes,
  });
  metrics.gauge({
    name: "memory_values",
    help: "Values in memory.",
    value: () => memory.state().values,
  });
  metrics.gauge({
    name: "memory_values_bytes",
    help: "Estimated size of these values, at most MEMORY_MAX.",
    value: () => memory.state().bytes,
  });
  metrics.gauge({
    name: "memory_serving",
    help: "1 if reads may be served from memory, 0 while other processes cannot be heard.",
    value: () => (memory.isServing() ? 1 : 0),
  });
}
