/** The terminal front end: pools with their prices, then the tape of swaps. Shows how the rest of this folder is used. */

import { parseArgs } from "node:util";
import type { PublicClient } from "viem";
import { createPublicClient, http } from "viem";
import { WebSocket } from "ws";

import { Swaptide } from "./client.ts";
import { SwaptideError } from "./errors.ts";
import { fee, kind, price, symbol } from "./format.ts";
import type { List } from "./reducer.ts";
import { advance, changes, emptyTape, paint } from "./tape.ts";
import { verifyPool } from "./verify.ts";
import type { Verdict } from "./verify.ts";
import type { Swap } from "./wire.ts";

const HELP = `Shows the pools of a running Swaptide and a live tape of swaps. What a reorg takes back is struck through.

Usage: npm start -- [options]

Options:
  --url URL      where the engine serves (default: http://127.0.0.1:8080)
  --rpc URL      a node's HTTP endpoint: every pool is compared with its contract, at the block the engine names
  --rows N       lines of the tape (default: 20)
  --seconds N    end after N seconds (default: until Ctrl-C)
  --help         this text
`;

const POOLS_SHOWN = 20;
/** Swaps that are followed, so that one is seen going also when it has left the screen. */
const KEPT = 200;

function options() {
  const { values } = parseArgs({
    options: {
      url: { type: "string", default: "http://127.0.0.1:8080" },
      rpc: { type: "string" },
      rows: { type: "string", default: "20" },
      seconds: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const whole = (name: string, text: string) => {
    if (!/^[1-9]\d{0,5}$/.test(text)) throw new TypeError(`--${name} takes a whole number from 1 on, not \`${text}\``);
    return Number(text);
  };
  for (const [name, url] of Object.entries({ url: values.url, rpc: values.rpc })) {
    if (url !== undefined && !/^https?:\/\//.test(url)) throw new TypeError(`--${name} takes an http or https URL, not \`${url}\``);
  }
  return {
    ...values,
    rows: whole("rows", values.rows),
    seconds: values.seconds === undefined ? null : whole("seconds", values.seconds),
  };
}

function textOf(verdict: Verdict | undefined): string {
  switch (verdict?.kind) {
    case undefined:
      return "";
    case "EQUAL":
      return "= chain";
    case "UNKNOWN":
      return "the node has no such block";
    case "DIFFERENT":
      return `DIFFERENT: ${verdict.differences.map((d) => `${d.field} ${d.engine}, the chain says ${d.chain}`).join("; ")}`;
  }
}

/** A reorg may come between the engine's answer and the node's: then both are asked again. */
const ATTEMPTS = 3;

async function showPools(engine: Swaptide, chain: PublicClient | null): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const pools = await engine.pools();
    const shown = pools.slice(0, POOLS_SHOWN);
    const verdicts = chain ? await Promise.all(shown.map((pool) => verifyPool(chain, pool))) : [];
    if (attempt < ATTEMPTS && verdicts.some(({ kind }) => kind === "UNKNOWN")) continue;
    for (const [index, pool] of shown.entries()) {
      const name = `${symbol(pool.token0)}/${symbol(pool.token1)}`;
      const at = `#${pool.asOf.number}${pool.status === "LIVE" ? "" : ` ${pool.status}`}`;
      const line = `  ${name.padEnd(14)} ${kind(pool)} ${fee(pool)}  ${price(pool).padEnd(34)} ${at}  ${textOf(verdicts[index])}`;
      console.log(line.trimEnd());
    }
    if (pools.length > shown.length) console.log(`  and ${pools.length - shown.length} more`);
    return;
  }
}

/** A terminal's last lines are painted over; a pipe gets one line for each thing that changes. */
function screen(rows: number) {
  const { stdout } = process;
  let tape = emptyTape(KEPT);
  let painted = 0;
  let status = { state: "", text: "" };
  const repaint = () => {
    const width = (stdout.columns || 80) - 1;
    const lines = [...paint(tape, rows, width), status.text.slice(0, width)];
    stdout.write(`${painted ? `\x1b[${painted}A` : ""}\x1b[J${lines.join("\n")}\n`);
    painted = lines.length;
  };
  return {
    swaps(list: List<Swap>) {
      const before = tape;
      tape = advance(before, list);
      if (stdout.isTTY) repaint();
      else for (const line of changes(before, tape)) console.log(line);
    },
    status(state: string, text = state) {
      const before = status;
      status = { state, text };
      if (stdout.isTTY) repaint();
      else if (state !== before.state) console.log(`-- ${text}`);
    },
  };
}

async function main(): Promise<void> {
  const { url, rpc, rows, seconds, help } = options();
  if (help) return console.log(HELP.trimEnd());
  const engine = new Swaptide({ url, webSocketImpl: WebSocket });
  const chain = rpc === undefined ? null : createPublicClient({ transport: http(rpc) });
  const meta = await engine.meta();
  console.log(`${meta.deployment} (${meta.chainId}) at block ${meta.block?.number ?? "none yet"}, ${meta.freshness}\n`);
  await showPools(engine, chain);
  console.log("");

  const out = screen(rows);
  const stops = [
    engine.watchSwaps(
      {
        next: (list) => out.swaps(list),
        trouble: (error) => out.status("CONNECTING", `connecting again: ${error.message}`),
        failed: (error) => end(error),
      },
      { limit: KEPT },
    ),
    engine.watchFreshness((freshness) => out.status(freshness)),
  ];
  const end = (error?: SwaptideError) => {
    for (const stop of stops) stop();
    void engine.close();
    if (error) complain(error);
  };
  process.once("SIGINT", () => end());
  process.once("SIGTERM", () => end());
  if (seconds !== null) setTimeout(() => end(), seconds * 1_000).unref();
}

function complain(error: unknown): void {
  process.exitCode = 1;
  if (error instanceof SwaptideError && error.code === "CONNECTION") {
    console.error(`Swaptide cannot be reached: ${error.message}\nIs it running? \`cargo xtask demo\` starts one; --url says where it is.`);
  } else {
    console.error(error instanceof Error ? error.message : String(error));
  }
}

// `npm start | head`: whoever read has gone, and that is no error.
process.stdout.on("error", () => process.exit(0));
await main().catch(complain);
