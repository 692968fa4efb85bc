use std::collections::BTreeMap;

use alloy::primitives::{B256, keccak256};
use proptest::prelude::*;

use super::*;

/// A tree of blocks named by texts; the parent's name gives the number.
#[derive(Default)]
struct Tree(BTreeMap<String, BlockRef>);

impl Tree {
    fn new(edges: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (name, parent) in edges {
            let parent = tree.0.get(*parent).copied();
            let block = BlockRef {
                number: parent.map_or(0, |p| p.number + 1),
                hash: keccak256(name),
                parent_hash: parent.map_or(B256::ZERO, |p| p.hash),
                timestamp: 0,
            };
            tree.0.insert((*name).to_owned(), block);
        }
        tree
    }

    fn name(&self, hash: &B256) -> String {
        self.0.iter().find(|(_, b)| b.hash == *hash).map(|(n, _)| n.clone()).unwrap()
    }

    fn names(&self, blocks: &[BlockRef]) -> Vec<String> {
        blocks.iter().map(|b| self.name(&b.hash)).collect()
    }
}

/// Follows a head to the end of the tracing; fetched parents come from the tree.
fn follow(
    machine: &mut Reconciler,
    tree: &Tree,
    head: BlockRef,
    finality: u64,
) -> Result<(Vec<String>, Vec<String>), Box<Advice>> {
    let mut advice = machine.head(head);
    loop {
        match advice {
            Advice::Known => return Ok((Vec::new(), Vec::new())),
            Advice::Fetch(hash) => {
                let parent = *tree.0.values().find(|b| b.hash == hash).unwrap();
                advice = machine.parent(parent);
            }
            Advice::Update(update) => {
                let update = machine.accept(update, finality).expect("an update fits the chain it was made for");
                return Ok((tree.names(&update.revert), tree.names(&update.extend)));
            }
            other => return Err(Box::new(other)),
        }
    }
}

