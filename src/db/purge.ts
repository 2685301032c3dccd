/** The most rows that one purge deletes: few enough for any statement timeout. Fewer deleted rows mean that none are left. */
export const PURGE_BATCH = 10_000;
