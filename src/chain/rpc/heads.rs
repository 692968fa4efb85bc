//! New heads from all endpoints, merged. WebSockets push; while none is up, or all are silent, the newest block is asked for.
//!
//! A lost connection lost heads with it, so every new one starts with the newest block: whoever follows the chain closes the gap
//! by parent hash. What is absent: which of these heads to believe.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy::primitives::B256;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    BlockTag, Inner,
    endpoint::{Endpoint, HeadFeed},
    errors::Failure,
    header_of, header_request,
    wire::WireHeader,
};
use crate::{
    chain::{HeadEvent, withhold::SourceId},
    domain::block::Header,
};

/// Heads between the endpoints and whoever follows the chain; a slower reader slows the senders.
const QUEUED: usize = 64;

/// A watchdog is not more impatient than this, however fast the blocks come.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// A connection that lived this long was a good one: the next one is tried at once.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

/// Pause before the second attempt to connect; it doubles, with jitter.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);

/// An attempt costs one handshake; meanwhile heads are polled.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// What the loops of one stream share.
#[derive(Debug)]
struct Hub {
    inner: Arc<Inner>,
    out: mpsc::Sender<(SourceId, HeadEvent)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// WebSocket feeds that are up.
    up: usize,
    /// When a head that differed from the one before it was last heard, and which.
    last: Option<(Instant, B256)>,
    /// Running mean of the time between heads.
    rhythm: Duration,
    /// `Down` was said and no head since.
    down: bool,
}

/// Heads of all endpoints, each with who said it. Its tasks start with the first poll and end with the stream.
pub(super) fn merged(inner: Arc<Inner>) -> impl Stream<Item = (SourceId, HeadEvent)> + Send + 'static {
    let start = async move {
        let (out, heads) = mpsc::channel(QUEUED);
        let rhythm = inner.poll_interval;
        let state = Mutex::new(State { up: 0, last: None, rhythm, down: false });
        let hub = Arc::new(Hub { inner, out, state });
        let mut tasks = JoinSet::new();
        for endpoint in hub.inner.endpoints.iter().filter(|e| e.is_ws()) {
            tasks.spawn(follow(Arc::clone(&hub), Arc::clone(endpoint)));
        }
        tasks.spawn(poll(hub));
        // The tasks live as long as the stream that holds them.
        ReceiverStream::new(heads).map(move |head| {
            let _keep = &tasks;
            head
        })
    };
    stream::once(start).flatten()
}

impl Hub {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn say(&self, source: SourceId, header: Header) {
        {
            let mut state = self.state();
            let now = Instant::now();
            state.down = false;
            match state.last {
                Some((_, hash)) if hash == header.block.hash => {}
                Some((at, _)) => {
                    state.rhythm = state.rhythm.saturating_mul(3).saturating_add(now.duration_since(at)) / 4;
                    state.last = Some((now, header.block.hash));
                }
                None => state.last = Some((now, header.block.hash)),
            }
        }
        // Closed: nobody listens, and the tasks are about to be dropped.
        let _ = self.out.send((source, HeadEvent::Head(header))).await;
    }

    /// Says once that there are no heads.
    async fn say_down(&self, source: SourceId, reason: String) {
        let first = !std::mem::replace(&mut self.state().down, true);
        if first {
            tracing::warn!(%reason, "no endpoint gives heads");
            let _ = self.out.send((source, HeadEvent::Down { reason })).await;
        }
    }

    /// Silence that is worth a question: two block times.
    fn patience(&self) -> Duration {
        let longest = self.inner.stall_timeout.max(SILENCE_MIN);
        self.state().rhythm.saturating_mul(2).clamp(SILENCE_MIN, longest)
    }

    fn is_silent(&self) -> bool {
        let patience = self.patience();
        self.state().last.is_none_or(|(at, _)| at.elapsed() > patience)
    }
}

/// Counts a feed as up for as long as it lives.
struct Up<'a>(&'a Hub);

impl<'a> Up<'a> {
    fn new(hub: &'a Hub) -> Self {
        let mut state = hub.state();
        state.up = state.up.saturating_add(1);
        drop(state);
        Self(hub)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.up = state.up.saturating_sub(1);
    }
}

