// The live page: subscribes, reads the state, applies frames. After every reconnection it does the same again.

import { Blocks } from "./blocks.js";
import { Chart } from "./chart.js";
import { Client, query } from "./client.js";
import { byId } from "./dom.js";
import { blockNumber } from "./format.js";
import { POOL_FIELDS, Pools } from "./pools.js";
import { SWAP_FIELDS, Swaps } from "./swaps.js";

/** As many as one subscription may name. */
const POOLS_SHOWN = 100;
const META_MS = 2_000;

const META = "_meta { chainId deployment freshness version pools block { number hash timestamp } }";
const STATE = `{ ${META} pools(first: ${POOLS_SHOWN}) { totalCount nodes { ${POOL_FIELDS} } } }`;
const RECENT = `{ _meta { block { number } } swaps(first: 40, orderDirection: desc) { nodes { ${SWAP_FIELDS} } } }`;
const FRAME = "topic kind block { number hash timestamp }";

const chart = new Chart();
const pools = new Pools((pool, direction) => chart.show(client, pool, direction));
const swaps = new Swaps();
const blocks = new Blocks((head) => showHead(head));
let connected = false;
/** The subscriptions of this connection have said where they begin, and what is shown was read after that. */
let begun = false;
let poolCount = 0;
/** Which connection this is: what an earlier one had asked for is not worth showing any more. */
let connection = 0;
let endPools = () => {};

function showFreshness(state) {
  const pill = byId("state");
  pill.dataset.state = state;
  const words = { LIVE: "Live", DELAYED: "Delayed", STALE: "Stale", OFFLINE: "Reconnecting", CONNECTING: "Connecting" };
  pill.querySelector("b").textContent = words[state] ?? state;
}

function showHead(block) {
  if (!block) return;
  byId("head-number").textContent = blockNumber(block.number);
  byId("head-number").dataset.raw = block.number;
  byId("head-hash").textContent = block.hash;
  byId("head-hash").dataset.raw = block.hash;
  document.title = `${blockNumber(block.number)} · Swaptide`;
}

function showMeta(meta) {
  if (!connected) return;
  showFreshness(meta.freshness);
  byId("chain").textContent = `${meta.deployment} · ${meta.chainId}`;
  byId("chain").dataset.raw = meta.chainId;
  byId("version").textContent = `Swaptide ${meta.version}`;
}

/** What a subscription that failed means here: what it missed has to be read again. */
const sink = (next) => ({
  next: ({ data, errors }) => (errors || !data ? client.restart() : next(Object.values(data)[0])),
  error: () => client.restart(),
});

/** Frames that come before the state was read are kept, and applied on top of it in their order. `begun`: the first one is there. */
function held(apply) {
  let waiting = [];
  let begin;
  const begun = new Promise((resolve) => { begin = resolve; });
  return {
    begun,
    frame(frame) {
      if (waiting) waiting.push(frame);
      else apply(frame);
      begin();
    },
    release() {
      waiting.forEach(apply);
      waiting = null;
    },
  };
}

/**
 * The first frame of a subscription is a HEARTBEAT: from there on it tells everything. The state is read after that, so nothing falls
 * between the two; what comes meanwhile waits, and what it repeats is known already.
 */
async function opened(live) {
  const mine = ++connection;
  connected = true;
  const onBlocks = held((frame) => blocks.apply(frame));
  const onSwaps = held((frame) => swaps.apply(frame));
  live.subscribe(`subscription { blocks { ${FRAME} data { number hash timestamp } } }`, {}, sink(onBlocks.frame));
  live.subscribe(`subscription { onSwapsCreated { ${FRAME} data { ${SWAP_FIELDS} } } }`, {}, sink(onSwaps.frame));
  try {
    await Promise.all([onBlocks.begun, onSwaps.begun]);
    await readAll(() => mine === connection);
    if (mine !== connection) return;
    begun = true;
    onBlocks.release();
    onSwaps.release();
  } catch {
    if (mine === connection) live.restart();
  }
}

/** Everything as it is now, as long as somebody wants it by then. Throws while there is no block yet. */
async function readAll(wanted) {
  const [{ data }, recent] = await Promise.all([query(STATE), query(RECENT)]);
  if (!wanted()) return;
  if (!data._meta.block || !recent.data._meta.block) throw new Error("there is no block yet");
  blocks.clear();
  blocks.add(data._meta.block);
  showHead(data._meta.block);
  swaps.reset(recent.data.swaps.nodes);
  showPools(data.pools);
  pools.pick(chart.pool);
  showMeta(data._meta);
}

function showPools({ nodes, totalCount }) {
  poolCount = totalCount;
  pools.reset(nodes, totalCount);
  endPools();
  // The last thing that a connection is for: where it is refused, the next one is waited for longer.
  if (!nodes.length) return client.settled();
  endPools = client.subscribe(
    `subscription Pools($ids: [ID!]!) { onPoolUpdated(ids: $ids) { ${FRAME} data { ${POOL_FIELDS} } } }`,
    { ids: pools.ids },
    sink((frame) => {
      client.settled();
      pools.apply(frame);
    }),
  );
}

/** How new the server says it is: that changes while no frame comes. New pools are found here, too. */
async function refresh() {
  if (!connected || document.hidden) return;
  try {
    const { data } = await query(`{ ${META} }`);
    showMeta(data._meta);
    // While the server catches up with the chain, no subscription begins: what there is so far is worth showing.
    const mine = connection;
    if (!begun) return await readAll(() => mine === connection && !begun);
    await chart.facts();
    if (data._meta.pools !== poolCount) showPools((await query(STATE)).data.pools);
    if (!pools.picked) pools.pick(null);
  } catch {
    // The WebSocket says when the server is gone.
  }
}

const client = new Client({
  opened,
  closed: () => {
    connected = false;
    begun = false;
    connection += 1;
    chart.hide();
    endPools = () => {};
    showFreshness("OFFLINE");
  },
});
setInterval(refresh, META_MS);
document.addEventListener("visibilitychange", refresh);
