//! Candles and markets as bytes: each candle opens where the one before closed, so an opening is kept only where it does not.

use alloy::primitives::U256;

use super::{
    parts::{CodecError, Parser, RANGE, TAG, Words, Writer, varint},
    read_after, read_held, write_after, write_held,
};
use crate::domain::{
    dollars::Dollars,
    image::Held,
    market::{Candle, Closed, End, Interval, Kept, KeptSeries, Market, Period, RawPrice, Side},
    pool::StateAfter,
};

/// Of a chunk.
const VERSION: u8 = 1;
/// Of a market; the first had no periods.
const MARKET_VERSIONS: [u8; 2] = [1, 2];

const RESERVES: u8 = 2;
const ROOT: u8 = 3;
const DOLLARS: u8 = 4;
const UNKNOWN: u8 = 5;

/// What is in a chunk.
#[must_use]
pub fn encode_closed(closed: &Closed) -> Vec<u8> {
    let mut writer = Writer::new(Words::NONE, VERSION);
    match closed {
        Closed::Candles(candles) => write_candles(&mut writer, candles),
        Closed::Periods(periods) => write_periods(&mut writer, periods),
    }
    writer.out
}

/// A chunk's periods.
pub fn decode_periods(bytes: &[u8]) -> Result<Vec<Period>, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    version(&mut parser)?;
    let periods = read_periods(&mut parser)?;
    parser.end()?;
    Ok(periods)
}

/// A chunk's candles.
pub fn decode_candles(bytes: &[u8]) -> Result<Vec<Candle>, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    version(&mut parser)?;
    let candles = read_candles(&mut parser)?;
    parser.end()?;
    Ok(candles)
}

/// Everything of a market that is not in chunks.
#[must_use]
pub fn encode_market(market: &Market) -> Vec<u8> {
    let Kept { series, periods, after, held, totals, traders } = market.kept();
    let mut writer = Writer::new(Words::NONE, MARKET_VERSIONS[1]);
    write_series(&mut writer, series, write_candles);
    write_series(&mut writer, periods, write_periods);
    standing(&mut writer, after.as_ref(), &held);
    totals.iter().for_each(|side| write_side(&mut writer, side));
    varint(&mut writer.out, count(traders.len()));
    for (address, buy, sell) in traders {
        writer.out.extend_from_slice(address.as_slice());
        varint(&mut writer.out, buy);
        varint(&mut writer.out, sell);
    }
    writer.out
}

/// The inverse of [`encode_market`]. `timestamp` is of the block that it is of. `None`: an older version wrote it, and it lacks something.
pub fn decode_market(bytes: &[u8], timestamp: u64) -> Result<Option<Market>, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    match parser.byte()? {
        v if v == MARKET_VERSIONS[0] => return Ok(None),
        v if v == MARKET_VERSIONS[1] => {}
        _ => return Err(TAG),
    }
    let mut kept = Kept {
        series: read_series(&mut parser, read_candles)?,
        periods: read_series(&mut parser, read_periods)?,
        ..Kept::default()
    };
    (kept.after, kept.held) = read_standing(&mut parser)?;
    kept.totals = [read_side(&mut parser)?, read_side(&mut parser)?];
    for _ in 0..parser.varint()? {
        let address = alloy::primitives::Address::from_slice(parser.take(20)?);
        kept.traders.push((address, parser.varint()?, parser.varint()?));
    }
    parser.end()?;
    Ok(Some(Market::restored(kept, timestamp)))
}

fn write_series<C: Copy>(writer: &mut Writer<'_>, series: Vec<KeptSeries<C>>, write: fn(&mut Writer<'_>, &[C])) {
    varint(&mut writer.out, count(series.len()));
    for KeptSeries { interval, known_from, mut closed, open } in series {
        writer.out.push(interval.code());
        varint(&mut writer.out, known_from);
        writer.out.push(u8::from(open.is_some()));
        closed.extend(open);
        write(writer, &closed);
    }
}

