//! A head that goes back is not believed at once: a load balancer whose backends lag behind each other is no reorg.
//!
//! A head that is an ancestor of the published one is withheld until the endpoint that gave the published head denies it by
//! hash, or gives a sibling. One denial proves little (it may come from the backend that lags), so it takes several in a row
//! while nothing moves, and more of them from an endpoint that was caught denying what it then affirmed.
//!
//! A sibling from *another* endpoint is withheld in the same way: two nodes on different forks must not make us flip with every
//! block. The branch of the published head stands until its endpoint denies it, cannot be reached, or falls [`FORK_LEAD`] blocks
//! behind.
//!
//! [`Withhold`] is the rule, pure; [`withheld`] drives it. What is absent: which of two branches is better.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    time::Duration,
};

use alloy::primitives::B256;
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use super::{ChainError, HeadEvent};
use crate::domain::block::{BlockRef, Header};

/// Which endpoint said it.
pub type SourceId = usize;

/// Published headers that are remembered: ~3.4 h of mainnet, ~4 min of a 250 ms chain. Heads lagging more are withheld unseen.
pub const REMEMBERED_HEADERS: usize = 1_024;

/// Denials in a row that take the published head back.
const DENIALS: u32 = 4;

/// The most that an endpoint which contradicts itself must give.
const DENIALS_MAX: u32 = 64;

/// How far another branch gets ahead before the endpoint that stays behind is given up: ~1.5 min of mainnet, 2 s of a 250 ms chain.
pub const FORK_LEAD: u64 = 8;

/// The longest pause between questions to an endpoint that cannot be reached.
const RECHECK_MAX: Duration = Duration::from_secs(2);

/// What an endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// For the header with this hash, on whatever branch.
    Header(B256),
    /// Whether its chain has this block: nodes keep blocks of other branches, too, and give them by hash.
    OnChain(BlockRef),
}

/// What is to be done with a head, or with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Publish(Header),
    /// Nothing is published and nothing is open.
    Drop,
    /// Ask this endpoint for this header and bring the answer to [`Withhold::answer`].
    Ask {
        source: SourceId,
        hash: B256,
    },
    /// The head stays withheld; call [`Withhold::again`] after a pause.
    Wait,
}

/// What the endpoint said when it was asked for a header by hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Known(Header),
    Unknown,
    Unreachable,
}

#[derive(Debug)]
struct Held {
    source: SourceId,
    header: Header,
    denials: u32,
    /// What is between it and the tip cannot be had, so that only the tip itself can be asked about.
    untraceable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Ancestor,
    Descendant,
    /// Of another branch.
    Sibling,
    /// This ancestor of the higher one of the two has to be known to tell.
    Missing(B256),
}

/// The rule. One per head stream.
#[derive(Debug)]
pub struct Withhold {
    recent: HashMap<B256, BlockRef>,
    /// Oldest first; bounds `recent`.
    order: VecDeque<B256>,
    tip: Option<(SourceId, Header)>,
    held: Option<Held>,
    denials_needed: u32,
}

impl Default for Withhold {
    fn default() -> Self {
        Self { recent: HashMap::new(), order: VecDeque::new(), tip: None, held: None, denials_needed: DENIALS }
    }
}

impl Withhold {
    /// The head that was published last.
    #[must_use]
    pub fn tip(&self) -> Option<&Header> {
        self.tip.as_ref().map(|(_, header)| header)
    }

    /// A head was heard of.
    pub fn head(&mut self, source: SourceId, header: Header) -> Verdict {
        let Some((tip_source, tip)) = &self.tip else { return self.publish(source, header) };
        if header.block.hash == tip.block.hash {
            // The endpoint that gave it first stays the one to ask.
            self.held = None;
            return Verdict::Publish(header);
        }
        let its_own = *tip_source == source && header.block.number >= tip.block.number;
        if its_own || header.block.number > tip.block.number.saturating_add(FORK_LEAD) {
            return self.publish(source, header);
        }
        let asking =
            |held: &Held| held.header.block.hash == header.block.hash && (held.source == source || *tip_source != source);
        if self.held.as_ref().is_some_and(asking) {
            return Verdict::Wait; // being asked about already
        }
        self.remember(header.block);
        self.held = Some(Held { source, header, denials: 0, untraceable: false });
        self.again()
    }

