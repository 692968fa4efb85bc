//! Everybody who subscribed to the same: one execution, one serialisation of each frame, a place in the queue of each connection.
//!
//! A member that joins gets an opening (see [`Link`]) at its place between two frames, so nothing is missed and nothing comes twice. One
//! that resumed by itself joins at an epoch: it gets what the ring has of later ones. What is absent: any wait for a member.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::{Response, Value};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    lane::{InTurn, Line},
    queue::{Body, Frame, Head, Item, Pushed, Queue},
};
use crate::api::gql::link::{Link, Nature};

/// Frames that whoever resumes may find here.
const RING_FRAMES: usize = 64;
const RING_BYTES_MAX: usize = 1024 * 1024;
/// Fewer connections are few: what is made for them takes turns.
const MANY: usize = 8;

/// Where a member stands.
enum Standing {
    /// For an opening; so many frames were left out before.
    Waiting(u64),
    /// Some frames of the opening have come.
    Opening,
    Live,
    /// It did not read in time; so many frames were left out since.
    Behind(u64),
    /// There was no place for its opening: it begins once everything is written, and has missed nothing.
    Late,
    /// It has everything up to this epoch, and is told whether it can go on from there.
    Joining {
        at: u64,
        outcome: Option<oneshot::Sender<bool>>,
    },
}

pub(super) struct Member {
    queue: Arc<Queue>,
    head: Arc<Head>,
    /// Of its client.
    line: Option<Line>,
    standing: Standing,
}

impl Member {
    pub(super) fn new(queue: Arc<Queue>, head: Arc<Head>) -> Self {
        Self { queue, head, line: None, standing: Standing::Waiting(0) }
    }

    /// One that has everything up to an epoch. The receiver hears whether the group has what came after it.
    pub(super) fn joining(queue: Arc<Queue>, head: Arc<Head>, at: u64) -> (Self, oneshot::Receiver<bool>) {
        let (outcome, joined) = oneshot::channel();
        (Self { queue, head, line: None, standing: Standing::Joining { at, outcome: Some(outcome) } }, joined)
    }

    /// What is made for it takes turns with what else its client reads.
    pub(super) fn in_line(self, line: Line) -> Self {
        Self { line: Some(line), ..self }
    }

    fn give(&mut self, frame: &Arc<Frame>, skipped: u64) {
        match self.queue.offer(&self.head, frame, skipped) {
            Pushed::Behind(lost) => self.standing = Standing::Behind(lost),
            Pushed::Taken | Pushed::NoPlace => {}
        }
    }

    /// Gives what it begins with.
    fn open(&mut self, frame: &Arc<Frame>, skipped: u64) {
        match self.queue.offer(&self.head, frame, skipped) {
            Pushed::Behind(lost) => self.standing = Standing::Behind(lost),
            Pushed::NoPlace => {
                self.standing = Standing::Late;
                self.queue.later(&self.head);
            }
            Pushed::Taken => {}
        }
    }

    fn hear(&mut self, frame: &Arc<Frame>) {
        match (frame.fact.opening, &self.standing) {
            (Some(opening), Standing::Waiting(skipped)) if opening.first => {
                let skipped = *skipped;
                self.standing = if opening.last { Standing::Live } else { Standing::Opening };
                self.open(frame, skipped);
            }
            (Some(opening), Standing::Opening) => {
                if opening.last {
                    self.standing = Standing::Live;
                }
                self.give(frame, 0);
            }
            (Some(opening), Standing::Live) if !opening.only => self.give(frame, 0),
            (None, Standing::Live) => self.give(frame, 0),
            (None, Standing::Behind(skipped)) => self.standing = Standing::Behind(skipped.saturating_add(1)),
            (
                _,
                Standing::Waiting(_)
                | Standing::Opening
                | Standing::Live
                | Standing::Behind(_)
                | Standing::Late
                | Standing::Joining { .. },
            ) => {}
        }
    }
}

#[derive(Default)]
struct Inner {
    members: BTreeMap<u64, Member>,
    next_member: u64,
    /// Events of the newest epochs.
    ring: VecDeque<Arc<Frame>>,
    ring_bytes: usize,
    /// The ring has everything of the epochs after this one. `None`: nothing is sure yet.
    floor: Option<u64>,
    /// Everything up to this epoch was published.
    through: Option<u64>,
    ended: bool,
}

pub(super) struct Group {
    link: Arc<Link>,
    inner: Mutex<Inner>,
    stop: CancellationToken,
}

impl Group {
    pub(super) fn new() -> Self {
        Self { link: Arc::new(Link::shared()), inner: Mutex::default(), stop: CancellationToken::new() }
    }

