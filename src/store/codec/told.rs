//! What a block tells of tokens and factories, as bytes.

use alloy::primitives::{Address, U256};

use super::parts::{CodecError, Parser, TAG, Words, Writer, varint};
use crate::domain::{
    book::{Closing, TokenEnd, Told},
    dollars::Dollars,
};

const VERSION: u8 = 1;

#[must_use]
pub fn encode_told(told: &Told) -> Vec<u8> {
    let mut writer = Writer::new(Words::NONE, VERSION);
    length(&mut writer, told.prices.len());
    for (token, price) in &told.prices {
        writer.out.extend_from_slice(token.as_slice());
        writer.field(&price.raw());
    }
    let Some(Closing { at, tokens, factories }) = &told.closing else { return writer.out };
    varint(&mut writer.out, *at);
    length(&mut writer, tokens.len());
    for TokenEnd { token, price, locked } in tokens {
        writer.out.extend_from_slice(token.as_slice());
        // A price is never 0.
        writer.field(&price.map_or(U256::ZERO, Dollars::raw));
        writer.field(locked);
    }
    length(&mut writer, factories.len());
    for (factory, locked) in factories {
        writer.out.extend_from_slice(factory.as_slice());
        writer.field(locked);
    }
    writer.out
}

/// The inverse of [`encode_told`].
pub fn decode_told(bytes: &[u8]) -> Result<Told, CodecError> {
    let mut parser = Parser { rest: bytes, words: Words::NONE };
    if parser.byte()? != VERSION {
        return Err(TAG);
    }
    let mut told = Told::default();
    for _ in 0..parser.varint()? {
        told.prices.push((address(&mut parser)?, Dollars::from_raw(parser.field()?)));
    }
    if parser.rest.is_empty() {
        return Ok(told);
    }
    let mut closing = Closing { at: parser.varint()?, ..Closing::default() };
    for _ in 0..parser.varint()? {
        let token = address(&mut parser)?;
        let price = Some(parser.field::<U256>()?).filter(|raw| !raw.is_zero()).map(Dollars::from_raw);
        closing.tokens.push(TokenEnd { token, price, locked: parser.field()? });
    }
    for _ in 0..parser.varint()? {
        closing.factories.push((address(&mut parser)?, parser.field()?));
    }
    parser.end()?;
    told.closing = Some(closing);
    Ok(told)
}

fn address(parser: &mut Parser<'_>) -> Result<Address, CodecError> {
    parser.take(20).map(Address::from_slice)
}

fn length(writer: &mut Writer<'_>, length: usize) {
    varint(&mut writer.out, u64::try_from(length).unwrap_or(u64::MAX));
}
