//! What the documents say exists, exists; and what exists is said.

use std::path::Path;

use swaptide::{config::ListedPool, telemetry::Metrics};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn operations_names_every_metric_and_no_other() {
    let text = read("docs/operations.md");
    let source = read("src/telemetry/metrics.rs");
    let named = |text: &str| {
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let mut names: Vec<String> = text.split(word).filter(|w| w.starts_with("swaptide_")).map(ToOwned::to_owned).collect();
        names.sort();
        names.dedup();
        names
    };
    let in_code = named(&source);
    assert!(in_code.len() > 20);
    assert_eq!(named(&text), in_code);
    assert!(Metrics::new().unwrap().render().contains("process_resident_memory_bytes"));
}

#[test]
fn operations_names_every_key_of_the_configuration() {
    let text = read("docs/operations.md");
    let source = read("src/config/mod.rs") + &read("src/config/feed.rs");
    let mut keys = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        if line.starts_with("pub struct") {
            inside = !line.contains("ConfigError");
        } else if line == "}" {
            inside = false;
        } else if inside && let Some((name, _)) = line.trim().strip_prefix("pub ").and_then(|l| l.split_once(':')) {
            keys.push(name.to_owned());
        }
    }
    assert!(keys.len() > 20, "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !text.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "docs/operations.md does not name {missing:?}");
}

#[test]
fn the_data_model_names_every_collection_and_index() {
    let text = read("docs/data-model.md");
    let source = read("src/store/mongo/schema.rs");
    let quoted = |line: &str, key: &str| line.split_once(key)?.1.split('"').nth(1).map(ToOwned::to_owned);
    let collections =
        source.lines().filter(|l| l.starts_with("pub(super) const") && l.contains(": &str = ")).filter_map(|l| quoted(l, "="));
    let indexes = source.lines().filter_map(|l| quoted(l, "name: "));
    let named: Vec<String> = collections.chain(indexes).collect();
    assert!(named.len() >= 9 + 8, "{named:?}");
    let missing: Vec<&String> = named.iter().filter(|name| !text.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/data-model.md does not name {missing:?}");
}

#[test]
fn the_readme_shows_the_two_commands_a_picture_and_a_real_transcript() {
    let text = read("README.md");
    for needed in ["cargo xtask demo", "cargo xtask test", "docs/images/live-page.png", "RETRACT"] {
        assert!(text.contains(needed), "README.md lacks {needed}");
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/live-page.png").is_file());
}

#[test]
fn the_configuration_for_mainnet_in_the_readme_is_one() {
    let text = read("README.md");
    let section = text.split_once("## Point it at mainnet").unwrap().1;
    let toml = section.split_once("```toml").unwrap().1.split_once("```").unwrap().0;
    let env = |name: &str| (name == "RPC_URL").then(|| "wss://node.example/key".to_owned());
    let config = swaptide::config::parse(toml, "README.md", &env, &[]).unwrap();
    let [chain] = config.chain.as_slice() else { panic!("one chain: {config:?}") };
    let template = swaptide::init::template("ethereum").unwrap();
    let ListedPool::Address(pool) = chain.dex[0].pools[0] else { panic!("a pool of V4") };
    for address in [chain.dex[0].factory, pool] {
        assert!(template.toml.contains(&address.to_string()), "{address} is in the template, too");
    }
}
