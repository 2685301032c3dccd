import type { MiddlewareHandler } from "hono";
import { z } from "zod";
import { type ErrorCode, STATUS_OF } from "./errors.ts";
import { STORABLE_PATTERN } from "./fields.ts";

/** The description of a route in the document. Its guards add what they check: body, query, token and their errors. */
export type RouteDescription = {
  /** Unique. The typed client has a function of this name, with its first letter in lower case. */
  readonly operationId: string;
  readonly tag: string;
  /** A short imperative phrase, as in a table of contents: "List articles". */
  readonly summary: string;
  /** One or more sentences in Markdown: what the summary leaves out. */
  readonly description: string;
  /**
   * The responses of the handler by status: the shape of the JSON body, null for no body, or the media type of a body
   * without a shape. A list where the client chooses between media types.
   */
  readonly responses: Readonly<Record<number, ResponseBody | null | readonly ResponseBody[]>>;
  /** The errors that the handler throws. The errors of guards, and those of any request, are added automatically. */
  readonly errors?: readonly ErrorCode[];
  /** The shapes of path parameters that are not plain strings. */
  readonly params?: Readonly<Record<string, z.ZodType>>;
  /** The query that the handler checks itself, without a guard. */
  readonly query?: z.ZodObject;
  /** The fields of the HTML form that the handler reads. */
  readonly form?: z.ZodType;
};

/** What a guard adds to the description of every route that uses it. */
export type GuardDescription = {
  readonly body?: z.ZodType;
  readonly query?: z.ZodObject;
  /** The request headers that it reads, by name. None of them is required. */
  readonly headers?: Readonly<Record<string, { readonly description: string; readonly pattern: string }>>;
  readonly auth?: "required" | "optional";
  readonly errors?: readonly ErrorCode[];
};

type ResponseBody = z.ZodType | string;

const routeDescriptions = new WeakMap<object, RouteDescription>();
const guardDescriptions = new WeakMap<object, GuardDescription>();

/**
 * Documents a route. It comes after the handler. The handler ends the request, so this middleware never runs and costs
 * nothing; in front of the handler it would run in every request.
 *
 *     .get("/tags", handler, describeRoute({ operationId: "GetTags", … }))
 */
export function describeRoute(description: RouteDescription): MiddlewareHandler {
  const unreached: MiddlewareHandler = (_c, next) => next();
  routeDescriptions.set(unreached, description);
  return unreached;
}

/** Documents a guard, wherever it is used. Returns the guard itself. */
export function describeGuard<Guard extends object>(guard: Guard, description: GuardDescription): Guard {
  guardDescriptions.set(guard, description);
  return guard;
}

/** A JSON value, as it appears in the document. */
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };
export type OpenApiDocument = JsonObject & {
  paths: Record<string, Record<string, JsonObject>>;
  components: JsonObject & { schemas: Record<string, JsonObject>; responses: Record<string, JsonObject> };
};

export type Route = { readonly method: string; readonly path: string; readonly handler: object };

/** Every method and path that the application serves, such as `GET /articles/:slug`: what the document must contain. */
export function servedRoutes(routes: readonly Route[]): string[] {
  return [...handlersByOperation(routes).keys()];
}

/**
 * Builds the OpenAPI 3.1 document of an application from the descriptions of its routes and guards. It leaves out routes
 * without a description.
 * @param head the members `openapi`, `info`, `servers` and so on
 * @param routes `app.routes`
 * @throws Error if two different shapes have the same name
 */
export function openApiDocument(head: JsonObject, routes: readonly Route[]): OpenApiDocument {
  const components: Components = { schemas: {}, responses: {} };
  const paths: OpenApiDocument["paths"] = {};
  for (const [key, handlers] of handlersByOperation(routes)) {
    const description = handlers.map((handler) => routeDescriptions.get(handler)).find((found) => found !== undefined);
    if (description === undefined) continue;
    const guards = handlers.flatMap((handler) => guardDescriptions.get(handler) ?? []);
    const [method = "", path = ""] = key.split(" ");
    const template = path.replace(/:([A-Za-z]+)/g, "{$1}");
    paths[template] ??= {};
    paths[template][method.toLowerCase()] = operationOf(template, description, guards, components);
  }
  return {
    ...head,
    paths,
    components: {
      schemas: sorted(components.schemas),
      responses: sorted(components.responses),
      securitySchemes: {
        Token: {
          type: "http",
          scheme: "bearer",
          description:
            "The access token from registration, login or refresh, sent as `Authorization: Bearer <token>`. `Authorization: Token <token>`, the RealWorld form, works as well.",
        },
      },
    },
  };
}

