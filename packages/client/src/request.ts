import type { TokenPair } from "./types.ts";

/** The tokens of a session. The responses of `createUser`, `login` and `refreshSession` fit. */
export type Tokens = {
  /** Authenticates requests. Expires within minutes or hours. */
  access_token: string;
  /** Buys new tokens, once. Without it, the client cannot renew an expired access token. */
  refresh_token?: string | undefined;
};

export type ClientOptions = {
  /** The server's URL, with or without `/api`: `https://conduit.example.com`. Empty for the origin of the page. */
  baseUrl: string;
  /**
   * The current user's tokens. Absent for anonymous requests. If you pass an object, the client keeps the tokens and
   * replaces them when it renews them. If you pass a function, your store does, and the client reads it at every request.
   */
  tokens?: Tokens | (() => Tokens | undefined) | undefined;
  /**
   * Called with new tokens after the client has renewed them, and with undefined when the session has ended. Store them
   * here. The client awaits a promise before it continues.
   */
  onTokens?: ((tokens: TokenPair | undefined) => unknown) | undefined;
  /**
   * Runs a renewal so that no other client with the same tokens renews at the same time. In a browser with several tabs:
   * `(renew) => navigator.locks.request("conduit", renew)`. Needs `tokens` as a function.
   */
  lock?: (<Result>(renew: () => Promise<Result>) => Promise<Result>) | undefined;
  /** Headers for every request. */
  headers?: Record<string, string> | undefined;
  /** Replaces the global `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
};

/** What every operation accepts as its last argument. */
export type CallOptions = {
  /** Aborts the call: `AbortSignal.timeout(5_000)`. */
  signal?: AbortSignal | undefined;
  /**
   * For what creates articles and comments: the call can be repeated with the same key, and creates one only. Use another
   * random key for each one: `crypto.randomUUID()`.
   */
  idempotencyKey?: string | undefined;
  /**
   * For what changes and deletes articles: the `version` that you have. If the article has another one, the call fails with
   * status 412, and `body.article` of the error is the article as it is now.
   */
  ifVersion?: number | undefined;
  /** Headers for this request. They override the headers of the client. */
  headers?: Record<string, string> | undefined;
};

/** A response that is not a success (status 200 to 299). */
export class ConduitError extends Error {
  override readonly name = "ConduitError";
  readonly status: number;
  /** The problems, by the name of the field, parameter or resource. Empty if the response is not from the API. */
  readonly errors: Record<string, string[]>;
  /** For `Retry-After`, `X-Request-Id` and others. */
  readonly headers: Headers;
  /** The JSON of the response, such as a `StaleArticleResponse`; undefined if it has none. */
  readonly body: unknown;

  constructor(message: string, status: number, errors: Record<string, string[]>, headers: Headers, body?: unknown) {
    super(message);
    this.status = status;
    this.errors = errors;
    this.headers = headers;
    this.body = body;
  }
}

export type Call = <Result>(
  method: string,
  template: string,
  args?: Record<string, unknown>,
  options?: CallOptions,
) => Promise<Result>;

type Prepared = { method: string; path: string; url: string; body: string | undefined; options: CallOptions };

/**
 * Returns the function that sends every request of a client. It fills the path, renews the access token if the server
 * rejects it, and then repeats the request once.
 * @throws ConduitError for a response that is not a success; whatever `fetch` throws, such as TypeError or AbortError
 */
export function createCall(clientOptions: ClientOptions): Call {
  const { tokens, onTokens, lock = (renew) => renew(), headers: clientHeaders } = clientOptions;
  const fetch = clientOptions.fetch ?? ((url, init) => globalThis.fetch(url, init));
  const base = clientOptions.baseUrl.replace(/\/+$/, "").replace(/\/api$/, "");
  let kept = typeof tokens === "function" ? undefined : tokens;
  let renewal: Promise<Tokens | undefined> | undefined;

  const read = (): Tokens | undefined => (typeof tokens === "function" ? tokens() : kept);

  async function call<Result>(
    method: string,
    template: string,
    args: Record<string, unknown> = {},
    options: CallOptions = {},
  ): Promise<Result> {
    const request = prepare(base, method, template, args, options);
    const sent = read();
    let response = await send(request, sent);
    if (sent !== undefined && isTokenRejected(response)) {
      const renewed = await renew(sent);
      if (renewed !== undefined) {
        await response.body?.cancel();
        response = await send(request, renewed);
      }
    }
    return resultOf<Result>(request, response);
  }

  function send({ method, url, body, options }: Prepared, auth: Tokens | undefined): Promise<Response> {
    const headers = new Headers({ Accept: "application/json" });
    if (body !== undefined) headers.set("Content-Type", "application/json");
    if (auth !== undefined) headers.set("Authorization", `Bearer ${auth.access_token}`);
    const { idempotencyKey, ifVersion } = options;
    // A string of RFC 9651.
    if (idempotencyKey !== undefined) headers.set("Idempotency-Key", `"${idempotencyKey.replace(/["\\]/g, "\\$&")}"`);
    if (ifVersion !== undefined) headers.set("If-Match", `"${ifVersion}"`);
    for (const [name, value] of Object.entries({ ...clientHeaders, ...options.headers })) headers.set(name, value);
    return fetch(url, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }

  /** Returns the tokens to use instead of rejected ones. Undefined if there are none: the user is signed out. */
  function renew(rejected: Tokens): Promise<Tokens | undefined> {
    // Requests that fail together share one renewal, whichever of them is aborted.
    renewal ??= lock(() => exchange(rejected)).finally(() => {
      renewal = undefined;
    });
    return renewal;
  }

  async function exchange(rejected: Tokens): Promise<Tokens | undefined> {
    const isCurrent = () => read()?.access_token === rejected.access_token;
    // An earlier renewal, or another tab, has already replaced the rejected token.
    if (!isCurrent()) return read();
    const refreshToken = read()?.refresh_token;
    if (refreshToken === undefined) return undefined;
    const args = { body: { refresh_token: refreshToken } };
    const request = prepare(base, "POST", "/api/auth/refresh", args, {});
    const response = await send(request, undefined);
    const renewed = response.status === 401 ? undefined : await resultOf<TokenPair>(request, response);
    // The user signed out, or another one signed in, while the request was in flight.
    if (!isCurrent()) return read();
    kept = renewed;
    await onTokens?.(renewed);
    return renewed;
  }

  return call;
}

function prepare(
  base: string,
  method: string,
  template: string,
  args: Record<string, unknown>,
  options: CallOptions,
): Prepared {
  const { body, ...parameters } = args;
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = encodeURIComponent(String(parameters[name]));
    delete parameters[name];
    return value;
  });
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) query.set(name, String(value));
  }
  const search = query.toString();
  return {
    method,
    path,
    url: `${base}${path}${search === "" ? "" : `?${search}`}`,
    body: body === undefined ? undefined : JSON.stringify(body),
    options,
  };
}

/**
 * Whether the server rejected the access token (RFC 6750, section 3.1). Where authentication is optional, this is the
 * header of a successful response to an anonymous user.
 */
function isTokenRejected(response: Response): boolean {
  return response.headers.get("WWW-Authenticate")?.includes("invalid_token") === true;
}

async function resultOf<Result>({ method, path }: Prepared, response: Response): Promise<Result> {
  const text = await response.text();
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json") === true;
  const json: unknown = isJson && text !== "" ? JSON.parse(text) : undefined;
  if (response.ok) return json as Result;
  const errors = (json as { errors?: Record<string, string[]> } | undefined)?.errors ?? {};
  const problems = Object.entries(errors).flatMap(([name, messages]) =>
    messages.map((message) => `${name} ${message}`),
  );
  const message = `${method} ${path}: ${response.status} ${problems.join("; ") || response.statusText}`;
  throw new ConduitError(message, response.status, errors, response.headers, json);
}
