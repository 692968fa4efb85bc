//! Dollar prices as of an earlier block: the same rule as for the newest one, over what pools said then. Each pool's last row of a block
//! keeps that, so a price of any block costs one look-up for each pool that has a say.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::Address;

use super::{
    history::DataSource,
    keep::RecordedPrice,
    pin::Pin,
    query::{EventQuery, Fields, Moment, Narrow, Place},
    reader::{ReadError, Reader},
};
use crate::domain::{
    block::BlockRef,
    dollars::{Gauge, Priced},
    event::EventKind,
    pool::PoolId,
    record::EventAt,
};

/// Pools that one question may need.
pub const POOLS_MAX: usize = 500;

/// What one token cost then, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// A feed, as it was recorded.
    Fed(RecordedPrice),
    /// Pools; `None`: none of them could tell.
    Pools(Option<Priced>),
}

/// What tokens cost at a block of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPrices {
    /// The newest block at that moment in which anything was watched.
    pub block: BlockRef,
    /// In the order asked.
    pub prices: Vec<Then>,
    pub source: DataSource,
}

impl Reader {
    /// The block that held at a moment. `None`: nothing is known from before it.
    ///
    /// # Errors
    /// Where the moment has not come yet, or the store fails.
    pub async fn block_at(&self, pin: &Pin, moment: Moment) -> Result<Option<BlockRef>, ReadError> {
        let head = pin.head().block.ok_or(ReadError::Starting)?;
        let holds = |block: &BlockRef| match moment {
            Moment::Number(number) => block.number <= number,
            Moment::Time(time) => block.timestamp <= time,
        };
        match moment {
            Moment::Number(number) if number > head.number => return Err(ReadError::Future { asked: number, head: head.number }),
            Moment::Time(time) if time > head.timestamp => return Ok(Some(head)),
            _ => {}
        }
        let window = &pin.head().window;
        let here = window.iter().map(|record| record.block).rfind(|block| holds(block));
        match here.or(Some(head).filter(holds)) {
            Some(block) => Ok(Some(block)),
            None => Ok(self.history().block_at(pin.chain(), moment).await?),
        }
    }

    /// What these tokens cost at a moment. `None`: nothing is known from before it.
    ///
    /// # Errors
    /// Also where too many pools have a say.
    pub async fn prices_at(&self, pin: &Pin, tokens: &[Address], moment: Moment) -> Result<Option<PastPrices>, ReadError> {
        let Some(block) = self.block_at(pin, moment).await? else { return Ok(None) };
        // Of a height whose block had nothing for us the time is not known: pools, which did not move either, answer then.
        let time = match moment {
            Moment::Number(number) => Some(block.timestamp).filter(|_| block.number == number),
            Moment::Time(time) => Some(time),
        };
        let (mut recorded, mut rest) = (Vec::with_capacity(tokens.len()), Vec::new());
        for token in tokens {
            let found = match time {
                Some(time) => self.recorded(pin.chain(), token, time).await?,
                None => None,
            };
            if found.is_none() {
                rest.push(*token);
            }
            recorded.push(found);
        }
        let (of_pools, source) = self.pools_at(pin, &rest, &block).await?;
        let mut of_pools = of_pools.into_iter();
        let then = |found: Option<RecordedPrice>| found.map_or_else(|| Then::Pools(of_pools.next().flatten()), Then::Fed);
        Ok(Some(PastPrices { block, prices: recorded.into_iter().map(then).collect(), source }))
    }

    /// What pools said of these tokens at the end of a block, in the order asked.
    async fn pools_at(
        &self,
        pin: &Pin,
        tokens: &[Address],
        block: &BlockRef,
    ) -> Result<(Vec<Option<Priced>>, DataSource), ReadError> {
        let pools =
            pin.live().with_routes(|routes| tokens.iter().flat_map(|token| routes.pools_of(token)).collect::<BTreeSet<_>>());
        if pools.len() > POOLS_MAX {
            return Err(ReadError::TooManyPools { most: POOLS_MAX });
        }
        let ask = |pool: PoolId, kind: EventKind| EventQuery {
            chain: pin.chain(),
            kind,
            narrow: Narrow::Pool(pool),
            after: None,
            before: Some(Place { block_number: block.number.saturating_add(1), log_index: 0 }),
            time_from: None,
            time_to: None,
            newest_first: true,
            fields: Fields { state_after: true, enrichment: false },
            limit: 1,
        };
        let asked: Vec<_> = pools.iter().flat_map(|pool| EventKind::ALL.map(|kind| (pin, ask(*pool, kind)))).collect();
        let mut source = DataSource::Memory;
        let mut newest: HashMap<PoolId, EventAt> = HashMap::new();
        for found in self.pages(&asked).await {
            let found = found?;
            if found.source != DataSource::Memory {
                source = found.source;
            }
            // The newest with a state decides, also where it lacks the gauge: an older one said something else.
            for event in found.events.into_iter().filter(|event| event.row.after.is_some() || event.row.gauge.is_some()) {
                let place = |event: &EventAt| (event.block.number, event.row.log_index());
                match newest.get(&event.row.event.pool) {
                    Some(known) if place(known) >= place(&event) => {}
                    _ => drop(newest.insert(event.row.event.pool, event)),
                }
            }
        }
        let gauge = |pool: &PoolId| -> Option<Gauge> { newest.get(pool)?.row.gauge.as_deref().copied() };
        let prices = pin.live().with_routes(|routes| {
            let prices = routes.at(block.timestamp, gauge);
            tokens.iter().map(|token| prices.priced(token)).collect()
        });
        Ok((prices, source))
    }
}
