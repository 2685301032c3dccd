import Ajv2020, { type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import type { Json, JsonObject, Route } from "../../src/http/openapi.ts";
import { conduitDocument } from "../../src/web/docs/document.ts";

/** Whether there has to be no body, may be any, or has to be of a shape; or the fault; undefined for no such status. */
type Verdict = "empty" | "other" | `the document has ${string}` | ValidateFunction | undefined;

/** Throws an error that says in what an answer is not as the document has it. */
export type AnswerCheck = (method: string, path: string, answer: CheckedAnswer) => void;
type CheckedAnswer = { status: number; headers: Headers; text: string };

/**
 * Holds answers against the document of an application: the status must be there by number, the body must be of its
 * shape, with no member that the document does not have.
 */
export function answerCheck(app: { routes: readonly Route[] }): AnswerCheck {
  const document = conduitDocument(app.routes);
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  addFormats(ajv);
  ajv.addSchema(closed(document) as JsonObject, "document");
  const templates = Object.keys(document.paths).map((template) => ({
    template,
    // As Hono routes: a path that is written out comes before a pattern.
    pattern: new RegExp(`^${template.replace(/\{[^}]+\}/g, "([^/]+)")}/?$`),
    parts: (template.match(/\{/g) ?? []).length,
  }));
  templates.sort((a, b) => a.parts - b.parts);
  const validators = new Map<string, Verdict>();

  function validatorOf(template: string, method: string, status: number, type: string): Verdict {
    const responses = document.paths[template]?.[method]?.responses as JsonObject | undefined;
    const response = responses?.[status] as JsonObject | undefined;
    if (response === undefined) return undefined;
    const content = response.content as Record<string, JsonObject> | undefined;
    if (content === undefined) return "empty" as const;
    const media = content[type];
    if (media === undefined) return `the document has ${Object.keys(content).join(" or ")} there, not ${type}` as const;
    if (media.schema === undefined) return "other" as const;
    const pointer = ["paths", template, method, "responses", String(status), "content", "application/json", "schema"];
    return ajv.compile({ $ref: `document#/${pointer.map(escapePointer).join("/")}` });
  }

  return (method, path, { status, headers, text }) => {
    if (method === "OPTIONS") return;
    const { pathname } = new URL(path, "http://localhost");
    const operation = method === "HEAD" ? "get" : method.toLowerCase();
    const template = templates.find(({ pattern }) => pattern.test(pathname))?.template;
    const documented = template !== undefined && document.paths[template]?.[operation] !== undefined;
    const type = headers.get("content-type")?.split(";")[0] ?? "none";
    const key = documented ? `${operation} ${template} ${status} ${type}` : "error";
    if (!validators.has(key)) {
      validators.set(
        key,
        documented
          ? validatorOf(template, operation, status, type)
          : ajv.compile({ $ref: "document#/components/schemas/ErrorResponse" }),
      );
    }
    const validator = validators.get(key);
    const fault = (what: string) =>
      new Error(`not as documented: ${method} ${path} -> ${status}: ${what}\n${text.slice(0, 500)}`);
    if (!documented && status !== 404 && status !== 405) throw fault("there is no such operation");
    if (validator === undefined) throw fault("the document has no such status there");
    if (validator === "other" || method === "HEAD") return;
    if (validator === "empty") {
      if (text !== "") throw fault("the document has no body there");
      return;
    }
    if (typeof validator === "string") throw fault(validator);
    if (!validator(JSON.parse(text))) throw fault(ajv.errorsText(validator.errors));
  };
}

/** The document with its objects closed to members that it does not name. Clients must let them pass; our tests do not. */
function closed(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const members = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]));
  if (members.type === "object" && members.properties !== undefined) members.additionalProperties ??= false;
  return members;
}

const escapePointer = (part: string): string =>
  encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")).replaceAll("'", "%27");
