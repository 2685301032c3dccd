import { expect, test } from "bun:test";
import { join } from "node:path";

type Request = Map<string, unknown>;
type Samples = Record<"requestSnippetGenerator_javascript" | "requestSnippetGenerator_python", (of: Request) => string>;

/** What the script of the API reference gives to Swagger UI. */
async function samples(): Promise<Samples> {
  const script = await Bun.file(join(import.meta.dir, "../../src/web/assets/api-reference.client.js")).text();
  let plugins: { fn: Samples }[] = [];
  const element = { dataset: { document: "/openapi.json" }, classList: { toggle() {} } };
  new Function("SwaggerUIBundle", "document", "matchMedia", script)(
    (options: { plugins: typeof plugins }) => {
      ({ plugins } = options);
    },
    { getElementById: () => element, documentElement: element },
    () => ({ matches: false, addEventListener() {} }),
  );
  return plugins[0]?.fn as Samples;
}

const requestWith = (body: unknown): Request =>
  new Map<string, unknown>([
    ["url", "http://localhost/api/users"],
    ["method", "POST"],
    ["headers", { toJS: () => ({ "Content-Type": "application/json" }) }],
    ["body", body],
  ]);

test("samples show a JSON body as a value of their language", async () => {
  const { requestSnippetGenerator_javascript: javascript, requestSnippetGenerator_python: python } = await samples();
  const request = requestWith('{"user":{"bio":null,"is":[true,"\\u00e9"]}}');
  expect(javascript(request)).toContain('body: JSON.stringify({\n    "user": {\n');
  expect(python(request)).toContain('json={"user": {"bio": None, "is": [True, "é"]}},');
});

test("samples show a body that is no JSON as the text that is sent", async () => {
  const { requestSnippetGenerator_javascript: javascript, requestSnippetGenerator_python: python } = await samples();
  const request = requestWith('{"user": oops');
  expect(javascript(request)).toContain('body: "{\\"user\\": oops",');
  expect(python(request)).toContain('data="{\\"user\\": oops",');
  for (const none of [undefined, new Map()]) {
    expect(javascript(requestWith(none))).not.toContain("body");
    expect(python(requestWith(none))).not.toMatch(/json=|data=/);
  }
});
