//! The same over MongoDB, whose driver tells what it is asked.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mongodb::{
    bson::{Bson, Document},
    event::command::CommandEvent,
};
use tokio::sync::mpsc;

use super::{nested::busy, world::*};
use crate::store::{
    History, Live,
    history::WriteBatch,
    mongo::{MongoConfig, MongoHistory, tests::Server},
};

/// The commands since the last call.
fn commands(heard: &mut mpsc::Receiver<CommandEvent>) -> Vec<Document> {
    let all = std::iter::from_fn(|| heard.try_recv().ok());
    let started = all.filter_map(|event| match event {
        CommandEvent::Started(started) => Some(started.command),
        _ => None,
    });
    started.collect()
}

fn name(command: &Document) -> &str {
    command.keys().next().unwrap()
}

/// Every `$project` of a pipeline, with those of its branches.
fn projections(found: &Bson, all: &mut Vec<BTreeSet<String>>) {
    match found {
        Bson::Document(document) => {
            for (key, value) in document {
                match value {
                    Bson::Document(fields) if key == "$project" || key == "projection" => {
                        let read = fields.iter().filter(|(_, v)| v.as_i32() == Some(1));
                        all.push(read.map(|(name, _)| name.clone()).collect());
                    }
                    value => projections(value, all),
                }
            }
        }
        Bson::Array(array) => array.iter().for_each(|value| projections(value, all)),
        _ => {}
    }
}

#[tokio::test]
async fn each_level_of_a_query_is_one_command_for_what_is_selected() {
    let server = Server::start().await;
    let (sender, mut heard) = mpsc::channel(10_000);
    let config = MongoConfig { commands: Some(sender.into()), ..MongoConfig::new(&server.database(), || 1_700_000_000) };
    let store = Arc::new(MongoHistory::open(config).await.unwrap());
    let live = Arc::new(Live::new(CHAIN, "local", 2, Duration::from_secs(15)));
    let mut world = World::reading(vec![live], store.clone(), Arc::default());
    busy(&mut world, 60);
    let records = world.records();
    store.claim(CHAIN, records[0].block.hash).await.unwrap();
    let fence = store.take_fence("test").await.unwrap();
    let head = records.last().map(|record| record.block);
    store.write(WriteBatch { chain: CHAIN, fence, head, records, ..WriteBatch::default() }).await.unwrap();
    // What memory alone says, to compare.
    let query = "{ swaps(first: 50) { nodes { transaction { swaps { id } mints { id } burns { id } } pool { swaps(first: 3) { id } } } } }";
    let expected = world.data(query).await;
    world.bury();

    commands(&mut heard);
    assert_eq!(world.once(query).await, expected);
    let asked = commands(&mut heard);
    assert_eq!(asked.iter().map(name).collect::<Vec<_>>(), ["find", "aggregate"], "the page, and one for what is in it");
    let pipeline = asked[1].get_array("pipeline").unwrap();
    let branches = pipeline.iter().filter(|stage| stage.as_document().unwrap().contains_key("$unionWith")).count() + 1;
    assert_eq!(branches, 3 + 2, "three kinds of all transactions, and two pools");

    for (query, expected) in [
        ("{ swaps { nodes { id } } mints { nodes { id } } burns { nodes { id } } }", vec!["aggregate"]),
        ("{ pools { nodes { swaps(first: 5) { id } mints(first: 5) { id } burns(first: 5) { id } } } }", vec!["aggregate"]),
        (
            "{ swaps(first: 20) { nodes { transaction { mints(first: 5) { pool { burns(first: 5) { transaction { swaps(first: 5) { id } } } } } } } } }",
            vec!["find", "aggregate", "find", "aggregate"],
        ),
    ] {
        let data = world.once(query).await;
        assert!(data.to_string().contains(r#""id":"#), "{query}: {data}");
        assert_eq!(commands(&mut heard).iter().map(name).collect::<Vec<_>>(), expected, "{query}");
    }

    world.once("{ swaps { nodes { id transaction { swaps { reserve0After } mints { id } burns { origin } } } } }").await;
    let mut read = Vec::new();
    commands(&mut heard).into_iter().for_each(|command| projections(&Bson::Document(command), &mut read));
    let costly = ["state_after", "origin", "gas_used", "gas_price"];
    let costly: Vec<Vec<&str>> =
        read.iter().map(|read| costly.into_iter().filter(|name| read.contains(*name)).collect()).collect();
    let [of_page, of_swaps, of_mints, of_burns] = &costly[..] else { panic!("{read:?}") };
    assert_eq!((of_page.as_slice(), of_mints.as_slice()), (&[][..], &[][..]));
    assert_eq!((of_swaps.as_slice(), of_burns.as_slice()), (&["state_after"][..], &["origin", "gas_used", "gas_price"][..]));
    for unread in ["amount0", "tokens", "tx_prefix", "derive_version", "kind"] {
        assert!(!read.iter().any(|read| read.contains(unread)), "{unread} in {read:?}");
    }
}
