import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Hono } from "hono";
import { z } from "zod";
import { describeRoute, type JsonObject, type OpenApiDocument, servedRoutes } from "../../src/http/openapi.ts";
import { query } from "../../src/http/validation.ts";
import { conduitDocument } from "../../src/web/docs/document.ts";
import { createResponseCheck } from "../support/document.ts";
import { type TestServer, testApp, testServer } from "../support/harness.ts";
import realworld from "../support/realworld-contract.json";

type Facts = {
  token: boolean;
  parameters: string[];
  request?: { required: string[] };
  success: { status: number; required: string[] };
  errors: number[];
};

let server: TestServer;
let document: OpenApiDocument;
beforeAll(async () => {
  server = await testServer();
  document = (await server.request("GET", "/openapi.json")).json as unknown as OpenApiDocument;
}, 30_000);

afterAll(() => server.stop());

/** Follows `$ref`s within the document. */
function resolved(part: unknown): JsonObject {
  const object = (part ?? {}) as JsonObject;
  if (typeof object.$ref !== "string") return object;
  const names = object.$ref.slice(2).split("/");
  return resolved(names.reduce<unknown>((at, name) => (at as JsonObject)[name], document));
}

/** The names that a schema requires, as paths: `article`, `article.author.username`, `tags[]`. */
function requiredPaths(shape: unknown, at = ""): string[] {
  const schema = resolved(shape);
  if (schema.type === "array") return requiredPaths(schema.items, `${at}[]`);
  const required = (schema.required ?? []) as string[];
  return required.flatMap((name) => {
    const path = at === "" ? name : `${at}.${name}`;
    return [path, ...requiredPaths((schema.properties as JsonObject)[name], path)];
  });
}

const jsonSchema = (holder: unknown): unknown =>
  ((resolved(holder).content as JsonObject | undefined)?.["application/json"] as JsonObject | undefined)?.schema;

