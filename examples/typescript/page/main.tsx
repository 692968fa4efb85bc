/** The React front end: pools with their prices, and the tape of swaps. `?api=http://…` says where the engine serves. */

import { useEffect, useMemo, useReducer, useState } from "react";
import { createRoot } from "react-dom/client";

import { POOLS_MAX, Swaptide } from "../src/client.ts";
import type { Reachable } from "../src/client.ts";
import type { SwaptideError } from "../src/errors.ts";
import { fee, kind, price, symbol, trade } from "../src/format.ts";
import type { States } from "../src/pools.ts";
import { useWatch } from "../src/react.ts";
import type { List } from "../src/reducer.ts";
import { advance, emptyTape } from "../src/tape.ts";
import type { Address, Block, Meta, Pool, Swap } from "../src/wire.ts";

const POOLS_SHOWN = 20;
/** Swaps that are followed, and lines that are shown: some of them struck through. */
const KEPT = 50;

const engine = new Swaptide({ url: new URLSearchParams(location.search).get("api") ?? "http://127.0.0.1:8080" });

function Badge() {
  const [{ freshness, meta }, set] = useState<{ freshness: Reachable | "CONNECTING"; meta: Meta | null }>({
    freshness: "CONNECTING",
    meta: null,
  });
  useEffect(() => engine.watchFreshness((freshness, meta) => set({ freshness, meta })), []);
  const { state: blocks } = useWatch<List<Block>, Block>((observer) => engine.watchBlocks(observer, { limit: 1 }), []);
  return (
    <>
      <span className="badge" data-good={freshness === "LIVE"}>{freshness}</span>
      {meta && <span className="soft">{meta.deployment} ({meta.chainId}), block {(blocks?.block ?? meta.block)?.number ?? "none yet"}</span>}
    </>
  );
}

function Trouble({ trouble, failed }: { trouble: SwaptideError | null; failed: SwaptideError | null }) {
  if (failed) return <p className="failed" role="alert">{failed.message}</p>;
  return trouble && <p className="soft" role="status">connecting again: {trouble.message}</p>;
}

/** Which pools there are; asked again until there are some. */
function useIds(): readonly Address[] {
  const [ids, set] = useState<readonly Address[]>([]);
  useEffect(() => {
    let [wanted, timer]: [boolean, ReturnType<typeof setTimeout> | undefined] = [true, undefined];
    const ask = async () => {
      const pools = await engine.pools().catch(() => []);
      if (!wanted) return;
      if (pools.length > 0) set(pools.slice(0, Math.min(POOLS_SHOWN, POOLS_MAX)).map(({ id }) => id));
      else timer = setTimeout(ask, 2_000);
    };
    void ask();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, []);
  return ids;
}

function PoolRow({ pool }: { pool: Pool }) {
  return (
    <tr data-id={pool.id}>
      <td>{symbol(pool.token0)}/{symbol(pool.token1)}</td>
      <td className="soft">{kind(pool)} {fee(pool)}</td>
      <td>{price(pool)}</td>
      <td className="soft" title={pool.asOf.hash}>#{pool.asOf.number}{pool.status === "LIVE" ? "" : ` ${pool.status}`}</td>
    </tr>
  );
}

function Pools() {
  const ids = useIds();
  const { state, trouble, failed } = useWatch<States<Pool>, Pool>(
    (observer) => (ids.length === 0 ? () => {} : engine.watchPools(ids, observer)),
    [ids],
  );
  const pools = ids.map((id) => state?.byId.get(id)).filter((pool) => pool !== undefined);
  return (
    <section>
      <h2>Pools</h2>
      <Trouble trouble={trouble} failed={failed} />
      <div className="scroll">
        <table id="pools">
          <thead><tr><th>Pair</th><th>Fee</th><th>Price</th><th>As of block</th></tr></thead>
          <tbody>{pools.map((pool) => <PoolRow key={pool.id} pool={pool} />)}</tbody>
        </table>
      </div>
    </section>
  );
}

/** Newest first. What a reorg takes back stays where it was, struck through, so that nobody wonders where it went. */
function Tape() {
  const { state, trouble, failed } = useWatch<List<Swap>, Swap>((observer) => engine.watchSwaps(observer, { limit: KEPT }), []);
  const [tape, show] = useReducer(advance, KEPT, emptyTape);
  useEffect(() => {
    if (state) show(state);
  }, [state]);
  const lines = useMemo(() => tape.lines.toReversed(), [tape]);
  return (
    <section>
      <h2>Swaps</h2>
      <Trouble trouble={trouble} failed={failed} />
      <div className="scroll">
        <table id="tape">
          <thead><tr><th>Block</th><th>Pool</th><th>Swap</th><th>Log</th></tr></thead>
          <tbody>
            {lines.map(({ swap, retracted }) => (
              <tr key={swap.id} data-id={swap.id} data-retracted={retracted}>
                <td className="soft">#{swap.block.number}</td>
                <td className="soft">{swap.pool ? kind(swap.pool) : ""}</td>
                <td>{trade(swap)}</td>
                <td className="soft">{swap.block.hash.slice(0, 10)}:{swap.logIndex}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

createRoot(document.getElementById("root")!).render(
  <>
    <header>
      <h1>Swaptide</h1>
      <Badge />
    </header>
    <Pools />
    <Tape />
  </>,
);