fn read_series<C>(
    parser: &mut Parser<'_>,
    read: fn(&mut Parser<'_>) -> Result<Vec<C>, CodecError>,
) -> Result<Vec<KeptSeries<C>>, CodecError> {
    let mut all = Vec::new();
    for _ in 0..parser.varint()? {
        let code = parser.byte()?;
        let interval = Interval::STORED.into_iter().find(|interval| interval.code() == code).ok_or(TAG)?;
        let (known_from, has_open) = (parser.varint()?, parser.byte()? != 0);
        let mut closed = read(parser)?;
        let open = if has_open { closed.pop() } else { None };
        all.push(KeptSeries { interval, known_from, closed, open });
    }
    Ok(all)
}

fn version(parser: &mut Parser<'_>) -> Result<(), CodecError> {
    if parser.byte()? == VERSION { Ok(()) } else { Err(TAG) }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn write_candles(writer: &mut Writer<'_>, candles: &[Candle]) {
    varint(&mut writer.out, count(candles.len()));
    let (mut at, mut close) = (0, None);
    for candle in candles {
        varint(&mut writer.out, candle.start.saturating_sub(at));
        let joins = close == Some(candle.open);
        writer.out.push(u8::from(joins));
        if !joins {
            price(writer, candle.open);
        }
        for one in [candle.high, candle.low, candle.close] {
            price(writer, one);
        }
        write_side(writer, &candle.buys);
        write_side(writer, &candle.sells);
        (at, close) = (candle.start, Some(candle.close));
    }
}

fn write_side(writer: &mut Writer<'_>, side: &Side) {
    let Side { volume0, volume1, trades, usd, unvalued, traders } = side;
    varint(&mut writer.out, (*trades).into());
    if *trades > 0 {
        writer.field(volume0);
        writer.field(volume1);
        writer.field(usd);
        varint(&mut writer.out, (*unvalued).into());
        varint(&mut writer.out, (*traders).into());
    }
}

fn read_candles(parser: &mut Parser<'_>) -> Result<Vec<Candle>, CodecError> {
    let mut candles: Vec<Candle> = Vec::new();
    for _ in 0..parser.varint()? {
        let before = candles.last();
        let start = before.map_or(0, |before| before.start).checked_add(parser.varint()?).ok_or(RANGE)?;
        let open = match (parser.byte()?, before) {
            (0, _) => read_price(parser)?,
            (1, Some(before)) => before.close,
            _ => return Err(TAG),
        };
        let (high, low, close) = (read_price(parser)?, read_price(parser)?, read_price(parser)?);
        let (buys, sells) = (read_side(parser)?, read_side(parser)?);
        candles.push(Candle { start, open, high, low, close, buys, sells });
    }
    Ok(candles)
}

fn price(writer: &mut Writer<'_>, price: RawPrice) {
    match price {
        RawPrice::Reserves { reserve0, reserve1 } => {
            writer.out.push(RESERVES);
            writer.field(&reserve0);
            writer.field(&reserve1);
        }
        RawPrice::Root(root) => {
            writer.out.push(ROOT);
            writer.field(&root);
        }
        RawPrice::Dollars(dollars) => {
            writer.out.push(DOLLARS);
            writer.field(&dollars.raw());
        }
        RawPrice::Unknown => writer.out.push(UNKNOWN),
    }
}

fn read_price(parser: &mut Parser<'_>) -> Result<RawPrice, CodecError> {
    match parser.byte()? {
        RESERVES => Ok(RawPrice::Reserves { reserve0: parser.field()?, reserve1: parser.field()? }),
        ROOT => Ok(RawPrice::Root(parser.field::<U256>()?)),
        DOLLARS => Ok(RawPrice::Dollars(Dollars::from_raw(parser.field()?))),
        UNKNOWN => Ok(RawPrice::Unknown),
        _ => Err(TAG),
    }
}

fn read_side(parser: &mut Parser<'_>) -> Result<Side, CodecError> {
    let small = |parser: &mut Parser<'_>| u32::try_from(parser.varint()?).map_err(|_| RANGE);
    let trades = small(parser)?;
    if trades == 0 {
        return Ok(Side::default());
    }
    let (volume0, volume1, usd) = (parser.field()?, parser.field()?, parser.field()?);
    let (unvalued, traders) = (small(parser)?, small(parser)?);
    Ok(Side { volume0, volume1, trades, usd, unvalued, traders })
}

const END_UNKNOWN: u8 = 0;
const END_POOL: u8 = 1;
const END_TOKEN: u8 = 2;
const END_FACTORY: u8 = 3;

fn write_periods(writer: &mut Writer<'_>, periods: &[Period]) {
    varint(&mut writer.out, count(periods.len()));
    let mut at = 0;
    for Period { start, events, swaps, usd, unvalued, fees, end } in periods {
        varint(&mut writer.out, start.saturating_sub(at));
        at = *start;
        varint(&mut writer.out, (*events).into());
        varint(&mut writer.out, (*swaps).into());
        if *swaps > 0 {
            writer.field(usd);
            varint(&mut writer.out, (*unvalued).into());
            writer.field(fees);
        }
        match end {
            End::Unknown => writer.out.push(END_UNKNOWN),
            End::Pool { after, held } => {
                writer.out.push(END_POOL);
                standing(writer, after.as_ref(), held);
            }
            End::Token { price, locked } => {
                writer.out.push(END_TOKEN);
                // A price is never 0.
                writer.field(&price.map_or(U256::ZERO, Dollars::raw));
                writer.field(locked);
            }
            End::Factory { locked } => {
                writer.out.push(END_FACTORY);
                writer.field(locked);
            }
        }
    }
}

fn read_periods(parser: &mut Parser<'_>) -> Result<Vec<Period>, CodecError> {
    let small = |parser: &mut Parser<'_>| u32::try_from(parser.varint()?).map_err(|_| RANGE);
    let mut periods = Vec::new();
    let mut start = 0_u64;
    for _ in 0..parser.varint()? {
        start = start.checked_add(parser.varint()?).ok_or(RANGE)?;
        let (events, swaps) = (small(parser)?, small(parser)?);
        let (usd, unvalued, fees) = if swaps > 0 { (parser.field()?, small(parser)?, parser.field()?) } else { (0, 0, 0) };
        let end = match parser.byte()? {
            END_UNKNOWN => End::Unknown,
            END_POOL => {
                let (after, held) = read_standing(parser)?;
                End::Pool { after, held }
            }
            END_TOKEN => {
                let price = Some(parser.field::<U256>()?).filter(|raw| !raw.is_zero()).map(Dollars::from_raw);
                End::Token { price, locked: parser.field()? }
            }
            END_FACTORY => End::Factory { locked: parser.field()? },
            _ => return Err(TAG),
        };
        periods.push(Period { start, events, swaps, usd, unvalued, fees, end });
    }
    Ok(periods)
}

/// How a pool stands.
fn standing(writer: &mut Writer<'_>, after: Option<&StateAfter>, held: &Held) {
    writer.out.push(u8::from(after.is_some()));
    after.iter().for_each(|after| write_after(writer, after));
    write_held(writer, held);
}

fn read_standing(parser: &mut Parser<'_>) -> Result<(Option<StateAfter>, Held), CodecError> {
    let after = if parser.byte()? != 0 { Some(read_after(parser)?) } else { None };
    Ok((after, read_held(parser)?))
}
