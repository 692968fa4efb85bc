//! What is done with any bytes at all: each target takes some, makes of them what it needs, and panics where a promise is broken.
//!
//! The targets in `fuzz_targets` hand them what libFuzzer finds; `tests/fuzz_corpus.rs` of the engine includes this file and hands them the
//! corpus and seeded chance, so that nobody needs cargo-fuzz to know whether they still hold. A target is a function of its bytes alone.
//! What is absent: anything that only libFuzzer has.

mod codec;
mod decode;
mod fee;
mod fold;
mod input;
mod pools;
mod request;
mod route;
mod socket;
mod swap;
mod world;

pub use self::{codec::codec, decode::decode, fold::fold, request::request, route::route, socket::socket, swap::swap};
