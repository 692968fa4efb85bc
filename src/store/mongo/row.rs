//! Between documents and domain values.

use alloy::primitives::{Address, B256, U256};
use mongodb::bson::{
    Binary, Document, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, cstr, raw::CStr, spec::BinarySubtype,
};

use super::{
    error::{Failure, Result, corrupt},
    key::{self, binary, int},
};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        book::Told,
        dollars::Usd,
        event::{Event, RawLog},
        pool::{CreatedAt, PoolId, PoolMeta, Protocol},
        record::{DERIVE_VERSION, Enrichment, EventAt, EventRow},
    },
    store::{codec, query::Fields},
};

/// What every query reads of an event. What only indexes and programs beside us need is left where it is.
const EVENT_FIELDS: [&str; 13] = [
    "_id",
    "hash",
    "parent",
    "timestamp",
    "canonical",
    "pool",
    "address",
    "tx",
    "tx_index",
    "sync_log_index",
    "log",
    "body",
    "usd",
];

/// The projection of a query.
pub(super) fn projection(fields: Fields) -> Document {
    let state: &[&str] = if fields.state_after { &["state_after", "gauge"] } else { &[] };
    let enrichment: &[&str] = if fields.enrichment { &["origin", "gas_used", "gas_price"] } else { &[] };
    let names = EVENT_FIELDS.iter().chain(state).chain(enrichment);
    names.map(|name| ((*name).to_owned(), 1.into())).collect()
}

pub(super) fn missing(name: &str) -> Failure {
    corrupt(format!("a document without a good `{name}`"))
}

fn generic(value: RawBsonRef<'_>) -> Option<&[u8]> {
    value.as_binary().filter(|found| found.subtype == BinarySubtype::Generic).map(|found| found.bytes)
}

fn uint(value: RawBsonRef<'_>) -> Option<u64> {
    u64::try_from(value.as_i64().or_else(|| value.as_i32().map(i64::from))?).ok()
}

/// A field of a document that was read.
pub(super) struct Doc<'a>(pub(super) &'a RawDocument);

impl<'a> Doc<'a> {
    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        self.maybe_bytes(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn maybe_bytes(&self, name: &str) -> Result<Option<&'a [u8]>> {
        match self.0.get(name)? {
            None => Ok(None),
            Some(value) => generic(value).map(Some).ok_or_else(|| missing(name)),
        }
    }