describe("GET /openapi.json", () => {
  test("documents every route that the application serves, and no other", () => {
    const app = testApp(server.db);
    const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ":$1")}`),
    );
    expect(documented.sort()).toEqual(servedRoutes(app.routes).sort());
  });

  test("lists the tag of every operation", () => {
    const used = Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).flatMap((operation) => operation.tags as string[]),
    );
    const listed = (document.tags as JsonObject[]).map(({ name }) => name as string);
    expect([...new Set(used)].sort()).toEqual(listed.sort());
  });

  test("gives every operation a unique name", () => {
    const names = Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).map((operation) => operation.operationId),
    );
    expect(new Set(names).size).toBe(names.length);
  });

  test("contains the target of every reference", () => {
    for (const [, ref] of JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)) {
      expect(resolved({ $ref: ref as string })).not.toEqual({});
    }
  });

  test("lists every response status by number, because code generators mishandle ranges", () => {
    const statuses = Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).flatMap((operation) => Object.keys(operation.responses as JsonObject)),
    );
    expect(statuses.filter((status) => !/^[1-5][0-9]{2}$/.test(status))).toEqual([]);
  });

  test("takes the bounds of parameters and fields from the schemas that validate requests", () => {
    const list = document.paths["/api/articles"]?.get?.parameters as JsonObject[];
    expect(list.find(({ name }) => name === "limit")?.schema).toEqual({ type: "integer", minimum: 1, default: 20 });
    expect(resolved({ $ref: "#/components/schemas/NewCommentRequest" })).toMatchObject({
      properties: { comment: { properties: { body: { type: "string", minLength: 1, maxLength: 65_536 } } } },
    });
  });
});

describe("the document contains what the RealWorld contract requires", () => {
  // Errors that the contract lists for every operation of a kind, and that this server never returns.
  const UNUSED: Record<string, number[]> = {
    // It treats an invalid token as absent where authentication is optional.
    "GET /profiles/{username}": [401],
    "GET /articles": [401],
    "GET /articles/{slug}/comments": [401],
    // It gives a second article with the same title another slug.
    "POST /articles": [409],
    // These requests have no parameters and no body to validate.
    "GET /user": [422],
    "GET /tags": [422],
  };
  for (const [operation, facts] of Object.entries<Facts>(realworld.operations)) {
    const [method = "", path = ""] = operation.split(" ");

    test(operation, () => {
      const ours = document.paths[`/api${path}`]?.[method.toLowerCase()];
      expect(ours).toBeDefined();
      const responses = ours?.responses as JsonObject;
      for (const status of facts.errors) {
        const isUnused = UNUSED[operation]?.includes(status) === true;
        expect([status, requiredPaths(jsonSchema(responses[status]))]).toEqual([status, isUnused ? [] : ["errors"]]);
      }
      expect(responses[facts.success.status]).toBeDefined();
      expect(requiredPaths(jsonSchema(responses[facts.success.status]))).toEqual(
        expect.arrayContaining(facts.success.required),
      );
      // A request must not require more than the contract does.
      const body = requiredPaths(jsonSchema(ours?.requestBody));
      expect(facts.request?.required ?? []).toEqual(expect.arrayContaining(body));
      const fields = Object.keys(resolved(jsonSchema(ours?.requestBody)).properties ?? {});
      expect(fields).toEqual(facts.request === undefined ? [] : [facts.request.required[0] as string]);
      const parameters = ((ours?.parameters ?? []) as JsonObject[]).map(
        (parameter) => `${parameter.in} ${parameter.name}`,
      );
      expect(parameters).toEqual(expect.arrayContaining(facts.parameters));
      expect(JSON.stringify(ours?.security) === '[{"Token":[]}]').toBe(facts.token);
    });
  }
});

describe("the response check of the test harness", () => {
  const app = new Hono()
    .get(
      "/things/:id",
      query(z.object({})),
      (c) => c.json({}),
      describeRoute({
        operationId: "GetThing",
        tag: "Things",
        summary: "Get a thing",
        description: "A thing.",
        responses: { 200: z.object({ thing: z.object({ id: z.int() }) }), 204: null },
        errors: ["not_found"],
      }),
    )
    .get("/hidden", (c) => c.json({}));
  const check = createResponseCheck(app);
  const response = (status: number, text: string, type = "application/json") => ({
    status,
    text,
    headers: new Headers({ "Content-Type": type }),
  });

  test("accepts documented responses", () => {
    check("GET", "/things/1?a=b", response(200, '{"thing":{"id":1}}'));
    check("HEAD", "/things/1", response(200, ""));
    check("GET", "/things/1", response(204, ""));
    check("GET", "/things/1", response(404, '{"errors":{"thing":["not found"]}}'));
    check("GET", "/nowhere", response(404, '{"errors":{"path":["not found"]}}'));
    check("PUT", "/things/1", response(405, '{"errors":{"method":["is not allowed here"]}}'));
  });

  test.each([
    ["a wrong type", "/things/1", response(200, '{"thing":{"id":"1"}}')],
    ["a missing member", "/things/1", response(200, '{"thing":{}}')],
    ["an undocumented member", "/things/1", response(200, '{"thing":{"id":1,"password":"x"}}')],
    ["a body where the document has none", "/things/1", response(204, "{}")],
    ["another media type", "/things/1", response(200, '{"thing":{"id":1}}', "text/html")],
    ["an undocumented status", "/things/1", response(403, '{"errors":{"thing":["forbidden"]}}')],
    ["an error in another format", "/things/1", response(404, '{"message":"not found"}')],
    ["a response of an undocumented route", "/hidden", response(200, "{}")],
  ])("rejects %s", (_what, path, given) => {
    expect(() => check("GET", path, given)).toThrow("differs from the document");
  });

  test("applies to every response that the harness receives", async () => {
    const db = { ...server.db, row: async <Row>() => ({ tags: [1] }) as Row };
    const broken = await testServer({ db });
    await expect(broken.request("GET", "/api/tags")).rejects.toThrow("tags/0 must be string");
    await broken.stop();
  });
});

test("the document is the same at every request", async () => {
  const again = await server.request("GET", "/openapi.json");
  expect(again.json as unknown).toEqual(document);
  const app = testApp(server.db);
  expect(JSON.parse(JSON.stringify(conduitDocument(app.routes)))).toEqual(document);
});
