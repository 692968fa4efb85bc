/**
 * What the client does when the stream breaks, against a server that can be told to break it: the `graphql-ws` server with a small
 * schema. The real engine is in `engine.test.ts`; it does not lose frames on demand.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import type { TestContext } from "node:test";

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
  enum FrameKind { SNAPSHOT UPDATE RETRACT ROLLBACK HEARTBEAT }
  enum Protocol { UNISWAP_V2 UNISWAP_V3 }
  input SwapWhere { pool: ID token: Address }
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
    swaps(first: Int!, after: Cursor, orderDirection: OrderDirection, where: SwapWhere): SwapConnection! }
  type SwapEvent { topic: String! seq: Int! kind: FrameKind! cursor: Cursor! block: BlockRef! data: [Swap!]! }
  type Subscription { onSwapsCreated(where: SwapWhere, resumeFrom: Cursor): SwapEvent! }
`);

/** Ids as in `make.ts`; a big amount, so that a float would show. */
function swap(id: string): WireSwap {
  const { block, logIndex } = item(id);
  return {
    id, logIndex, block: blockRef(block.number), transaction: { id: "0x01" }, pool: null, token0: null, token1: null,
    amount0: "123456789012345678.901234567890123456", amount1: null, amount0Raw: "123456789012345678901234567890123456", amount1Raw: null,
  };
}

type Sent = { onSwapsCreated: { topic: string; seq: number; kind: FrameKind; cursor: string; block: object; data: WireSwap[] } };

/** What a subscription is sent, in the test's hand. */
class Feed {
  readonly #waiting: (Sent | Error)[] = [];
  #wake = () => {};
  #seq = 0;

  /** Where the client asked to go on; null: from now on. */
  readonly resumeFrom: string | null;

  constructor(resumeFrom: string | null) {
    this.resumeFrom = resumeFrom;
  }