    pub(super) fn uint(&self, name: &str) -> Result<u64> {
        self.maybe_uint(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn maybe_uint(&self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.0.get(name)? else { return Ok(None) };
        uint(value).map(Some).ok_or_else(|| missing(name))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        self.0.get_bool(name).map_err(|_| missing(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        self.0.get_str(name).map_err(|_| missing(name))
    }

    pub(super) fn hash(&self, name: &str) -> Result<B256> {
        self.maybe_hash(name)?.ok_or_else(|| missing(name))
    }

    fn maybe_hash(&self, name: &str) -> Result<Option<B256>> {
        let found = self.maybe_bytes(name)?;
        found.map(|bytes| B256::try_from(bytes).map_err(|_| missing(name))).transpose()
    }

    pub(super) fn address(&self, name: &str) -> Result<Address> {
        Address::try_from(self.bytes(name)?).map_err(|_| missing(name))
    }

    fn pool(&self) -> Result<PoolId> {
        PoolId::from_slice(self.bytes("pool")?).ok_or_else(|| missing("pool"))
    }

    /// `number`, `hash`, `parent`, `timestamp`.
    pub(super) fn block(&self) -> Result<BlockRef> {
        Ok(BlockRef {
            number: self.uint("number")?,
            hash: self.hash("hash")?,
            parent_hash: self.hash("parent")?,
            timestamp: self.uint("timestamp")?,
        })
    }
}

pub(super) fn put_block(out: &mut RawDocumentBuf, block: &BlockRef) -> Result<()> {
    out.append(cstr!("number"), int(block.number)?);
    put_rest_of_block(out, block)
}

/// What a row carries of its block beside its key, so that an answer needs no second query.
fn put_rest_of_block(out: &mut RawDocumentBuf, block: &BlockRef) -> Result<()> {
    out.append(cstr!("hash"), binary(block.hash.as_slice()));
    out.append(cstr!("parent"), binary(block.parent_hash.as_slice()));
    out.append(cstr!("timestamp"), int(block.timestamp)?);
    Ok(())
}

fn maybe(out: &mut RawDocumentBuf, name: &'static CStr, value: Option<Binary>) {
    if let Some(value) = value {
        out.append(name, value);
    }
}

pub(super) fn block(chain: ChainId, block: &BlockRef, canonical: bool, now: u64, told: Option<&Told>) -> Result<RawDocumentBuf> {
    let mut out = RawDocumentBuf::new();
    out.append(cstr!("_id"), key::block(chain, block.number, &block.hash));
    out.append(cstr!("chain"), chain.cast_signed());
    put_block(&mut out, block)?;
    out.append(cstr!("canonical"), canonical);
    if !canonical {
        out.append(cstr!("orphaned_at"), int(now)?);
    }
    maybe(&mut out, cstr!("told"), told.map(|told| binary(codec::encode_told(told))));
    Ok(out)
}

/// `tokens` are the pool's, so that a token's events are found without its pools.
pub(super) fn event(
    chain: ChainId,
    block: &BlockRef,
    row: &EventRow,
    tokens: Option<(Address, Address)>,
    canonical: bool,
) -> Result<RawDocumentBuf> {
    let raw = &row.event.raw;
    let mut out = RawDocumentBuf::new();
    out.append(cstr!("_id"), key::event(chain, row.kind(), block.number, &block.hash, raw.log_index));
    put_rest_of_block(&mut out, block)?;
    out.append(cstr!("log_index"), int(raw.log_index)?);
    out.append(cstr!("canonical"), canonical);
    out.append(cstr!("pool"), binary(row.event.pool.as_slice()));
    if let Some((token0, token1)) = tokens {
        let mut both = RawArrayBuf::new();
        both.push(binary(token0.as_slice()));
        both.push(binary(token1.as_slice()));
        out.append(cstr!("tokens"), both);
    }
    out.append(cstr!("tx"), binary(raw.tx_hash.as_slice()));
    out.append(cstr!("tx_prefix"), key::tx_prefix(&raw.tx_hash));
    out.append(cstr!("tx_index"), int(raw.tx_index)?);
    if let Some(sync) = row.sync_log_index {
        out.append(cstr!("sync_log_index"), int(sync)?);
    }
    // Absent where the pool itself emitted it.
    let elsewhere = row.event.pool.as_slice() != raw.address.as_slice();
    maybe(&mut out, cstr!("address"), elsewhere.then(|| binary(raw.address.as_slice())));
    if let Some((amount0, amount1)) = row.amounts() {
        out.append(cstr!("amount0"), binary(codec::sortable(&amount0)));
        out.append(cstr!("amount1"), binary(codec::sortable(&amount1)));
    }
    out.append(cstr!("log"), binary(codec::encode_log(&raw.topics, &raw.data)));
    out.append(cstr!("body"), binary(codec::encode_body(&row.event.body, raw)));
    out.append(cstr!("derive_version"), i32::from(DERIVE_VERSION));
    maybe(&mut out, cstr!("state_after"), row.after.as_ref().map(|after| binary(codec::encode_after(after, raw))));
    if let Some(usd) = row.usd {
        out.append(cstr!("usd"), usd.0.cast_signed());
    }
    maybe(&mut out, cstr!("gauge"), row.gauge.as_ref().map(|gauge| binary(codec::encode_gauge(gauge))));
    if let Some(enrichment) = &row.enrichment {
        out.append(cstr!("origin"), binary(enrichment.origin.as_slice()));
        // Its 64 bits: a uint64 as BSON has it.
        out.append(cstr!("gas_used"), enrichment.gas_used.cast_signed());
        out.append(cstr!("gas_price"), binary(enrichment.gas_price_wei.to_be_bytes::<32>()));
    }
    Ok(out)
}

/// The fields of an event. They are found in one walk: to look each of them up would walk the document sixteen times.
#[derive(Default)]
struct Found<'a> {
    id: Option<&'a [u8]>,
    hash: Option<&'a [u8]>,
    parent: Option<&'a [u8]>,
    timestamp: Option<u64>,
    canonical: Option<bool>,
    pool: Option<&'a [u8]>,
    address: Option<&'a [u8]>,
    tx: Option<&'a [u8]>,
    tx_index: Option<u64>,
    sync_log_index: Option<u64>,
    log: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
    state_after: Option<&'a [u8]>,
    gauge: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    gas_used: Option<i64>,
    usd: Option<i64>,
    gas_price: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn of(document: &'a RawDocument) -> Result<Self> {
        let mut found = Self::default();
        for field in document {
            let (name, value) = field?;
            let name = name.as_str();
            let (bytes, number) = match name {
                "_id" => (&mut found.id, None),
                "hash" => (&mut found.hash, None),
                "parent" => (&mut found.parent, None),
                "pool" => (&mut found.pool, None),
                "address" => (&mut found.address, None),
                "tx" => (&mut found.tx, None),
                "log" => (&mut found.log, None),
                "body" => (&mut found.body, None),
                "state_after" => (&mut found.state_after, None),
                "gauge" => (&mut found.gauge, None),
                "origin" => (&mut found.origin, None),
                "gas_price" => (&mut found.gas_price, None),
                "timestamp" => (&mut None, Some(&mut found.timestamp)),
                "tx_index" => (&mut None, Some(&mut found.tx_index)),
                "sync_log_index" => (&mut None, Some(&mut found.sync_log_index)),
                "canonical" => {
                    found.canonical = value.as_bool();
                    continue;
                }
                "usd" => {
                    found.usd = value.as_i64();
                    continue;
                }
                "gas_used" => {
                    found.gas_used = value.as_i64();
                    continue;
                }
                _ => continue,
            };
            match number {
                Some(number) => *number = Some(uint(value).ok_or_else(|| missing(name))?),
                None => *bytes = Some(generic(value).ok_or_else(|| missing(name))?),
            }
        }
        Ok(found)
    }
}

fn whole<T>(name: &str, found: Option<T>) -> Result<T> {
    found.ok_or_else(|| missing(name))
}

fn hash(name: &str, found: Option<&[u8]>) -> Result<B256> {
    B256::try_from(whole(name, found)?).map_err(|_| missing(name))
}

fn address(name: &str, found: Option<&[u8]>) -> Result<Address> {
    Address::try_from(whole(name, found)?).map_err(|_| missing(name))
}

pub(super) fn read_event(document: &RawDocument) -> Result<EventAt> {
    let found = Found::of(document)?;
    let (chain, place) = whole("_id", found.id.and_then(key::read_event))?;
    let pool = whole("pool", found.pool.and_then(PoolId::from_slice))?;
    let address_of_log = match (found.address, pool) {
        (Some(_), _) => address("address", found.address)?,
        (None, PoolId::Address(address)) => address,
        (None, PoolId::Id(_)) => return Err(corrupt("a log without the address that emitted it")),
    };
    let (topics, data) = codec::decode_log(whole("log", found.log)?)?;
    let body = codec::decode_body(whole("body", found.body)?, &topics, &data)?;
    let after = found.state_after.map(|bytes| codec::decode_after(bytes, &topics, &data)).transpose()?;
    let enrichment = match found.origin {
        Some(_) => Some(Enrichment {
            origin: address("origin", found.origin)?,
            gas_used: whole("gas_used", found.gas_used)?.cast_unsigned(),
            gas_price_wei: U256::from_be_bytes(hash("gas_price", found.gas_price)?.0),
        }),
        None => None,
    };
    let block = BlockRef {
        number: place.block_number,
        hash: hash("hash", found.hash)?,
        parent_hash: hash("parent", found.parent)?,
        timestamp: whole("timestamp", found.timestamp)?,
    };
    let raw = RawLog {
        address: address_of_log,
        topics,
        data,
        tx_hash: hash("tx", found.tx)?,
        tx_index: whole("tx_index", found.tx_index)?,
        log_index: place.log_index,
    };
    let gauge =
        found.gauge.zip(after.as_ref()).map(|(bytes, after)| codec::decode_gauge(bytes, after).map(Box::new)).transpose()?;
    let usd = found.usd.map(|micro| Usd(micro.cast_unsigned()));
    let row = EventRow { event: Event { pool, body, raw }, sync_log_index: found.sync_log_index, after, usd, gauge, enrichment };
    Ok(EventAt { chain, block, row, canonical: whole("canonical", found.canonical)? })
}

pub(super) fn pool(chain: ChainId, meta: &PoolMeta, canonical: bool) -> Result<RawDocumentBuf> {
    let created = &meta.created;
    let mut out = RawDocumentBuf::new();
    out.append(cstr!("_id"), key::pool(chain, &meta.id, created));
    out.append(cstr!("chain"), chain.cast_signed());
    put_block(&mut out, &created.block)?;
    out.append(cstr!("log_index"), int(created.log_index)?);
    // Absent: older than the block, which is where its contract was read.
    maybe(&mut out, cstr!("tx"), created.tx_hash.as_ref().map(|hash| binary(hash.as_slice())));
    out.append(cstr!("canonical"), canonical);
    out.append(cstr!("pool"), binary(meta.id.as_slice()));
    out.append(cstr!("protocol"), protocol_name(meta.protocol));
    out.append(cstr!("dex"), meta.dex.as_str());
    out.append(cstr!("factory"), binary(meta.factory.as_slice()));
    out.append(cstr!("token0"), binary(meta.token0.as_slice()));
    out.append(cstr!("token1"), binary(meta.token1.as_slice()));
    out.append(cstr!("fee_pips"), i64::from(meta.fee_pips));
    if let Some(spacing) = meta.tick_spacing {
        out.append(cstr!("tick_spacing"), spacing);
    }
    maybe(&mut out, cstr!("hooks"), meta.hooks.map(|hooks| binary(hooks.as_slice())));
    maybe(&mut out, cstr!("origin"), meta.origin.as_deref().map(|origin| binary(codec::encode_origin(origin))));
    Ok(out)
}

pub(super) fn read_pool(chain: ChainId, found: &RawDocument) -> Result<PoolMeta> {
    let doc = Doc(found);
    let tick_spacing = match found.get("tick_spacing")? {
        Some(value) => Some(value.as_i32().ok_or_else(|| corrupt("a tick spacing that is no number"))?),
        None => None,
    };
    Ok(PoolMeta {
        chain,
        id: doc.pool()?,
        protocol: protocol(doc.text("protocol")?).ok_or_else(|| corrupt("a protocol that this version does not know"))?,
        dex: doc.text("dex")?.to_owned(),
        factory: doc.address("factory")?,
        token0: doc.address("token0")?,
        token1: doc.address("token1")?,
        fee_pips: u32::try_from(doc.uint("fee_pips")?).map_err(|_| corrupt("a fee beyond 32 bits"))?,
        tick_spacing,
        hooks: doc.maybe_bytes("hooks")?.map(Address::try_from).transpose().map_err(|_| corrupt("a hook without 20 bytes"))?,
        created: CreatedAt { block: doc.block()?, tx_hash: doc.maybe_hash("tx")?, log_index: doc.uint("log_index")? },
        origin: doc.maybe_bytes("origin")?.map(codec::decode_origin).transpose()?.map(Box::new),
    })
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::UniswapV2 => "uniswap_v2",
        Protocol::UniswapV3 => "uniswap_v3",
        Protocol::UniswapV4 => "uniswap_v4",
    }
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "uniswap_v2" => Some(Protocol::UniswapV2),
        "uniswap_v3" => Some(Protocol::UniswapV3),
        "uniswap_v4" => Some(Protocol::UniswapV4),
        _ => None,
    }
}
