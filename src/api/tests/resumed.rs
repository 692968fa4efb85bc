//! P3 at random: what a client folds that follows its cursors is what is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    client::*,
    groups::{cursor, swaps},
    world::*,
};

/// What a client has folded together: amounts by place.
#[derive(Default)]
struct Folded(BTreeMap<String, (u64, String)>);

impl Folded {
    fn fold(&mut self, frame: &Value) {
        let rows = frame["data"].as_array().unwrap();
        let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
        match frame["kind"].as_str().unwrap() {
            "UPDATE" => {
                for row in rows {
                    let value = (row["block"]["number"].as_u64().unwrap(), row["amount0Raw"].as_str().unwrap().to_owned());
                    assert!(self.0.insert(id(row), value).is_none(), "told twice: {frame}");
                }
            }
            "RETRACT" => {
                for row in rows {
                    assert!(self.0.remove(&id(row)).is_some(), "taken back, and never told: {frame}");
                }
            }
            "ROLLBACK" => {
                let to = frame["block"]["number"].as_u64().unwrap();
                self.0.retain(|_, (number, _)| *number <= to);
            }
            "HEARTBEAT" => {}
            other => panic!("{other}"),
        }
    }
}

/// Connections that break at any place, reorgs while there and while away, and history that leaves memory: what is folded is what is.
#[test]
fn a_client_that_follows_its_cursors_has_the_truth() {
    use proptest::prelude::*;
    #[derive(Debug, Clone)]
    enum Step {
        Mine(u64),
        Reorg(usize, usize),
        Bury,
        Read(usize),
        Drop,
    }
    let step = prop_oneof![
        4 => (0..3_u64).prop_map(Step::Mine),
        2 => (1..4_usize, 1..5_usize).prop_map(|(depth, length)| Step::Reorg(depth, length)),
        1 => Just(Step::Bury),
        4 => (1..4_usize).prop_map(Step::Read),
        2 => Just(Step::Drop),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 48, ..ProptestConfig::default() });
    let outcome = runner.run(&proptest::collection::vec(step, 1..40), |steps| {
        runtime.block_on(async {
            let mut world = World::new();
            let url = listen(&world).await;
            let (mut folded, mut last, mut socket) = (Folded::default(), None::<String>, None::<Socket>);
            let mut amount = 0;
            let mut block = |swaps: u64| {
                (0..swaps)
                    .flat_map(|_| {
                        amount += 1;
                        v2_swap(amount, 1, 10, 10)
                    })
                    .collect::<Vec<_>>()
            };
            for _ in 0..4 {
                world.mine(Vec::new());
            }
            // It ends with a look at everything.
            for step in steps.iter().chain(&[Step::Drop, Step::Read(usize::MAX)]) {
                match step {
                    Step::Mine(swaps) => drop(world.mine(block(*swaps))),
                    Step::Reorg(depth, length) => {
                        // Never as deep as where the pools were created.
                        if world.tip().number > 2 + *depth as u64 {
                            let blocks = (0..*length).map(|n| block(n as u64 % 2)).collect();
                            world.reorg(*depth, blocks);
                        }
                    }
                    Step::Bury => world.bury(),
                    Step::Drop => socket = None,
                    Step::Read(most) => {
                        if socket.is_none() {
                            let mut new = ready(&url).await;
                            let start =
                                last.as_ref().map_or("(since: { number: 0 })".to_owned(), |c| format!("(resumeFrom: \"{c}\")"));
                            subscribe(&mut new, "1", &swaps(&start)).await;
                            socket = Some(new);
                        }
                        let socket = socket.as_mut().unwrap();
                        if *most < usize::MAX {
                            // Its answer ends the look, wherever the stream is by then.
                            say(socket, json!({ "type": "ping" })).await;
                        }
                        for _ in 0..*most {
                            let message = hear(socket).await;
                            if message["type"] == "pong" {
                                break;
                            }
                            let frame = &message["payload"]["data"]["onSwapsCreated"];
                            folded.fold(frame);
                            last = Some(cursor(frame));
                            if *most == usize::MAX && frame["kind"] == "HEARTBEAT" {
                                break;
                            }
                        }
                    }
                }
            }
            let all = world.data("{ swaps(first: 1000) { nodes { id amount0Raw block { number } } } }").await;
            let mut truth = Folded::default();
            truth.fold(&json!({ "kind": "UPDATE", "data": all["swaps"]["nodes"] }));
            assert_eq!(folded.0, truth.0);
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
