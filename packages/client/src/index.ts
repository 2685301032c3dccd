import { operationsOf } from "./operations.ts";
import { type ClientOptions, createCall } from "./request.ts";

export { type CallOptions, type ClientOptions, ConduitError, type Tokens } from "./request.ts";
export type * from "./types.ts";

/** One function for each operation of the API. Each resolves to the body of the response, and throws `ConduitError`. */
export type Client = ReturnType<typeof operationsOf>;

/** A client of one server, for one user or for anonymous requests. */
export function createClient(options: ClientOptions): Client {
  return operationsOf(createCall(options));
}
