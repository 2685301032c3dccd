import type { Context, MiddlewareHandler } from "hono";
import type { z } from "zod";
import { validatedCaching } from "./caching.ts";
import { ApiError, type FieldErrors, invalid } from "./errors.ts";
import { isStorable, NOT_STORABLE } from "./fields.ts";
import { reserveMemory } from "./large-bodies.ts";
import { describeGuard } from "./openapi.ts";
import { bodyAwaited, bodyReceived } from "./request-timer.ts";
import { respond } from "./responses.ts";

/** The largest request body, in bytes, on routes that do not need more. */
export const REQUEST_SIZE_MAX = 16 * 1024;

const LONG_TEXT = 16 * 1024;

const JSON_HEADERS = { "Content-Type": "application/json" };

/** A response with a value as JSON that is not stored: a small one, or one with a token or personal data. */
export const jsonOf = (c: Context, value: object, status: 200 | 201 | 503 = 200): Response =>
  respond(c, JSON.stringify(value), status, JSON_HEADERS);

/** A response with a value as JSON. A GET returns 304 if the client already has the same response (RFC 9110, 13.1.2). */
export function json(c: Context, value: object, status: 200 | 201 = 200): Response {
  return jsonText(c, jsonTextOf(value), undefined, status);
}

/** Long JSON in UTF-8: otherwise it is encoded for its hash, for its size and for the response. */
export function jsonTextOf(value: object): JsonText {
  const text = JSON.stringify(value);
  return text.length > LONG_TEXT ? Buffer.from(text) : text;
}

/**
 * As `json`, for a value whose JSON the caller has already.
 * @param text JSON, as text or in UTF-8
 * @param etag of this text, by `etagOf`, if the caller has it too
 */
export function jsonText(c: Context, text: JsonText, etag?: string, status: 200 | 201 = 200): Response {
  const isCached = status === 200 && (c.req.method === "GET" || c.req.method === "HEAD");
  if (!isCached) return respond(c, text, status, JSON_HEADERS);
  const headers = { ETag: etag ?? etagOf(text), "Cache-Control": validatedCaching(c) };
  if (isKnown(c.req.header("If-None-Match"), headers.ETag)) return respond(c, null, 304, headers);
  return respond(c, text, status, { ...headers, ...JSON_HEADERS });
}

export type JsonText = string | Uint8Array<ArrayBuffer>;

/**
 * The entity tag of a response. It is the same for text and its bytes.
 * @param version of the one thing that the response shows: then the tag is strong, and `If-Match` compares this part of it
 */
export function etagOf(text: JsonText, version?: number): string {
  const hash = Bun.hash(text).toString(36);
  return version === undefined ? `W/"${hash}"` : `"${version}-${hash}"`;
}

/** Whether the client has what an entity tag stands for: RFC 9110, 13.1.2. The comparison is weak (8.8.3.2), as proxies that compress remove or add `W/`. */
export function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === "*") return true;
  const opaque = etag.slice(etag.indexOf('"'));
  return ifNoneMatch.match(/"[^"]*"/g)?.includes(opaque) === true;
}

/** Guard for every path: rejects one with U+0000 (`%00`), which PostgreSQL cannot store. */
export const storablePath: MiddlewareHandler = function checkPath(c, next) {
  if (!isStorable(c.req.path)) throw invalid({ path: [NOT_STORABLE] });
  return next();
};

/**
 * Guard: reads the body as JSON and checks its shape; the handler finds it in `c.var.body`. It comes after the guards that
 * need no body, since to read and parse one costs more than they do.
 * @param sizeMax in bytes; a larger body is not parsed
 */
export function body<Schema extends z.ZodType>(
  schema: Schema,
  sizeMax = REQUEST_SIZE_MAX,
): MiddlewareHandler<{ Variables: { body: z.output<Schema> } }> {
  const guard: MiddlewareHandler = async function validateBody(c, next) {
    await withRoomForBody(c, sizeMax, async () => {
      c.set("body", parse(schema, await readJson(c.req.raw, sizeMax), "body"));
      await next();
    });
  };
  return describeGuard(guard, {
    body: schema,
    errors: ["bad_request", "too_large", "unsupported_media_type", "invalid"],
  });
}

