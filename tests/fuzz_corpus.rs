//! The fuzz targets without a fuzzer: each is given its committed corpus, and bytes of seeded chance. `cargo xtask fuzz` looks for more.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that cannot go on says so by a panic; the targets are shared with the fuzz package, where they are public"
)]

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// The longest input of chance; libFuzzer's are as long.
const LENGTH_MAX: u64 = 512;

/// What was tried last, for whoever has to find out why.
struct Tried {
    name: String,
    bytes: Vec<u8>,
}

impl Drop for Tried {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("with {}: {hex}", self.name);
        }
    }
}

fn run(target: fn(&[u8]), name: String, bytes: Vec<u8>) {
    let tried = Tried { name, bytes };
    target(&tried.bytes);
}

/// SplitMix64
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The corpus, each of it again with some bytes changed, and bytes of nothing but chance.
fn replay(name: &str, target: fn(&[u8]), chances: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} holds the corpus", folder.display());
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (file, bytes) in files.iter().zip(&corpus) {
        run(target, file.display().to_string(), bytes.clone());
    }
    for seed in 0..chances {
        let state = &mut seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let from = usize::try_from(next(state)).unwrap() % (2 * corpus.len());
        let bytes = match corpus.get(from) {
            Some(bytes) => changed(bytes, state),
            None => (0..next(state) % LENGTH_MAX).map(|_| next(state).to_be_bytes()[0]).collect(),
        };
        run(target, format!("seed {seed}"), bytes);
    }
}

fn changed(bytes: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(state) % 4 {
        if !bytes.is_empty() {
            let at = usize::try_from(next(state)).unwrap() % bytes.len();
            bytes[at] = next(state).to_be_bytes()[0];
        }
    }
    bytes
}

#[test]
fn any_log_is_decoded_or_refused() {
    replay("decode", targets::decode, 3_000);
}

#[test]
fn any_order_in_any_pool_keeps_what_the_contracts_promise() {
    replay("swap", targets::swap, 400);
}

#[test]
fn any_events_are_folded_and_those_of_a_real_pool_add_up() {
    replay("fold", targets::fold, 400);
}

#[test]
fn the_best_way_through_any_pools_is_one() {
    replay("route", targets::route, 1_000);
}

#[test]
fn any_bytes_of_the_store_are_read_or_refused() {
    replay("codec", targets::codec, 3_000);
}

#[test]
fn any_request_is_answered_and_no_fault_of_ours() {
    replay("request", targets::request, 300);
}

#[test]
fn any_bytes_over_a_websocket_end_as_the_protocol_says() {
    replay("socket", targets::socket, 300);
}
