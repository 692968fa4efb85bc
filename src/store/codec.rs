//! How a store keeps logs, decoded events and pool states as bytes: small, exact, and without ABI.
//!
//! Nearly every field of a decoded event is one 32-byte word of the log it was decoded from. So a field is kept as a reference to
//! that word (one byte) where there is an equal one, and as a literal where there is none. The decoded event then costs about ten
//! bytes beside its log, is exactly what was decoded at the time (whatever a later `decode` makes of the same log), and the store
//! need not know how to decode. What is absent: any knowledge of which field is at which place of which log.
//!
//! Tags and layouts here are on disk: never change the meaning of one, add a new one.

mod fees;
mod market;
mod parts;
mod told;

use std::sync::Arc;

use alloy::primitives::{B256, Bytes};

use self::parts::{CUT, Parser, RANGE, TAG, Words, Writer, literal, varint};
pub use self::{
    market::{decode_candles, decode_market, decode_periods, encode_closed, encode_market},
    parts::{CodecError, sortable},
    told::{decode_told, encode_told},
};

use crate::domain::{
    block::BlockRef,
    dollars::{Depth, Gauge},
    event::{EventBody, RawLog},
    image::{Held, Origin, PoolImage},
    pool::{PoolState, StateAfter, Tick, V2State, V3State, shares::Shares},
};

/// The layout of [`encode_image`]: of the first a state alone, of the second without fees, of the third without shares, of
/// the fourth without salts of positions.
const IMAGE_VERSIONS: [u8; 5] = [1, 2, 3, 4, 5];

/// Topics and data of a log. Leading zero bytes of each word are dropped: most words are addresses and small numbers.
#[must_use]
pub fn encode_log(topics: &[B256], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    varint(&mut out, u64::try_from(topics.len()).unwrap_or(u64::MAX));
    varint(&mut out, u64::try_from(data.len()).unwrap_or(u64::MAX));
    let (words, tail) = data.as_chunks::<32>();
    for word in topics.iter().map(|t| &t.0).chain(words) {
        literal(&mut out, word);
    }
    out.extend_from_slice(tail);
    out
}

/// The inverse of [`encode_log`].
pub fn decode_log(bytes: &[u8]) -> Result<(Vec<B256>, Bytes), CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    let topics = parser.varint()?;
    let data_len = usize::try_from(parser.varint()?).map_err(|_| RANGE)?;
    // A word takes at least a byte, so more than there are bytes left is a lie: nothing is allocated for it.
    if topics > 255 || data_len / 32 > parser.rest.len() {
        return Err(CUT);
    }
    let topics = (0..topics).map(|_| parser.word().map(B256::from)).collect::<Result<Vec<_>, _>>()?;
    let mut data = Vec::with_capacity(data_len);
    for _ in 0..data_len / 32 {
        data.extend_from_slice(&parser.word()?);
    }
    data.extend_from_slice(parser.take(data_len % 32)?);
    parser.end()?;
    Ok((topics, data.into()))
}

const UNDECODABLE: u8 = 16;

macro_rules! bodies {
    ($($tag:literal $variant:ident { $($field:ident),* })*) => {
        /// A decoded event, relative to its log.
        #[must_use]
        pub fn encode_body(body: &EventBody, raw: &RawLog) -> Vec<u8> {
            let words = Words::new(&raw.topics, &raw.data);
            match body {
                $(EventBody::$variant { $($field),* } => {
                    let mut writer = Writer::new(words, $tag);
                    $(writer.field($field);)*
                    writer.out
                })*
                EventBody::Undecodable { reason } => {
                    let mut writer = Writer::new(words, UNDECODABLE);
                    writer.out.extend_from_slice(reason.as_bytes());
                    writer.out
                }
            }
        }

        /// The inverse of [`encode_body`], with topics and data of the same log.
        pub fn decode_body(bytes: &[u8], topics: &[B256], data: &[u8]) -> Result<EventBody, CodecError> {
            let mut parser = Parser { rest: bytes, words: Words::new(topics, data) };
            let body = match parser.byte()? {
                $($tag => EventBody::$variant { $($field: parser.field()?),* },)*
                UNDECODABLE => {
                    let reason = parser.take(parser.rest.len())?;
                    let reason = std::str::from_utf8(reason).map_err(|_| CodecError("a text is not UTF-8"))?;
                    EventBody::Undecodable { reason: reason.to_owned() }
                }
                _ => return Err(TAG),
            };
            parser.end()?;
            Ok(body)
        }
    };
}

