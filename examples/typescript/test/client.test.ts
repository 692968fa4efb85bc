/**
 * What the client does when the stream breaks, against a server that can be told to break it: the `graphql-ws` server with a small
 * schema. The real engine is in `engine.test.ts`; it does not lose frames on demand.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";

import { GraphQLError, buildSchema, graphql } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocket, WebSocketServer } from "ws";

import { Swaptide } from "../src/client.ts";
import type { SwaptideError } from "../src/errors.ts";
import type { FrameKind } from "../src/frame.ts";
import type { List } from "../src/reducer.ts";
import type { Swap, WireSwap } from "../src/wire.ts";
import { blockRef, item } from "./make.ts";

/** The part of the engine's schema that swaps need. */
const SCHEMA = buildSchema(`
  scalar Cursor scalar Bytes scalar Address scalar BigInt scalar BigDecimal scalar Timestamp
  enum OrderDirection { asc desc }
  enum FrameKind { SNAPSHOT UPDATE RETRACT ROLLBACK }
  enum Protocol { UNISWAP_V2 UNISWAP_V3 }
  input SwapWhere { pool: ID token: Address }
  input BlockHeight { number_gte: Int }
  type BlockRef { number: Int! hash: Bytes! timestamp: Timestamp! }
  type Token { id: ID! symbol: String decimals: Int }
  type Pool { id: ID! protocol: Protocol! feeTier: Int! }
  type Transaction { id: ID! }
  type Swap { id: ID! logIndex: Int! block: BlockRef! transaction: Transaction! pool: Pool token0: Token token1: Token
    amount0: BigDecimal amount1: BigDecimal amount0Raw: BigInt amount1Raw: BigInt }
  type PageInfo { hasNextPage: Boolean! endCursor: Cursor }
  type SwapConnection { nodes: [Swap!]! pageInfo: PageInfo! }
  type Meta { chainId: Int! deployment: String! freshness: String! finalizedBlock: Int! block: BlockRef }
  type Query { _meta: Meta!
    swaps(first: Int!, after: Cursor, orderDirection: OrderDirection, where: SwapWhere, block: BlockHeight): SwapConnection! }
  type SwapEvent { topic: String! seq: Int! kind: FrameKind! block: BlockRef! data: [Swap!]! }
  type Subscription { onSwapsCreated(where: SwapWhere): SwapEvent! }
`);

/** Ids as in `make.ts`; a big amount, so that a float would show. */
function swap(id: string): WireSwap {
  const { block, logIndex } = item(id);
  return {
    id, logIndex, block: blockRef(block.number), transaction: { id: "0x01" }, pool: null, token0: null, token1: null,
    amount0: "123456789012345678.901234567890123456", amount1: null, amount0Raw: "123456789012345678901234567890123456", amount1Raw: null,
  };
}

type Sent = { onSwapsCreated: { topic: string; seq: number; kind: FrameKind; block: object; data: WireSwap[] } };

/** What a subscription is sent, in the test's hand. */
class Feed {
  readonly #waiting: (Sent | Error)[] = [];
  #wake = () => {};
  #seq = 0;

  send(kind: FrameKind, block: number, ids: string, seq = this.#seq): void {
    this.#seq = seq + 1;
    const data = ids.split(" ").filter(Boolean).map(swap);
    this.#put({ onSwapsCreated: { topic: "swaps:1", seq, kind, block: blockRef(block), data } });
  }

  fail(code: string): void {
    this.#put(new GraphQLError(`the engine says ${code}`, { extensions: { code } }));
  }

  #put(what: Sent | Error): void {
    this.#waiting.push(what);
    this.#wake();
  }

  async *frames(): AsyncGenerator<Sent> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next instanceof Error) throw next;
      if (next) yield next;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** The chain as the fake engine has it, and who asked. */
const engine = {
  truth: "",
  height: 0,
  reads: [] as (number | null)[],
  feeds: [] as Feed[],
  /** Called when a read has arrived, before it is answered. */
  onRead: async () => {},
  onFeed: (_: Feed) => {},
};

const http = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", async () => {
    const { query, variables } = JSON.parse(Buffer.concat(chunks).toString());
    const meta = () => ({ chainId: 1, deployment: "test", freshness: "LIVE", finalizedBlock: 0, block: blockRef(engine.height) });
    const rootValue = {
      _meta: meta,
      swaps: async ({ first, block }: { first: number; block: { number_gte: number } | null }) => {
        engine.reads.push(block?.number_gte ?? null);
        const nodes = engine.truth.split(" ").filter(Boolean).map(swap).reverse().slice(0, first);
        await engine.onRead();
        return { nodes, pageInfo: { hasNextPage: false, endCursor: null } };
      },
    };
    const answer = await graphql({ schema: SCHEMA, source: query, rootValue, variableValues: variables });
    response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
  });
});
const sockets = new WebSocketServer({ server: http, path: "/graphql" });
let client: Swaptide;

before(async () => {
  const subscribed = () => {
    const feed = new Feed();
    engine.feeds.push(feed);
    engine.onFeed(feed);
    return feed.frames();
  };
  useServer({ schema: SCHEMA, roots: { subscription: { onSwapsCreated: subscribed as never } } }, sockets);
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  client = new Swaptide({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, webSocketImpl: WebSocket });
});

after(async () => {
  await client.close();
  for (const socket of sockets.clients) socket.terminate();
  http.closeAllConnections();
  http.close();
});

