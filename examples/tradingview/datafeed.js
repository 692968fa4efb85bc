// TradingView's IBasicDataFeed over Swaptide: history by REST, what changes by a GraphQL subscription. A reorg takes bars back: the
// library is told to forget what it has and asks again.

/** How TradingView and Swaptide call the lengths of bars. */
const RESOLUTIONS = { "1S": "S1", "5S": "S5", "15S": "S15", 1: "M1", 5: "M5", 15: "M15", 60: "H1", 240: "H4", "1D": "D1", "1W": "W1" };
const SECONDS = { S1: 1, S5: 5, S15: 15, M1: 60, M5: 300, M15: 900, H1: 3600, H4: 14400, D1: 86400, W1: 604800 };
/** Candles of one answer. */
const LIMIT = 1000;
const RETRY_MS = 1000;

const bar = ({ start, open, high, low, close, volumeUSD }) => ({
  time: start * 1000,
  open: Number(open),
  high: Number(high),
  low: Number(low),
  close: Number(close),
  volume: Number(volumeUSD ?? 0),
});

export class Datafeed {
  #subscriptions = new Map();

  /** `api` is the server, as `http://127.0.0.1:8080`; `chain` its EIP-155 id. */
  constructor(api, chain) {
    this.api = api.replace(/\/$/, "");
    this.chain = chain;
  }

  async #get(path) {
    const response = await fetch(`${this.api}/v1/${this.chain}${path}`);
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail ?? response.statusText);
    return body;
  }

  onReady(callback) {
    const configuration = { supported_resolutions: Object.keys(RESOLUTIONS), supports_time: true, exchanges: [], symbols_types: [] };
    setTimeout(() => callback(configuration));
  }

  async searchSymbols(text, _exchange, _type, onResult) {
    const { data } = await this.#get(`/search?text=${encodeURIComponent(text.slice(0, 100))}`).catch(() => ({ data: [] }));
    const pools = data.filter((hit) => hit.pool).map((hit) => hit.pool);
    onResult(pools.map((pool) => ({ symbol: pool.id, ticker: pool.id, description: name(pool), exchange: pool.dex, type: "crypto" })));
  }

  async resolveSymbol(ticker, onResolve, onError) {
    try {
      const pool = await this.#get(`/pools/${ticker}`);
      // As many digits behind the point as show five that count.
      const price = Number(pool.token1Price ?? 1) || 1;
      const digits = Math.min(16, Math.max(2, 5 - Math.ceil(Math.log10(price))));
      onResolve({
        name: name(pool), ticker, description: name(pool), type: "crypto", exchange: pool.dex, listed_exchange: pool.dex,
        session: "24x7", timezone: "Etc/UTC", minmov: 1, pricescale: 10 ** digits, has_intraday: true, has_seconds: true,
        seconds_multipliers: ["1", "5", "15"], has_daily: true, has_weekly_and_monthly: true,
        supported_resolutions: Object.keys(RESOLUTIONS), volume_precision: 2, data_status: "streaming", format: "price",
      });
    } catch (error) {
      onError(error.message);
    }
  }

  async getBars(symbol, resolution, { from, to, countBack }, onResult, onError) {
    try {
      const interval = RESOLUTIONS[resolution];
      // A count goes before `from`, as with TradingView: the newest so many before `to`.
      const limit = Math.min(LIMIT, Math.max(1, countBack ?? Math.ceil((to - from) / SECONDS[interval])));
      const since = countBack ? "" : `&from=${Math.max(0, Math.floor(from))}`;
      const query = `interval=${interval}&to=${Math.floor(to)}&limit=${limit}${since}`;
      const { data } = await this.#get(`/pools/${symbol.ticker}/candles?${query}`);
      const bars = data.filter((candle) => candle.open !== null).map(bar);
      onResult(bars, { noData: bars.length === 0 });
    } catch (error) {
      onError(error.message);
    }
  }

  subscribeBars(symbol, resolution, onTick, guid, onResetCacheNeeded = () => {}) {
    const query = `subscription { onCandlesUpdated(pool: "${symbol.ticker}", interval: ${RESOLUTIONS[resolution]}, chainId: ${this.chain}) {
      from data { start open high low close volumeUSD } } }`;
    let [socket, newest, stopped, opened] = [null, 0, false, false];
    const hear = ({ from, data }) => {
      const bars = data.filter((candle) => candle.open !== null).map(bar);
      // Bars from `from` on that are not there any more were taken back; so were older ones, if this begins before the newest.
      const takesBack = from * 1000 < newest || newest > (bars.at(-1)?.time ?? from * 1000);
      newest = Math.max(bars.at(-1)?.time ?? 0, takesBack ? 0 : newest);
      if (takesBack) onResetCacheNeeded();
      bars.forEach(onTick);
    };
    const connect = () => {
      socket = new WebSocket(`${this.api.replace(/^http/, "ws")}/graphql`, "graphql-transport-ws");
      socket.onopen = () => socket.send(JSON.stringify({ type: "connection_init" }));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "connection_ack") {
          socket.send(JSON.stringify({ id: guid, type: "subscribe", payload: { query } }));
          // What was missed meanwhile is asked for again.
          if (opened) onResetCacheNeeded();
          opened = true;
        } else if (message.type === "ping") socket.send(JSON.stringify({ type: "pong" }));
        else if (message.type === "next" && message.payload.data) hear(message.payload.data.onCandlesUpdated);
        else if (["error", "complete", "next"].includes(message.type)) socket.close();
      };
      socket.onclose = () => stopped || setTimeout(connect, RETRY_MS);
    };
    connect();
    this.#subscriptions.set(guid, () => {
      stopped = true;
      socket.close();
    });
  }

  unsubscribeBars(guid) {
    this.#subscriptions.get(guid)?.();
    this.#subscriptions.delete(guid);
  }
}

const symbolOf = (token) => token.symbol ?? token.address.slice(0, 8);
const name = (pool) => `${symbolOf(pool.token0)}/${symbolOf(pool.token1)} ${pool.feeTier / 10000}%`;
