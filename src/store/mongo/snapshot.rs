//! A snapshot as a document, with what is too large for it in pieces beside it.

use std::sync::Arc;

use mongodb::bson::{RawDocument, RawDocumentBuf, cstr};

use super::{
    Store,
    error::Result,
    key::{self, binary},
    parts::{self, Field},
    row::{Doc, missing, put_block},
};
use crate::{
    domain::{ChainId, pool::PoolId, record::PoolSnapshot},
    store::codec,
};

/// A snapshot, and the pieces of what is too large for it.
pub(super) fn write(chain: ChainId, snapshot: &PoolSnapshot, canonical: bool) -> Result<(RawDocumentBuf, Vec<RawDocumentBuf>)> {
    let block = &snapshot.block;
    let of = parts::Of { chain, pool: &snapshot.pool, block };
    let mut all = Vec::new();
    let mut out = RawDocumentBuf::new();
    out.append(cstr!("_id"), key::snapshot(chain, &snapshot.pool, block.number, &block.hash));
    out.append(cstr!("block"), key::block(chain, block.number, &block.hash));
    put_block(&mut out, block)?;
    out.append(cstr!("canonical"), canonical);
    let state = Some(codec::encode_image(&snapshot.image));
    let market = snapshot.market.as_deref().map(codec::encode_market);
    for (field, bytes) in [(Field::State, state), (Field::Market, market)] {
        let Some(bytes) = bytes else { continue };
        let parts = parts::cut(of, field, &bytes);
        match parts::count(parts.len())? {
            Some(count) => out.append(field.count(), count),
            None => out.append(field.inline(), binary(bytes)),
        }
        all.extend(parts);
    }
    Ok((out, all))
}

pub(super) async fn read(store: &Store, chain: ChainId, pool: PoolId, found: &RawDocument) -> Result<PoolSnapshot> {
    let doc = Doc(found);
    let block = doc.block()?;
    let of = parts::Of { chain, pool: &pool, block: &block };
    let state = parts::read(store, of, Field::State, &doc).await?.ok_or_else(|| missing("state"))?;
    let image = codec::decode_image(&state, block.timestamp)?;
    let market = parts::read(store, of, Field::Market, &doc).await?;
    let market = market.map(|bytes| codec::decode_market(&bytes, block.timestamp)).transpose()?.flatten();
    Ok(PoolSnapshot { chain, pool, block, image, market: market.map(Arc::new) })
}
