//! Candles and markets as bytes: each candle opens where the one before closed, so an opening is kept only where it does not.

use alloy::primitives::U256;

use super::parts::{CodecError, Parser, RANGE, TAG, Words, Writer, varint};
use crate::domain::market::{Candle, Interval, Kept, KeptSeries, Market, RawPrice, Side};

const VERSION: u8 = 1;

const RESERVES: u8 = 2;
const ROOT: u8 = 3;

/// A chunk's candles.
#[must_use]
pub fn encode_candles(candles: &[Candle]) -> Vec<u8> {
    let mut writer = Writer::new(Words::NONE, VERSION);
    write_candles(&mut writer, candles);
    writer.out
}

/// The inverse of [`encode_candles`].
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
    let Kept { series, totals, traders } = market.kept();
    let mut writer = Writer::new(Words::NONE, VERSION);
    varint(&mut writer.out, count(series.len()));
    for KeptSeries { interval, known_from, mut closed, open } in series {
        writer.out.push(interval.code());
        varint(&mut writer.out, known_from);
        writer.out.push(u8::from(open.is_some()));
        closed.extend(open);
        write_candles(&mut writer, &closed);
    }
    totals.iter().for_each(|side| write_side(&mut writer, side));
    varint(&mut writer.out, count(traders.len()));
    for (address, buy, sell) in traders {
        writer.out.extend_from_slice(address.as_slice());
        varint(&mut writer.out, buy);
        varint(&mut writer.out, sell);
    }
    writer.out
}

/// The inverse of [`encode_market`]. `timestamp` is of the block that it is of.
pub fn decode_market(bytes: &[u8], timestamp: u64) -> Result<Market, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    version(&mut parser)?;
    let mut kept = Kept::default();
    for _ in 0..parser.varint()? {
        let code = parser.byte()?;
        let interval = Interval::STORED.into_iter().find(|interval| interval.code() == code).ok_or(TAG)?;
        let (known_from, has_open) = (parser.varint()?, parser.byte()? != 0);
        let mut closed = read_candles(&mut parser)?;
        let open = if has_open { closed.pop() } else { None };
        kept.series.push(KeptSeries { interval, known_from, closed, open });
    }
    kept.totals = [read_side(&mut parser)?, read_side(&mut parser)?];
    for _ in 0..parser.varint()? {
        let address = alloy::primitives::Address::from_slice(parser.take(20)?);
        kept.traders.push((address, parser.varint()?, parser.varint()?));
    }
    parser.end()?;
    Ok(Market::restored(kept, timestamp))
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
    }
}

fn read_price(parser: &mut Parser<'_>) -> Result<RawPrice, CodecError> {
    match parser.byte()? {
        RESERVES => Ok(RawPrice::Reserves { reserve0: parser.field()?, reserve1: parser.field()? }),
        ROOT => Ok(RawPrice::Root(parser.field::<U256>()?)),
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
