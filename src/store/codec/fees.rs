//! A pool's books as bytes. A position takes about a hundred, a manager's token two.

use alloy::primitives::{B256, U256};
use rpds::RedBlackTreeMapSync;

use super::parts::{CodecError, Parser, TAG, Writer, varint};
use crate::domain::pool::{
    fees::{Books, Both, Fees, Position, PositionKey, Token},
    swap::Terms,
};

const UNKNOWN: u8 = 0;
/// Its positions are not known.
const BOOKS: u8 = 1;
const ALL: u8 = 2;

pub(super) fn write(writer: &mut Writer<'_>, fees: Option<&Fees>) {
    let Some(Fees { terms, growth, protocol, outside, positions, tokens, paid, collected, .. }) = fees else {
        writer.out.push(UNKNOWN);
        return;
    };
    writer.out.push(if positions.is_some() { ALL } else { BOOKS });
    writer.field(&terms.fee_pips);
    writer.field(&terms.tick_spacing);
    [growth, paid, collected].into_iter().flatten().for_each(|value| writer.field(value));
    protocol.iter().for_each(|value| writer.field(value));
    varint(&mut writer.out, count(outside.size()));
    for (tick, both) in outside {
        writer.field(tick);
        both.iter().for_each(|value| writer.field(value));
    }
    varint(&mut writer.out, count(tokens.size()));
    for (token_id, token) in tokens {
        writer.field(token_id);
        write_token(writer, token);
    }
    let Some(positions) = positions else { return };
    varint(&mut writer.out, count(positions.size()));
    for (PositionKey { owner, tick_lower, tick_upper, salt }, position) in positions {
        writer.field(owner);
        writer.field(tick_lower);
        writer.field(tick_upper);
        writer.field(salt);
        write_position(writer, position);
    }
}

/// `salted`: positions have salts, which the first layout did not know.
pub(super) fn read(parser: &mut Parser<'_>, salted: bool) -> Result<Option<Fees>, CodecError> {
    let kind = parser.byte()?;
    if kind == UNKNOWN {
        return Ok(None);
    }
    if !matches!(kind, BOOKS | ALL) {
        return Err(TAG);
    }
    let terms = Terms { fee_pips: parser.field()?, tick_spacing: parser.field()? };
    let (growth, paid, collected) = (two(parser)?, two(parser)?, two(parser)?);
    let mut books = Books { growth, protocol: both(parser)?, ..Books::default() };
    for _ in 0..parser.varint()? {
        books.outside.insert(parser.field()?, two(parser)?);
    }
    let mut fees = Fees::seeded(terms, books);
    (fees.paid, fees.collected) = (paid, collected);
    for _ in 0..parser.varint()? {
        fees.tokens.insert_mut(parser.field()?, read_token(parser, salted)?);
    }
    if kind == ALL {
        let mut positions = RedBlackTreeMapSync::new_sync();
        for _ in 0..parser.varint()? {
            let (owner, tick_lower, tick_upper) = (parser.field()?, parser.field()?, parser.field()?);
            let salt = read_salt(parser, salted)?;
            let key = PositionKey { owner, tick_lower, tick_upper, salt };
            positions.insert_mut(key, read_position(parser)?);
        }
        fees.positions = Some(positions);
    }
    Ok(Some(fees))
}

fn write_token(writer: &mut Writer<'_>, token: &Token) {
    let Token { manager, owner, tick_lower, tick_upper, salt, position, deposited, withdrawn, collected } = token;
    writer.field(manager);
    writer.field(owner);
    writer.field(tick_lower);
    writer.field(tick_upper);
    writer.field(salt);
    write_position(writer, position);
    [deposited, withdrawn, collected].into_iter().flatten().for_each(|value| writer.field(value));
}

fn read_token(parser: &mut Parser<'_>, salted: bool) -> Result<Token, CodecError> {
    let (manager, owner) = (parser.field()?, parser.field()?);
    let (tick_lower, tick_upper) = (parser.field()?, parser.field()?);
    let salt = read_salt(parser, salted)?;
    let position = read_position(parser)?;
    let (deposited, withdrawn, collected) = (two(parser)?, two(parser)?, two(parser)?);
    Ok(Token { manager, owner, tick_lower, tick_upper, salt, position, deposited, withdrawn, collected })
}

fn read_salt(parser: &mut Parser<'_>, salted: bool) -> Result<B256, CodecError> {
    if salted { parser.field() } else { Ok(B256::ZERO) }
}

fn write_position(writer: &mut Writer<'_>, position: &Position) {
    let Position { liquidity, inside_last, owed, principal } = position;
    writer.field(liquidity);
    inside_last.iter().for_each(|value| writer.field(value));
    owed.iter().chain(principal).for_each(|value| writer.field(value));
}

fn read_position(parser: &mut Parser<'_>) -> Result<Position, CodecError> {
    let (liquidity, inside_last) = (parser.field()?, two(parser)?);
    Ok(Position { liquidity, inside_last, owed: both(parser)?, principal: both(parser)? })
}

fn two(parser: &mut Parser<'_>) -> Result<Both<U256>, CodecError> {
    Ok([parser.field()?, parser.field()?])
}

fn both(parser: &mut Parser<'_>) -> Result<Both<u128>, CodecError> {
    Ok([parser.field()?, parser.field()?])
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
