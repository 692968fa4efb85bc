// Posts new large swaps to a Discord webhook, and strikes through what a reorg took back. Node 20, no dependency; README.md says more.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const { SWAPTIDE_URL = "http://127.0.0.1:8080", CHAIN_ID = "31337", DISCORD_WEBHOOK_URL: hook, TOKEN, MIN_AMOUNT = "0" } = process.env;
const { CURSOR_FILE = "cursor.json", POLL_MS = "2000" } = process.env;
const api = `${SWAPTIDE_URL}/v1/${CHAIN_ID}`;

/** Until there is an answer: a server that is busy, not ready or away says how long to wait, or is asked again after 2 s. */
async function call(url, options) {
  const response = await fetch(url, { ...options, signal: AbortSignal.timeout(30_000) }).catch((error) => error);
  if (response.ok || response.status === 304) return response;
  if (response.status === 404 && options?.method === "PATCH") return Response.json({}); // somebody deleted the message
  if (response.status < 500 && response.status !== 429) throw new Error(`${response.status} ${await response.text()}`);
  await sleep(1000 * (Number(response.headers?.get("retry-after")) || 2));
  return call(url, options);
}
const json = async (url, options) => (await call(url, options)).json();

/** A symbol is a stranger's text: no controls, no Markdown, nobody is mentioned. */
const safe = (text) => [...(text ?? "?").replace(/[\p{C}\p{Z}]+/gu, " ")].slice(0, 24).join("").replace(/[\\*_~`|>#\-[\]():<@]/g, (c) => (c === "@" ? "@\u200b" : `\\${c}`));
const tokens = new Map();
const token = async (address) => tokens.get(address) ?? tokens.set(address, await json(`${api}/tokens/${address}`)).get(address);

async function text(swap) {
  const sides = [[swap.amount0 ?? swap.amount0Raw, swap.token0], [swap.amount1 ?? swap.amount1Raw, swap.token1]];
  const named = await Promise.all(sides.map(async ([amount, address]) => [amount, safe((await token(address)).symbol)]));
  const [paid, got] = named[0][0].startsWith("-") ? named.reverse() : named;
  return `**${paid.join(" ")}** → **${got.join(" ").replace("-", "")}** in block ${swap.block.number}\nswap \`${swap.id}\``;
}

/** Discord answers with the message, so that it can be edited; without a webhook it is printed. */
async function post(content, message) {
  const body = JSON.stringify({ content: content.slice(0, 2000), allowed_mentions: { parse: [] } });
  if (!hook) return console.log(content), {};
  const [base, query] = hook.split("?");
  const url = `${base}${message ? `/messages/${message}` : ""}?${new URLSearchParams(`${query ?? ""}&wait=true`)}`;
  return json(url, { method: message ? "PATCH" : "POST", headers: { "content-type": "application/json" }, body });
}

/** The place in the stream, and what was posted lately: written as a whole after each step, so a restart goes on where this ended. */
let state = { cursor: "head", posted: [] };
try { state = JSON.parse(readFileSync(CURSOR_FILE, "utf8")); } catch (error) { if (error.code !== "ENOENT") throw error; }
function save(change) {
  state = { ...state, ...change, posted: (change.posted ?? state.posted).slice(-1000) };
  writeFileSync(`${CURSOR_FILE}.new`, JSON.stringify(state));
  renameSync(`${CURSOR_FILE}.new`, CURSOR_FILE);
}

// "1.5" in raw units; the API's amounts are exact, so this is no float either.
if (MIN_AMOUNT !== "0" && !TOKEN) throw new Error("MIN_AMOUNT is an amount of TOKEN: set both");
const [whole, part = ""] = MIN_AMOUNT.split(".");
const decimals = TOKEN ? (await token(TOKEN)).decimals : 0;
const least = BigInt(whole + part.padEnd(decimals, "0").slice(0, decimals));
const large = ({ id, token0, amount0Raw, amount1Raw }) => {
  if (!token0 || !amount0Raw || !amount1Raw) return console.error(`${id} is left out: its pool says nothing that can be posted`), false;
  const raw = BigInt(token0 === TOKEN?.toLowerCase() ? amount0Raw : amount1Raw);
  return (raw < 0n ? -raw : raw) >= least;
};

for (let etag = ""; ;) {
  const query = new URLSearchParams({ since: state.cursor, limit: "100", ...(TOKEN && { token: TOKEN }) });
  const answer = await call(`${api}/swaps?${query}`, { headers: { "if-none-match": etag } });
  const { data, cursor, rollbackTo } = answer.status === 304 ? { data: [] } : await answer.json();
  // First what is not true any more; then what is, but nothing twice, should the last run have ended in the middle.
  for (const old of rollbackTo ? state.posted.filter((one) => one.block > rollbackTo.number) : []) {
    await post(`~~${old.content.split("\n")[0]}~~ taken back by a reorg\n${old.content.split("\n")[1]}`, old.message);
    save({ posted: state.posted.filter((one) => one !== old) });
  }
  for (const swap of data.filter((one) => large(one) && !state.posted.some(({ id }) => id === one.id))) {
    const content = await text(swap);
    const { id: message } = await post(content);
    save({ posted: [...state.posted, { id: swap.id, block: swap.block.number, message, content }] });
  }
  const first = state.cursor === "head";
  if (cursor && cursor !== state.cursor) save({ cursor });
  if (first) console.log(`follows ${api} from block ${answer.headers.get("x-as-of-block")} on`);
  etag = answer.headers.get("etag") ?? "";
  if (data.length < 100) await sleep(Number(POLL_MS));
}
