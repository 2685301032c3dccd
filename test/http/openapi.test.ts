import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import Ajv2020 from "ajv/dist/2020.js";
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
}, 60_000);

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
  test("documents every route that the application serves, except the pages of the app, and no other", () => {
    const app = testApp(server.db, { web: false });
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
      properties: { comment: { properties: { body: { type: "string", minLength: 1, maxLength: 10_000 } } } },
    });
  });
});

describe("the schemas of requests", () => {
  const WHOLE: Record<string, [path: string, body: Record<string, unknown>]> = {
    "POST /api/users": [
      "/api/users",
      { user: { username: "fresh", email: "f@example.com", password: "correct horse" } },
    ],
    "POST /api/users/login": ["/api/users/login", { user: { email: "f@example.com", password: "x" } }],
    "PUT /api/user": [
      "/api/user",
      { user: { username: "anna", email: "a@example.com", password: "correct horse", bio: "b", image: "i" } },
    ],
    "POST /api/articles": ["/api/articles", { article: { title: "t", description: "d", body: "b", tagList: ["x"] } }],
    "PUT /api/articles/{slug}": [
      "/api/articles/none",
      { article: { title: "t", description: "d", body: "b", tagList: ["x"] } },
    ],
    "POST /api/articles/{slug}/comments": ["/api/articles/none/comments", { comment: { body: "b" } }],
    "POST /api/auth/refresh": ["/api/auth/refresh", { refresh_token: "x" }],
    "POST /api/auth/logout": ["/api/auth/logout", { refresh_token: "x" }],
    "POST /api/auth/verify-email": ["/api/auth/verify-email", { token: "x" }],
    "POST /api/auth/forgot-password": ["/api/auth/forgot-password", { email: "a@example.com" }],
    "POST /api/auth/reset-password": ["/api/auth/reset-password", { token: "x", new_password: "correct horse" }],
    "POST /api/auth/undo-email-change": ["/api/auth/undo-email-change", { token: "x", new_password: "correct horse" }],
  };
  const VALUES: unknown[] = [
    ...[undefined, null, 1, [], "", " ", " \t\n", "x", "xx", " xx ", "a/b/c", "nul\0 in it"],
    ...[51, 255, 256, 1_001, 2_049, 65_537].map((length) => "x".repeat(length)),
    ...[["x".repeat(51)], ["x\0"], Array.from("abcdefghijklmnopqrstu")],
  ];
  let users = 0;

  test("have an example each here", () => {
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, { requestBody }]) =>
        jsonSchema(requestBody) === undefined ? [] : [`${method.toUpperCase()} ${path}`],
      ),
    );
    expect(operations.sort()).toEqual(Object.keys(WHOLE).sort());
  });

  test.each(Object.keys(WHOLE))("reject what validation rejects, and accept the rest: %s", async (name) => {
    const { token } = await server.register(`user${++users}`);
    const ajv = new Ajv2020({ strict: false, formats: { "idn-email": true, password: true } });
    ajv.addSchema(document, "document");
    const [method = "", template = ""] = name.split(" ");
    const { $ref } = jsonSchema(document.paths[template]?.[method.toLowerCase()]?.requestBody) as { $ref: string };
    const validate = ajv.compile({ $ref: `document${$ref}` });
    const [path, whole] = WHOLE[name] as (typeof WHOLE)[string];
    const [envelope = ""] = Object.keys(whole);
    const isEnveloped = typeof whole[envelope] === "object";
    const fields = (isEnveloped ? whole[envelope] : whole) as Record<string, unknown>;
    const bodies = Object.keys(fields).flatMap((field) => VALUES.map((value) => ({ ...fields, [field]: value })));
    for (const body of [...bodies, {}, fields]) {
      const sent = JSON.parse(JSON.stringify(isEnveloped ? { [envelope]: body } : body));
      const { status, text } = await server.request(method, path, { token, body: sent });
      // Words are no email addresses, which the schema leaves to the format.
      if (text.includes("is not a valid address")) continue;
      // The size of the whole body is bounded too, which no schema can say.
      if (status === 413) continue;
      expect([JSON.stringify(sent).slice(0, 200), status === 422, text.slice(0, 100)]).toEqual([
        JSON.stringify(sent).slice(0, 200),
        !validate(sent),
        text.slice(0, 100),
      ]);
    }
  });
});

describe("the forms and links of pages", () => {
  const FIELDS: Record<string, string> = { token: "x", email: "a@example.com", new_password: "correct horse" };
  const send = (form: Record<string, string>) => ({
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams(form).toString(),
  });

  test("have the fields that the server requires", async () => {
    let forms = 0;
    for (const [path, { post }] of Object.entries(document.paths)) {
      const content = resolved(post?.requestBody).content as Record<string, JsonObject> | undefined;
      const schema = content?.["application/x-www-form-urlencoded"]?.schema;
      if (schema === undefined) continue;
      forms++;
      const required = requiredPaths(schema);
      const whole = Object.fromEntries(required.map((name) => [name, FIELDS[name] as string]));
      expect([path, (await server.request("POST", path, send(whole))).status]).not.toEqual([path, 422]);
      for (const missing of required) {
        const { [missing]: _, ...rest } = whole;
        expect([path, missing, (await server.request("POST", path, send(rest))).status]).toEqual([path, missing, 422]);
      }
    }
    expect(forms).toBe(4);
  });

  test.each(["/verify-email", "/reset-password", "/undo-email-change"])("%s requires a token", async (path) => {
    const parameters = document.paths[path]?.get?.parameters as JsonObject[];
    expect(parameters.map(({ name, required }) => [name, required])).toEqual([["token", true]]);
    expect((await server.request("GET", path)).status).toBe(422);
    expect((await server.request("GET", `${path}?token=x`)).status).toBe(404);
  });
});

describe("the document contains what the RealWorld contract requires", () => {
  // Errors that the contract lists for every operation of a kind, and that this server never returns.
  const UNUSED: Record<string, number[]> = {
    // It treats an invalid token as absent where authentication is optional.
    "GET /profiles/{username}": [401],
    "GET /articles": [401],
    "GET /articles/{slug}/comments": [401],
    // These requests have no parameters and no body to validate.
    "GET /user": [422],
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