bodies! {
    1 V2PairCreated { token0, token1, pair, pair_count }
    2 V2Sync { reserve0, reserve1 }
    3 V2Swap { sender, to, amount0_in, amount1_in, amount0_out, amount1_out }
    4 V2Mint { sender, amount0, amount1 }
    5 V2Burn { sender, to, amount0, amount1 }
    6 V3PoolCreated { token0, token1, fee_pips, tick_spacing, pool }
    7 V3Initialize { sqrt_price_x96, tick }
    8 V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96, liquidity, tick }
    9 V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0, amount1 }
    10 V3Burn { owner, tick_lower, tick_upper, amount, amount0, amount1 }
    11 V3Collect { owner, recipient, tick_lower, tick_upper, amount0, amount1 }
    12 V3Flash { sender, recipient, amount0, amount1, paid0, paid1 }
    13 V3CollectProtocol { sender, recipient, amount0, amount1 }
    14 V3SetFeeProtocol { fee_protocol0_old, fee_protocol1_old, fee_protocol0_new, fee_protocol1_new }
    15 V3IncreaseObservationCardinalityNext { old, new }
    17 V3IncreaseLiquidity { token_id, liquidity, amount0, amount1 }
    18 V3DecreaseLiquidity { token_id, liquidity, amount0, amount1 }
    19 V3CollectPosition { token_id, recipient, amount0, amount1 }
    20 V3TransferPosition { from, to, token_id }
    21 V2Transfer { from, to, value }
    22 V4Initialize { token0, token1, fee_pips, tick_spacing, hooks, sqrt_price_x96, tick }
    23 V4ModifyLiquidity { sender, tick_lower, tick_upper, liquidity_delta, salt }
    24 V4Swap { sender, amount0, amount1, sqrt_price_x96, liquidity, tick, fee_pips }
    25 V4Donate { sender, amount0, amount1 }
    26 V4ProtocolFee { protocol_fee }
    27 V4TransferPosition { manager, from, to, token_id }
}

/// The state after an event, relative to the event's log: a V3 swap carries all of it.
#[must_use]
pub fn encode_after(after: &StateAfter, raw: &RawLog) -> Vec<u8> {
    let mut writer = Writer { out: Vec::with_capacity(64), words: Words::new(&raw.topics, &raw.data) };
    write_after(&mut writer, after);
    writer.out
}

fn write_after(writer: &mut Writer<'_>, after: &StateAfter) {
    match after {
        StateAfter::V2 { reserve0, reserve1 } => {
            writer.out.push(2);
            writer.field(reserve0);
            writer.field(reserve1);
        }
        StateAfter::V3 { sqrt_price_x96, tick, liquidity } => {
            writer.out.push(3);
            writer.field(sqrt_price_x96);
            writer.field(tick);
            writer.field(liquidity);
        }
    }
}

/// The inverse of [`encode_after`], with topics and data of the same log.
pub fn decode_after(bytes: &[u8], topics: &[B256], data: &[u8]) -> Result<StateAfter, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::new(topics, data) };
    let after = read_after(&mut parser)?;
    parser.end()?;
    Ok(after)
}

fn read_after(parser: &mut Parser<'_>) -> Result<StateAfter, CodecError> {
    match parser.byte()? {
        2 => Ok(StateAfter::V2 { reserve0: parser.field()?, reserve1: parser.field()? }),
        3 => Ok(StateAfter::V3 { sqrt_price_x96: parser.field()?, tick: parser.field()?, liquidity: parser.field()? }),
        _ => Err(TAG),
    }
}

/// What a row keeps of its pool's gauge; the rest follows from the state after the row.
#[must_use]
pub fn encode_gauge(gauge: &Gauge) -> Vec<u8> {
    let mut writer = Writer::new(Words::NONE, layout(gauge));
    write_gauge(&mut writer, gauge);
    writer.field(&gauge.depth.both);
    write_locked(&mut writer, gauge);
    writer.out
}