    /// For the request's data.
    pub(super) fn link(&self) -> Arc<Link> {
        self.link.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Never held across an await.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a member in, unless the group has ended. The first one needs no call: a stream begins with an opening.
    pub(super) fn add(&self, member: Member) -> Result<u64, Member> {
        let mut inner = self.inner();
        if inner.ended {
            return Err(member);
        }
        let token = inner.next_member;
        inner.next_member = token.saturating_add(1);
        inner.members.insert(token, member);
        drop(inner);
        if token > 0 {
            self.link.call();
        }
        Ok(token)
    }

    /// Whether nobody is left.
    pub(super) fn remove(&self, token: u64) -> bool {
        let mut inner = self.inner();
        inner.members.remove(&token);
        inner.members.is_empty()
    }

    /// Nobody joins any more, and the execution ends.
    pub(super) fn stop(&self) {
        self.inner().ended = true;
        self.stop.cancel();
    }

    /// A member that was behind has read everything, and begins anew with the state.
    pub(super) fn reopen(&self, token: u64) {
        let mut inner = self.inner();
        let Some(member) = inner.members.get_mut(&token) else { return };
        let skipped = match member.standing {
            Standing::Behind(skipped) => skipped,
            Standing::Late => 0,
            Standing::Waiting(_) | Standing::Opening | Standing::Live | Standing::Joining { .. } => return,
        };
        member.standing = Standing::Waiting(skipped);
        drop(inner);
        self.link.call();
    }

    /// The shortest of its members' lines, so that nobody waits for what somebody else reads beside it; none where many read it.
    ///
    /// A connection that asks for the same many times is one.
    pub(super) fn line(&self) -> Option<Line> {
        let inner = self.inner();
        let mut connections = Vec::with_capacity(MANY);
        let mut shortest: Option<&Line> = None;
        for member in inner.members.values() {
            let connection = Arc::as_ptr(&member.queue);
            if connections.contains(&connection) {
                continue;
            }
            connections.push(connection);
            if connections.len() >= MANY {
                return None;
            }
            let line = member.line.as_ref();
            shortest = shortest.into_iter().chain(line).min_by_key(|line| line.reads());
        }
        shortest.cloned()
    }

    /// Executes until it ends, or nobody is left; in turn while few read it.
    pub(super) async fn run(&self, stream: impl Stream<Item = Response> + Unpin) {
        // Writing it down is part of the step.
        let frames = stream.map(|response| frame(&response, &self.link).map(Arc::new));
        let frames = InTurn::new(frames, self.link.clone(), || self.line());
        // A field that panics is a bug; whoever waits for it must hear of the end all the same.
        let all = AssertUnwindSafe(self.publish_all(frames)).catch_unwind();
        let errors = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            ended = all => ended.unwrap_or_else(|_| Some(broken())),
        };
        self.end(errors);
    }

    /// The errors it ended with, if any.
    async fn publish_all(&self, mut frames: impl Stream<Item = Result<Arc<Frame>, Arc<str>>> + Unpin) -> Option<Arc<str>> {
        while let Some(frame) = frames.next().await {
            match frame {
                Ok(frame) => self.publish(&frame),
                Err(errors) => return Some(errors),
            }
        }
        None
    }

    fn publish(&self, frame: &Arc<Frame>) {
        let mut inner = self.inner();
        inner.members.values_mut().for_each(|member| member.hear(frame));
        if frame.fact.nature == Nature::Event {
            inner.keep(frame);
            inner.let_in();
        }
    }

    fn end(&self, errors: Option<Arc<str>>) {
        let members = {
            let mut inner = self.inner();
            inner.ended = true;
            std::mem::take(&mut inner.members)
        };
        for member in members.into_values() {
            let body = errors.clone().map_or(Body::Complete, Body::Failed);
            // Whoever resumes by itself finds out by itself.
            if !matches!(member.standing, Standing::Joining { .. }) {
                member.queue.push(Item { head: member.head, body });
            }
        }
    }
}

impl Inner {
    fn keep(&mut self, frame: &Arc<Frame>) {
        let fact = &frame.fact;
        if fact.epoch.is_some() && self.floor.is_some() {
            self.ring_bytes = self.ring_bytes.saturating_add(frame.payload.len());
            self.ring.push_back(frame.clone());
            while self.ring.len() > RING_FRAMES || self.ring_bytes > RING_BYTES_MAX {
                let Some(old) = self.ring.pop_front() else { break };
                self.ring_bytes = self.ring_bytes.saturating_sub(old.payload.len());
                self.floor = old.fact.epoch.or(self.floor);
            }
        } else if fact.opening.is_none() {
            // Read back from history: nobody knows of which epochs.
            (self.ring, self.ring_bytes, self.floor) = (VecDeque::new(), 0, None);
        }
        if let Some(through) = fact.through {
            self.through = Some(through);
            self.floor = self.floor.or(self.through);
        }
    }

    /// Those that resumed by themselves, where the group has caught up with them.
    fn let_in(&mut self) {
        let (Some(through), Some(floor)) = (self.through, self.floor) else { return };
        let mut refused = Vec::new();
        for (token, member) in &mut self.members {
            let Standing::Joining { at, outcome } = &mut member.standing else { continue };
            let at = *at;
            if through < at {
                continue;
            }
            let Some(outcome) = outcome.take() else { continue };
            let fits = floor <= at;
            // Its own task may have ended meanwhile; then it is on its way out.
            if outcome.send(fits).is_err() || !fits {
                refused.push(*token);
                continue;
            }
            member.standing = Standing::Live;
            let newer: Vec<Arc<Frame>> =
                self.ring.iter().filter(|frame| frame.fact.epoch.is_some_and(|epoch| epoch > at)).cloned().collect();
            newer.iter().for_each(|frame| member.give(frame, 0));
        }
        refused.iter().for_each(|token| drop(self.members.remove(token)));
    }
}

/// A response as all get it, or the errors that end the operation.
pub(super) fn frame(response: &Response, link: &Link) -> Result<Frame, Arc<str>> {
    if response.data == Value::Null && !response.errors.is_empty() {
        return Err(errors(response));
    }
    let payload = serde_json::to_string(response).map_err(|error| {
        tracing::error!(%error, "a frame could not be written as JSON");
        broken()
    })?;
    Ok(Frame { payload: payload.into(), plain: response.extensions.is_empty(), fact: link.fact() })
}

/// Of a response, as a JSON list.
pub(super) fn errors(response: &Response) -> Arc<str> {
    serde_json::to_string(&response.errors).map_or_else(|_| broken(), Into::into)
}

fn broken() -> Arc<str> {
    r#"[{"message":"something went wrong in this server, and was written to its log: subscribe again","extensions":{"code":"UPSTREAM_DOWN"}}]"#.into()
}
