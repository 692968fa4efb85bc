//! Swaptide: the real-time backend of a decentralized exchange. See `docs/ARCHITECTURE.md` for the map.
//!
//! Read [`domain`] first, then [`chain::ChainSource`], `actors::ingest`, [`store::live`] and `app`: that is the product in
//! outline. Imports go downwards only; `tests/tidy.rs` holds the layers to it.

pub mod actors;
pub mod api;
pub mod app;
pub mod audit;
pub mod chain;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod feeds;
pub mod init;
pub mod store;
pub mod telemetry;
