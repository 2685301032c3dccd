import Ajv2020, { type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import type { Json, JsonObject, Route } from "../../src/http/openapi.ts";
import { conduitDocument } from "../../src/web/docs/document.ts";

/** Throws an error that describes how a response differs from the document. */
export type ResponseCheck = (method: string, path: string, response: CheckedResponse) => void;
type CheckedResponse = { status: number; headers: Headers; text: string };

/**
 * How the document describes the body of a response: empty, of a type without a shape, or with a schema. An object with a
 * problem if the document has no such media type; undefined if it has no such status.
 */
type Expected = "empty" | "any" | { problem: string } | ValidateFunction | undefined;

/**
 * Compares responses with the document of an application. The document must list the status, and the body must match its
 * schema, without additional members.
 */
export function createResponseCheck(app: { routes: readonly Route[] }): ResponseCheck {
  const document = conduitDocument(app.routes);
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  addFormats(ajv);
  ajv.addSchema(closed(document) as JsonObject, "document");
  const templates = Object.keys(document.paths).map((template) => ({
    template,
    // Hono prefers a literal path to a pattern.
    pattern: new RegExp(
      `^${template
        .split(/\{[^}]+\}/)
        .map(RegExp.escape)
        .join("[^/]+")}/?$`,
    ),
    parameters: (template.match(/\{/g) ?? []).length,
  }));
  templates.sort((a, b) => a.parameters - b.parameters);
  const cache = new Map<string, Expected>();

  function expectedOf(template: string, method: string, status: number, type: string): Expected {
    const responses = document.paths[template]?.[method]?.responses as JsonObject | undefined;
    const listed = responses?.[status] as JsonObject | undefined;
    if (listed === undefined) return undefined;
    const name = typeof listed.$ref === "string" ? listed.$ref.split("/").at(-1) : undefined;
    const response = name === undefined ? listed : document.components.responses[name];
    const content = response?.content as Record<string, JsonObject> | undefined;
    if (content === undefined) return "empty";
    if (content[type] === undefined)
      return { problem: `the media type is ${type}, not ${Object.keys(content).join(" or ")}` };
    if (type !== "application/json") return "any";
    const place =
      name === undefined ? ["paths", template, method, "responses", String(status)] : ["components", "responses", name];
    const pointer = [...place, "content", type, "schema"].map(escapePointer).join("/");
    return ajv.compile({ $ref: `document#/${pointer}` });
  }

  return (method, path, { status, headers, text }) => {
    if (method === "OPTIONS") return;
    const { pathname } = new URL(path, "http://localhost");
    const operation = method === "HEAD" ? "get" : method.toLowerCase();
    const template = templates.find(({ pattern }) => pattern.test(pathname))?.template;
    const isDocumented = template !== undefined && document.paths[template]?.[operation] !== undefined;
    const type = headers.get("content-type")?.split(";")[0] ?? "none";
    const key = isDocumented ? `${operation} ${template} ${status} ${type}` : "error";
    if (!cache.has(key)) {
      const expected = isDocumented
        ? expectedOf(template, operation, status, type)
        : ajv.compile({ $ref: "document#/components/schemas/ErrorResponse" });
      cache.set(key, expected);
    }
    const expected = cache.get(key);
    const undocumented = (problem: string) =>
      new Error(`differs from the document: ${method} ${path} -> ${status}: ${problem}\n${text.slice(0, 500)}`);
    if (!isDocumented && status !== 404 && status !== 405) throw undocumented("there is no such operation");
    if (expected === undefined) throw undocumented("the document does not list this status");
    if (expected === "any" || method === "HEAD") return;
    if (expected === "empty") {
      if (text !== "") throw undocumented("the body is not empty");
      return;
    }
    if ("problem" in expected) throw undocumented(expected.problem);
    if (!expected(JSON.parse(text))) throw undocumented(ajv.errorsText(expected.errors));
  };
}

/** The document without room for additional members. Clients must accept them; our tests do not. */
function closed(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const members = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]));
  if (members.type === "object" && members.properties !== undefined) members.additionalProperties ??= false;
  return members;
}

const escapePointer = (part: string): string =>
  encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")).replaceAll("'", "%27");
