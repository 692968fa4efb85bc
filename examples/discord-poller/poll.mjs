// Posts new large swaps to a Discord webhook, and strikes through what a reorg took back. Node 20, no dependency; README.md says more.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { TOKEN, api, call, json, large, text } from "./swaps.mjs";

const { DISCORD_WEBHOOK_URL: hook, CURSOR_FILE = "cursor.json", POLL_MS = "2000" } = process.env;

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

for (let etag = ""; ;) {
  const query = new URLSearchParams({ since: state.cursor, limit: "100", ...(TOKEN && { token: TOKEN }) });
  const answer = await call(`${api}/swaps?${query}`, { headers: { "if-none-match": etag } });
  const { data, cursor, rollbackTo } = answer.status === 304 ? { data: [] } : await answer.json();
  // First what is not true any more; then what is, but nothing twice. What was posted since this cursor, by a run that ended before it
  // wrote the next one, is told again as long as it is true.
  const isGone = ({ id, block, since }) => since === state.cursor
    ? answer.status !== 304 && !data.some((swap) => swap.id === id)
    : block > (rollbackTo?.number ?? Infinity);
  for (const old of state.posted.filter(isGone)) {
    await post(`~~${old.content.split("\n")[0]}~~ taken back by a reorg\n${old.content.split("\n")[1]}`, old.message);
    save({ posted: state.posted.filter((one) => one !== old) });
  }
  for (const swap of data.filter((one) => large(one) && !state.posted.some(({ id }) => id === one.id))) {
    const content = await text(swap);
    const { id: message } = await post(content);
    save({ posted: [...state.posted, { id: swap.id, block: swap.block.number, since: state.cursor, message, content }] });
  }
  const first = state.cursor === "head";
  if (cursor && cursor !== state.cursor) save({ cursor });
  if (first) console.log(`follows ${api} from block ${answer.headers.get("x-as-of-block")} on`);
  etag = answer.headers.get("etag") ?? "";
  if (data.length < 100) await sleep(Number(POLL_MS));
}
