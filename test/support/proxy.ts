import type { Socket, TCPSocketListener } from "bun";
import type { DatabaseAddress } from "../../src/config/database-address.ts";

type Peer = { other: Socket<Peer> | undefined; unsent: Buffer[]; isClosed: boolean };

/** A TCP proxy in front of a PostgreSQL, which simulates network failures. */
export type Proxy = {
  /** The address of the database through the proxy. */
  readonly address: DatabaseAddress;
  /** Closes every connection and refuses new ones. */
  refuse(): void;
  /** Closes every connection and accepts new ones. */
  cut(): void;
  /** Accepts connections and bytes, and forwards nothing: neither side gets a response or an error. */
  hang(): void;
  /** Resolves when something has been sent into the hanging network. */
  whenSwallowed(): Promise<void>;
  /** Forwards everything again, except on connections that hung: a network may have forgotten them. Not even their end. */
  restore(): void;
  /** From now on, new connections lead to another server. */
  leadTo(target: DatabaseAddress): void;
  stop(): void;
};

export function startProxy(firstTarget: DatabaseAddress): Proxy {
  let target = firstTarget;
  const sockets = new Set<Socket<Peer>>();
  const forgotten = new Set<Socket<Peer>>();
  let hangs = false;
  let swallowed = Promise.withResolvers<void>();
  let listener: TCPSocketListener<Peer> | undefined;

  const handlers: Bun.SocketHandler<Peer> = {
    data(socket, bytes) {
      if (hangs) swallowed.resolve();
      if (hangs || !sockets.has(socket)) return;
      send(socket.data.other, socket.data, bytes);
    },
    drain(socket) {
      flush(socket);
    },
    close(socket) {
      const isKnown = sockets.delete(socket);
      forgotten.delete(socket);
      socket.data.isClosed = true;
      if (isKnown && !hangs) socket.data.other?.end();
    },
    error() {},
  };

  function listen(port: number): TCPSocketListener<Peer> {
    return Bun.listen<Peer>({
      hostname: "127.0.0.1",
      port,
      socket: {
        ...handlers,
        async open(client) {
          client.data = { other: undefined, unsent: [], isClosed: false };
          sockets.add(client);
          if (hangs) return;
          const server = await connect(target, handlers, client);
          if (server === undefined) return void client.end();
          sockets.add(server);
          client.data.other = server;
          for (const bytes of client.data.unsent.splice(0)) write(server, bytes);
          if (client.data.isClosed) server.end();
        },
      },
    });
  }

  const cut = () => {
    for (const socket of sockets) socket.terminate();
    sockets.clear();
  };
  listener = listen(0);
  const { port } = listener;
  const { socketPath: _, ...overTcp } = target;
  return {
    address: { ...overTcp, hostname: "127.0.0.1", port, tls: "disable" },
    cut,
    refuse() {
      listener?.stop(true);
      listener = undefined;
      cut();
    },
    hang() {
      swallowed = Promise.withResolvers();
      hangs = true;
    },
    whenSwallowed: () => swallowed.promise,
    restore() {
      if (hangs) {
        // Neither side is notified.
        for (const socket of sockets) forgotten.add(socket);
        sockets.clear();
      }
      hangs = false;
      listener ??= listen(port);
    },
    leadTo(other) {
      target = other;
    },
    stop() {
      listener?.stop(true);
      cut();
      for (const socket of forgotten) socket.terminate();
    },
  };
}

async function connect(
  target: DatabaseAddress,
  socket: Bun.SocketHandler<Peer>,
  client: Socket<Peer>,
): Promise<Socket<Peer> | undefined> {
  const data: Peer = { other: client, unsent: [], isClosed: false };
  const { hostname, port, socketPath } = target;
  const connecting =
    socketPath === undefined
      ? Bun.connect<Peer>({ hostname, port, socket, data })
      : Bun.connect<Peer>({ unix: socketPath, socket, data });
  return await connecting.catch(() => undefined);
}

/** Sends to the other side, or keeps the bytes until that is connected. */
function send(to: Socket<Peer> | undefined, from: Peer, bytes: Buffer): void {
  if (to === undefined) from.unsent.push(Buffer.from(bytes));
  else write(to, Buffer.from(bytes));
}

const unwritten = new WeakMap<Socket<Peer>, Buffer[]>();

function write(socket: Socket<Peer>, bytes: Buffer): void {
  const queue = unwritten.get(socket) ?? [];
  unwritten.set(socket, queue);
  queue.push(bytes);
  flush(socket);
}

function flush(socket: Socket<Peer>): void {
  const queue = unwritten.get(socket) ?? [];
  for (let next = queue[0]; next !== undefined; next = queue[0]) {
    const written = Math.max(0, socket.write(next));
    if (written < next.byteLength) {
      queue[0] = next.subarray(written);
      return;
    }
    queue.shift();
  }
}