/// A gauge alone, and one that says what its pool holds.
const PLAIN: u8 = 1;
const LOCKED: u8 = 2;

fn layout(gauge: &Gauge) -> u8 {
    if gauge.locked.is_some() { LOCKED } else { PLAIN }
}

fn write_locked(writer: &mut Writer<'_>, gauge: &Gauge) {
    if let Some((amount0, amount1)) = &gauge.locked {
        writer.field(amount0);
        writer.field(amount1);
    }
}

/// The inverse of [`encode_gauge`], with the state after the same row.
pub fn decode_gauge(bytes: &[u8], after: &StateAfter) -> Result<Gauge, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    let tag = parser.byte()?;
    if !matches!(tag, PLAIN | LOCKED) {
        return Err(TAG);
    }
    let (kept, both) = (read_gauge(&mut parser)?, parser.field()?);
    let locked = if tag == LOCKED { Some((parser.field()?, parser.field()?)) } else { None };
    parser.end()?;
    Ok(Gauge::of_row(after, both, locked, kept))
}

fn write_gauge(writer: &mut Writer<'_>, gauge: &Gauge) {
    let (Depth { token0, token1, both }, at) = gauge.kept();
    writer.field(&token0);
    writer.field(&token1);
    writer.field(&both);
    varint(&mut writer.out, at);
}

fn read_gauge(parser: &mut Parser<'_>) -> Result<(Depth, u64), CodecError> {
    Ok((Depth { token0: parser.field()?, token1: parser.field()?, both: parser.field()? }, parser.varint()?))
}

/// Everything that is folded of a pool, behind a version byte. A tick takes about 25 bytes.
#[must_use]
pub fn encode_image(image: &PoolImage) -> Vec<u8> {
    let mut writer = Writer::new(Words::NONE, IMAGE_VERSIONS[4]);
    write_gauge(&mut writer, &image.gauge);
    write_held(&mut writer, &image.held);
    state(&mut writer, &image.state);
    fees::write(&mut writer, image.fees.as_deref());
    shares(&mut writer, image.shares.as_deref());
    writer.out
}

/// A holder takes about 30 bytes.
fn shares(writer: &mut Writer<'_>, shares: Option<&Shares>) {
    let Some(shares) = shares else { return writer.out.push(0) };
    writer.out.push(1);
    varint(&mut writer.out, u64::try_from(shares.holders().len()).unwrap_or(u64::MAX));
    for (holder, value) in shares.holders() {
        writer.field(holder);
        writer.field(value);
    }
}

fn read_shares(parser: &mut Parser<'_>) -> Result<Option<Arc<Shares>>, CodecError> {
    match parser.byte()? {
        0 => Ok(None),
        1 => {
            let holders = (0..parser.varint()?).map(|_| Ok((parser.field()?, parser.field()?)));
            Ok(Some(Arc::new(Shares::restored(holders.collect::<Result<Vec<_>, CodecError>>()?.into_iter()))))
        }
        _ => Err(TAG),
    }
}

fn write_held(writer: &mut Writer<'_>, held: &Held) {
    match held {
        Held::Unknown => writer.out.push(0),
        Held::Nothing => writer.out.push(1),
        Held::Amounts(amount0, amount1) => {
            writer.out.push(2);
            writer.field(amount0);
            writer.field(amount1);
        }
    }
}

fn state(writer: &mut Writer<'_>, state: &PoolState) {
    match state {
        PoolState::V2(V2State { reserve0, reserve1 }) => {
            writer.out.push(2);
            writer.field(reserve0);
            writer.field(reserve1);
        }
        PoolState::V3(ticked) | PoolState::V4(ticked) => {
            writer.out.push(if matches!(state, PoolState::V3(_)) { 3 } else { 4 });
            let V3State { sqrt_price_x96, tick, liquidity, fee_protocol, observation_cardinality_next, ticks } = ticked;
            writer.field(sqrt_price_x96);
            writer.field(tick);
            writer.field(liquidity);
            writer.field(fee_protocol);
            writer.field(observation_cardinality_next);
            varint(&mut writer.out, u64::try_from(ticks.len()).unwrap_or(u64::MAX));
            for (index, tick) in ticks.iter() {
                writer.field(index);
                writer.field(&tick.liquidity_gross);
                writer.field(&tick.liquidity_net);
            }
        }
    }
}

