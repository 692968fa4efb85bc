//! How much of the chain is in memory alone, and a word before that is too much.
//!
//! The window of `Live` is the journal: blocks stay there until the store has them. Where the store is away for long, memory lets go of
//! the oldest final ones first, and `Persist` reads those from the chain again. Nothing is lost by that; but it takes as long as the node
//! takes, and history has a hole until then: whoever operates it is told before.

use super::Deps;
use crate::store::Head;

/// Of its bound, in percent: somebody has the time to do something.
const FULL_PERCENT: usize = 80;
/// A journal that is emptier is no longer worth a word.
const EASY_PERCENT: usize = 60;

/// What was said of it last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Journal {
    #[default]
    Easy,
    Full,
    /// Memory had to let go of blocks that are not stored.
    Spilt,
}

impl Journal {
    /// After each commit.
    pub(super) fn look(&mut self, deps: &Deps) {
        let (head, durable) = (deps.live.head(), *deps.live.watch_durable().borrow());
        let (rows, rows_max) = (unstored(&head, durable), deps.plan.journal_rows_max);
        deps.metrics.journal_rows.with_label_values(&[&deps.label()]).set(i64::try_from(rows).unwrap_or(i64::MAX));
        if rows_max == 0 {
            return;
        }
        let percent = rows.saturating_mul(100) / rows_max;
        let first_lost = durable.saturating_add(1);
        let now = match *self {
            _ if head.window_floor != u64::MAX && first_lost < head.window_floor => Self::Spilt,
            // A backfill fills it as far as it may: that is its pace, and no trouble.
            _ if !head.current => return,
            _ if percent >= FULL_PERCENT => Self::Full,
            before if percent >= EASY_PERCENT => before.min(Self::Full),
            _ => Self::Easy,
        };
        match (*self, now) {
            (Self::Easy, Self::Full) => tracing::warn!(
                rows,
                rows_max,
                percent,
                "the journal is almost full: the store has been behind for long. Above `journal_rows` the oldest final blocks leave memory and \
                 are read from the chain again"
            ),
            (Self::Easy | Self::Full, Self::Spilt) => tracing::error!(
                rows,
                rows_max,
                first_lost,
                memory_from = head.window_floor,
                "memory let go of blocks that are not stored: the store was away for longer than the journal reaches, or is of another branch. They are read from the chain again once the store answers"
            ),
            (Self::Full | Self::Spilt, Self::Easy) => tracing::info!(rows, rows_max, "the journal has room again"),
            _ => {}
        }
        *self = now;
    }
}

/// Rows of the window above what is stored.
fn unstored(head: &Head, durable: u64) -> usize {
    let from = head.window.partition_point(|record| record.block.number <= durable);
    head.window.iter().skip(from).map(|record| record.rows.len()).fold(0, usize::saturating_add)
}
