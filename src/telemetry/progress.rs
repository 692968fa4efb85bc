//! How far a backfill is: a bar on a terminal, log lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// A log line at most this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub struct Progress {
    chain: String,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    blocks: u64,
    blocks_total: u64,
    events: usize,
}

impl Progress {
    /// `from..=to`, in blocks.
    #[must_use]
    pub fn start(chain: &str, from: u64, to: u64, bar: bool) -> Self {
        let blocks_total = to.saturating_sub(from).saturating_add(1);
        let style = "  catching up {prefix} [{bar:32}] {pos}/{len} blocks, {msg}, {eta} left";
        let bar = bar.then(|| {
            let bar = ProgressBar::new(blocks_total).with_prefix(chain.to_owned());
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        if bar.is_none() {
            tracing::info!(chain, from, to, "catching up");
        }
        let now = Instant::now();
        Self { chain: chain.to_owned(), bar, started: now, last_line: now, blocks: 0, blocks_total, events: 0 }
    }

    pub fn advance(&mut self, blocks: u64, events: usize) {
        self.blocks = self.blocks.saturating_add(blocks);
        self.events = self.events.saturating_add(events);
        let rate = self.rate();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{rate} events/s"));
            bar.set_position(self.blocks);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let left = self.blocks_total.saturating_sub(self.blocks);
            tracing::info!(chain = %self.chain, blocks = self.blocks, blocks_left = left, events = self.events, events_per_s = rate, "catching up");
        }
    }

    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        tracing::info!(
            chain = %self.chain,
            blocks = self.blocks,
            events = self.events,
            events_per_s = self.rate(),
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "caught up"
        );
    }

    /// Events per second since the start.
    fn rate(&self) -> u64 {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        u64::try_from(self.events).unwrap_or(u64::MAX).saturating_mul(1_000) / ms
    }
}
