//! TradingView's UDF dialect under `/udf`: what its charting library asks of a data feed over HTTP.
//!
//! Source: "Universal Data Feed" of TradingView's charting library, and its `UDFCompatibleDatafeed` adapter. An error is an answer there
//! (`{"s":"error"}`, status 200), numbers are JSON numbers: they are written from decimals, never through a float. Candles are those of
//! GraphQL and REST, those without a trade included. A symbol is `CHAIN:POOL`, token0 in token1; `CHAIN:POOL:i` is the other way round.
//! What is absent: marks, quotes, groups.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    gql::{
        candle::{Candle, Written},
        error::ApiError,
        scalars::shown,
        token::decimals,
    },
    router::Public,
};
use crate::{
    domain::{
        ChainId,
        market::Interval,
        market::Subject,
        pool::PoolId,
        price::{Ratio, token1_per_token0},
    },
    store::{Pin, PoolView, candles::CandleQuery, reader::ReadError},
};

/// What it calls a resolution, longest form first.
const RESOLUTIONS: [(&str, Interval); 10] = [
    ("1S", Interval::S1),
    ("5S", Interval::S5),
    ("15S", Interval::S15),
    ("1", Interval::M1),
    ("5", Interval::M5),
    ("15", Interval::M15),
    ("60", Interval::H1),
    ("240", Interval::H4),
    ("1D", Interval::D1),
    ("1W", Interval::W1),
];
/// Candles of one answer.
const BARS_MAX: u64 = 1_000;
const SEARCH_DEFAULT: usize = 30;
const SEARCH_MAX: usize = 100;
/// Digits that a price is shown with.
const SIGNIFICANT: u32 = 6;
/// `pricescale` is a power of ten that a float holds exactly.
const SCALE_MAX: u32 = 16;

pub(super) fn router() -> Router<Arc<Public>> {
    Router::new()
        .route("/config", get(config))
        .route("/time", get(time))
        .route("/symbols", get(symbols))
        .route("/search", get(search))
        .route("/history", get(history))
}

/// In its own words, with status 200.
struct Trouble(String);

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        Json(json!({ "s": "error", "errmsg": self.0 })).into_response()
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self(ApiError::from(error).message)
    }
}

fn names() -> Vec<&'static str> {
    RESOLUTIONS.iter().map(|(name, _)| *name).collect()
}

async fn config(State(public): State<Arc<Public>>) -> Json<Value> {
    let exchange = |pin: Pin| json!({ "value": pin.live().chain_name, "name": pin.live().chain_name, "desc": format!("chain {}", pin.chain()) });
    let exchanges: Vec<Value> = public.reader.chains().map(|live| exchange(live.pin())).collect();
    Json(json!({
        "supported_resolutions": names(),
        "supports_group_request": false,
        "supports_marks": false,
        "supports_search": true,
        "supports_timescale_marks": false,
        "supports_time": true,
        "exchanges": exchanges,
        "symbols_types": [{ "name": "Pool", "value": "crypto" }],
    }))
}

/// Seconds since 1970, as text.
async fn time(State(public): State<Arc<Public>>) -> Response {
    let seconds = (public.now_unix_ms)() / 1_000;
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], seconds.to_string())
        .into_response()
}

/// A pool, one way round.
struct Symbol {
    pin: Pin,
    view: Arc<PoolView>,
    invert: bool,
}

impl Symbol {
    fn parse(public: &Public, text: &str) -> Result<Self, Trouble> {
        let unknown =
            || Trouble(format!("unknown symbol `{}`: it is CHAIN:POOL, or CHAIN:POOL:i for the other way round", shown(text)));
        let (text, invert) = text.strip_suffix(":i").map_or((text, false), |text| (text, true));
        let (chain, pool) = match text.split_once(':') {
            Some((chain, pool)) => (Some(chain.parse::<ChainId>().map_err(|_| unknown())?), pool),
            None => (None, text),
        };
        let id: PoolId = pool.to_ascii_lowercase().parse().map_err(|_| unknown())?;
        let pin = public.reader.pin(chain)?;
        let view = pin.pool(&id).ok_or_else(unknown)?;
        Ok(Self { pin, view, invert })
    }

    fn ticker(&self) -> String {
        format!("{}:{}{}", self.pin.chain(), self.view.meta.id, if self.invert { ":i" } else { "" })
    }