    /// What to ask about the withheld head now.
    pub fn again(&mut self) -> Verdict {
        let (Some((source, tip)), Some(held)) = (&self.tip, &self.held) else { return Verdict::Drop };
        let about_tip = Verdict::Ask { source: *source, hash: tip.block.hash };
        if held.untraceable {
            return about_tip;
        }
        match self.relation(&tip.block, &held.header.block) {
            Relation::Descendant => self.publish_held(),
            Relation::Sibling if held.source == *source => self.publish_held(),
            Relation::Ancestor | Relation::Sibling => about_tip,
            // Who is higher knows what is below.
            Relation::Missing(hash) if held.header.block.number < tip.block.number => Verdict::Ask { source: *source, hash },
            Relation::Missing(hash) => Verdict::Ask { source: held.source, hash },
        }
    }

    /// The answer to [`Verdict::Ask`] about `hash`.
    pub fn answer(&mut self, hash: B256, answer: Answer) -> Verdict {
        let (Some((_, tip)), Some(held)) = (&self.tip, &self.held) else { return Verdict::Drop };
        let about_tip = tip.block.hash == hash;
        if about_tip && answer == Answer::Unreachable && self.is_another_branch(&tip.block, held) {
            return self.publish_held(); // nobody stands for the tip any more
        }
        let Some(held) = &mut self.held else { return Verdict::Drop };
        match answer {
            Answer::Unreachable => Verdict::Wait,
            Answer::Known(_) if about_tip => {
                if held.denials > 0 {
                    self.denials_needed = self.denials_needed.saturating_mul(2).min(DENIALS_MAX);
                }
                self.held = None;
                Verdict::Drop
            }
            Answer::Known(header) => {
                if header.block.hash == hash {
                    self.remember(header.block);
                } else {
                    held.untraceable = true;
                }
                self.again()
            }
            Answer::Unknown if about_tip => {
                held.denials = held.denials.saturating_add(1);
                if held.denials < self.denials_needed { Verdict::Wait } else { self.publish_held() }
            }
            Answer::Unknown => {
                // An ancestor is denied, so probably what stands on it is too.
                held.untraceable = true;
                self.again()
            }
        }
    }

    /// As far as can be told: a higher one that cannot be traced to the tip is, a lower one may be an ancestor.
    fn is_another_branch(&self, tip: &BlockRef, held: &Held) -> bool {
        self.relation(tip, &held.header.block) == Relation::Sibling || held.untraceable && held.header.block.number >= tip.number
    }

    fn publish_held(&mut self) -> Verdict {
        let Some(held) = self.held.take() else { return Verdict::Drop };
        self.denials_needed = DENIALS;
        self.publish(held.source, held.header)
    }

    fn publish(&mut self, source: SourceId, header: Header) -> Verdict {
        self.held = None;
        self.remember(header.block);
        self.tip = Some((source, header.clone()));
        Verdict::Publish(header)
    }

