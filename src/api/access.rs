//! Who asks, what they may, and what they have left.
//!
//! Whoever brings no key is its address, with a budget of its own; whoever brings one has that of the key, from wherever it asks. An answer
//! costs what it was: a point for each kB and for each hundred fields that the question could have had, one at least. What is over the
//! budget is paid back before the next answer. Keys are known by their hash only. What is absent: users, and anything that a key could
//! change.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dashmap::DashMap;
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock, QuantaInstant},
};
use sha2::{Digest as _, Sha256};

use super::{
    gql::error::{ApiError, Code},
    intake::Client,
};

pub(super) const API_KEY: &str = "x-api-key";
/// Longer ones are none of ours: `swaptide key` makes 47 characters.
const KEY_MAX_BYTES: usize = 256;
/// Addresses are looked through for idle ones whenever so many requests came since, and only beyond so many addresses: about 1 MB.
const SWEEP_EVERY: u64 = 4_096;
const SWEEP_BEYOND: usize = 10_000;
const BYTES_PER_POINT: usize = 1_024;
const FIELDS_PER_POINT: usize = 100;

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Queries: GraphQL, REST, charts.
    Read,
    /// Subscriptions and streams.
    Subscribe,
}

/// A key, as the configuration has it.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// For logs and metrics.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    /// Points, on average; 0: as many as it likes.
    pub cost_per_second: u32,
    pub cost_burst: u32,
}

/// Who may ask, and how much.
#[derive(Debug, Clone, Default)]
pub struct AccessRules {
    pub keys: Vec<ApiKey>,
    /// Nobody is answered without one.
    pub key_required: bool,
    /// Points of an address without a key, on average; 0: as many as it likes.
    pub cost_per_second: u32,
    pub cost_burst: u32,
}

/// A new key, 256 bits of chance, and its hash as the configuration has it.
///
/// # Errors
/// Where the machine gives no random numbers.
pub fn new_key() -> Result<(String, String), getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let key = format!("swt_{}", URL_SAFE_NO_PAD.encode(secret));
    let hash = alloy::hex::encode(Sha256::digest(&key));
    Ok((key, format!("sha256:{hash}")))
}

/// Of an answer, for whoever counts it. In the response's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost(u32);

impl Cost {
    /// Of a step through history: 500 events are read, whether or not any of them is told.
    pub(super) const STEP: Self = Self(20);

    /// Of an answer of so many bytes to a question of so many fields.
    pub(super) fn new(bytes: usize, fields: usize) -> Self {
        let points = (bytes / BYTES_PER_POINT).max(fields / FIELDS_PER_POINT).max(1);
        Self(u32::try_from(points).unwrap_or(u32::MAX))
    }
}

fn quota(per_second: u32, burst: u32) -> Option<Quota> {
    let rate = NonZeroU32::new(per_second)?;
    Some(Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate)))
}

struct Key {
    name: String,
    scopes: Vec<Scope>,
    budget: Option<DefaultDirectRateLimiter>,
    burst: u32,
}

/// Whom a request comes from.
#[derive(Clone)]
pub(super) struct Caller {
    client: Client,
    key: Option<Arc<Key>>,
}

impl Caller {
    pub(super) fn client(&self) -> Client {
        self.client
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// What it may get: whoever may get the same can share it.
    pub(super) fn class(&self) -> &'static str {
        "public"
    }
}

/// The keys, and what is left of everybody's budget.
pub(super) struct Access {
    keys: HashMap<[u8; 32], Arc<Key>>,
    key_required: bool,
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    burst: u32,
    /// Who got more than was left, and how many points of it are owed still.
    debts: DashMap<Debtor, u32>,
    asked: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Debtor {
    Address(IpAddr),
    Key(String),
}

impl Access {
    pub(super) fn new(rules: &AccessRules) -> Self {
        let key = |key: &ApiKey| {
            let budget = quota(key.cost_per_second, key.cost_burst).map(RateLimiter::direct);
            let known = Key { name: key.name.clone(), scopes: key.scopes.clone(), budget, burst: key.cost_burst };
            (key.hash, Arc::new(known))
        };
        Self {
            keys: rules.keys.iter().map(key).collect(),
            key_required: rules.key_required,
            addresses: quota(rules.cost_per_second, rules.cost_burst).map(RateLimiter::keyed),
            burst: rules.cost_burst,
            debts: DashMap::new(),
            asked: AtomicU64::new(0),
        }
    }

    /// By `X-Api-Key`, or `Authorization: Bearer`.
    ///
    /// # Errors
    /// There is no such key.
    pub(super) fn caller(&self, client: Client, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let given = headers.get(API_KEY).map(|value| value.to_str().unwrap_or_default()).or(bearer);
        match given {
            Some(text) => self.with_key(client, text),
            None => Ok(Caller { client, key: None }),
        }
    }

    /// # Errors
    /// There is no such key.
    pub(super) fn with_key(&self, client: Client, text: &str) -> Result<Caller, ApiError> {
        let known = (text.len() <= KEY_MAX_BYTES).then(|| self.keys.get(&<[u8; 32]>::from(Sha256::digest(text)))).flatten();
        match known {
            Some(key) => Ok(Caller { client, key: Some(key.clone()) }),
            None => Err(ApiError::new(Code::Unauthenticated, "this API key is not known here: check it, or ask without one")),
        }
    }

