/**
 * The typed client: queries over HTTP, subscriptions over `graphql-transport-ws`, all on one connection. It runs in browsers as it is;
 * Node before 22 needs `webSocketImpl`. What is absent: rendering, and any state of its own. Whoever watches gets whole states.
 */

import { createClient } from "graphql-ws";
import type { Client } from "graphql-ws";

import { SwaptideError, fromGraphQl, toError } from "./errors.ts";
import type { GraphQlError } from "./errors.ts";
import { follow } from "./follow.ts";
import type { Observer, Plan, Sink, Stop } from "./follow.ts";
import type { Frame } from "./frame.ts";
import { emptyStates, reduceStates } from "./pools.ts";
import type { States } from "./pools.ts";
import { againList, emptyList, readList, reduceList } from "./reducer.ts";
import type { Item, List } from "./reducer.ts";
import { ON_BLOCKS, ON_POOLS, ON_SWAPS, QUERY_META, QUERY_POOLS, QUERY_SWAPS, toBlock, toPool, toSwap } from "./wire.ts";
import type { Address, AsOf, Block, Freshness, Meta, Pool, Swap, WireFrame, WirePool, WireSwap } from "./wire.ts";

const REQUEST_MS = 15_000;
const PING_MS = 10_000;
const PONG_MS = 5_000;
/** Pools that one subscription may name. */
export const POOLS_MAX = 100;
/** Members of one page. */
const PAGE_MAX = 1_000;

export interface Options {
  /** Where the engine serves, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** The `ws` package, where there is no global `WebSocket`. */
  readonly webSocketImpl?: unknown;
}

/** Which swaps: all, or those of one pool, or of one token. */
export type SwapWhere = { readonly pool: Address } | { readonly token: Address };

export interface Answer<T> {
  readonly data: T;
  /** The one block that the whole answer is about. Absent until the engine has one. */
  readonly asOf?: AsOf;
}

/** The engine's own word, or that it gives none. */
export type Reachable = Freshness | "UNREACHABLE";

interface Page<T> {
  readonly nodes: readonly T[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

export class Swaptide {
  readonly #http: URL;
  readonly #socket: Client;
  readonly #watches = new Set<Stop>();

  constructor({ url, webSocketImpl }: Options) {
    this.#http = new URL("/graphql", url);
    const socket = new URL(this.#http);
    socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";
    let pong: ReturnType<typeof setTimeout>;
    this.#socket = createClient({
      url: socket.href,
      ...(webSocketImpl === undefined ? {} : { webSocketImpl }),
      // It would subscribe again by itself and say nothing of what was missed: `follow` goes on where it was.
      retryAttempts: 0,
      // A connection that died without a word is found by the silence.
      keepAlive: PING_MS,
      on: {
        ping: (received) => {
          if (!received) pong = setTimeout(() => this.#socket.terminate(), PONG_MS);
        },
        pong: (received) => received && clearTimeout(pong),
        closed: () => clearTimeout(pong),
      },
    });
  }

  /** Ends all watches and the connection. */
  async close(): Promise<void> {
    for (const stop of this.#watches) stop();
    await this.#socket.dispose();
  }

  /** Throws a `SwaptideError` with the engine's code. */
  async query<T>(query: string, variables: Readonly<Record<string, unknown>> = {}): Promise<Answer<T>> {
    const response = await fetch(this.#http, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/graphql-response+json, application/json" },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(REQUEST_MS),
    }).catch((trouble: unknown) => {
      throw toError(trouble);
    });
    const body = (await response.json().catch(() => {
      throw new SwaptideError("CONNECTION", `${this.#http.href} answers HTTP ${response.status} without JSON: is it Swaptide?`);
    })) as { data?: T | null; errors?: GraphQlError[]; extensions?: { asOf?: AsOf } };
    if (body.errors?.length) throw fromGraphQl(body.errors);
    if (body.data == null) throw new SwaptideError("CONNECTION", `${this.#http.href} answers HTTP ${response.status} without data`);
    return { data: body.data, ...(body.extensions?.asOf ? { asOf: body.extensions.asOf } : {}) };
  }

  async meta(): Promise<Meta> {
    return (await this.query<{ _meta: Meta }>(QUERY_META)).data._meta;
  }

  /** All pools. Pages may be of different blocks; each pool's `asOf` says which. */
  async pools(): Promise<readonly Pool[]> {
    const pools: Pool[] = [];
    for (let after: string | null = null; ; ) {
      const { data }: Answer<{ pools: Page<WirePool> }> = await this.query(QUERY_POOLS, { after });
      pools.push(...data.pools.nodes.map(toPool));
      if (!data.pools.pageInfo.hasNextPage) return pools;
      after = data.pools.pageInfo.endCursor;
    }
  }

  /**
   * The newest swaps, oldest of them first; those before `cursor`, where one is given. More than 1,000 are several pages: of a cursor they
   * are all of its branch, and `REORGED` says that it is not the chain any more; else a reorg may come between them.
   */
  async swaps(limit: number, where: SwapWhere | null = null, cursor: string | null = null): Promise<readonly Swap[]> {
    const pages: Swap[][] = [];
    for (let after = cursor, left = limit; ; ) {
      const { data }: Answer<{ swaps: Page<WireSwap> }> = await this.query(QUERY_SWAPS, { first: Math.min(PAGE_MAX, left), after, where });
      left -= data.swaps.nodes.length;
      pages.push(data.swaps.nodes.map(toSwap));
      after = data.swaps.pageInfo.endCursor;
      if (!data.swaps.pageInfo.hasNextPage || left <= 0) return pages.flat().reverse();
    }
  }

  /** The newest swaps, always the true ones: at most `limit`, oldest first. */
  watchSwaps(observer: Observer<List<Swap>, Swap>, { limit = 100, where = null as SwapWhere | null } = {}): Stop {
    return this.#watchList(ON_SWAPS, { where }, toSwap, limit, observer, async ({ cursor, block }) =>
      readList(limit, await this.swaps(limit, where, cursor), block),
    );
  }

  /** Blocks as they join the chain and leave it, from now on. */
  watchBlocks(observer: Observer<List<Block>, Block>, { limit = 100 } = {}): Stop {
    return this.#watchList(ON_BLOCKS, {}, toBlock, limit, observer);
  }

  /** The state of up to 100 pools, by id. A pool that is not there has none. */
  watchPools(ids: readonly Address[], observer: Observer<States<Pool>, Pool>): Stop {
    return this.#follow<States<Pool>, Pool>(
      {
        start: emptyStates,
        apply: reduceStates,
        // A state begins with a SNAPSHOT wherever it was.
        subscribe: (sink) => this.#subscribe<WirePool, Pool>(ON_POOLS, { ids }, toPool, sink),
      },
      observer,
    );
  }