  /** The cursor is the block's number. */
  send(kind: FrameKind, block: number, ids = "", seq = this.#seq): void {
    this.#seq = kind === "HEARTBEAT" ? seq : seq + 1;
    const data = ids.split(" ").filter(Boolean).map(swap);
    this.#put({ onSwapsCreated: { topic: "swaps:1", seq, kind, cursor: `at ${block}`, block: blockRef(block), data } });
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
  /** The cursors that were read at. */
  reads: [] as (string | null)[],
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
    const meta = () => ({ chainId: 1, deployment: "test", freshness: "LIVE", finalizedBlock: 0, block: blockRef(0) });
    const rootValue = {
      _meta: meta,
      swaps: async ({ first, after }: { first: number; after: string | null }) => {
        engine.reads.push(after);
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
  const subscribed = ({ resumeFrom }: { resumeFrom: string | null }) => {
    const feed = new Feed(resumeFrom);
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

beforeEach(() => Object.assign(engine, { truth: "", reads: [], feeds: [], onRead: async () => {}, onFeed: () => {} }));

const WAIT_MS = 20_000;

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
    const limit = AbortSignal.timeout(WAIT_MS);
    while (!what()) {
      await new Promise<void>((resolve, reject) => {
        wake = resolve;
        limit.onabort = () => reject(new Error(`it did not come: ${JSON.stringify(seen.states)}, ${engine.feeds.length} subscriptions`));
      });
    }
  };
  engine.onFeed = () => wake();
  return { seen, stop, until, feed: async (index: number) => (await until(() => engine.feeds.length > index), engine.feeds[index]!) };
}

/** Watches a list that begins as the engine's truth at block 1. */
async function begun(t: TestContext, truth: string) {
  engine.truth = truth;
  const watched = watch();
  t.after(watched.stop);
  const feed = await watched.feed(0);
  feed.send("HEARTBEAT", 1);
  await watched.until(() => watched.seen.states.at(-1) === truth);
  return { ...watched, first: feed };
}

test("amounts are exact", async (t) => {
  const { seen } = await begun(t, "1a0");
  assert.equal(seen.list?.items[0]?.amount0Raw, 123456789012345678901234567890123456n);
  assert.equal(seen.list?.items[0]?.amount0, "123456789012345678.901234567890123456");
});

test("the state is read where the stream begins", async (t) => {
  const { seen, first, until } = await begun(t, "1a0");
  first.send("UPDATE", 3, "3a0");
  await until(() => seen.states.at(-1) === "1a0 3a0");
  assert.deepEqual([engine.reads, engine.feeds.map((feed) => feed.resumeFrom)], [["at 1"], [null]]);
});

test("frames that come during a read are folded on top of it", async (t) => {
  engine.truth = "1a0 2a0";
  let answer = () => {};
  const asked = new Promise<void>((resolve) => {
    engine.onRead = () => (resolve(), new Promise((resolve) => (answer = resolve)));
  });
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  const frames = await feed(0);
  frames.send("HEARTBEAT", 2);
  frames.send("RETRACT", 1, "2a0");
  frames.send("UPDATE", 2, "2b0");
  await asked;
  answer();
  await until(() => seen.states.at(-1) === "1a0 2b0");
  assert.deepEqual([seen.states, engine.reads.length], [["1a0 2a0", "1a0", "1a0 2b0"], 1]);
});

test("a reorg between the first frame and the read begins anew", async (t) => {
  engine.truth = "1b0";
  engine.onRead = async () => {
    engine.onRead = async () => {};
    throw new GraphQLError("the block of this cursor is not on the chain any more", { extensions: { code: "REORGED" } });
  };
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  (await feed(0)).send("HEARTBEAT", 1);
  (await feed(1)).send("HEARTBEAT", 1);
  await until(() => seen.states.at(-1) === "1b0");
  assert.deepEqual([seen.troubles.map(({ code }) => code), seen.failures], [["REORGED"], []]);
});

/** How a stream can end, and what the client then says. */
const ENDS: readonly [what: string, end: (feed: Feed) => void, trouble: RegExp][] = [
  ["a reader that was too slow", (feed) => feed.fail("SLOW_CONSUMER"), /SLOW_CONSUMER/],
  ["a budget that is used up", (feed) => feed.fail("RATE_LIMITED"), /RATE_LIMITED/],
  ["a proxy that closes in good order", () => sockets.clients.forEach((socket) => socket.close(1000)), /1000/],
  ["a lost frame", (feed) => feed.send("UPDATE", 4, "4a0", 7), /frames of swaps:1 were lost: number 1 was expected, 7 came/],
  ["a server that stops", () => sockets.clients.forEach((socket) => socket.close(1001, "this server is stopping")), /1001, this server is/],
  ["a server that is killed", () => sockets.clients.forEach((socket) => socket.terminate()), /1006/],
];

for (const [what, end, trouble] of ENDS) {
  test(`after ${what} it goes on where it was, and reads nothing`, async (t) => {
    const { seen, first, until, feed } = await begun(t, "1a0");
    first.send("UPDATE", 3, "2a0 3a0");
    await until(() => seen.states.at(-1) === "1a0 2a0 3a0");
    end(first);
    const second = await feed(1);
    assert.equal(second.resumeFrom, "at 3");
    // The frames of a new subscription are counted anew.
    second.send("RETRACT", 2, "3a0");
    second.send("UPDATE", 3, "3b0");
    second.send("HEARTBEAT", 3);
    second.send("UPDATE", 4, "4b0");
    await until(() => seen.states.at(-1) === "1a0 2a0 3b0 4b0");
    assert.match(seen.troubles.map(({ message }) => message).join(), trouble);
    assert.deepEqual([engine.reads.length, seen.troubles.length, seen.failures], [1, 1, []]);
  });
}

test("a reorg that nobody remembers leaves what lies below it", async (t) => {
  const { seen, first, until, feed } = await begun(t, "1a0 2a0 3a0");
  first.fail("SLOW_CONSUMER");
  (await feed(1)).send("ROLLBACK", 1);
  await until(() => seen.states.at(-1) === "1a0");
  engine.feeds[1]!.send("UPDATE", 2, "2b0");
  await until(() => seen.states.at(-1) === "1a0 2b0");
});

test("where its cursor is too old it reads the state again", async (t) => {
  const { seen, first, until, feed } = await begun(t, "1a0");
  first.fail("SLOW_CONSUMER");
  (await feed(1)).fail("CURSOR_EXPIRED");
  engine.truth = "1b0 2b0";
  (await feed(2)).send("HEARTBEAT", 2);
  await until(() => seen.states.at(-1) === "1b0 2b0");
  assert.deepEqual([engine.reads, engine.feeds[2]?.resumeFrom], [["at 1", "at 2"], null]);
  assert.deepEqual([seen.troubles.map(({ code }) => code), seen.failures], [["SLOW_CONSUMER", "CURSOR_EXPIRED"], []]);
});

test("after a night away a list is read, and not everything that was missed", async (t) => {
  const { seen, first, until, feed } = await begun(t, "1a0");
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 11 * 60_000 });
  first.fail("SLOW_CONSUMER");
  engine.truth = "9a0";
  const second = await feed(1);
  assert.equal(second.resumeFrom, null);
  second.send("HEARTBEAT", 9);
  await until(() => seen.states.at(-1) === "9a0");
});

test("a request that is wrong is not tried again", async (t) => {
  const { seen, stop, until, feed } = watch();
  t.after(stop);
  (await feed(0)).fail("BAD_USER_INPUT");
  await until(() => seen.failures.length > 0);
  assert.deepEqual([seen.failures[0]?.code, seen.troubles, engine.feeds.length], ["BAD_USER_INPUT", [], 1]);
});

test("a cursor that another server does not know is given up, a request that is wrong without it as well", async (t) => {
  const { seen, first, until, feed } = await begun(t, "1a0");
  first.fail("SLOW_CONSUMER");
  (await feed(1)).fail("BAD_USER_INPUT");
  const third = await feed(2);
  assert.deepEqual([third.resumeFrom, seen.failures], [null, []]);
  third.fail("BAD_USER_INPUT");
  await until(() => seen.failures.length > 0);
  assert.equal(engine.feeds.length, 3);
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
