import { ApiError } from "./errors.ts";

/** The longest URL, in bytes. Heads as a whole are bounded by Bun: 16 KiB and 200 fields, beyond which it answers 431. */
export const URL_SIZE_MAX = 8 * 1024;

type Server = { readonly pendingRequests: number };
type Fetch = (request: Request, server: Server) => Response | Promise<Response>;

/**
 * Bounds what is taken in before any of it costs: the requests under way at a time, and the length of a URL. What is too
 * much gets its answer at once, without log or route.
 */
export function limitRequests(requestsMax: number, fetch: Fetch) {
  return (request: Request, server: Server): Response | Promise<Response> => {
    if (server.pendingRequests > requestsMax) return refuse(busy);
    if (request.url.length > URL_SIZE_MAX) return refuse(tooLong);
    return fetch(request, server);
  };
}

const busy = new ApiError("unavailable", { server: ["is busy, try again later"] }, { "Retry-After": "1" });
const tooLong = new ApiError("url_too_long", { path: [`is too long (maximum is ${URL_SIZE_MAX} bytes)`] });

function refuse(error: ApiError): Response {
  return new Response(error.body(), {
    status: error.status,
    headers: { "Content-Type": "application/json", ...error.headers },
  });
}
