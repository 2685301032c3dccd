import { gunzipSync } from "node:zlib";

type Value = { stringValue?: string; intValue?: number };
type KeyValue = { key: string; value: Value };

/** A span as OTLP's JSON has it (opentelemetry-proto, trace.proto). */
export type SpanJson = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: KeyValue[];
  status: { code?: number };
};
type ExportJson = {
  resourceSpans: { resource: { attributes: KeyValue[] }; scopeSpans: { spans: SpanJson[] }[] }[];
};

export type Collector = {
  readonly url: string;
  readonly requests: { path: string; headers: Headers; body: Uint8Array }[];
  /** Of every export in JSON, in the order of their arrival. */
  spans(): SpanJson[];
  resources(): Record<string, unknown>[];
  stop(): Promise<void>;
};

/** Receives traces by OTLP over HTTP. */
export function startCollector(): Collector {
  const requests: Collector["requests"] = [];
  const http = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const sent = await request.bytes();
      const body = request.headers.get("content-encoding") === "gzip" ? new Uint8Array(gunzipSync(sent)) : sent;
      requests.push({ path: new URL(request.url).pathname, headers: request.headers, body });
      return request.headers.get("content-type") === "application/json" ? Response.json({}) : new Response();
    },
  });
  const exports = () =>
    requests
      .filter(({ headers }) => headers.get("content-type") === "application/json")
      .flatMap(({ body }) => (JSON.parse(new TextDecoder().decode(body)) as ExportJson).resourceSpans);
  return {
    url: http.url.origin,
    requests,
    spans: () => exports().flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
    resources: () => exports().map(({ resource }) => attributesOf(resource)),
    stop: () => http.stop(true),
  };
}

export function attributesOf({ attributes }: { attributes: KeyValue[] }): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]));
}
