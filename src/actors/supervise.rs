//! `supervise()`: the one way an actor is started.
//!
//! `actix::Supervisor` does not restart an actor that panics, knows no back-off and no limit. This one catches the panic around
//! actix's own `ContextFut` and restarts it in place: same address, queued messages kept, `restarting()` then `started()` run
//! again. What is lost is the message that panicked; its sender sees `MailboxError::Closed`.

use std::{any::Any, collections::VecDeque, panic::AssertUnwindSafe, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Supervised, dev::ContextFut};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::telemetry::{ActorState, Board, Metrics};

/// What happens when an actor ends without a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It must not end: it is started again.
    Permanent,
    /// It ends when it is done (a pool whose creation was taken back).
    Transient,
}

/// 5 failures in 60 s: more is a crash loop, and restarting it only burns a core.
const INTENSITY_MAX: usize = 5;
const INTENSITY_WINDOW: Duration = Duration::from_secs(60);
/// 10, 20, 40, 80 ms … the first restart must make a pool true again within a second.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How one actor is kept alive.
pub struct Spec {
    pub kind: &'static str,
    /// Unique in the process; the key on the board.
    pub name: String,
    pub restart: Restart,
    pub board: Board,
    pub metrics: Metrics,
    /// Called once, with the last failure, when the actor is given up.
    pub on_give_up: Box<dyn FnOnce(&str)>,
}

/// Failures within the window, and the pause before the next start.
#[derive(Debug, Default)]
struct Intensity {
    failures: VecDeque<Instant>,
}

impl Intensity {
    /// Counts a failure. `None`: it failed too often.
    fn record(&mut self, now: Instant, salt: &str) -> Option<Duration> {
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > INTENSITY_WINDOW) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() > INTENSITY_MAX {
            return None;
        }
        let doublings = u32::try_from(self.failures.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(doublings)).min(BACKOFF_MAX);
        // Jitter from the name, so that a thousand pools that fail together do not restart together, and a test repeats.
        let spread = salt.bytes().fold(0u32, |acc, b| acc.wrapping_mul(31).wrapping_add(u32::from(b))) % 25;
        Some(pause.saturating_mul(spread.saturating_add(100)) / 100)
    }
}

/// Starts an actor on the current `LocalSet` and keeps it alive. `make` is called once; after a panic the same value goes
/// through `Supervised::restarting`, which must replace everything that may be half-changed.
pub fn supervise<A>(spec: Spec, make: impl FnOnce(&mut Context<A>) -> A) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    let mut context = Context::<A>::new();
    let actor = make(&mut context);
    let address = context.address();
    let incarnation = spec.board.begin(spec.kind, &spec.name);
    actix_rt::spawn(keep_alive(spec, incarnation, context.into_future(actor)));
    address
}

async fn keep_alive<A>(spec: Spec, incarnation: u64, mut future: ContextFut<A, Context<A>>)
where
    A: Actor<Context = Context<A>> + Supervised,
{
    let mut intensity = Intensity::default();
    loop {
        let cause = match AssertUnwindSafe(&mut future).catch_unwind().await {
            Ok(()) if spec.restart == Restart::Transient => break,
            Ok(()) => "it stopped by itself".to_owned(),
            Err(panic) => panic_text(panic.as_ref()),
        };
        let Some(pause) = intensity.record(Instant::now(), &spec.name) else {
            tracing::error!(actor = %spec.name, %cause, "given up: it failed {} times in {} s", INTENSITY_MAX.saturating_add(1), INTENSITY_WINDOW.as_secs());
            spec.board.failed(spec.kind, &spec.name, ActorState::Quarantined, &cause);
            // Dropping a context polls it once more, and what panicked may panic again.
            drop(std::panic::catch_unwind(AssertUnwindSafe(|| drop(future))));
            (spec.on_give_up)(&cause);
            return;
        };
        tracing::warn!(actor = %spec.name, %cause, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "restarting");
        spec.metrics.actor_restarts_total.with_label_values(&[spec.kind]).inc();
        spec.board.failed(spec.kind, &spec.name, ActorState::Restarting, &cause);
        tokio::time::sleep(pause).await;
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.restart())) {
            Ok(true) => spec.board.set(spec.kind, &spec.name, ActorState::Running),
            Ok(false) => break, // nobody holds the address any more
            Err(panic) => tracing::error!(actor = %spec.name, cause = %panic_text(panic.as_ref()), "panicked while restarting"),
        }
    }
    spec.board.end(&spec.name, incarnation);
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "of an unknown kind".to_owned()))
}
