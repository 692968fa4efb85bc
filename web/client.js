// A GraphQL client in one file: queries over HTTP, subscriptions over graphql-transport-ws, with reconnect and back-off.

const PING_MS = 10_000;
const SILENCE_MS = 25_000;
const BACKOFF_MS = { first: 400, most: 15_000 };

/** Runs a query. Throws what the server says is wrong. */
export async function query(text, variables) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json, application/json" },
    body: JSON.stringify({ query: text, variables }),
  });
  const { data, errors, extensions } = await response.json();
  if (errors?.length) throw new Error(errors.map((e) => e.message).join("; "));
  return { data, asOf: extensions?.asOf };
}

/** Where subscriptions are served: the same host. */
export function socketUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/graphql`;
}

/**
 * One WebSocket that is kept open. `opened` runs after every (re)connection, with nothing subscribed yet: subscribe, read the state
 * again, and say that it is `settled`; each connection that is lost before that is waited for longer. `closed` runs when it is lost.
 */
export class Client {
  #socket = null;
  #sinks = new Map();
  #nextId = 1;
  #failures = 0;
  #heardAt = 0;
  #timer = null;
  #stopped = false;

  constructor({ url = socketUrl(), opened = () => {}, closed = () => {} } = {}) {
    this.url = url;
    this.opened = opened;
    this.closed = closed;
    this.#connect();
    addEventListener("online", () => this.#socket || this.#connect());
  }

  /** Starts a subscription on the present connection; it ends with it. Returns a function that ends it. */
  subscribe(text, variables, sink) {
    const id = String(this.#nextId++);
    this.#sinks.set(id, sink);
    this.#send({ id, type: "subscribe", payload: { query: text, variables } });
    return () => {
      if (this.#sinks.delete(id)) this.#send({ id, type: "complete" });
    };
  }

  /** Gives the connection up and makes a new one: whatever was missed is read again. */
  restart() {
    this.#socket?.close(4000, "starting again");
  }

  /** What the connection was made for is done: should it be lost now, the next one is tried at once. */
  settled() {
    this.#failures = 0;
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  #connect() {
    clearTimeout(this.#timer);
    if (this.#stopped || this.#socket) return;
    const socket = new WebSocket(this.url, "graphql-transport-ws");
    this.#socket = socket;
    this.#heardAt = Date.now();
    const heartbeat = setInterval(() => {
      if (Date.now() - this.#heardAt > SILENCE_MS) socket.close(4000, "no answer");
      else this.#send({ type: "ping" });
    }, PING_MS);
    socket.onopen = () => this.#send({ type: "connection_init" });
    socket.onmessage = (event) => this.#hear(JSON.parse(event.data));
    socket.onclose = () => {
      clearInterval(heartbeat);
      this.#socket = null;
      this.#sinks.clear();
      if (this.#stopped) return;
      this.closed();
      const wait = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** this.#failures++);
      this.#timer = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2));
    };
  }

  #hear(message) {
    this.#heardAt = Date.now();
    const sink = this.#sinks.get(message.id);
    switch (message.type) {
      case "connection_ack":
        this.opened(this);
        break;
      case "ping":
        this.#send({ type: "pong" });
        break;
      case "next":
        sink?.next?.(message.payload);
        break;
      case "error":
        this.#sinks.delete(message.id);
        sink?.error?.(message.payload);
        break;
      case "complete":
        this.#sinks.delete(message.id);
        sink?.complete?.();
        break;
    }
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
