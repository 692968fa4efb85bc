//! Tries how tokens behave when they are moved, so that a quote can say it: a fee that a token keeps, balances that change by themselves.
//!
//! Behind everything else: a request a second with the tokens of a round, and now and then one token's transfers; the tokens that were never tried first, each again after a while. Nothing waits
//! for it, and nothing is kept: a restart tries them anew. What is absent: what quotes make of it.

mod rebase;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use alloy::primitives::{Address, B256, U256};
use tokio_util::sync::CancellationToken;

use self::rebase::Watch;
use super::Deps;
use crate::{
    chain::{
        ChainError,
        tokens::probe::{self, QUESTIONS_MAX, Question},
    },
    domain::{
        block::BlockRef,
        pool::PoolId,
        token::{Conduct, Loan},
    },
    store::{Head, Pin, PoolStatus},
};

/// Between two requests.
const PAUSE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Pools that are passed over for having refused, of each token.
const REFUSED_MAX: usize = 7;

pub(super) struct Probe {
    deps: Arc<Deps>,
    every: Duration,
    stop: CancellationToken,
}

impl Probe {
    /// `every`: after so long a token is tried again.
    #[must_use]
    pub(super) fn new(deps: Arc<Deps>, every: Duration) -> Self {
        let stop = deps.stop.clone();
        Self { deps, every, stop }
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (deps, every, stop) = (self.deps.clone(), self.every, self.stop.clone());
        let run = async move {
            tokio::select! {
                () = run(&deps, every) => {}
                () = stop.cancelled() => {}
            }
        };
        ctx.spawn(run.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Supervised for Probe {}

/// Ends with the engine.
async fn run(deps: &Arc<Deps>, every: Duration) {
    let mut epochs = deps.live.watch_epoch();
    let mut tried = Tried::default();
    let mut pause = PAUSE;
    loop {
        let head = deps.live.head();
        if !(head.at_head && head.current) {
            if epochs.changed().await.is_err() {
                return;
            }
            continue;
        }
        match tried.step(deps, every).await {
            Ok(()) => pause = PAUSE,
            Err(error @ ChainError::Refused(_)) => {
                // Maybe not every endpoint does.
                let chain = deps.chain;
                tracing::warn!(chain, %error, "no endpoint lets tokens be tried: quotes do not warn of fees that tokens keep");
                pause = every.max(RETRY_MAX);
            }
            Err(error) => {
                tracing::debug!(%error, "tokens are tried again");
                pause = pause.saturating_mul(2).min(RETRY_MAX);
            }
        }
        let until = tokio::time::Instant::now() + pause;
        // Blocks leave memory once they are final: what is odd in them is looked for as they come.
        while let Ok(changed) = tokio::time::timeout_at(until, epochs.changed()).await {
            if changed.is_err() {
                return;
            }
            tried.look(&deps.live.head());
        }
    }
}

/// Where a token can be borrowed.
#[derive(Debug, Clone, Copy)]
struct Lender {
    question: Question,
    pool: PoolId,
    /// What the pool itself says that it holds. `None`: it shares its balance with others, or nobody knows.
    booked: Option<U256>,
}

/// Did not refuse, has a balance of its own, lent it last time, and how much it has: more is better.
type Rank = (bool, bool, bool, U256);

/// The last time that a token was tried.
struct Last {
    when: Instant,
    pool: PoolId,
    watch: Watch,
    /// Pools that did not lend it lately.
    refused: Vec<PoolId>,
}

#[derive(Default)]
struct Tried {
    tokens: HashMap<Address, Last>,
    /// The newest block whose rows were looked at.
    looked_at: Option<B256>,
}

impl Tried {
    /// One request about the tokens that are due, and what follows from what is settled by now.
    async fn step(&mut self, deps: &Arc<Deps>, every: Duration) -> Result<(), ChainError> {
        let (head, finalized, lenders) = {
            let pin = deps.live.pin();
            let Some(head) = pin.head().block else { return Ok(()) };
            let lenders = self.lenders(&pin);
            // Before balances are looked at: what was synced until then is part of them.
            self.look(pin.head());
            (head, pin.head().finalized_number, lenders)
        };
        self.tokens.retain(|token, _| lenders.contains_key(token));
        let due = self.due(&lenders, every);
        let questions: Vec<Question> = due.iter().map(|lender| lender.question).collect();
        if !questions.is_empty() {
            let loans = probe::ask(deps.source.as_ref(), head.hash, &questions).await?;
            for (lender, loan) in due.iter().zip(loans) {
                self.learn(deps, head, lender, loan);
            }
        }
        self.settle(deps, finalized, &lenders).await;
        Ok(())
    }

    fn learn(&mut self, deps: &Arc<Deps>, head: BlockRef, lender: &Lender, loan: Option<Loan>) {
        let token = lender.question.token;
        let before = deps.live.conduct.of(&token);
        let last = self.tokens.entry(token).or_insert_with(|| Last::new(lender.pool));
        last.when = Instant::now();
        if last.pool != lender.pool {
            last.pool = lender.pool;
            last.watch.forget();
        }
        let Some(loan) = loan else {
            // Another one may lend it next time. What was known is of a token that moved.
            last.refused.truncate(REFUSED_MAX);
            last.refused.insert(0, lender.pool);
            if before.is_some_and(|before| !before.rebases) {
                deps.live.conduct.forget(&token);
            }
            return;
        };
        last.watch.saw(head, loan.held, lender.booked);
        let rebases = last.watch.rebases || before.is_some_and(|before| before.rebases);
        let conduct = Conduct::of(&loan, head, rebases);
        if conduct.has_fee() {
            tracing::debug!(%token, ?conduct, "a token keeps part of what is sent");
            // Its transfers may tell what was sent, or what arrived.
            last.watch.forget();
        }
        deps.live.conduct.set(token, conduct);
    }

    /// One token whose transfers are to be counted and are final.
    async fn settle(&mut self, deps: &Arc<Deps>, finalized: u64, lenders: &HashMap<Address, Lender>) {
        let is_ready = |(token, last): &(&Address, &mut Last)| {
            last.watch.is_ready(finalized) && lenders.get(*token).is_some_and(|lender| lender.pool == last.pool)
        };
        let Some((token, last)) = self.tokens.iter_mut().find(is_ready) else { return };
        let Some(lender) = lenders.get(token) else { return };
        match last.watch.settle(deps.source.as_ref(), *token, lender.question.lender).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(%token, "balances of a token change without transfers");
                if let Some(conduct) = deps.live.conduct.of(token) {
                    deps.live.conduct.set(*token, Conduct { rebases: true, ..conduct });
                }
            }
            // The next time that it is odd it is asked again.
            Err(error) => tracing::debug!(%token, %error, "a token's transfers could not be counted"),
        }
    }

    /// Whose pools took their balances for their reserves.
    fn look(&mut self, head: &Head) {
        let (synced, newest) = rebase::synced(head, self.looked_at);
        self.looked_at = newest;
        for last in self.tokens.values_mut().filter(|last| synced.contains(&last.pool)) {
            last.watch.synced();
        }
    }

    /// For each token the pool that lends it: the one of last time, else the one that has most of it; V4 holds all in one.
    fn lenders(&self, pin: &Pin) -> HashMap<Address, Lender> {
        let mut best: HashMap<Address, (Rank, Lender)> = HashMap::new();
        for view in pin.pools().iter().filter(|view| view.status == PoolStatus::Live) {
            let (booked0, booked1) = view.image.locked().unzip();
            let meta = &view.meta;
            for (token, is_token0, booked) in [(meta.token0, true, booked0), (meta.token1, false, booked1)] {
                let (lender, is_own) = match meta.id {
                    PoolId::Address(pool) => (pool, true),
                    PoolId::Id(_) => (meta.factory, false),
                };
                let amount = booked.unwrap_or_default();
                // Native currency does as it is told.
                if token.is_zero() || amount.is_zero() {
                    continue;
                }
                let question = Question { token, lender, protocol: meta.protocol, is_token0 };
                let found = Lender { question, pool: meta.id, booked: booked.filter(|_| is_own) };
                let last = self.tokens.get(&token);
                let lends = last.is_none_or(|last| !last.refused.contains(&meta.id));
                let rank = (lends, is_own, last.is_some_and(|last| last.pool == meta.id), amount);
                if best.get(&token).is_none_or(|(known, _)| rank > *known) {
                    best.insert(token, (rank, found));
                }
            }
        }
        best.into_iter().map(|(token, (_, lender))| (token, lender)).collect()
    }

    /// Never tried, or long ago.
    fn due(&self, lenders: &HashMap<Address, Lender>, every: Duration) -> Vec<Lender> {
        let mut due: Vec<(Option<Instant>, Lender)> = Vec::new();
        for (token, lender) in lenders {
            let last = self.tokens.get(token).map(|last| last.when);
            if last.is_none_or(|last| last.elapsed() >= every) {
                due.push((last, *lender));
            }
        }
        due.sort_unstable_by_key(|(last, lender)| (*last, lender.question.token));
        due.into_iter().take(QUESTIONS_MAX).map(|(_, lender)| lender).collect()
    }
}

impl Last {
    fn new(pool: PoolId) -> Self {
        Self { when: Instant::now(), pool, watch: Watch::default(), refused: Vec::new() }
    }
}