    /// # Errors
    /// Without a key where one is needed, or with one that does not open this.
    pub(super) fn may(&self, caller: &Caller, scope: Scope) -> Result<(), ApiError> {
        self.must_have_key(caller)?;
        match &caller.key {
            Some(key) if !key.scopes.contains(&scope) => {
                let what = match scope {
                    Scope::Read => "read",
                    Scope::Subscribe => "subscribe",
                };
                Err(ApiError::new(Code::Forbidden, format!("this API key does not have the scope `{what}`")))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// Without a key where one is needed.
    pub(super) fn must_have_key(&self, caller: &Caller) -> Result<(), ApiError> {
        if self.key_required && caller.key.is_none() {
            let message = "an API key is needed here: send it as `X-Api-Key`, or as `apiKey` in connection_init";
            return Err(ApiError::new(Code::Unauthenticated, message));
        }
        Ok(())
    }

    /// Takes one point in advance.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(super) fn admit(&self, caller: &Caller) -> Result<(), Duration> {
        // What is owed is taken first, as far as it is there.
        let debtor = Self::debtor(caller);
        while let Some(owed) = self.debts.get(&debtor).map(|owed| *owed) {
            let Some(part) = NonZeroU32::new(owed.min(self.burst_of(caller))) else { break };
            self.take(caller, part)?;
            self.debts.alter(&debtor, |_, owed| owed.saturating_sub(part.get()));
            self.debts.remove_if(&debtor, |_, owed| *owed == 0);
        }
        self.sweep();
        self.take(caller, NonZeroU32::MIN)
    }

    /// What an answer cost beyond the point that was taken in advance. It was given already: what is not there is owed.
    pub(super) fn settle(&self, caller: &Caller, cost: Cost) {
        let Some(rest) = NonZeroU32::new(cost.0.saturating_sub(1)) else { return };
        if rest.get() <= self.burst_of(caller) && self.take(caller, rest).is_ok() {
            return;
        }
        if self.is_limited(caller) {
            let mut owed = self.debts.entry(Self::debtor(caller)).or_insert(0);
            *owed = owed.saturating_add(rest.get());
        }
    }

    fn burst_of(&self, caller: &Caller) -> u32 {
        caller.key.as_ref().map_or(self.burst, |key| key.burst).max(1)
    }

    fn is_limited(&self, caller: &Caller) -> bool {
        caller.key.as_ref().map_or(self.addresses.is_some(), |key| key.budget.is_some())
    }

    /// Who pays for it.
    pub(super) fn debtor(caller: &Caller) -> Debtor {
        caller.key.as_ref().map_or(Debtor::Address(caller.client.address()), |key| Debtor::Key(key.name.clone()))
    }

    fn take(&self, caller: &Caller, points: NonZeroU32) -> Result<(), Duration> {
        let wait = |refused: NotUntil<QuantaInstant>| refused.wait_time_from(DefaultClock::default().now());
        let taken = match (&caller.key, &self.addresses) {
            (Some(key), _) => key.budget.as_ref().map(|budget| budget.check_n(points)),
            (None, Some(addresses)) => Some(addresses.check_key_n(&caller.client.address(), points)),
            (None, None) => None,
        };
        match taken {
            // More than the budget can ever hold is never asked for.
            None | Some(Ok(Ok(())) | Err(_)) => Ok(()),
            Some(Ok(Err(refused))) => Err(wait(refused)),
        }
    }

    fn sweep(&self) {
        if !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            return;
        }
        if self.debts.len() > SWEEP_BEYOND {
            forgive(&self.debts);
        }
        if let Some(addresses) = self.addresses.as_ref().filter(|addresses| addresses.len() > SWEEP_BEYOND) {
            addresses.retain_recent();
            addresses.shrink_to_fit();
        }
    }
}

/// Forgets the smaller half of what is owed: whoever never comes back takes room, and whoever owes much may be why there are so many.
fn forgive(debts: &DashMap<Debtor, u32>) {
    let mut owed: Vec<u32> = debts.iter().map(|debt| *debt).collect();
    let middle = owed.len() / 2;
    if middle > 0 {
        let (_, median, _) = owed.select_nth_unstable(middle);
        debts.retain(|_, owed| *owed > *median);
    }
}

/// What is said to whoever has to wait.
pub(super) fn too_much(wait: Duration) -> (ApiError, u128) {
    // Rounded up: a client that comes back at that time is let in.
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let message = format!("more was asked for than the budget holds: wait {seconds} s, and ask for less, or more slowly");
    (ApiError::new(Code::RateLimited, message), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_owes_much_is_not_forgotten_because_many_owe_little() {
        let debts = DashMap::new();
        for last in 0..=200_u8 {
            debts.insert(Debtor::Address([10, 0, 0, last].into()), if last == 77 { 50_000 } else { 3 });
        }
        forgive(&debts);
        let left: Vec<_> = debts.iter().map(|debt| (debt.key().clone(), *debt)).collect();
        assert_eq!(left, [(Debtor::Address([10, 0, 0, 77].into()), 50_000)]);
    }
}
