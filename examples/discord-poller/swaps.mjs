// Of the API: asking it patiently, and what a swap reads like. poll.mjs is where to begin.
import { setTimeout as sleep } from "node:timers/promises";

const { SWAPTIDE_URL = "http://127.0.0.1:8080", CHAIN_ID = "31337", MIN_AMOUNT = "0" } = process.env;
export const { TOKEN } = process.env;
export const api = `${SWAPTIDE_URL}/v1/${CHAIN_ID}`;

/** Until there is an answer: a server that is busy, not ready or away says how long to wait, or is asked again after 2 s. */
export async function call(url, options) {
  const response = await fetch(url, { ...options, signal: AbortSignal.timeout(30_000) }).catch((error) => error);
  if (response.ok || response.status === 304) return response;
  if (response.status === 404 && options?.method === "PATCH") return Response.json({}); // somebody deleted the message
  if (response.status < 500 && response.status !== 429) throw new Error(`${response.status} ${await response.text()}`);
  await sleep(1000 * (Number(response.headers?.get("retry-after")) || 2));
  return call(url, options);
}
export const json = async (url, options) => (await call(url, options)).json();

/** A symbol is a stranger's text: no controls, no Markdown, nobody is mentioned. */
const safe = (text) => [...(text ?? "?").replace(/[\p{C}\p{Z}]+/gu, " ")].slice(0, 24).join("").replace(/[\\*_~`|>#\-[\]():<@]/g, (c) => (c === "@" ? "@\u200b" : `\\${c}`));
const tokens = new Map();
const token = async (address) => tokens.get(address) ?? tokens.set(address, await json(`${api}/tokens/${address}`)).get(address);

export async function text(swap) {
  const sides = [[swap.amount0 ?? swap.amount0Raw, swap.token0], [swap.amount1 ?? swap.amount1Raw, swap.token1]];
  const named = await Promise.all(sides.map(async ([amount, address]) => [amount, safe((await token(address)).symbol)]));
  const [paid, got] = named[0][0].startsWith("-") ? named.reverse() : named;
  return `**${paid.join(" ")}** → **${got.join(" ").replace("-", "")}** in block ${swap.block.number}\nswap \`${swap.id}\``;
}

// "1.5" in raw units; the API's amounts are exact, so this is no float either.
if (MIN_AMOUNT !== "0" && !TOKEN) throw new Error("MIN_AMOUNT is an amount of TOKEN: set both");
const [whole, part = ""] = MIN_AMOUNT.split(".");
const decimals = TOKEN ? (await token(TOKEN)).decimals : 0;
const least = BigInt(whole + part.padEnd(decimals, "0").slice(0, decimals));
export const large = ({ id, token0, amount0Raw, amount1Raw }) => {
  if (!token0 || !amount0Raw || !amount1Raw) return console.error(`${id} is left out: its pool says nothing that can be posted`), false;
  const raw = BigInt(token0 === TOKEN?.toLowerCase() ? amount0Raw : amount1Raw);
  return (raw < 0n ? -raw : raw) >= least;
};
