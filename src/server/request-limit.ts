import type { Config } from "../config/settings.ts";
import type { Peers } from "../http/client-address.ts";
import { asksToClose, closeConnection } from "../http/connection.ts";
import { ApiError } from "../http/errors.ts";
import { originHeaders, sharedHeaders } from "../http/headers.ts";
import { type RequestTimers, startTimer, timerSeconds } from "../http/request-timer.ts";

/** The longest URL, in bytes. Bun limits the headers to 16 KiB and 200 fields, and returns 431 beyond that. */
export const URL_SIZE_MAX = 8 * 1024;

type Limits = Pick<Config, "requestsMax" | "corsOrigins" | "requestTimeoutMs" | "keepAliveTimeoutMs">;
type Server = RequestTimers & Peers & { readonly pendingRequests: number };
type Fetch = (request: Request, server: Server) => Response | Promise<Response>;

/**
 * Limits the requests in flight and the length of a URL before any work is done. A request beyond a limit gets its
 * response at once, without log or route.
 * Also limits the time to receive a request, and the time that a connection may be idle.
 */
export function limitRequests(
  { requestsMax, corsOrigins, requestTimeoutMs, keepAliveTimeoutMs }: Limits,
  fetch: Fetch,
) {
  const receiveS = timerSeconds(requestTimeoutMs);
  const keepAliveS = timerSeconds(keepAliveTimeoutMs);

  const shared = sharedHeaders(corsOrigins, keepAliveTimeoutMs);

  function refuse(request: Request, error: ApiError): Response {
    const response = new Response(error.body(), { status: error.status, headers: shared });
    const { headers } = response;
    const own = { ...originHeaders(request, corsOrigins), ...error.headers, "Content-Type": "application/json" };
    for (const [name, value] of Object.entries(own)) headers.set(name, value);
    if (asksToClose(request)) closeConnection(response);
    return response;
  }

  return (request: Request, server: Server): Response | Promise<Response> => {
    if (server.pendingRequests > requestsMax) return refuse(request, busy);
    if (request.url.length > URL_SIZE_MAX) return refuse(request, tooLong);
    startTimer(request, server, receiveS);
    const restart = () => server.timeout(request, keepAliveS);
    const response = fetch(request, server);
    // Bun sends a response that needs no promise sooner, and for less.
    if (response instanceof Promise) return response.finally(restart);
    restart();
    return response;
  };
}

const busy = new ApiError("unavailable", { server: ["is busy, try again later"] }, { "Retry-After": "1" });
const tooLong = new ApiError("url_too_long", { path: [`is too long (maximum is ${URL_SIZE_MAX} bytes)`] });