/** Reserves memory for the body of a request, if it is large, until what needs it has ended. Throws 503 if there is no room. */
export async function withRoomForBody<Result>(
  c: Context,
  sizeMax: number,
  use: () => Promise<Result>,
): Promise<Result> {
  const size = sizeToExpect(c.req.raw, sizeMax);
  const release = size > REQUEST_SIZE_MAX ? reserveMemory(c.get("userId") ?? "", size) : undefined;
  try {
    return await use();
  } finally {
    release?.();
  }
}

/** In bytes. A chunked body may have any size. One that is too large is not read. */
function sizeToExpect({ headers }: Request, sizeMax: number): number {
  const length = Number(headers.get("content-length") ?? (headers.has("transfer-encoding") ? sizeMax : 0));
  return length > sizeMax ? 0 : length;
}

/** Guard: checks the query string; the handler finds it in `c.var.query`. Of a parameter given twice, the first counts. */
export function query<Schema extends z.ZodObject>(
  schema: Schema,
): MiddlewareHandler<{ Variables: { query: z.output<Schema> } }> {
  const guard: MiddlewareHandler = function validateQuery(c, next) {
    c.set("query", parse(schema, c.req.query(), "query"));
    return next();
  };
  return describeGuard(guard, { query: schema, errors: ["invalid"] });
}

async function readJson(request: Request, sizeMax: number): Promise<unknown> {
  const text = await readText(request, sizeMax);
  if (text === "") return {};
  const type = request.headers.get("content-type");
  if (type !== null && !/^application\/([a-z.]+\+)?json *(;|$)/i.test(type)) {
    throw new ApiError("unsupported_media_type", { body: ["must be sent as application/json"] });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiError("bad_request", { body: ["is not valid JSON"] }, {}, { cause });
  }
}

/** The fields of an HTML form. Of one given twice, the last counts. */
export async function readForm(request: Request): Promise<Record<string, string>> {
  return Object.fromEntries(await readFields(request));
}

/** The fields of an HTML form, in order. @param sizeMax in bytes */
export async function readFields(request: Request, sizeMax = REQUEST_SIZE_MAX): Promise<URLSearchParams> {
  const type = request.headers.get("content-type");
  if (type === null || !/^application\/x-www-form-urlencoded *(;|$)/i.test(type)) {
    throw new ApiError("unsupported_media_type", { body: ["must be sent as application/x-www-form-urlencoded"] });
  }
  return new URLSearchParams(await readText(request, sizeMax));
}

async function readText(request: Request, sizeMax: number): Promise<string> {
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw new ApiError(
      "unsupported_media_type",
      { body: ["must be sent without a Content-Encoding"] },
      { "Accept-Encoding": "identity" },
    );
  }
  let bytes: Uint8Array;
  try {
    const length = request.headers.get("content-length");
    if (Number(length ?? 0) > sizeMax) throw tooLarge(sizeMax);
    bodyAwaited(request);
    // A body is never longer than its declared length (RFC 9112, 6.3). A chunked body is counted while it arrives, which
    // takes 30 µs more.
    bytes = length === null ? await readChunks(request, sizeMax) : await request.bytes();
    bodyReceived(request);
  } catch (cause) {
    if (cause instanceof ApiError) throw cause;
    // The client disconnected, or was too slow. It does not read the response, but log and metrics must not count an error
    // of the server.
    throw new ApiError("bad_request", { body: ["is incomplete"] }, {}, { cause });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ApiError("bad_request", { body: ["is not valid UTF-8"] }, {}, { cause });
  }
}

async function readChunks(request: Request, sizeMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > sizeMax) throw tooLarge(sizeMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const tooLarge = (sizeMax: number) =>
  new ApiError("too_large", { body: [`is too large (maximum is ${sizeMax} bytes)`] });

/**
 * The input in the shape of a schema. Throws 422 with all problems, by the innermost name of the field.
 * @param whole the name for the input as a whole
 */
export function parse<Schema extends z.ZodType>(schema: Schema, input: unknown, whole: string): z.output<Schema> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const errors: FieldErrors = {};
  for (const { path, message } of result.error.issues) {
    // The innermost name: "title" of article.title, "tagList" of article.tagList[3].
    const field = String(path.findLast((part) => typeof part === "string") ?? whole);
    errors[field] ??= [];
    if (!errors[field].includes(message)) errors[field].push(message);
  }
  throw invalid(errors);
}