/// What is kept for good of a pool that is older than what is read. About 100 bytes.
#[must_use]
pub fn encode_origin(origin: &Origin) -> Vec<u8> {
    let Origin { block, after, gauge, held } = origin;
    let mut writer = Writer::new(Words::NONE, layout(gauge));
    varint(&mut writer.out, block.number);
    varint(&mut writer.out, block.timestamp);
    writer.out.extend_from_slice(block.hash.as_slice());
    writer.out.extend_from_slice(block.parent_hash.as_slice());
    write_after(&mut writer, after);
    write_gauge(&mut writer, gauge);
    writer.field(&gauge.depth.both);
    write_held(&mut writer, held);
    write_locked(&mut writer, gauge);
    writer.out
}

/// The inverse of [`encode_origin`].
pub fn decode_origin(bytes: &[u8]) -> Result<Origin, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    let tag = parser.byte()?;
    if !matches!(tag, PLAIN | LOCKED) {
        return Err(TAG);
    }
    let (number, timestamp) = (parser.varint()?, parser.varint()?);
    let mut hash = || Ok::<_, CodecError>(B256::from_slice(parser.take(32)?));
    let block = BlockRef { number, timestamp, hash: hash()?, parent_hash: hash()? };
    let after = read_after(&mut parser)?;
    let (kept, both) = (read_gauge(&mut parser)?, parser.field()?);
    let held = read_held(&mut parser)?;
    let locked = if tag == LOCKED { Some((parser.field()?, parser.field()?)) } else { None };
    parser.end()?;
    Ok(Origin { block, after, gauge: Gauge::of_row(&after, both, locked, kept), held })
}

/// The inverse of [`encode_image`]. `timestamp` is of the block that the image is of: what was kept without a gauge is taken to have
/// been so for long.
pub fn decode_image(bytes: &[u8], timestamp: u64) -> Result<PoolImage, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    let version = parser.byte()?;
    let kept = match version {
        v if v == IMAGE_VERSIONS[0] => None,
        v if IMAGE_VERSIONS.contains(&v) => Some((read_gauge(&mut parser)?, read_held(&mut parser)?)),
        _ => return Err(TAG),
    };
    let state = decode_state(&mut parser)?;
    let fees =
        if version >= IMAGE_VERSIONS[2] { fees::read(&mut parser, version >= IMAGE_VERSIONS[4])?.map(Arc::new) } else { None };
    let shares = if version >= IMAGE_VERSIONS[3] { read_shares(&mut parser)? } else { None };
    parser.end()?;
    let (gauge, held) = match kept {
        Some(((steady, at), held)) => (Gauge::restored(&state, steady, at), held),
        None => (Gauge::seeded(&state, timestamp), Held::Unknown),
    };
    Ok(PoolImage { state, gauge, held, fees, shares })
}

fn read_held(parser: &mut Parser<'_>) -> Result<Held, CodecError> {
    match parser.byte()? {
        0 => Ok(Held::Unknown),
        1 => Ok(Held::Nothing),
        2 => Ok(Held::Amounts(parser.field()?, parser.field()?)),
        _ => Err(TAG),
    }
}

fn decode_state(parser: &mut Parser<'_>) -> Result<PoolState, CodecError> {
    Ok(match parser.byte()? {
        2 => PoolState::V2(V2State { reserve0: parser.field()?, reserve1: parser.field()? }),
        tag @ (3 | 4) => {
            let mut state = V3State {
                sqrt_price_x96: parser.field()?,
                tick: parser.field()?,
                liquidity: parser.field()?,
                fee_protocol: parser.field()?,
                observation_cardinality_next: parser.field()?,
                ..V3State::default()
            };
            let ticks = (0..parser.varint()?)
                .map(|_| Ok((parser.field()?, Tick { liquidity_gross: parser.field()?, liquidity_net: parser.field()? })));
            state.ticks = Arc::new(ticks.collect::<Result<_, CodecError>>()?);
            if tag == 3 { PoolState::V3(state) } else { PoolState::V4(state) }
        }
        _ => return Err(TAG),
    })
}

#[cfg(test)]
mod tests;
