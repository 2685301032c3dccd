/**
 * Every error code with its HTTP status. The set is closed: a new code is added here, and appears under this name in the
 * documentation, the log and the metrics.
 */
export const STATUS_OF = {
  bad_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  gone: 410,
  precondition_failed: 412,
  too_large: 413,
  url_too_long: 414,
  unsupported_media_type: 415,
  invalid: 422,
  too_many_requests: 429,
  internal: 500,
  unavailable: 503,
} as const;

export type ErrorCode = keyof typeof STATUS_OF;

/** Problems, by the name of the field, parameter or resource. */
export type FieldErrors = Record<string, string[]>;

/**
 * An error with its response to the client, in the API's error format (RealWorld openapi.yml, GenericErrorModel). Details
 * that only the log may contain are in `cause`.
 */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    readonly code: ErrorCode,
    readonly errors: FieldErrors,
    readonly headers: Record<string, string> = {},
    options?: ErrorOptions,
  ) {
    super(`${code}: ${JSON.stringify(errors)}`, options);
  }

  get status(): (typeof STATUS_OF)[ErrorCode] {
    return STATUS_OF[this.code];
  }

  body(): string {
    return JSON.stringify({ errors: this.errors });
  }
}

export const notFound = (resource: string): ApiError => new ApiError("not_found", { [resource]: ["not found"] });

export const forbidden = (resource: string): ApiError => new ApiError("forbidden", { [resource]: ["forbidden"] });

export const invalid = (errors: FieldErrors): ApiError => new ApiError("invalid", errors);

export const taken = (...fields: string[]): ApiError =>
  new ApiError("conflict", Object.fromEntries(fields.map((field) => [field, ["has already been taken"]])));

/** @param problem the problem of the token, as the rest of a sentence: "is missing", "has expired" */
export const unauthorized = (problem: string): ApiError =>
  new ApiError(
    "unauthorized",
    { token: [problem] },
    // RFC 6750, 3: without an error code where no token was sent.
    { "WWW-Authenticate": problem === "is missing" ? "Bearer" : 'Bearer error="invalid_token"' },
  );

/** @param retryAfterS the seconds after which the client may try again */
export const unavailable = (resource: string, retryAfterS: number, cause?: unknown): ApiError =>
  new ApiError(
    "unavailable",
    { [resource]: ["is unavailable, try again later"] },
    { "Retry-After": String(retryAfterS) },
    { cause },
  );