    /// `WETH/USDC`: what is priced, and in what.
    fn name(&self) -> String {
        let meta = &self.view.meta;
        let symbol = |address| self.pin.token(&address).and_then(|t| t.symbol.clone()).unwrap_or_else(|| format!("{address:#x}"));
        let (base, quote) = (symbol(meta.token0), symbol(meta.token1));
        if self.invert { format!("{quote}/{base}") } else { format!("{base}/{quote}") }
    }

    fn description(&self) -> String {
        if self.view.meta.has_dynamic_fee() {
            return format!("{} {}, fee by swap", self.name(), self.view.meta.dex);
        }
        let (whole, part) = (self.view.meta.fee_pips / 10_000, self.view.meta.fee_pips % 10_000);
        format!("{} {} {whole}.{:02} %", self.name(), self.view.meta.dex, part / 100)
    }

    fn price(&self) -> Option<String> {
        let meta = &self.view.meta;
        let (decimals0, decimals1) = (decimals(&self.pin, &meta.token0)?, decimals(&self.pin, &meta.token1)?);
        let ratio = token1_per_token0(&self.view.image.state, decimals0, decimals1)?;
        let ratio = if self.invert { ratio.inverse()? } else { ratio };
        Ratio::decimal(ratio)
    }

    fn info(&self) -> Value {
        let chain = &self.pin.live().chain_name;
        json!({
            "name": self.name(),
            "ticker": self.ticker(),
            "description": self.description(),
            "type": "crypto",
            "session": "24x7",
            "timezone": "Etc/UTC",
            "exchange": chain,
            "listed_exchange": chain,
            "format": "price",
            "minmov": 1,
            "pricescale": pricescale(self.price().as_deref()),
            "has_seconds": true,
            "seconds_multipliers": ["1", "5", "15"],
            "has_intraday": true,
            "intraday_multipliers": ["1", "5", "15", "60", "240"],
            "has_daily": true,
            "daily_multipliers": ["1"],
            "has_weekly_and_monthly": true,
            "weekly_multipliers": ["1"],
            "supported_resolutions": names(),
            "volume_precision": 4,
            "data_status": "streaming",
        })
    }
}

/// So that a price has six digits.
fn pricescale(price: Option<&str>) -> u64 {
    let Some(price) = price else { return 100 };
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    let count = |n: usize| u32::try_from(n).unwrap_or(SCALE_MAX);
    let places = if whole == "0" {
        count(fraction.bytes().take_while(|b| *b == b'0').count()).saturating_add(SIGNIFICANT)
    } else {
        SIGNIFICANT.saturating_sub(count(whole.len()))
    };
    10_u64.saturating_pow(places.min(SCALE_MAX))
}

#[derive(Deserialize)]
struct OfSymbol {
    symbol: Option<String>,
}

async fn symbols(State(public): State<Arc<Public>>, Query(asked): Query<OfSymbol>) -> Result<Json<Value>, Trouble> {
    let text = asked.symbol.ok_or_else(|| Trouble("`symbol` is missing".to_owned()))?;
    Ok(Json(Symbol::parse(&public, &text)?.info()))
}

#[derive(Deserialize)]
struct Searched {
    #[serde(default)]
    query: String,
    #[serde(default)]
    exchange: String,
    #[serde(default)]
    r#type: String,
    limit: Option<usize>,
}

/// Pools of which a token's symbol or address, or the pool's, has this in it; both ways round.
async fn search(State(public): State<Arc<Public>>, Query(asked): Query<Searched>) -> Json<Vec<Value>> {
    let limit = asked.limit.unwrap_or(SEARCH_DEFAULT).min(SEARCH_MAX);
    let wanted = shown(&asked.query).to_lowercase();
    let mut found = Vec::new();
    if !asked.r#type.is_empty() && asked.r#type != "crypto" {
        return Json(found);
    }
    for live in public.reader.chains().filter(|live| asked.exchange.is_empty() || live.chain_name == asked.exchange) {
        let pin = live.pin();
        let mut views = pin.pools();
        views.sort_unstable_by_key(|view| view.meta.id);
        for (view, invert) in views.into_iter().flat_map(|view| [(view.clone(), false), (view, true)]) {
            if found.len() >= limit {
                return Json(found);
            }
            let symbol = Symbol { pin: live.pin(), view, invert };
            let meta = &symbol.view.meta;
            let text = format!("{} {} {:#x} {:#x}", symbol.name(), meta.id, meta.token0, meta.token1).to_lowercase();
            if text.contains(&wanted) {
                found.push(json!({
                    "symbol": symbol.name(),
                    "full_name": symbol.ticker(),
                    "ticker": symbol.ticker(),
                    "description": symbol.description(),
                    "exchange": live.chain_name,
                    "type": "crypto",
                }));
            }
        }
    }
    Json(found)
}