/** What operations refer to by name. */
type Components = { schemas: Record<string, JsonObject>; responses: Record<string, JsonObject> };

/** The handlers of each operation, in the order in which they run. */
function handlersByOperation(routes: readonly Route[]): Map<string, object[]> {
  const operations = new Map<string, object[]>();
  for (const { method, path, handler } of routes) {
    if (method === "ALL") continue;
    const key = `${method} ${path}`;
    operations.set(key, [...(operations.get(key) ?? []), handler]);
  }
  return operations;
}

function operationOf(
  template: string,
  description: RouteDescription,
  guards: GuardDescription[],
  components: Components,
): JsonObject {
  const body = guards.find((guard) => guard.body !== undefined)?.body;
  const query = description.query ?? guards.find((guard) => guard.query !== undefined)?.query;
  const auth = guards.find((guard) => guard.auth !== undefined)?.auth;
  const parameters = [...parametersOf(template, description, query, components), ...headersOf(guards)];
  const content =
    body !== undefined
      ? jsonContent(schemaOf(body, "input", components))
      : description.form !== undefined
        ? formContent(schemaOf(description.form, "input", components))
        : undefined;
  return {
    operationId: description.operationId,
    tags: [description.tag],
    summary: description.summary,
    description: description.description,
    security: auth === "required" ? [{ Token: [] }] : auth === "optional" ? [{}, { Token: [] }] : [],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(content === undefined ? {} : { requestBody: { required: true, ...content } }),
    responses: responsesOf(template, description, guards, components),
  };
}

function parametersOf(
  template: string,
  description: RouteDescription,
  query: z.ZodObject | undefined,
  components: Components,
): JsonObject[] {
  const inPath = [...template.matchAll(/\{([A-Za-z]+)\}/g)].map(([, name = ""]): JsonObject => {
    const shape = description.params?.[name];
    const schema: JsonObject =
      shape === undefined
        ? { type: "string", minLength: 1, pattern: STORABLE_PATTERN }
        : schemaOf(shape, "input", components);
    return { name, in: "path", required: true, schema };
  });
  const inQuery = Object.entries(query?.shape ?? {}).map(([name, shape]): JsonObject => {
    const { description: text, ...schema } = schemaOf(shape as z.ZodType, "input", components);
    const required = !(shape as z.ZodType).safeParse(undefined).success;
    return {
      name,
      in: "query",
      ...(required ? { required } : {}),
      ...(text === undefined ? {} : { description: text }),
      schema,
    };
  });
  return [...inPath, ...inQuery];
}

const headersOf = (guards: GuardDescription[]): JsonObject[] =>
  guards.flatMap(({ headers = {} }) =>
    Object.entries(headers).map(([name, { description, pattern }]) => ({
      name,
      in: "header",
      description,
      schema: { type: "string", pattern },
    })),
  );

function responsesOf(
  template: string,
  description: RouteDescription,
  guards: GuardDescription[],
  components: Components,
): JsonObject {
  const responses: JsonObject = {};
  for (const [status, body] of Object.entries(description.responses)) {
    responses[status] = {
      description: STATUS_DESCRIPTIONS[Number(status)] ?? "",
      ...(body === null ? {} : { content: contentOf(body, components) }),
    };
  }
  const errors: ErrorCode[] = [
    ...guards.flatMap((guard) => guard.errors ?? []),
    ...(description.errors ?? []),
    // A path parameter can contain characters that cannot be stored (validation.ts, storablePath).
    ...(template.includes("{") ? (["invalid"] as const) : []),
    ...ERRORS_OF_ANY_REQUEST,
  ];
  for (const code of errors) responses[STATUS_OF[code]] ??= errorResponse(code, components);
  return responses;
}

const ERRORS_OF_ANY_REQUEST = ["bad_request", "url_too_long", "internal", "unavailable"] as const;

const STATUS_DESCRIPTIONS: Record<number, string> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "Success, without a body",
  304: "Not modified since the response with this ETag",
  308: "It has another address now, in the header Location",
  404: "Not found",
  409: "Conflict",
  410: "Used, expired or deleted",
  412: "Changed since the version in `If-Match`",
  422: "Invalid input",
  429: "Too many requests",
  503: "Unavailable",
};

