//! A leaf that every layer but the domain may use: metrics with their help texts, the board that `/status` shows, log setup.

pub mod board;
pub mod logs;
pub mod metrics;
pub mod progress;

pub use board::{ActorState, Board};
pub use metrics::Metrics;
