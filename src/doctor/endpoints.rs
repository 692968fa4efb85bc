//! What follows from what an endpoint can do.

use super::{
    Examined,
    table::{Row, counted},
};
use crate::{
    chain::rpc::probe::{Abilities, EndpointReport, LogsRange, Proof, StateDepth},
    config::{self, ChainConfig, Finality},
};

/// An endpoint that is further behind than this, in blocks and in seconds, answers too late to be of use. The engine leaves it alone
/// at the same number.
const BEHIND_MAX_BLOCKS: u64 = 8;
const BEHIND_MAX_S: u64 = 5;

/// A finalized block that is further behind than this is left alone: the engine holds no more to undo.
const FINALIZED_MAX_BLOCKS: u64 = 4_096;

/// An endpoint on the right chain that answered.
pub(super) fn abilities(endpoint: &EndpointReport) -> Option<&Abilities> {
    endpoint.contact.as_ref().ok()?.abilities.as_ref()?.as_ref().ok()
}

/// What to call an endpoint: its host, and its number where several have the same.
fn name(all: &Examined<'_>, index: usize, endpoint: &EndpointReport) -> String {
    let kind = |e: &EndpointReport| if e.is_ws { "ws" } else { "http" };
    let is_same = |e: &&EndpointReport| e.host == endpoint.host && e.is_ws == endpoint.is_ws;
    let before = all.endpoints.iter().take(index).filter(is_same).count();
    let number = if before == 0 { String::new() } else { format!(" #{}", before.saturating_add(1)) };
    format!("{} {} {}{number}", all.chain.name, endpoint.host, kind(endpoint))
}

pub(super) fn judge(all: &Examined<'_>, now_unix_s: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, endpoint) in all.endpoints.iter().enumerate() {
        let place = name(all, index, endpoint);
        let contact = match &endpoint.contact {
            Ok(contact) => contact,
            Err(reason) => {
                rows.push(Row::fail(place, "reachable", format!("{reason}. Check the URL and its key, or start the node")));
                continue;
            }
        };
        rows.push(Row::ok(&place, "reachable", format!("{} ms", contact.latency.as_millis().max(1))));
        let (found, expected) = (contact.chain_id, all.chain.id);
        match &contact.abilities {
            None => {
                let detail = format!("it serves chain {found}, the configuration says id = {expected}: mend `rpc`, or `id`");
                rows.push(Row::fail(place, "chain id", detail));
            }
            Some(Err(reason)) => {
                rows.push(Row::fail(
                    place,
                    "head",
                    format!("{reason}: the node may not be synchronised, or its plan is used up"),
                ));
            }
            Some(Ok(found)) => {
                rows.push(Row::ok(&place, "chain id", expected.to_string()));
                rows.push(head(all, &place, found, now_unix_s));
                rows.push(genesis(all, &place, found));
                rows.extend(pushes_heads(&place, found));
                rows.push(logs(&place, &found.logs, endpoint.logs_range));
                rows.push(proof(all.chain, &place, found));
                rows.push(state(&place, &found.state));
                rows.extend(finalized(all.chain, &place, found));
                rows.extend(receipts(all.chain, &place, found));
            }
        }
    }
    rows
}

fn head(all: &Examined<'_>, place: &str, found: &Abilities, now_unix_s: u64) -> Row {
    let best = all.endpoints.iter().filter_map(abilities).map(|a| a.head).max_by_key(|head| head.number).unwrap_or(found.head);
    let behind = best.number.saturating_sub(found.head.number);
    let behind_s = best.timestamp.saturating_sub(found.head.timestamp);
    let age_s = now_unix_s.saturating_sub(found.head.timestamp);
    let number = found.head.number;
    if behind > BEHIND_MAX_BLOCKS && behind_s > BEHIND_MAX_S {
        return Row::warn(
            place,
            "head",
            format!("block {number}: {behind} blocks and {behind_s} s behind the others. Is it synchronised?"),
        );
    }
    // As long as this, and what is served says `STALE`.
    let stale_s = all.chain.stall_timeout_ms.saturating_mul(3).div_ceil(1_000);
    if age_s > stale_s {
        return Row::warn(
            place,
            "head",
            format!("block {number} is {age_s} s old: chain or node stand still, or `stall_timeout_ms` is too short"),
        );
    }
    Row::ok(place, "head", format!("block {number}, {age_s} s old"))
}

