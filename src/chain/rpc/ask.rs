//! Who is asked, and who next: one endpoint after the other, until one answers what proves itself.
//!
//! At the head a question that is not answered within [`HEDGE`] is asked of the next endpoint, too, and whoever answers first is believed:
//! an endpoint that is open and silent must not hold up a block for as long as a call may take. Elsewhere nobody is asked twice: large answers
//! take their time.

use std::{sync::Arc, time::Duration};

use alloy::primitives::B256;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout};

use super::{
    Inner,
    endpoint::{self, Endpoint},
    errors::Failure,
};
use crate::chain::ChainError;

/// So long the preferred endpoint is waited for alone. Ten times what a node in another continent needs.
const HEDGE: Duration = Duration::from_secs(1);

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As configured.
    Preferred,
    /// As configured, and soon the next one, too: everybody waits for the answer.
    Head,
    /// HTTP before WebSocket on the same host: a large answer is cheaper to read there and delays no head.
    Bulk,
}

/// The failure that says most of one round, and whose it is.
type Worst = Option<(Failure, String)>;

impl Inner {
    pub(super) fn ordered(&self, order: Order) -> Vec<Arc<Endpoint>> {
        let now = Instant::now();
        let mut endpoints = self.endpoints.clone();
        endpoints.sort_by_key(|endpoint| {
            let first_of_host = self.endpoints.iter().position(|e| e.label == endpoint.label);
            let place = match order {
                Order::Preferred | Order::Head => (Some(endpoint.index), false),
                Order::Bulk => (first_of_host, endpoint.is_ws()),
            };
            (endpoint::is_out(endpoint, now), place, endpoint.index)
        });
        endpoints
    }

    /// Like [`Inner::first_answer`], for callers outside. `block` is the hash that the question is about, for the error.
    pub(super) async fn attempt<T, F, Fut>(&self, order: Order, block: Option<B256>, op: F) -> Result<T, ChainError>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        self.first_answer(order, op).await.map_err(|(failure, host)| failure.into_chain_error(&host, block))
    }

    /// Tries `op` on one endpoint after the other, then all again after a pause with jitter, until one succeeds or it is clear
    /// that none will. Fails with what says most, and whose it is.
    pub(super) async fn first_answer<T, F, Fut>(&self, order: Order, op: F) -> Result<T, (Failure, String)>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut pauses = backoff(Duration::from_millis(100), Duration::from_secs(2));
        let mut round = 0;
        loop {
            let worst = match self.one_round(order, &op).await {
                Ok(value) => return Ok(value),
                Err(worst) => worst,
            };
            // `RpcSource::new` refuses an empty list.
            let Some((failure, label)) = worst else { return Err((Failure::Unreachable("none".into()), "rpc".into())) };
            // A block that nobody knows, or an answer that nobody can prove, gets one more chance: the nodes may lag. More would
            // only delay a reorg that took the block. A smaller question is better than the same one elsewhere.
            let rounds = match failure {
                Failure::TooLarge(_) => 0,
                Failure::UnknownBlock | Failure::Contradiction(_) => 1,
                _ => self.retries,
            };
            if round >= rounds || !failure.is_worth_retrying() {
                return Err((failure, label));
            }
            round = round.saturating_add(1);
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
        }
    }

    /// Every endpoint once, at most.
    async fn one_round<T, F, Fut>(&self, order: Order, op: &F) -> Result<T, Worst>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let ask = |endpoint: Arc<Endpoint>| async move { (op(endpoint.clone()).await, endpoint) };
        let mut waiting = self.ordered(order).into_iter();
        let (mut asked, mut silent): (FuturesUnordered<_>, Vec<Arc<Endpoint>>) = Default::default();
        let mut worst: Worst = None;
        loop {
            if asked.is_empty() {
                let Some(endpoint) = waiting.next() else { return Err(worst) };
                silent.push(endpoint.clone());
                asked.push(ask(endpoint));
            }
            // There is something better to do than to wait for this one: to ask another, or those again that have answered.
            let answered = if order == Order::Head && (waiting.len() > 0 || worst.is_some()) {
                timeout(HEDGE, asked.next()).await
            } else {
                Ok(asked.next().await)
            };
            let next = match answered {
                Err(_) => match waiting.next() {
                    Some(endpoint) => Some(endpoint),
                    None => {
                        silent.iter().for_each(|other| other.was_silent(HEDGE));
                        return Err(worst);
                    }
                },
                Ok(None) => None,
                Ok(Some((Ok(value), endpoint))) => {
                    // Those before it come after it from now on.
                    silent.iter().filter(|other| other.index != endpoint.index).for_each(|other| other.was_silent(HEDGE));
                    return Ok(value);
                }
                Ok(Some((Err(failure), endpoint))) => {
                    tracing::debug!(endpoint = %endpoint.label, %failure, "request failed");
                    silent.retain(|other| other.index != endpoint.index);
                    let is_too_large = matches!(failure, Failure::TooLarge(_));
                    if is_too_large || worst.as_ref().is_none_or(|(known, _)| failure.weight() > known.weight()) {
                        worst = Some((failure, endpoint.label.clone()));
                    }
                    if is_too_large {
                        return Err(worst);
                    }
                    waiting.next()
                }
            };
            if let Some(endpoint) = next {
                silent.push(endpoint.clone());
                asked.push(ask(endpoint));
            }
        }
    }
}

/// Pauses that double, with jitter, for ever.
pub(super) fn backoff(first: Duration, most: Duration) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default().with_min_delay(first).with_max_delay(most).with_jitter().without_max_times().build()
}