  /** The state of one pool; null while there is no such pool. */
  watchPool(id: Address, observer: Observer<Pool | null, Pool>): Stop {
    return this.watchPools([id], {
      ...observer,
      next: (states, frame) => observer.next(states.byId.get(id.toLowerCase()) ?? null, frame),
    });
  }

  /** How new the engine is. No frame says so, least of all when none comes: it is asked every so often. */
  watchFreshness(observer: (freshness: Reachable, meta: Meta | null) => void, everyMs = 2_000): Stop {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      const meta = await this.meta().catch(() => null);
      if (stopped) return;
      observer(meta?.freshness ?? "UNREACHABLE", meta);
      timer = setTimeout(ask, everyMs);
    };
    void ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }

  #watchList<W, T extends Item>(
    document: string,
    variables: Record<string, unknown>,
    parse: (wire: W) => T,
    limit: number,
    observer: Observer<List<T>, T>,
    read?: Plan<List<T>, T>["read"],
  ): Stop {
    return this.#follow<List<T>, T>(
      {
        start: () => emptyList(limit),
        apply: reduceList,
        counts: { gap: (list) => list.gap, again: againList },
        subscribe: (sink, after) => this.#subscribe(document, { ...variables, after }, parse, sink),
        ...(read ? { read } : {}),
      },
      observer,
    );
  }

  #follow<S, T>(plan: Plan<S, T>, observer: Observer<S, T>): Stop {
    const end = follow(plan, observer);
    const stop = () => {
      this.#watches.delete(stop);
      end();
    };
    this.#watches.add(stop);
    return stop;
  }

  #subscribe<W, T>(query: string, variables: Record<string, unknown>, parse: (wire: W) => T, sink: Sink<T>): Stop {
    // After a close with 1000 it would subscribe again by itself, whatever `retryAttempts` says, and from where it was at first.
    let heard = false;
    const forget = this.#socket.on("closed", (closed) => heard && sink.ended(closed));
    const end = this.#socket.subscribe<WireFrame<W>>(
      { query, variables },
      {
        next: ({ data, errors }) => {
          heard = true;
          const frame = Object.values(data ?? {})[0];
          if (errors?.length || !frame) sink.ended(fromGraphQl(errors ?? []));
          else sink.next({ ...frame, data: frame.data.map(parse) } satisfies Frame<T>);
        },
        error: (trouble) => sink.ended(trouble),
        complete: () => sink.ended(new SwaptideError("CONNECTION", "the subscription ended")),
      },
    );
    return () => {
      forget();
      end();
    };
  }
}
