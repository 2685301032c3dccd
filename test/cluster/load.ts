// A steady load on two servers, which remembers every request and what every write was promised.

/** One request: when it was sent and how long it took, in milliseconds, and its status; 0 where the connection was lost. */
export type Sample = {
  readonly kind: "read" | "write";
  readonly sentAt: number;
  readonly tookMs: number;
  readonly status: number;
  /** Whether HAProxy responded for want of a server. */
  readonly isRefused: boolean;
};

export type Writer = { readonly token: string; readonly slug: string };

export type Load = {
  readonly samples: readonly Sample[];
  /** The bodies of comments whose writes were acknowledged. */
  readonly acknowledged: ReadonlySet<string>;
  /** Comments that their own author did not find in the next read. */
  readonly unseen: readonly string[];
  stop(): Promise<void>;
};

/** The pause of each client between two requests. It keeps the load the same on a fast and on a slow machine. */
const PAUSE_MS = 20;

/** Longer than a server lets anyone wait. */
const REQUEST_TIMEOUT_MS = 60_000;

let comments = 0;

/**
 * Starts clients that read, and a client for each writer that adds a comment, reads it, and so on. None sends a request
 * again.
 */
export function startLoad(url: string, writers: readonly Writer[], readers: number): Load {
  const samples: Sample[] = [];
  const acknowledged = new Set<string>();
  const unseen: string[] = [];
  let isRunning = true;

  async function send(kind: Sample["kind"], path: string, init: RequestInit = {}): Promise<Response | undefined> {
    const sentAt = performance.now();
    let response: Response | undefined;
    try {
      response = await fetch(url + path, { ...init, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
      // The body has to arrive, too.
      response = new Response(await response.arrayBuffer(), response);
    } catch {
      response = undefined;
    }
    const status = response?.status ?? 0;
    const isRefused = status === 503 && response?.headers.has("x-request-id") === false;
    samples.push({ kind, sentAt, tookMs: performance.now() - sentAt, status, isRefused });
    return response;
  }

  async function read(path: string): Promise<void> {
    while (isRunning) {
      await send("read", path);
      await Bun.sleep(PAUSE_MS);
    }
  }

  async function write({ token, slug }: Writer): Promise<void> {
    const headers = { Authorization: `Token ${token}`, "Content-Type": "application/json" };
    const path = `/api/articles/${slug}/comments`;
    while (isRunning) {
      const text = `comment ${++comments}`;
      const body = JSON.stringify({ comment: { body: text } });
      const written = await send("write", path, { method: "POST", headers, body });
      if (written?.ok) {
        acknowledged.add(text);
        const shown = await send("read", `${path}?limit=5`, { headers });
        if (shown?.ok && !(await shown.text()).includes(`"${text}"`)) unseen.push(text);
      }
      await Bun.sleep(PAUSE_MS);
    }
  }

  const paths = ["/api/articles?limit=5", `/api/articles/${writers[0]?.slug}`, "/api/tags"];
  const clients = [
    ...writers.map(write),
    ...Array.from({ length: readers }, (_, i) => read(paths[i % paths.length] ?? "/")),
  ];
  return {
    samples,
    acknowledged,
    unseen,
    async stop() {
      isRunning = false;
      await Promise.all(clients);
    },
  };
}
