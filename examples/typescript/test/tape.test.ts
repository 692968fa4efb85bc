import assert from "node:assert/strict";
import { test } from "node:test";

import { short, symbol, trade } from "../src/format.ts";
import { readList, reduceList } from "../src/reducer.ts";
import type { List } from "../src/reducer.ts";
import { advance, changes, emptyTape, paint } from "../src/tape.ts";
import type { Tape } from "../src/tape.ts";
import type { Swap, Token } from "../src/wire.ts";
import { blockRef, frame, item } from "./make.ts";

const token = (symbol: string | null): Token => ({ id: "0x1234567890123456789012345678901234567890", symbol, decimals: 18 });

function swap(id: string): Swap {
  const { block, logIndex } = item(id);
  return {
    id, logIndex, block: blockRef(block.number), transaction: "0x01", pool: null, token0: token("WETH"), token1: token("USDC"),
    amount0: "-1.5", amount1: "4500", amount0Raw: -15n, amount1Raw: 45n,
  };
}

const swaps = (ids: string) => ids.split(" ").filter(Boolean).map(swap);
/** `7a2`, and `~7a2` where it is struck through. */
const shown = (tape: Tape) => tape.lines.map(({ swap, retracted }) => `${retracted ? "~" : ""}${swap.id}`).join(" ");

function check(lists: readonly List<Swap>[], expected: string, kept = 100): Tape {
  const tape = lists.reduce(advance, emptyTape(kept));
  assert.equal(shown(tape), expected);
  return tape;
}

const three = readList(3, swaps("1a0 2a0 2a1"), blockRef(2));
const without = reduceList(three, frame("RETRACT", 0, 1, swaps("2a1 2a0")));

test("what a reorg takes back stays where it was, struck through", () => {
  const again = reduceList(without, frame("UPDATE", 1, 2, swaps("2b0")));
  const tape = check([three, without, again], "1a0 ~2a0 ~2a1 2b0");
  assert.deepEqual(paint(tape, 2, 100).map((line) => line.startsWith("\x1b[9;31m✗")), [true, false]);
});

test("what comes again is not struck through any more", () => {
  check([three, without, three], "1a0 2a0 2a1");
});

test("what is too old for the list was not taken back", () => {
  check([three, reduceList(three, frame("UPDATE", 0, 3, swaps("2a2 3a0")))], "1a0 2a0 2a1 2a2 3a0");
  check([three, reduceList(without, frame("RETRACT", 1, 0, swaps("1a0")))], "~1a0 ~2a0 ~2a1");
});

test("what left the tape does not come back to it", () => {
  const again = reduceList(without, frame("UPDATE", 1, 2, swaps("2b0")));
  check([three, without, again, again], "~2a0 ~2a1 2b0", 3);
});

test("a pipe gets what changed, taken back first", () => {
  const before = check([three], "1a0 2a0 2a1");
  const after = advance(before, reduceList(without, frame("UPDATE", 1, 2, swaps("2b0"))));
  assert.deepEqual(changes(before, after).map((line) => line.replace(/ +.*(?=:)/, " ")), ["✗ :1", "✗ :0", "+ :0"]);
  assert.deepEqual(changes(after, after), []);
});

test("numbers are cut, never rounded, and never a float", () => {
  const cases = [
    ["0", "0"], ["2988.58708698464935654789085672599", "2,988.58"], ["0.0003346062774462949493637812746363969", "0.000334606"],
    ["-1234567890.5", "-1,234,567,890"], ["999999.99", "999,999"], ["1.500000", "1.5"], ["0.99999999", "0.999999"], ["100", "100"],
    ["123456789012345678901234567890.1", "123,456,789,012,345,678,901,234,567,890"],
  ] as const;
  for (const [decimal, expected] of cases) assert.equal(short(decimal), expected);
});

test("a trade is told from the trader's side, and a symbol cannot write on the terminal", () => {
  assert.equal(trade(swap("1a0")), "4,500 USDC → 1.5 WETH");
  assert.equal(trade({ ...swap("1a0"), amount0: null }), "4,500 USDC → 15 raw WETH");
  assert.equal(symbol(token("\x1b[31mEV IL\u202e")), "[31mEVIL");
  assert.deepEqual([symbol(token("")), symbol(token(null)), symbol(null)], ["0x123456", "0x123456", "?"]);
});
