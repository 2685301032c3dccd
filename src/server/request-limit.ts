import { ApiError } from "../http/errors.ts";
import { headersBeforeRoutes } from "../http/headers.ts";

/** The longest URL, in bytes. Bun limits the headers to 16 KiB and 200 fields, and returns 431 beyond that. */
export const URL_SIZE_MAX = 8 * 1024;

type Server = { readonly pendingRequests: number };
type Fetch = (request: Request, server: Server) => Response | Promise<Response>;

/**
 * Limits the requests in flight and the length of a URL before any work is done. A request beyond a limit gets its
 * response at once, without log or route.
 * @param origins the origins whose pages may read that response, or any
 */
export function limitRequests(requestsMax: number, origins: "*" | string[], fetch: Fetch) {
  function refuse(request: Request, error: ApiError): Response {
    const headers = headersBeforeRoutes(origins, request.headers.get("Origin"));
    return new Response(error.body(), {
      status: error.status,
      headers: { "Content-Type": "application/json", ...headers, ...error.headers },
    });
  }

  return (request: Request, server: Server): Response | Promise<Response> => {
    if (server.pendingRequests > requestsMax) return refuse(request, busy);
    if (request.url.length > URL_SIZE_MAX) return refuse(request, tooLong);
    return fetch(request, server);
  };
}

const busy = new ApiError("unavailable", { server: ["is busy, try again later"] }, { "Retry-After": "1" });
const tooLong = new ApiError("url_too_long", { path: [`is too long (maximum is ${URL_SIZE_MAX} bytes)`] });
