import type { MiddlewareHandler } from "hono";
import { z } from "zod";
import { type ErrorCode, STATUS_OF } from "./errors.ts";

/** What a reader of the documentation wants to know of a route. What its guards check, they say themselves. */
export type RouteDescription = {
  /** Unique. The typed client has a function of this name, its first letter in lower case. */
  readonly operationId: string;
  readonly tag: string;
  /** A few words, as in a table of contents. */
  readonly summary: string;
  /** Markdown. */
  readonly description?: string;
  /**
   * The answers by status: the shape of the JSON body, null for none, or the media type of a body without a shape; a
   * list where the client chooses.
   */
  readonly answers: Readonly<Record<number, Answer | null | readonly Answer[]>>;
  /** The errors that the handler throws. Those of the guards, and those that any request can meet, come by themselves. */
  readonly errors?: readonly ErrorCode[];
  /** Shapes of the parts of the path that are not any text. */
  readonly params?: Readonly<Record<string, z.ZodType>>;
};

/** What a guard adds to the routes behind it. */
export type GuardDescription = {
  readonly body?: z.ZodType;
  readonly query?: z.ZodObject;
  readonly auth?: "required" | "optional";
  readonly errors?: readonly ErrorCode[];
};

type Answer = z.ZodType | string;

const routeDescriptions = new WeakMap<object, RouteDescription>();
const guardDescriptions = new WeakMap<object, GuardDescription>();

/**
 * Documents a route. Stands after the handler, which ends the request: so it is never called, and costs nothing.
 *
 *     .get("/tags", handler, describeRoute({ operationId: "GetTags", … }))
 */
export function describeRoute(description: RouteDescription): MiddlewareHandler {
  const never: MiddlewareHandler = (_c, next) => next();
  routeDescriptions.set(never, description);
  return never;
}

/** Documents a guard, wherever it is used. Returns the guard itself. */
export function describeGuard<Guard extends object>(guard: Guard, description: GuardDescription): Guard {
  guardDescriptions.set(guard, description);
  return guard;
}

/** As of JSON: what is written in the document. */
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };
export type OpenApiDocument = JsonObject & {
  paths: Record<string, Record<string, JsonObject>>;
  components: JsonObject & { schemas: Record<string, JsonObject> };
};

export type Route = { readonly method: string; readonly path: string; readonly handler: object };

/** Every method and path that is served, as `GET /articles/:slug`: what the document has to have. */
export function servedRoutes(routes: readonly Route[]): string[] {
  return [...byOperation(routes).keys()];
}

/**
 * The OpenAPI 3.1 document of an application's routes (`app.routes`), from their descriptions and guards. A route
 * without a description is left out.
 * @param head the members `openapi`, `info`, `servers`, `tags` …
 */
export function openApiDocument(head: JsonObject, routes: readonly Route[]): OpenApiDocument {
  const schemas: Record<string, JsonObject> = {};
  const paths: OpenApiDocument["paths"] = {};
  for (const [key, handlers] of byOperation(routes)) {
    const description = handlers.map((handler) => routeDescriptions.get(handler)).find((found) => found !== undefined);
    if (description === undefined) continue;
    const guards = handlers.flatMap((handler) => guardDescriptions.get(handler) ?? []);
    const [method = "", path = ""] = key.split(" ");
    const template = path.replace(/:([A-Za-z]+)/g, "{$1}");
    paths[template] ??= {};
    paths[template][method.toLowerCase()] = operation(template, description, guards, schemas);
  }
  const error = schemaOf(ErrorResponse, "output", schemas);
  if (error.$ref === undefined) throw new Error("the error format has no name");
  return {
    ...head,
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: {
        Token: {
          type: "http",
          scheme: "bearer",
          description:
            "The `token` of a registration or a login, as `Authorization: Bearer <token>` or, in the manner of RealWorld, `Authorization: Token <token>`.",
        },
      },
    },
  };
}

/** The handlers of each operation, in the order in which they run. */
function byOperation(routes: readonly Route[]): Map<string, object[]> {
  const operations = new Map<string, object[]>();
  for (const { method, path, handler } of routes) {
    if (method === "ALL") continue;
    const key = `${method} ${path}`;
    operations.set(key, [...(operations.get(key) ?? []), handler]);
  }
  return operations;
}

/** RealWorld openapi.yml, GenericErrorModel. */
const ErrorResponse = z
  .object({
    errors: z
      .record(z.string(), z.array(z.string()).min(1))
      .meta({ description: "What is wrong, by the name of the field, parameter or resource." }),
  })
  .meta({ id: "ErrorResponse", examples: [{ errors: { title: ["can't be blank"] } }] });

