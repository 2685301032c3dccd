import { connect } from "node:net";

export type RawConnection = {
  /** Everything received so far. */
  received(): string;
  /** Resolves to the milliseconds from the last byte received, or from the start, until the server closed. */
  readonly closed: Promise<number>;
  send(text: string): void;
  /** Resolves when what was received contains the text. */
  until(text: string): Promise<void>;
  close(): void;
};

/** A TCP connection to a server, for requests written by hand. */
export function rawConnection(url: string, text: string): RawConnection {
  const { hostname, port } = new URL(url);
  let received = "";
  let lastByteAt = performance.now();
  const waiting: { text: string; resolve: () => void; reject: (error: Error) => void }[] = [];
  const socket = connect(Number(port), hostname, () => socket.write(text));
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    received += bytes;
    lastByteAt = performance.now();
    for (const one of waiting) if (received.includes(one.text)) one.resolve();
  });
  const closed = new Promise<number>((resolve) => {
    socket.on("close", () => {
      resolve(performance.now() - lastByteAt);
      for (const one of waiting) one.reject(new Error(`closed before ${one.text}: ${JSON.stringify(received)}`));
    });
  });
  return {
    received: () => received,
    closed,
    send: (more) => void socket.write(more),
    until(expected) {
      if (received.includes(expected)) return Promise.resolve();
      return new Promise((resolve, reject) => waiting.push({ text: expected, resolve, reject }));
    },
    close: () => socket.destroy(),
  };
}