beforeEach(() => Object.assign(engine, { truth: "", height: 0, reads: [], feeds: [], onRead: async () => {}, onFeed: () => {} }));

/** Watches, and waits for states. */
function watch(limit = 100) {
  const seen = { states: [] as string[], troubles: [] as SwaptideError[], failures: [] as SwaptideError[], list: null as List<Swap> | null };
  let wake = () => {};
  const stop = client.watchSwaps(
    {
      next(list) {
        seen.list = list;
        seen.states.push(list.items.map(({ id }) => id).join(" "));
        wake();
      },
      trouble: (error) => (seen.troubles.push(error), wake()),
      failed: (error) => (seen.failures.push(error), wake()),
    },
    { limit },
  );
  const until = async (what: () => boolean) => {
    while (!what()) await new Promise<void>((resolve) => (wake = resolve));
  };
  engine.onFeed = () => wake();
  return { seen, stop, until, feed: async (index: number) => (await until(() => engine.feeds.length > index), engine.feeds[index]!) };
}

test("amounts are exact", async (t) => {
  engine.truth = "1a0";
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  await feed(0);
  await until(() => seen.states.length > 0);
  assert.equal(seen.list?.items[0]?.amount0Raw, 123456789012345678901234567890123456n);
  assert.equal(seen.list?.items[0]?.amount0, "123456789012345678.901234567890123456");
});

test("what happens between the first read and the start of the subscription is not missed", async (t) => {
  engine.truth = "1a0";
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  await until(() => seen.states.at(-1) === "1a0");
  // Read before it happened, subscribed after it: no frame says it.
  engine.truth = "1a0 2a0 3a0";
  (await feed(0)).send("UPDATE", 3, "3a0");
  await until(() => seen.states.at(-1) === "1a0 2a0 3a0");
  assert.deepEqual(engine.reads, [null, 3], "the second read is of the first frame's block or a later one");
});

test("frames that come during a read are folded on top of it", async (t) => {
  engine.truth = "1a0 2a0";
  let answer = () => {};
  engine.onRead = () => new Promise((resolve) => (answer = resolve));
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  const frames = await feed(0);
  frames.send("RETRACT", 1, "2a0");
  frames.send("UPDATE", 2, "2b0");
  await new Promise((resolve) => setImmediate(resolve));
  engine.onRead = async () => {};
  engine.truth = "1a0 2b0";
  while (engine.reads.length === 0) await new Promise((resolve) => setImmediate(resolve));
  answer();
  await until(() => seen.states.at(-1) === "1a0 2b0" && engine.reads.length === 2);
  assert.ok(!seen.states.includes(""), "nothing was shown before it was read");
});

for (const code of ["SLOW_CONSUMER", "CURSOR_EXPIRED"]) {
  test(`after ${code} the state is read again and the subscription starts anew`, async (t) => {
    engine.truth = "1a0";
    const { seen, stop, until, feed } = watch();
    t.after(stop);
    const first = await feed(0);
    first.send("UPDATE", 1, "1a0");
    await until(() => seen.states.at(-1) === "1a0" && engine.reads.length === 2);
    engine.truth = "1b0 2b0";
    first.fail(code);
    (await feed(1)).send("UPDATE", 2, "2b0");
    await until(() => seen.states.at(-1) === "1b0 2b0");
    assert.deepEqual(seen.troubles.map((error) => error.code), [code]);
    assert.deepEqual(seen.failures, []);
  });
}

test("a gap in the count starts anew", async (t) => {
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  const first = await feed(0);
  first.send("UPDATE", 1, "1a0");
  engine.truth = "1a0 2a0 3a0";
  first.send("UPDATE", 3, "3a0", 2);
  await feed(1);
  await until(() => seen.states.at(-1) === "1a0 2a0 3a0");
  assert.match(seen.troubles[0]?.message ?? "", /frames of swaps:1 were lost: number 1 was expected, 2 came/);
});

test("a connection that is lost is made again, and what was missed is read", async (t) => {
  engine.truth = "1a0";
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  (await feed(0)).send("UPDATE", 1, "1a0");
  await until(() => seen.states.at(-1) === "1a0" && engine.reads.length === 2);
  engine.truth = "1a0 2a0";
  for (const socket of sockets.clients) socket.close(1001, "this server is stopping: connect again");
  await feed(1);
  await until(() => seen.states.at(-1) === "1a0 2a0");
  assert.equal(seen.troubles[0]?.code, "CONNECTION");
  assert.match(seen.troubles[0]?.message ?? "", /1001, this server is stopping/);
});

test("a request that is wrong is not tried again", async (t) => {
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  (await feed(0)).fail("BAD_USER_INPUT");
  await until(() => seen.failures.length > 0);
  assert.deepEqual([seen.failures[0]?.code, seen.troubles, engine.feeds.length], ["BAD_USER_INPUT", [], 1]);
});

test("after stop nothing more is said", async () => {
  const { seen, stop, feed } = watch();
  const first = await feed(0);
  stop();
  const count = seen.states.length;
  first.send("UPDATE", 1, "1a0");
  await client.meta();
  assert.equal(seen.states.length, count);
});

test("a server that is not there is named", async () => {
  const nobody = new Swaptide({ url: "http://127.0.0.1:9", webSocketImpl: WebSocket });
  await assert.rejects(nobody.meta(), { code: "CONNECTION" });
  await nobody.close();
});