fn genesis(all: &Examined<'_>, place: &str, found: &Abilities) -> Row {
    match (&found.genesis, all.genesis) {
        (Err(reason), _) => {
            Row::fail(place, "genesis", format!("{reason}: block 0 is what a store is bound to; use another endpoint"))
        }
        (Ok(genesis), Some(first)) if *genesis != first => Row::fail(
            place,
            "genesis",
            format!("{genesis}, but {first} on the endpoint before: they are different chains of one id"),
        ),
        (Ok(genesis), _) => Row::ok(place, "genesis", genesis.to_string()),
    }
}

fn pushes_heads(place: &str, found: &Abilities) -> Option<Row> {
    Some(match found.pushes_heads.as_ref()? {
        Ok(()) => Row::ok(place, "newHeads", "can be subscribed to"),
        Err(reason) => Row::warn(place, "newHeads", format!("{reason}: heads are asked for every 250 ms instead")),
    })
}

fn logs(place: &str, range: &LogsRange, configured: Option<u64>) -> Row {
    const CHECK: &str = "eth_getLogs";
    let accepted = range.accepted;
    let Some((tried, reason)) = &range.refused else {
        let all = if range.is_whole_chain { ", the whole chain" } else { "" };
        let limited = configured.map_or_else(String::new, |blocks| format!("; `logs_range` = {blocks}"));
        return Row::ok(place, CHECK, format!("{accepted} blocks at once{all}{limited}"));
    };
    if accepted == 0 {
        return Row::fail(
            place,
            CHECK,
            format!("not even {tried} blocks: {reason}. History cannot be read here: use another endpoint"),
        );
    }
    // What the refusal names is exact; else the truth lies between the two that were tried.
    let limit = range.named.filter(|named| (accepted..*tried).contains(named)).unwrap_or(accepted);
    match configured {
        Some(blocks) if blocks <= limit => Row::ok(place, CHECK, format!("{limit} blocks at once; `logs_range` = {blocks}")),
        Some(blocks) => {
            Row::warn(place, CHECK, format!("{limit} blocks at once, `logs_range` says {blocks}: set it to {limit} ({reason})"))
        }
        None => Row::warn(place, CHECK, format!("{limit} blocks at once: say so with `logs_range` = {limit} ({reason})")),
    }
}

fn proof(chain: &ChainConfig, place: &str, found: &Abilities) -> Row {
    const CHECK: &str = "logs proof";
    let what = match chain.proof {
        config::Proof::Bloom => "bloom",
        config::Proof::Receipts => "receipts' root",
    };
    match &found.proof {
        Ok(Proof::Fits { logs: 0 }) => Row::ok(place, CHECK, "the newest blocks have no logs to compare"),
        Ok(Proof::Fits { logs }) => Row::ok(place, CHECK, format!("{} fit the {what} of their header", counted(*logs, "log"))),
        Ok(Proof::Contradicts(reason)) => Row::fail(
            place,
            CHECK,
            format!("{reason}: such blocks are refused, because logs could be missing. Use another endpoint"),
        ),
        Err(reason) => Row::warn(place, CHECK, format!("not found out: {reason}")),
    }
}

