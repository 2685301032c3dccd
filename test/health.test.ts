import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestServer, testServer } from "./harness.ts";

describe("GET /health", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await testServer();
  });
  afterAll(() => server.stop());

  test("says that the server runs and the database is connected", async () => {
    const { status, json } = await server.request("GET", "/health");
    expect(status).toBe(200);
    expect<unknown>(json).toEqual({ status: "ok", message: "Server is running", database: "connected" });
  });
});