/// Keeps one WebSocket endpoint subscribed, for ever.
async fn follow(hub: Arc<Hub>, endpoint: Arc<Endpoint>) {
    let pauses = || super::ask::backoff(RECONNECT_FIRST, RECONNECT_MAX);
    let mut pause = pauses();
    // An outage is one line, however often it is tried to end it.
    let mut told = false;
    loop {
        let began = Instant::now();
        let ended = match endpoint.subscribe_heads().await {
            Ok(mut feed) => {
                let ended = listen(&hub, &endpoint, &mut feed).await;
                endpoint.drop_connection(feed.connection).await;
                told = false;
                ended
            }
            Err(failure) => failure,
        };
        if began.elapsed() >= GOOD_CONNECTION {
            pause = pauses();
        }
        let wait = pause.next().unwrap_or(RECONNECT_MAX);
        if told {
            tracing::debug!(endpoint = %endpoint.label, reason = %ended, retry_in_ms = wait.as_millis(), "still no head feed");
        } else {
            tracing::warn!(endpoint = %endpoint.label, reason = %ended, retry_in_ms = wait.as_millis(), "the head feed ended");
            told = true;
        }
        tokio::time::sleep(wait).await;
    }
}

/// Forwards what one connection pushes until it ends, or until it shows to be dead.
async fn listen(hub: &Hub, endpoint: &Endpoint, feed: &mut HeadFeed) -> Failure {
    let mut newest = match latest(endpoint).await {
        Ok(header) => {
            let hash = header.block.hash;
            hub.say(endpoint.index, header).await;
            hash
        }
        Err(failure) => return failure,
    };
    let _up = Up::new(hub);
    tracing::info!(endpoint = %endpoint.label, "following heads");
    let mut missed = false;
    loop {
        let pushed = match timeout(hub.patience(), feed.pushed.recv()).await {
            Ok(Ok(pushed)) => serde_json::from_str::<WireHeader>(pushed.get()).ok().map(Header::from),
            // Some were dropped because we were slow: the newest is enough.
            Ok(Err(RecvError::Lagged(_))) => None,
            Ok(Err(RecvError::Closed)) => return Failure::Unreachable("the connection ended".into()),
            Err(_) => {
                // Silence. A chain may be quiet; a connection that does not answer is dead, and one that answers with a block it
                // did not push, twice, has lost its subscription.
                match latest(endpoint).await {
                    Err(failure) => return failure,
                    Ok(header) if header.block.hash == newest => continue,
                    Ok(_) if missed => return Failure::Unreachable("it has new blocks and does not push them".into()),
                    Ok(header) => {
                        missed = true;
                        newest = header.block.hash;
                        hub.say(endpoint.index, header).await;
                        continue;
                    }
                }
            }
        };
        missed = false;
        let header = match pushed {
            Some(header) => header,
            // Lagged, or a head in another shape.
            None => match latest(endpoint).await {
                Ok(header) => header,
                Err(failure) => return failure,
            },
        };
        newest = header.block.hash;
        hub.say(endpoint.index, header).await;
    }
}

/// Asks for the newest block while nobody pushes.
async fn poll(hub: Arc<Hub>) {
    let mut ticks = interval(hub.inner.poll_interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if hub.inner.endpoints.iter().any(|e| e.is_ws()) {
        // Leaves the WebSockets one interval to come up.
        ticks.tick().await;
    }
    let mut said: HashMap<SourceId, B256> = HashMap::new();
    let mut asked_in_silence = Instant::now();
    loop {
        ticks.tick().await;
        let (up, down) = {
            let state = hub.state();
            (state.up, state.down)
        };
        if up > 0 {
            // The feeds look after themselves; endpoints without one may know more than all of them.
            if !hub.is_silent() || asked_in_silence.elapsed() < hub.patience() {
                continue;
            }
            asked_in_silence = Instant::now();
            for endpoint in hub.inner.endpoints.iter().filter(|e| !e.is_ws()) {
                if let Ok(header) = latest(endpoint).await {
                    heard(&hub, &mut said, endpoint.index, header, false).await;
                }
            }
            continue;
        }
        let mut failures = Vec::new();
        for endpoint in hub.inner.ordered(super::ask::Order::Bulk) {
            match latest(&endpoint).await {
                Ok(header) => {
                    failures.clear();
                    heard(&hub, &mut said, endpoint.index, header, down).await;
                    break;
                }
                Err(failure) => failures.push(format!("{}: {failure}", endpoint.label)),
            }
        }
        if !failures.is_empty() {
            hub.say_down(0, failures.join("; ")).await;
        }
    }
}

/// Says a polled head when it is news, or when heads come back after an outage.
async fn heard(hub: &Hub, said: &mut HashMap<SourceId, B256>, source: SourceId, header: Header, was_down: bool) {
    let known = said.insert(source, header.block.hash) == Some(header.block.hash);
    let standing = hub.state().last.is_some_and(|(_, hash)| hash == header.block.hash);
    if was_down || !(known || standing) {
        hub.say(source, header).await;
    }
}

async fn latest(endpoint: &Endpoint) -> Result<Header, Failure> {
    let header = header_of(endpoint, &header_request(BlockTag::Latest), false).await?;
    header.ok_or_else(|| Failure::BadAnswer("it has no newest block".into()))
}
