/** What a span or a log line says, by OpenTelemetry's names. Undefined values are left out. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** Receives every request at its end, for metrics. `method` and `route` come from closed sets, whatever clients send. */
export type RequestObserver = {
  onRequest(method: string, route: string, status: number, durationMs: number): void;
};

/** Makes a span for every request. */
export type RequestTracer = {
  /**
   * Starts the span of a request, in the trace of its caller if it names one (W3C Trace Context).
   * @param attributes what is known before the request is handled, for the sampler
   */
  startRequest(headers: Headers, attributes: Attributes): RequestSpan;
};

export type RequestSpan = {
  /** Hexadecimal, 32 and 16 characters. They exist even if the trace is not recorded. */
  readonly traceId: string;
  readonly spanId: string;
  /** Runs `work` within the span: spans started meanwhile are its children. */
  run<Result>(work: () => Result): Result;
  /** @param isFailed whether the server, not the client, is the reason of a failure */
  end(name: string, attributes: Attributes, isFailed: boolean): void;
};

/** Receives statements and waits. Called on the hot path: it must be cheap and must not throw. */
export type StatementObserver = {
  /**
   * Called when a statement has ended, in the asynchronous context of its caller.
   * @param durationMs from the call to the rows, with waits and repetitions
   * @param error what it failed with; undefined if it succeeded
   */
  onStatement(statement: { readonly name: string; readonly text: string }, durationMs: number, error: unknown): void;
  /** Called when a statement had to wait for a connection of this pool. */
  onWait(pool: string, waitedMs: number): void;
};