/** RealWorld openapi.yml, GenericErrorModel. */
export const ErrorResponse = z
  .object({
    errors: z
      .record(z.string(), z.array(z.string()).min(1))
      .meta({ description: "The problems, by the name of the field, parameter or resource" }),
  })
  .meta({ id: "ErrorResponse", examples: [{ errors: { title: ["can't be blank"] } }] });

/** A reference to the response of an error, which is the same in every operation: `not_found` becomes `NotFound`. */
function errorResponse(code: ErrorCode, components: Components): JsonObject {
  const name = code.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  components.responses[name] ??= {
    ...ERROR_DESCRIPTIONS[code],
    ...jsonContent(schemaOf(ErrorResponse, "output", components)),
  };
  return { $ref: `#/components/responses/${name}` };
}

const header = (description: string, type = "string"): JsonObject => ({ description, schema: { type } });
const retryAfter = header("Seconds to wait before the next attempt", "integer");

const ERROR_DESCRIPTIONS: Record<ErrorCode, { description: string; headers?: JsonObject }> = {
  bad_request: { description: "The `Host` header is invalid, or the body is not valid JSON" },
  unauthorized: {
    description: "The token is missing, invalid, expired or revoked, or the credentials are wrong",
    headers: { "WWW-Authenticate": header("Set for token errors (RFC 6750, section 3), not for wrong credentials") },
  },
  forbidden: { description: "The resource belongs to another user" },
  not_found: { description: "The resource does not exist" },
  method_not_allowed: { description: "The path does not support this method" },
  conflict: {
    description:
      "A value is already taken, the resource is already in this state, or a request with the same `Idempotency-Key` is in flight",
  },
  gone: { description: "The link was already used or has expired" },
  precondition_failed: { description: "The resource has changed since the version in `If-Match`" },
  too_large: { description: "The body is too large" },
  url_too_long: { description: "The URL is too long" },
  unsupported_media_type: { description: "The body is not of the media type in this document" },
  invalid: { description: "The request breaks validation rules, listed by field" },
  too_many_requests: {
    description: "The client has sent too many requests",
    headers: {
      "Retry-After": retryAfter,
      RateLimit: header(
        "The remaining requests (`r`) and the seconds until more are available (`t`), as in draft-ietf-httpapi-ratelimit-headers",
      ),
    },
  },
  internal: { description: "An unexpected error" },
  unavailable: {
    description: "The server, or a service that it needs, is temporarily unavailable",
    headers: { "Retry-After": retryAfter },
  },
};

function contentOf(body: ResponseBody | readonly ResponseBody[], components: Components): JsonObject {
  const content: JsonObject = {};
  for (const one of [body].flat()) {
    if (typeof one !== "string") Object.assign(content, jsonContent(schemaOf(one, "output", components)).content);
    else content[one] = { schema: { type: /^application\/(?:.+\+)?json$/.test(one) ? "object" : "string" } };
  }
  return content;
}

const jsonContent = (schema: JsonObject): { content: JsonObject } => ({ content: { "application/json": { schema } } });
const formContent = (schema: JsonObject): { content: JsonObject } => ({
  content: { "application/x-www-form-urlencoded": { schema } },
});

/** The JSON Schema of a shape. A shape with a name (`.meta({ id })`) is added to the components and referred to. */
function schemaOf(shape: z.ZodType, io: "input" | "output", { schemas }: Components): JsonObject {
  const { $schema, $defs, ...schema } = z.toJSONSchema(shape, {
    io,
    unrepresentable: "any",
    override({ zodSchema, jsonSchema }) {
      // Objects stay open to new members: clients must accept them.
      if (zodSchema._zod.def.type === "object") delete jsonSchema.additionalProperties;
      // Ids and counts do not fit into the 32 bits that generators for other languages assume.
      if (jsonSchema.type === "integer" && jsonSchema.maximum === Number.MAX_SAFE_INTEGER) {
        jsonSchema.format = "int64";
        delete jsonSchema.maximum;
      }
      // The parser receives a parameter as text; the document shows the type that the text stands for.
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
    throw new Error(`two different shapes are named ${name}`);
  }
  schemas[name] = schema;
}

function relocate(schema: Json): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'));
}

const sorted = <Value>(members: Record<string, Value>): Record<string, Value> =>
  Object.fromEntries(Object.entries(members).sort(([a], [b]) => (a < b ? -1 : 1)));
