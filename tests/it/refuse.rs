//! Bad input: one clear line that says what to do, the right exit code, nothing written.

use std::path::Path;

use serde_json::json;
use swaptide_demo::{Devnet, DevnetConfig};

use super::engine::{Engine, Setup, run};

/// Runs a configuration that must be refused; its last line must contain all of `says`.
async fn refused(folder: &Path, toml: &str, says: &[&str]) {
    let file = folder.join("bad.toml");
    std::fs::write(&file, toml).unwrap();
    let before = names(folder);
    let (code, stdout, stderr) = run(&["run", "-c", file.to_str().unwrap()]).await;
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "one clear line: {stderr}");
    for text in says {
        assert!(errors[0].contains(text), "{text:?} in {:?}", errors[0]);
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    assert_eq!(names(folder), before, "nothing written");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_configuration_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let good = || Setup::of(&devnet, folder.path());
    let toml = good().toml();
    let folder = folder.path();

    refused(folder, &toml.replace("[store]", "[store]\nurll = \"x\""), &["bad.toml:7", "urll"]).await;
    refused(folder, &toml.replace("name = \"test\"", "name = \"test\"\nfinalty = 3"), &["finalty"]).await;
    refused(folder, &toml.replace("uniswap_v2", "uniswap_v9"), &["uniswap_v9", "uniswap_v3"]).await;
    let factory = devnet.deployment.v2_factory.to_string();
    refused(folder, &toml.replace(&factory, "0x1234"), &["bad.toml:16", "`0x1234` is no address", "40 hexadecimal digits"]).await;
    refused(folder, &toml.replace(&factory, "0x000000000000000000000000000000000000dEaD"), &["factory", "no contract"]).await;
    let nobody = Setup { position_manager: Some("0x000000000000000000000000000000000000dEaD".to_owned()), ..good() };
    refused(folder, &nobody.toml(), &["position_manager", "no contract", "check the address"]).await;
    let shares = Setup { extra_dex: "lp_tokens = true".to_owned(), ..good() };
    refused(folder, &shares.toml(), &["dex-1", "`lp_tokens` is for uniswap_v2", "position_manager"]).await;
    refused(folder, &toml.replace("id = 31337", "id = 1"), &["31337", "id = 1"]).await;
    refused(
        folder,
        &Setup { rpc: vec!["http://127.0.0.1:9".to_owned()], ..good() }.toml(),
        &["no `rpc` endpoint answers", "Check"],
    )
    .await;
    refused(folder, &Setup { rpc: vec!["ftp://127.0.0.1".to_owned()], ..good() }.toml(), &["ws://", "ftp"]).await;
    refused(folder, &Setup { database: "/proc/swaptide.db".into(), ..good() }.toml(), &["/proc/swaptide.db"]).await;
    refused(folder, &toml.replace("sqlite:", "mysql:"), &["store.url", "sqlite:FILE"]).await;
    refused(folder, "[api]\nlisten = \"localhost\"\n", &["api.listen"]).await;
    let proxies = "[api]\ntrusted_proxies = [\"10.0.0.0/33\"]\n";
    refused(folder, proxies, &["bad.toml:2", "`10.0.0.0/33` is no network", "10.0.0.0/8"]).await;
    refused(folder, "[api]\nrequests_burst = 0\n", &["requests_burst", "requests_per_second"]).await;
    refused(folder, "[api]\nconnections = 0\n", &["api.connections", "leave it out"]).await;
    refused(folder, "[api]\ncost_burst = 0\n", &["cost_burst", "cost_per_second"]).await;
    refused(folder, "[api]\nkey_required = true\n", &["key_required", "[[api.key]]"]).await;
    refused(folder, "[[api.key]]\nname = \"a\"\nhash = \"secret\"\n", &["bad.toml:3", "sha256:", "swaptide key"]).await;
    refused(folder, "[api", &["bad.toml:1"]).await;
    refused(folder, &toml.replace("\"test\"", "\"${SWAPTIDE_TEST_NOT_SET}\""), &["SWAPTIDE_TEST_NOT_SET"]).await;

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    refused(folder, &Setup { api_listen: listen.clone(), ..good() }.toml(), &[&listen, "in use", "api.listen"]).await;

    let not_sqlite = folder.join("notes.db");
    std::fs::write(&not_sqlite, "these are my notes, and not a database at all").unwrap();
    refused(folder, &Setup { database: not_sqlite.clone(), ..good() }.toml(), &["notes.db"]).await;
    assert_eq!(std::fs::read_to_string(&not_sqlite).unwrap(), "these are my notes, and not a database at all");

    let (code, _, stderr) = run(&["run", "-c", "/nowhere/swaptide.toml"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("/nowhere/swaptide.toml") && stderr.contains("-c FILE"), "{stderr}");
    let file = good().write(folder);
    for args in [&["check-config", file.to_str().unwrap()] as &[&str], &["check-config", "-c", file.to_str().unwrap()]] {
        let (code, stdout, _) = run(args).await;
        assert_eq!(code, 0);
        assert!(stdout.contains("fine"), "{stdout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_configuration_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("swaptide.toml");
    let good = "[[chain]]\nid = 1\nname = \"x\"\nrpc = [\"ws://127.0.0.1:1\"]\n[[chain.dex]]\nname = \"d\"\nprotocol = \"uniswap_v3\"\n\
                factory = \"0x1f98431c8ad98523631ae4a59f267346ea31f984\"\n";
    for (from, to, line, says) in [
        ("[\"ws://127.0.0.1:1\"]", "[{ url = \"ws://127.0.0.1:1\", max_rp = 5 }]", Some(4), "max_rp"),
        ("[\"ws://127.0.0.1:1\"]", "\"ws://127.0.0.1:1\"", Some(4), "a list"),
        ("[\"ws://127.0.0.1:1\"]", "[5]", Some(4), "a URL, or a table"),
        ("factory = ", "factor = ", Some(8), "factor"),
        ("factory = \"0x1f98431c8ad98523631ae4a59f267346ea31f984\"\n", "", Some(5), "factory"),
        ("id = 1\n", "id = 1\nfinality = \"soon\"\n", Some(3), "finality"),
        ("id = 1\n", "id = 0\n", None, "`id`"),
        ("id = 1\n", "id = 1\nconfirmations = 100\n", None, "`confirmations`"),
        ("name = \"d\"\n", "name = \"d\"\nfee_pips = 500\n", None, "`fee_pips`"),
        (
            "name = \"d\"\n",
            "name = \"d\"\nolder_pools = true\npools = [\"0x1f98431c8ad98523631ae4a59f267346ea31f984\"]\n",
            None,
            "`older_pools`",
        ),
        (
            "name = \"d\"\n",
            "name = \"d\"\npools = [\"0x1f98431c8ad98523631ae4a59f267346ea31f984\", \"0x1F98431c8aD98523631AE4a59f267346ea31F984\"]\n",
            None,
            "listed twice",
        ),
        (
            "[[chain]]",
            "[[chain]]\nid = 1\nname = \"y\"\nrpc = [\"ws://127.0.0.1:1\"]\n[[chain.dex]]\nname = \"e\"\nprotocol = \"uniswap_v3\"\nfactory = \"0x1f98431c8ad98523631ae4a59f267346ea31f984\"\n[[chain]]",
            None,
            "configured twice",
        ),
        ("[[chain]]", "[api]\nlisten = \"127.0.0.1:9464\"\n[[chain]]", None, "`admin.listen`"),
        ("[[chain]]", "[[feed]]\npair = \"ETHUSD\"\nsource = \"binance\"\n[[chain]]", Some(2), "BASE/QUOTE"),
        ("[[chain]]", "[[feed]]\npair = \"ETH/USD\"\nsource = \"kraken\"\n[[chain]]", Some(3), "kraken"),
        ("[[chain]]", "[[feed]]\npair = \"ETH/USD\"\nsource = \"coingecko\"\n[[chain]]", None, "coingecko needs `symbol`"),
        (
            "[[chain]]",
            "[[feed]]\npair = \"ETH/USD\"\nsource = \"binance\"\npoll_ms = 5\n[[chain]]",
            None,
            "sources that are asked",
        ),
        ("[[chain]]", "[[feed]]\npair = \"ETH/USD\"\nsource = \"binance\"\nstale_after_ms = 0\n[[chain]]", None, "above 0"),
        (
            "[[chain]]",
            "[[feed]]\npair = \"ETH/USD\"\nsource = \"binance\"\nurl = \"https://x\"\n[[chain]]",
            None,
            "ws:// or wss://",
        ),
        (
            "[[chain]]",
            "[[feed]]\npair = \"ETH/EUR\"\nsource = \"binance\"\ntoken = \"0x1f98431c8ad98523631ae4a59f267346ea31f984\"\n[[chain]]",
            None,
            "in dollars",
        ),
        (
            "[[chain]]",
            "[prices]\nmin_sources = 2\n[[feed]]\npair = \"ETH/USD\"\nsource = \"binance\"\n[[chain]]",
            None,
            "never have a price",
        ),
        ("[[chain]]", "[[feed]]\npair = \"ETH/USD\"\nsource = \"chainlink\"\n[[chain]]", None, "chainlink needs `address`"),
        ("[[chain]]", "[prices]\nmax_deviation_bps = 0\n[[chain]]", None, "`prices.max_deviation_bps`"),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let (code, _, stderr) = run(&["check-config", file.to_str().unwrap()]).await;
        assert_eq!(code, 1, "{to}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let place = line.map_or("swaptide.toml: ".to_owned(), |n| format!("swaptide.toml:{n}: "));
        assert!(stderr.contains(&place) && stderr.contains(says) && !stderr.contains("variant"), "{to}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factory_without_pools_is_named_and_an_audit_of_nothing_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    // V2's factory under V3's name.
    setup.dexes = vec![("uniswap_v3".to_owned(), devnet.deployment.v2_factory.to_string())];
    setup.admin_listen = admin.to_string();
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    engine.says(|line| line.contains("no pool of this dex was found") && line.contains("dex-0")).await;
    let (code, _, stderr) = run(&["audit", "-c", folder.path().join("swaptide.toml").to_str().unwrap()]).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("nothing was compared"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_query_gets_a_code_and_never_a_500_and_an_unknown_pool_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let unknown = engine.query("{ pool(id: \"0x000000000000000000000000000000000000dEaD\") { id } }", json!({})).await;
    assert_eq!(unknown["pool"], json!(null));
    for query in [
        "{ pool(id: \"nonsense\") { id } }",
        "{ swaps(first: 0) { totalCount } }",
        "{ swaps(first: 1001) { totalCount } }",
        "{ swaps(after: \"AAAA\") { totalCount } }",
        "{ swaps(where: {pool: \"0x12\"}) { totalCount } }",
        "{ pools(chainId: 5) { totalCount } }",
    ] {
        let answer = engine.raw_query(query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{query}: {answer}");
    }
    for body in ["", "{", "[]", "{\"query\": 5}", "{\"query\": \"{ nope }\"}", "{\"query\": \"query {\"}"] {
        let response = engine.api.post_json("/graphql", body).await.unwrap();
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(response.status < 500 && text.contains("error"), "{body:?}: {} {text}", response.status);
    }
}