/// `(head, revert, apply)` step by step, from block `g`.
fn check(edges: &[(&str, &str)], steps: &[(&str, &[&str], &[&str])]) {
    let tree = Tree::new(edges);
    let mut machine = Reconciler::new(tree.0["g"]);
    for (head, revert, apply) in steps {
        let (reverted, applied) = follow(&mut machine, &tree, tree.0[*head], 64).unwrap();
        assert_eq!(
            (reverted.as_slice(), applied.as_slice()),
            (strings(revert).as_slice(), strings(apply).as_slice()),
            "head {head}"
        );
        assert_eq!(tree.name(&machine.tip().hash), *head);
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

const FORKED: &[(&str, &str)] =
    &[("g", ""), ("1", "g"), ("2", "1"), ("3", "2"), ("2b", "1"), ("3b", "2b"), ("4b", "3b"), ("3c", "2b")];

#[test]
fn a_fork_is_taken_back_newest_first_and_followed_oldest_first() {
    check(FORKED, &[("3", &[], &["1", "2", "3"]), ("4b", &["3", "2"], &["2b", "3b", "4b"])]);
}

#[test]
fn a_branch_that_wins_loses_and_wins_again_is_followed_each_time() {
    check(FORKED, &[("3", &[], &["1", "2", "3"]), ("3c", &["3", "2"], &["2b", "3c"]), ("3", &["3c", "2b"], &["2", "3"])]);
}

#[test]
fn the_same_head_twice_changes_nothing_and_an_ancestor_takes_the_chain_back_to_it() {
    check(FORKED, &[("2", &[], &["1", "2"]), ("2", &[], &[]), ("1", &["2"], &[]), ("g", &["1"], &[])]);
}

#[test]
fn a_branch_that_leaves_below_the_undo_window_is_refused_and_changes_nothing() {
    let tree = Tree::new(FORKED);
    let mut machine = Reconciler::new(tree.0["g"]);
    follow(&mut machine, &tree, tree.0["3"], 1).unwrap();
    assert_eq!(tree.name(&machine.anchor().hash), "2", "one block can be undone");
    let refused = follow(&mut machine, &tree, tree.0["4b"], 1).unwrap_err();
    assert!(matches!(*refused, Advice::TooDeep { fork_below: 2, .. }), "{refused:?}");
    assert_eq!(tree.name(&machine.tip().hash), "3");
    follow(&mut machine, &tree, tree.0["3"], 1).unwrap();
}

#[test]
fn a_header_that_was_not_asked_for_or_lies_about_its_number_is_not_used() {
    let tree = Tree::new(FORKED);
    let mut machine = Reconciler::new(tree.0["g"]);
    assert!(matches!(machine.head(tree.0["3"]), Advice::Fetch(_)));
    assert_eq!(machine.parent(tree.0["2b"]), Advice::Unrelated);
    let lying = BlockRef { number: 7, ..tree.0["1"] };
    assert_eq!(machine.head(lying), Advice::Unrelated);
    assert_eq!(machine.tip(), tree.0["g"]);
}

#[test]
fn an_update_made_for_another_chain_is_refused() {
    let tree = Tree::new(FORKED);
    let mut machine = Reconciler::new(tree.0["g"]);
    follow(&mut machine, &tree, tree.0["2"], 64).unwrap();
    let stale = ChainUpdate { revert: vec![tree.0["3"]], extend: vec![], finalize: None };
    assert_eq!(machine.accept(stale, 64), None);
    let gap = ChainUpdate { revert: vec![], extend: vec![tree.0["4b"]], finalize: None };
    assert_eq!(machine.accept(gap, 64), None);
    assert_eq!(machine.tip(), tree.0["2"]);
}

proptest! {
    /// Over random trees and heads in any order: the tip is always the head, and what was applied and not taken back is exactly
    /// its ancestry.
    #[test]
    fn applied_and_not_reverted_is_the_ancestry_of_the_head(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        heads in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let mut names = vec!["g".to_owned()];
        let mut edges = vec![("g".to_owned(), String::new())];
        for (i, parent) in parents.iter().enumerate() {
            edges.push((format!("b{i}"), names[parent.index(names.len())].clone()));
            names.push(format!("b{i}"));
        }
        let borrowed: Vec<(&str, &str)> = edges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let tree = Tree::new(&borrowed);
        let mut machine = Reconciler::new(tree.0["g"]);
        let mut applied: Vec<String> = Vec::new();
        for head in heads {
            let head = &names[head.index(names.len())];
            let (revert, extend) = follow(&mut machine, &tree, tree.0[head], 1_000).unwrap();
            for name in revert {
                prop_assert_eq!(applied.pop(), Some(name));
            }
            applied.extend(extend);
            let mut ancestry = Vec::new();
            let mut at = tree.0[head];
            while at.number > 0 {
                ancestry.push(tree.name(&at.hash));
                at = *tree.0.values().find(|b| b.hash == at.parent_hash).unwrap();
            }
            ancestry.reverse();
            prop_assert_eq!(&applied, &ancestry);
        }
    }
}

#[test]
fn the_open_scenarios_revert_and_apply_as_they_say() {
    let Some(file) = crate::domain::test_support::case_file("reorg/scenarios.json") else { return };
    let scenarios = file["scenarios"].as_array().unwrap();
    assert!(!scenarios.is_empty());
    for scenario in scenarios {
        let blocks = scenario["blocks"].as_object().unwrap();
        let tree = Tree(blocks.iter().map(|(name, b)| (name.clone(), block(b))).collect());
        let mut machine = Reconciler::new(tree.0["g"]);
        for step in scenario["steps"].as_array().unwrap() {
            let list = |key: &str| -> Vec<String> {
                step[key].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()).collect()
            };
            let head = step["head"].as_str().unwrap();
            let outcome = follow(&mut machine, &tree, tree.0[head], 64).unwrap();
            assert_eq!(outcome, (list("revert"), list("apply")), "{} head {head}", scenario["id"]);
        }
        assert_eq!(tree.name(&machine.tip().hash), scenario["final"]["head"].as_str().unwrap(), "{}", scenario["id"]);
    }
}

fn block(json: &serde_json::Value) -> BlockRef {
    BlockRef {
        number: json["number"].as_u64().unwrap(),
        hash: json["hash"].as_str().unwrap().parse().unwrap(),
        parent_hash: json["parentHash"].as_str().unwrap().parse().unwrap(),
        timestamp: json["timestamp"].as_u64().unwrap(),
    }
}