    fn remember(&mut self, block: BlockRef) {
        if self.recent.insert(block.hash, block).is_none() {
            self.order.push_back(block.hash);
        }
        while self.order.len() > REMEMBERED_HEADERS {
            if let Some(oldest) = self.order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
    }

    /// How a block relates to the branch of the tip.
    fn relation(&self, tip: &BlockRef, block: &BlockRef) -> Relation {
        let (high, low, below) =
            if block.number < tip.number { (tip, block, Relation::Ancestor) } else { (block, tip, Relation::Descendant) };
        let far = u64::try_from(REMEMBERED_HEADERS).unwrap_or(u64::MAX);
        if high.number.saturating_sub(low.number) >= far {
            return below; // not worth tracing: only a denial of the tip lets an ancestor through
        }
        let mut at = *high;
        while at.number > low.number {
            if at.parent_hash == low.hash {
                return below;
            }
            if at.number == low.number.saturating_add(1) {
                return Relation::Sibling;
            }
            match self.recent.get(&at.parent_hash) {
                Some(parent) if parent.number < at.number => at = *parent,
                // A number that does not fall would walk in circles; nothing follows from it.
                Some(_) if block.number < tip.number => return Relation::Ancestor,
                Some(_) => return Relation::Sibling,
                None => return Relation::Missing(at.parent_hash),
            }
        }
        Relation::Sibling
    }
}

struct Driver<A> {
    heads: BoxStream<'static, (SourceId, HeadEvent)>,
    rule: Withhold,
    ask: A,
    recheck: Duration,
    pause: Duration,
    /// The question that is under way, or the pause before the next.
    question: Option<BoxFuture<'static, Option<(B256, Answer)>>>,
    down: bool,
}

/// Applies the rule to a stream of heads from several endpoints. `ask` puts a question to exactly that endpoint, which
/// gives the header, or `None` for "no"; `recheck` is the pause between two questions about the same head. Heads go on while a question is open.
pub fn withheld<S, A, F>(heads: S, ask: A, recheck: Duration) -> BoxStream<'static, HeadEvent>
where
    S: Stream<Item = (SourceId, HeadEvent)> + Send + 'static,
    A: Fn(SourceId, Question) -> F + Send + 'static,
    F: Future<Output = Result<Option<Header>, ChainError>> + Send + 'static,
{
    let driver =
        Driver { heads: heads.boxed(), rule: Withhold::default(), ask, recheck, pause: recheck, question: None, down: false };
    stream::unfold(driver, |mut driver| async move { driver.next().await.map(|event| (event, driver)) }).boxed()
}

impl<A, F> Driver<A>
where
    A: Fn(SourceId, Question) -> F + Send + 'static,
    F: Future<Output = Result<Option<Header>, ChainError>> + Send + 'static,
{
    async fn next(&mut self) -> Option<HeadEvent> {
        loop {
            let verdict = tokio::select! {
                biased;
                next = self.heads.next() => match next? {
                    (_, HeadEvent::Down { reason }) => {
                        self.down = true;
                        return Some(HeadEvent::Down { reason });
                    }
                    (source, HeadEvent::Head(header)) => {
                        let verdict = self.rule.head(source, header);
                        // Already being asked about: the open question goes on.
                        if verdict == Verdict::Wait && self.question.is_some() { Verdict::Drop } else { self.question = None; verdict }
                    }
                },
                answer = async { match &mut self.question { Some(question) => question.await, None => std::future::pending().await } } => {
                    self.question = None;
                    match answer {
                        Some((hash, answer)) => {
                            self.pause = match answer {
                                Answer::Unreachable => self.pause.saturating_mul(2).min(RECHECK_MAX),
                                _ => self.recheck,
                            };
                            self.rule.answer(hash, answer)
                        }
                        None => self.rule.again(),
                    }
                }
            };
            match verdict {
                Verdict::Publish(header) => {
                    self.down = false;
                    return Some(HeadEvent::Head(header));
                }
                Verdict::Drop => {}
                Verdict::Wait => self.question = Some(tokio::time::sleep(self.pause).map(|()| None).boxed()),
                Verdict::Ask { source, hash } => {
                    let question = match self.rule.tip() {
                        Some(tip) if tip.block.hash == hash => Question::OnChain(tip.block),
                        _ => Question::Header(hash),
                    };
                    let asked = (self.ask)(source, question);
                    self.question = Some(
                        async move {
                            let answer = match asked.await {
                                Ok(Some(header)) => Answer::Known(header),
                                Ok(None) | Err(ChainError::UnknownBlock(_)) => Answer::Unknown,
                                Err(_) => Answer::Unreachable,
                            };
                            Some((hash, answer))
                        }
                        .boxed(),
                    );
                }
            }
            // Heads are back, though this one is withheld: say the head that stands.
            if self.down
                && let Some(tip) = self.rule.tip()
            {
                self.down = false;
                return Some(HeadEvent::Head(tip.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
