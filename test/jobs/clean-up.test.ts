import { expect, test } from "bun:test";
import { PURGE_BATCH } from "../../src/db/purge.ts";
import { cleanUp } from "../../src/jobs/clean-up.ts";
import { recordingLog } from "../support/recording.ts";

const job = (signal = new AbortController().signal) => ({ id: "1", attempt: 1, createdAt: new Date(), signal });

test("the clean-up calls each purge until it deletes less than a whole batch, and logs how much that was", async () => {
  const { log, lines } = recordingLog();
  const left = { sessions: 2 * PURGE_BATCH + 3, links: 0 };
  const purge = (what: keyof typeof left) => async () => {
    const rows = Math.min(left[what], PURGE_BATCH);
    left[what] -= rows;
    return rows;
  };
  await cleanUp({ sessions: purge("sessions"), links: purge("links") }, log).run({}, job());
  expect(left).toEqual({ sessions: 0, links: 0 });
  expect(lines.map(({ level, fields }) => [level, fields])).toEqual([
    ["info", { "clean_up.of": "sessions", "clean_up.rows": 20_003 }],
  ]);
});

test("a purge that fails does not keep the others from running, and the job runs again", async () => {
  const { log, lines } = recordingLog();
  let others = 0;
  const purges = { broken: () => Promise.reject(new Error("no such table")), other: async () => others++ };
  await expect(cleanUp(purges, log).run({}, job())).rejects.toThrow("no such table");
  expect([others, lines.length]).toEqual([1, 1]);
});

test("the clean-up leaves the rest for the next hour when the server stops", async () => {
  const stopping = new AbortController();
  let calls = 0;
  const purge = async () => {
    if (++calls === 2) stopping.abort();
    return PURGE_BATCH;
  };
  await cleanUp({ purge }, recordingLog().log).run({}, job(stopping.signal));
  expect(calls).toBe(2);
});