fn state(place: &str, state: &StateDepth) -> Row {
    const CHECK: &str = "state";
    match &state.refused {
        None if state.is_archive => Row::ok(place, CHECK, format!("archive: all {} blocks", state.blocks)),
        Some((tried, reason)) if state.blocks == 0 => {
            Row::warn(place, CHECK, format!("not even {tried} blocks back: older pools cannot be read here ({reason})"))
        }
        _ => {
            let tried = state.refused.as_ref().map_or(0, |(tried, _)| *tried);
            Row::ok(
                place,
                CHECK,
                format!("{} blocks back, not {tried}: enough where `start_block` is near the head", state.blocks),
            )
        }
    }
}

fn finalized(chain: &ChainConfig, place: &str, found: &Abilities) -> Option<Row> {
    const CHECK: &str = "finalized";
    if chain.finality != Finality::Tag {
        return None;
    }
    Some(match &found.finalized {
        Err(reason) => Row::fail(place, CHECK, format!("{reason}: it knows no finalized block, give `finality` in blocks")),
        Ok(number) => {
            let behind = found.head.number.saturating_sub(*number);
            let detail = format!("block {number}, {behind} behind the head");
            if behind > FINALIZED_MAX_BLOCKS {
                Row::warn(
                    place,
                    CHECK,
                    format!("{detail}: more than the {FINALIZED_MAX_BLOCKS} that can be undone; give `finality` in blocks"),
                )
            } else {
                Row::ok(place, CHECK, detail)
            }
        }
    })
}

/// Only where they are used.
fn receipts(chain: &ChainConfig, place: &str, found: &Abilities) -> Option<Row> {
    const CHECK: &str = "receipts";
    chain.enrichment.then(|| match &found.receipts {
        Ok(()) => Row::ok(place, CHECK, "eth_getBlockReceipts answers"),
        Err(reason) => Row::warn(
            place,
            CHECK,
            format!("no eth_getBlockReceipts: receipts are asked for one by one. enrichment = false saves that ({reason})"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{logs, state};
    use crate::{
        chain::rpc::probe::{LogsRange, StateDepth},
        doctor::table::Verdict::{Fail, Ok, Warn},
    };

    #[test]
    fn a_range_is_compared_with_what_is_configured() {
        let refused = |accepted, named| LogsRange {
            accepted,
            named,
            refused: Some((accepted * 10, "too wide".to_owned())),
            ..LogsRange::default()
        };
        let all = LogsRange { accepted: 10_000, ..LogsRange::default() };
        for (range, configured, verdict, says) in [
            (all.clone(), None, Ok, "10000 blocks at once"),
            (all, Some(500), Ok, "`logs_range` = 500"),
            (refused(1_000, None), None, Warn, "`logs_range` = 1000"),
            (refused(1_000, Some(2_000)), None, Warn, "`logs_range` = 2000"),
            (refused(1_000, Some(2_000)), Some(2_000), Ok, "2000 blocks at once"),
            (refused(1_000, Some(2_000)), Some(5_000), Warn, "`logs_range` says 5000: set it to 2000"),
            // A number in the text that is no limit.
            (refused(1_000, Some(20_000)), None, Warn, "`logs_range` = 1000"),
            (
                LogsRange { refused: Some((10, "not in your plan".to_owned())), ..LogsRange::default() },
                None,
                Fail,
                "not in your plan",
            ),
        ] {
            let row = logs("x", &range, configured);
            assert!(row.verdict == verdict && row.detail.contains(says), "{range:?} with {configured:?}: {row:?}");
        }
    }

    #[test]
    fn state_is_an_archive_so_many_blocks_or_none() {
        let refused = |blocks, tried| StateDepth {
            blocks,
            refused: Some((tried, "missing trie node".to_owned())),
            ..StateDepth::default()
        };
        for (depth, verdict, says) in [
            (StateDepth { blocks: 5, is_archive: true, refused: None }, Ok, "archive: all 5 blocks"),
            (refused(128, 1_000), Ok, "128 blocks back, not 1000"),
            (refused(0, 64), Warn, "not even 64 blocks back"),
        ] {
            let row = state("x", &depth);
            assert!(row.verdict == verdict && row.detail.contains(says), "{row:?}");
        }
    }
}
