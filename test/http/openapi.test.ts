import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Hono } from "hono";
import { z } from "zod";
import { describeRoute, type JsonObject, type OpenApiDocument, servedRoutes } from "../../src/http/openapi.ts";
import { query } from "../../src/http/validation.ts";
import { conduitDocument } from "../../src/web/docs/document.ts";
import { answerCheck } from "../support/document.ts";
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

/** The names that a shape requires, as paths: `article`, `article.author.username`, `tags[]`. */
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
  test("has every route that is served, and no other", () => {
    const app = testApp(server.db);
    const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ":$1")}`),
    );
    expect(documented.sort()).toEqual(servedRoutes(app.routes).sort());
  });

  test("has every group of operations in its list", () => {
    const used = Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).flatMap((operation) => operation.tags as string[]),
    );
    const listed = (document.tags as JsonObject[]).map(({ name }) => name as string);
    expect([...new Set(used)].sort()).toEqual(listed.sort());
  });

  test("has a name of its own for every operation", () => {
    const names = Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).map((operation) => operation.operationId),
    );
    expect(new Set(names).size).toBe(names.length);
  });

  test("refers to nothing that it does not have", () => {
    for (const [, ref] of JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)) {
      expect(resolved({ $ref: ref as string })).not.toEqual({});
    }
  });

  test("takes the bounds of parameters and fields from the shapes that check the requests", () => {
    const list = document.paths["/api/articles"]?.get?.parameters as JsonObject[];
    expect(list.find(({ name }) => name === "limit")?.schema).toEqual({ type: "integer", minimum: 1, default: 20 });
    expect(resolved({ $ref: "#/components/schemas/NewCommentRequest" })).toMatchObject({
      properties: { comment: { properties: { body: { type: "string", minLength: 1, maxLength: 65_536 } } } },
    });
  });
});

describe("what the RealWorld contract has, the document has", () => {
  const error = ["errors"];
  for (const [operation, facts] of Object.entries<Facts>(realworld.operations)) {
    const [method = "", path = ""] = operation.split(" ");

    test(operation, () => {
      const ours = document.paths[`/api${path}`]?.[method.toLowerCase()];
      expect(ours).toBeDefined();
      const responses = ours?.responses as JsonObject;
      for (const status of facts.errors) {
        expect(requiredPaths(jsonSchema(responses[status] ?? responses["4XX"]))).toEqual(error);
      }
      expect(responses[facts.success.status]).toBeDefined();
      expect(requiredPaths(jsonSchema(responses[facts.success.status]))).toEqual(
        expect.arrayContaining(facts.success.required),
      );
      // Of a request, the other way round: no more may be required than the contract does.
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

describe("the check that every test's answers go through", () => {
  const app = new Hono()
    .get(
      "/things/:id",
      query(z.object({})),
      (c) => c.json({}),
      describeRoute({
        operationId: "GetThing",
        tag: "Things",
        summary: "A thing",
        responses: { 200: z.object({ thing: z.object({ id: z.int() }) }), 204: null },
        errors: ["not_found"],
      }),
    )
    .get("/hidden", (c) => c.json({}));
  const check = answerCheck(app);
  const answer = (status: number, text: string, type = "application/json") => ({
    status,
    text,
    headers: new Headers({ "Content-Type": type }),
  });

  test("passes what is documented", () => {
    check("GET", "/things/1?a=b", answer(200, '{"thing":{"id":1}}'));
    check("HEAD", "/things/1", answer(200, ""));
    check("GET", "/things/1", answer(204, ""));
    check("GET", "/things/1", answer(404, '{"errors":{"thing":["not found"]}}'));
    check("GET", "/nowhere", answer(404, '{"errors":{"path":["not found"]}}'));
    check("PUT", "/things/1", answer(405, '{"errors":{"method":["is not allowed here"]}}'));
  });

  test.each([
    ["a wrong type", "/things/1", answer(200, '{"thing":{"id":"1"}}')],
    ["a missing member", "/things/1", answer(200, '{"thing":{}}')],
    ["a member that nobody documented", "/things/1", answer(200, '{"thing":{"id":1,"password":"x"}}')],
    ["a body where there is none", "/things/1", answer(204, "{}")],
    ["another media type", "/things/1", answer(200, '{"thing":{"id":1}}', "text/html")],
    ["a status that nobody documented", "/things/1", answer(403, '{"errors":{"thing":["forbidden"]}}')],
    ["an error in another format", "/things/1", answer(404, '{"message":"not found"}')],
    ["an answer of a route that nobody documented", "/hidden", answer(200, "{}")],
  ])("fails on %s", (_what, path, given) => {
    expect(() => check("GET", path, given)).toThrow("not as documented");
  });

  test("is what the harness sends every answer through", async () => {
    const db = { ...server.db, row: async <Row>() => ({ version: "1", tags: "[1]" }) as Row };
    const broken = await testServer({ db });
    await expect(broken.request("GET", "/api/tags")).rejects.toThrow("tags/0 must be string");
    await broken.stop();
  });
});

test("the document of an application is the same, whoever asks and when", async () => {
  const again = await server.request("GET", "/openapi.json");
  expect(again.json as unknown).toEqual(document);
  const app = testApp(server.db);
  expect(JSON.parse(JSON.stringify(conduitDocument(app.routes)))).toEqual(document);
});
