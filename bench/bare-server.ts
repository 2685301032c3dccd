// The limit of HTTP: a bare Bun.serve that responds to every request with the same bytes. A message of the parent process sets them.

export type Payload = { status: number; contentType: string; body: string };

let payload: Payload = { status: 200, contentType: "text/plain", body: "" };
let init: ResponseInit = {};

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: () => new Response(payload.status === 204 ? null : payload.body, init),
});

process.on("message", (message: Payload) => {
  payload = message;
  init = { status: payload.status, headers: { "Content-Type": payload.contentType } };
  process.send?.(server.url.origin);
});
process.on("SIGTERM", () => process.exit(0));
process.on("disconnect", () => process.exit(0));