function operation(
  template: string,
  description: RouteDescription,
  guards: GuardDescription[],
  schemas: Record<string, JsonObject>,
): JsonObject {
  const body = guards.find((guard) => guard.body !== undefined)?.body;
  const query = guards.find((guard) => guard.query !== undefined)?.query;
  const auth = guards.find((guard) => guard.auth !== undefined)?.auth;
  const answers = Object.values(description.answers).flat();
  const errors = new Set<ErrorCode>([
    ...guards.flatMap((guard) => guard.errors ?? []),
    ...(description.errors ?? []),
    ...(answers.some((answer) => typeof answer !== "string") ? anyRequest : []),
    // A part of the path may hold what cannot be stored (http.ts, storablePath).
    ...(template.includes("{") ? (["invalid"] as const) : []),
  ]);

  const parameters = [...template.matchAll(/\{([A-Za-z]+)\}/g)].map(([, name = ""]): JsonObject => {
    const shape = description.params?.[name];
    return { name, in: "path", required: true, schema: shape ? schemaOf(shape, "input", schemas) : { type: "string" } };
  });
  for (const [name, shape] of Object.entries(query?.shape ?? {})) {
    const { description: what, ...schema } = schemaOf(shape as z.ZodType, "input", schemas);
    parameters.push({ name, in: "query", ...(what === undefined ? {} : { description: what }), schema });
  }

  const responses: JsonObject = {};
  for (const [status, answer] of Object.entries(description.answers)) {
    responses[status] = {
      description: reasons[Number(status)] ?? "",
      ...(answer === null ? {} : { content: contentOf(answer, schemas) }),
    };
  }
  for (const code of errors) {
    const { reason, headers } = errorReasons[code];
    responses[STATUS_OF[code]] ??= {
      description: reason,
      ...(headers === undefined ? {} : { headers }),
      ...jsonContent({ $ref: "#/components/schemas/ErrorResponse" }),
    };
  }

  // A proxy, a limit or a later version may have others.
  if (errors.size > 0) {
    responses["4XX"] = {
      description: "Any other refusal",
      ...jsonContent({ $ref: "#/components/schemas/ErrorResponse" }),
    };
  }

  return {
    operationId: description.operationId,
    tags: [description.tag],
    summary: description.summary,
    ...(description.description === undefined ? {} : { description: description.description }),
    ...(auth === undefined ? {} : { security: auth === "required" ? [{ Token: [] }] : [{}, { Token: [] }] }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, ...jsonContent(schemaOf(body, "input", schemas)) } }),
    responses,
  };
}

const reasons: Record<number, string> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "Done, nothing to say",
  304: "What was sent with this ETag has not changed",
  503: "Not now",
};

/** What can happen to any request. */
const anyRequest: readonly ErrorCode[] = ["internal", "unavailable"];

const header = (description: string, type = "string"): JsonObject => ({ description, schema: { type } });

/** Why an answer is an error, and the headers it has then. */
const errorReasons: Record<ErrorCode, { reason: string; headers?: JsonObject }> = {
  bad_request: { reason: "The body is not JSON" },
  unauthorized: {
    reason: "No token, one that does not count (any more), or the wrong credentials",
    headers: { "WWW-Authenticate": header("RFC 6750, 3. Not with wrong credentials.") },
  },
  forbidden: { reason: "Somebody else's" },
  not_found: { reason: "There is no such thing" },
  method_not_allowed: { reason: "Not a method of this path" },
  conflict: { reason: "Taken by somebody else" },
  gone: { reason: "Used, or too old" },
  too_large: { reason: "The body is too large" },
  url_too_long: { reason: "The URL is too long" },
  unsupported_media_type: { reason: "The body is not declared as JSON" },
  invalid: { reason: "What was sent breaks a rule, field by field" },
  too_many_requests: {
    reason: "Too many for now",
    headers: {
      "Retry-After": header("Seconds after which to ask again", "integer"),
      RateLimit: header(
        "draft-ietf-httpapi-ratelimit-headers: what is left (`r`), and seconds until there is more (`t`)",
      ),
    },
  },
  internal: { reason: "An unexpected error" },
  unavailable: {
    reason: "Not now",
    headers: { "Retry-After": header("Seconds after which to ask again", "integer") },
  },
};

function contentOf(answer: Answer | readonly Answer[], schemas: Record<string, JsonObject>): JsonObject {
  const content: JsonObject = {};
  for (const one of [answer].flat()) {
    if (typeof one === "string") content[one] = {};
    else content["application/json"] = { schema: schemaOf(one, "output", schemas) };
  }
  return content;
}

const jsonContent = (schema: JsonObject): JsonObject => ({ content: { "application/json": { schema } } });

/** The JSON Schema of a shape. What has a name (`.meta({ id })`) goes to `schemas`, and is referred to. */
function schemaOf(shape: z.ZodType, io: "input" | "output", schemas: Record<string, JsonObject>): JsonObject {
  const { $schema, $defs, ...schema } = z.toJSONSchema(shape, {
    io,
    unrepresentable: "any",
    override({ zodSchema, jsonSchema }) {
      // Open to new members, which clients must not take for an error.
      if (zodSchema._zod.def.type === "object") delete jsonSchema.additionalProperties;
      // A parameter is text to the parser, and a number to who writes it.
      const { wire, ...rest } = jsonSchema as { wire?: object };
      if (wire === undefined) return;
      for (const name of Object.keys(rest)) if (name !== "description") delete jsonSchema[name];
      delete jsonSchema.wire;
      Object.assign(jsonSchema, wire);
    },
  }) as JsonObject;
  const own = relocate(schema) as JsonObject;
  for (const [name, definition] of Object.entries(($defs as Record<string, JsonObject>) ?? {})) {
    define(schemas, name, relocate(definition) as JsonObject);
  }
  const name = own.id;
  if (typeof name !== "string") return own;
  define(schemas, name, own);
  return { $ref: `#/components/schemas/${name}` };
}

function define(schemas: Record<string, JsonObject>, name: string, { id, ...schema }: JsonObject): void {
  const known = schemas[name];
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) {
    throw new Error(`two shapes are named ${name}`);
  }
  schemas[name] = schema;
}

function relocate(schema: Json): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'));
}