#[derive(Deserialize)]
struct Asked {
    symbol: Option<String>,
    resolution: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    /// Wins over `from`.
    countback: Option<u64>,
}

/// Columns, as it wants them.
#[derive(Default, Serialize)]
struct Bars {
    s: &'static str,
    t: Vec<u64>,
    o: Vec<Box<RawValue>>,
    h: Vec<Box<RawValue>>,
    l: Vec<Box<RawValue>>,
    c: Vec<Box<RawValue>>,
    v: Vec<Box<RawValue>>,
}

impl Bars {
    /// `None` where a token has no decimals: then nothing has a price.
    fn push(&mut self, candle: &Candle) -> Option<()> {
        let number = |text: Option<String>| RawValue::from_string(text?).ok();
        let (high, low) = candle.high_low();
        let (volume0, volume1) = candle.volumes();
        let volume = if candle.written.invert { volume1 } else { volume0 };
        let [open, high, low, close] =
            [candle.candle.open, high, low, candle.candle.close].map(|price| number(candle.price(price)));
        let (open, high, low, close, volume) = (open?, high?, low?, close?, number(volume)?);
        self.t.push(candle.candle.start);
        self.o.push(open);
        self.h.push(high);
        self.l.push(low);
        self.c.push(close);
        self.v.push(volume);
        Some(())
    }
}

async fn history(State(public): State<Arc<Public>>, Query(asked): Query<Asked>) -> Result<Response, Trouble> {
    let missing = |name: &str| Trouble(format!("`{name}` is missing"));
    let symbol = Symbol::parse(&public, asked.symbol.as_deref().ok_or_else(|| missing("symbol"))?)?;
    let resolution = asked.resolution.ok_or_else(|| missing("resolution"))?;
    // It writes one day as `D` or as `1D`.
    let known =
        |name: &str| name == resolution || name.strip_prefix('1').is_some_and(|short| short == resolution && !short.is_empty());
    let interval = RESOLUTIONS.iter().find(|(name, _)| known(name)).map(|(_, interval)| *interval);
    let interval = interval.ok_or_else(|| Trouble(format!("`resolution` is one of {}", names().join(", "))))?;
    // Times before 1970 come from charts that are scrolled far back.
    let time = |given: i64| u64::try_from(given).unwrap_or(0);
    let to = time(asked.to.ok_or_else(|| missing("to"))?);
    let from = asked.from.filter(|_| asked.countback.is_none()).map(time);
    if from.is_some_and(|from| from >= to) {
        return Err(Trouble("`from` must be before `to`".to_owned()));
    }
    let count = match asked.countback {
        Some(0) => return Err(Trouble("`countback` is at least 1".to_owned())),
        Some(count) => count.min(BARS_MAX),
        // The newest of a stretch that is too long: the chart asks for what is before it.
        None => {
            from.map_or(BARS_MAX, |from| to.saturating_sub(from).div_ceil(interval.seconds()).saturating_add(1).min(BARS_MAX))
        }
    };
    let query = CandleQuery { of: Subject::Pool(symbol.view.meta.id), interval, from: None, to: Some(to), count, fill: true };
    let found = public.reader.candles(&symbol.pin, query).await?;
    let written = Written::new(&symbol.pin, &symbol.view.meta, interval, symbol.invert);
    let mut bars = Bars { s: "ok", ..Bars::default() };
    for candle in found.candles.into_iter().filter(|candle| from.is_none_or(|from| candle.start >= interval.start_of(from))) {
        if bars.push(&Candle { candle, written }).is_none() {
            return Err(Trouble("a token of this pool has no decimals: it has no price".to_owned()));
        }
    }
    // Nothing is known before a pool's first swap.
    Ok(if bars.t.is_empty() { Json(json!({ "s": "no_data" })).into_response() } else { Json(bars).into_response() })
}
