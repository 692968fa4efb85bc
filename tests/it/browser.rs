//! The live page, GraphiQL and the REST reference in a real browser: what is on the page is what the API says, also after a reorg and an outage.
//!
//! This test moves the chain and asks the API; `clients/browser.mjs` reports what four pages (a desk, a phone, one in the dark, and one whose
//! subscriptions begin only after a block that came meanwhile) show after every change. Nothing here waits for time to pass: a condition holds in the end, or the test fails.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, Protocol, cache};

use super::{
    engine::{Engine, PATIENCE, Setup},
    node::NodeClient,
};

/// A little less than the client's own, so that the message is ours: it says what was shown instead.
pub const WAIT: Duration = PATIENCE.saturating_sub(Duration::from_secs(2));
const PAGES: [&str; 4] = ["desk", "phone", "dark", "late"];
const POOL: &str = "id protocol status liquidity reserve0 reserve1 token0Price token1Price token0 { symbol decimals } token1 { symbol decimals } asOf { number }";

/// Chromium; without one, the line that says how to get it. CI must have it.
pub fn chromium() -> Option<PathBuf> {
    match find_chromium() {
        Ok(file) => Some(file),
        Err(how) if is_ci() => panic!("{how}"),
        Err(how) => {
            println!("left out: {how}");
            None
        }
    }
}

/// As `xtask` finds it.
fn find_chromium() -> Result<PathBuf, &'static str> {
    let named = std::env::var_os("SWAPTIDE_CHROMIUM").filter(|v| !v.is_empty()).map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    named
        .or_else(|| names.iter().find_map(|name| cache::on_path(name)))
        .ok_or("the browser test needs Chromium: `apt-get install chromium`, or set SWAPTIDE_CHROMIUM to the binary")
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0")
}

/// What the browser said so far.
struct Browser {
    client: NodeClient,
    /// The newest state of every page.
    pages: HashMap<String, Value>,
    graphiql: Vec<Value>,
    /// The REST reference, on a desk and on a phone.
    docs: Vec<Value>,
    /// Errors on a console, requests to another host: each with the line that reported it.
    wrong: Vec<Value>,
}

impl Browser {
    /// It ends with the engine's `outages`th end.
    fn start(chromium: &Path, engine: &Engine, folder: &Path, outages: u32) -> Self {
        let url = format!("http://{}/", engine.api.host());
        let profile = folder.join("browser");
        std::fs::create_dir(&profile).unwrap();
        let args = [chromium.to_str().unwrap(), &url, profile.to_str().unwrap(), &outages.to_string()];
        let client = NodeClient::start("browser.mjs", &args);
        Self { client, pages: HashMap::new(), graphiql: Vec::new(), docs: Vec::new(), wrong: Vec::new() }
    }

    async fn read(&mut self) {
        let line = self.client.next().await;
        match line["event"].as_str() {
            Some("page") => drop(self.pages.insert(line["page"].as_str().unwrap().to_owned(), line)),
            Some("graphiql") => self.graphiql.push(line),
            Some("docs") => self.docs.push(line),
            _ => self.wrong.push(line),
        }
    }

    /// Until the documentation was walked through on each screen: that takes its time beside everything else, and needs the engine.
    async fn docs_are_read(&mut self) {
        let reading = async {
            while self.docs.len() < 2 {
                self.read().await;
            }
        };
        assert!(tokio::time::timeout(WAIT, reading).await.is_ok(), "the documentation is walked through");
    }

    /// Reads until this holds of one page; each state of it is looked at once. What it last showed is in the message.
    async fn page(&mut self, name: &str, what: &str, holds: impl Fn(&Value) -> Result<(), String>) -> Value {
        let mut problem = "nothing".to_owned();
        let waiting = async {
            loop {
                if let Some(page) = self.pages.get(name) {
                    match holds(page) {
                        Ok(()) => return page.clone(),
                        Err(new) => problem = new,
                    }
                }
                self.read().await;
            }
        };
        match tokio::time::timeout(WAIT, waiting).await {
            Ok(page) => page,
            Err(_) => panic!("{name}: {what}: {problem}; it shows {:#?}, and wrong was {:#?}", self.pages.get(name), self.wrong),
        }
    }

    async fn graphiql(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                if let Some(line) = self.graphiql.iter().find(|l| what(l)) {
                    return line.clone();
                }
                self.read().await;
            }
        };
        let outcome = tokio::time::timeout(WAIT, waiting).await;
        outcome.unwrap_or_else(|_| panic!("GraphiQL shows it; it showed {:#?}, and wrong was {:#?}", self.graphiql, self.wrong))
    }

    /// All pages show exactly what the API answers at the chain's head, and are LIVE.
    async fn shows_the_head(&mut self, engine: &Engine, devnet: &Devnet) {
        engine.at_head(devnet).await;
        let truth = truth(engine).await;
        assert_eq!(truth["_meta"]["block"]["hash"], json!(devnet.head().await.unwrap().hash.to_string()));
        for name in PAGES {
            let page = self.page(name, "shows what the API says", |page| same(page, &truth)).await;
            let pool = page["chart"]["pool"].as_str().expect("a pool's chart is shown").to_owned();
            let interval = page["chart"]["interval"].as_str().unwrap().to_owned();
            let candles = chart(engine, &pool, &interval).await;
            self.page(name, "draws the API's candles", |page| same_chart(page, &candles)).await;
        }
    }
}

/// One request: everything is of one block.
async fn truth(engine: &Engine) -> Value {
    let query = format!(
        "{{ _meta {{ chainId block {{ number hash }} }} pools(first: 100) {{ totalCount nodes {{ {POOL} }} }} \
         swaps(first: 60, orderDirection: desc) {{ nodes {{ id amount0 amount1 amount0Raw amount1Raw block {{ number hash }} \
         token0 {{ symbol }} token1 {{ symbol }} }} }} }}"
    );
    engine.query(&query, json!({})).await
}

/// Either way round: the page says which by the price that it begins with.
async fn chart(engine: &Engine, pool: &str, interval: &str) -> Value {
    let candles =
        |invert: bool| format!("candles(interval: {interval}, first: 90, invert: {invert}) {{ start open high low close }}");
    let query = format!("{{ pool(id: \"{pool}\") {{ straight: {} inverted: {} }} }}", candles(false), candles(true));
    engine.query(&query, json!({})).await["pool"].clone()
}

fn same_chart(page: &Value, api: &Value) -> Result<(), String> {
    let drawn = &page["chart"]["candles"];
    if list(drawn).is_empty() {
        return Err("it has no candles".to_owned());
    }
    let way = if list(drawn)[0]["open"] == api["straight"][0]["open"] { "straight" } else { "inverted" };
    check(|| "candles".into(), drawn, &api[way])?;
    let of = |name: &str| list(drawn).iter().filter_map(|candle| candle[name].as_str()?.parse::<f64>().ok()).collect::<Vec<_>>();
    let highest = of("high").into_iter().fold(f64::NEG_INFINITY, f64::max);
    let lowest = of("low").into_iter().fold(f64::INFINITY, f64::min);
    for (name, exact) in [("high", highest), ("low", lowest)] {
        let text = &page["chart"][name];
        if number(text).is_none_or(|shown| (shown - exact).abs() > exact.abs() * 6e-4) {
            return Err(format!("its {name} is {exact}, it says {text}"));
        }
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn check(what: impl FnOnce() -> String, page: &Value, api: &Value) -> Result<(), String> {
    if page == api { Ok(()) } else { Err(format!("{}: the page has {page}, the API {api}", what())) }
}

fn same(page: &Value, truth: &Value) -> Result<(), String> {
    let head = &truth["_meta"]["block"];
    check(|| "head".into(), &json!([page["head"]["number"], page["head"]["hash"]]), &json!([head["number"], head["hash"]]))?;
    check(|| "head in words".into(), &json!(number(&page["head"]["text"])), &json!(head["number"].as_f64()))?;
    check(|| "state".into(), &json!([page["state"], page["stateText"]]), &json!(["LIVE", "Live"]))?;
    check(|| "chain".into(), &page["chain"], &json!(truth["_meta"]["chainId"].to_string().trim_matches('"')))?;
    check(|| "count of pools".into(), &page["poolsCount"], &json!(truth["pools"]["totalCount"].to_string()))?;

    let by_id = |pools: &Value| list(pools).iter().map(|p| (p["id"].to_string(), p.clone())).collect::<HashMap<_, _>>();
    let (shown, known) = (by_id(&page["pools"]), by_id(&truth["pools"]["nodes"]));
    check(|| "number of rows".into(), &json!(list(&page["pools"]).len()), &json!(known.len()))?;
    for (id, api) in &known {
        let row = shown.get(id).ok_or_else(|| format!("there is no row for {id}"))?;
        for field in ["protocol", "status", "liquidity", "reserve0", "reserve1", "token0Price", "token1Price"] {
            check(|| format!("{field} of {id}"), &row[field], &api[field])?;
        }
        // The page names the block that a pool was last reported at, the API the block that this is still true at.
        if row["asOf"].as_u64().is_none_or(|at| Some(at) > api["asOf"]["number"].as_u64()) {
            return Err(format!("{id} is of block {} on the page, of {} by the API", row["asOf"], api["asOf"]));
        }
        readable(row, api)?;
    }

    // The newest swaps, in order, without a hole: as many as the page has.
    let live: Vec<&Value> = list(&page["swaps"]).iter().filter(|s| s["removed"] == false).collect();
    let api = list(&truth["swaps"]["nodes"]);
    if live.len() > api.len() || (live.len() < 20 && live.len() < api.len()) {
        return Err(format!("{} swaps on the page, {} asked for", live.len(), api.len()));
    }
    for (i, (shown, api)) in live.iter().zip(api).enumerate() {
        check(|| format!("swap {i} from the top"), &shown["id"], &api["id"])?;
        check(
            || format!("block of swap {i}"),
            &json!([shown["number"], shown["block"]]),
            &json!([api["block"]["number"], api["block"]["hash"]]),
        )?;
        for field in ["amount0Raw", "amount1Raw"] {
            check(|| format!("{field} of swap {i}"), &shown[field], &api[field])?;
        }
        // What went in is left of the arrow, what came out right of it; both as people read them.
        let zero_in = !api["amount0Raw"].as_str().unwrap().starts_with('-');
        let order = if zero_in { ["0", "1"] } else { ["1", "0"] };
        for (side, token) in list(&shown["sides"]).iter().zip(order) {
            check(|| format!("raw amount{token} of swap {i}"), &side["raw"], &api[format!("amount{token}Raw")])?;
            let symbol = api[format!("token{token}")]["symbol"].as_str().unwrap();
            let amount = api[format!("amount{token}")].as_str().unwrap().trim_start_matches('-').parse::<f64>().unwrap();
            close(&side["text"], amount, symbol)?;
        }
    }

    let blocks: Vec<&Value> = list(&page["blocks"]).iter().filter(|b| b["removed"] == false).collect();
    check(|| "newest block".into(), &blocks.first().map_or(json!(null), |b| b["hash"].clone()), &head["hash"])?;
    let numbers: Vec<i64> = blocks.iter().map(|b| b["number"].as_i64().unwrap()).collect();
    if numbers.windows(2).any(|pair| pair[0] != pair[1] + 1) {
        return Err(format!("the blocks are not one chain: {numbers:?}"));
    }
    Ok(())
}

/// The words in a pool's row mean the exact values behind them.
fn readable(row: &Value, api: &Value) -> Result<(), String> {
    let symbol = |token: &str| api[token]["symbol"].as_str().unwrap();
    check(|| "name".into(), &row["name"], &json!(format!("{} / {}", symbol("token0"), symbol("token1"))))?;
    let Some(price) = row["price"].as_str().filter(|p| !p.is_empty()) else { return Ok(()) };
    let unit = |field: &str| match field {
        "token1Price" => format!("{} per {}", symbol("token1"), symbol("token0")),
        _ => format!("{} per {}", symbol("token0"), symbol("token1")),
    };
    let Some(field) = ["token0Price", "token1Price"]
        .into_iter()
        .find(|f| api[*f].as_str() == Some(price) && row["priceText"].as_str().is_some_and(|t| t.ends_with(&unit(f))))
    else {
        return Err(format!("{} is not a price of {api}", row["priceText"]));
    };
    close(&row["priceText"], price.parse().unwrap(), &unit(field))?;
    if let Some(liquidity) = api["liquidity"].as_str() {
        return close(&row["liquidityText"], liquidity.parse().unwrap(), "L");
    }
    let text = row["liquidityText"].as_str().unwrap_or_default();
    // A narrow page puts the second reserve on the next line instead of a dot between them.
    let end = text.find(symbol("token0")).map_or(0, |at| at + symbol("token0").len());
    let (first, second) = text.split_at(end);
    for (text, token, reserve) in [(first, "token0", "reserve0"), (second.trim_start_matches([' ', '·']), "token1", "reserve1")]
    {
        let raw: f64 = api[reserve].as_str().unwrap().parse().unwrap();
        let decimals = i32::try_from(api[token]["decimals"].as_i64().unwrap()).unwrap();
        close(&json!(text), raw / 10f64.powi(decimals), symbol(token))?;
    }
    Ok(())
}

/// "3,016.01 USDC per WETH" says 3016.0123… in that unit: to four digits at least.
fn close(text: &Value, exact: f64, unit: &str) -> Result<(), String> {
    let shown = number(text).ok_or_else(|| format!("{text} is no number"))?;
    let right = (shown - exact).abs() <= exact.abs() * 6e-4 && text.as_str().is_some_and(|t| t.ends_with(&format!(" {unit}")));
    if right { Ok(()) } else { Err(format!("{text} (read as {shown}) stands for {exact} {unit}")) }
}

/// What a person reads: "1,234.5", "12.35B", "0.0₈3375", "9.245 × 10¹⁷".
fn number(text: &Value) -> Option<f64> {
    let text = text.as_str()?.replace([',', '\u{a0}'], "");
    let (mantissa, power) = match text.split_once(" × 10") {
        Some((mantissa, rest)) => {
            let digits: String =
                rest.chars().map_while(|c| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().position(|d| d == c)).map(|d| d.to_string()).collect();
            (mantissa.to_owned(), digits.parse::<i32>().ok()?)
        }
        None => (text.split(' ').next()?.to_owned(), 0),
    };
    let (mantissa, power) = match mantissa.chars().last()? {
        'M' => (mantissa.trim_end_matches('M').to_owned(), 6),
        'B' => (mantissa.trim_end_matches('B').to_owned(), 9),
        'T' => (mantissa.trim_end_matches('T').to_owned(), 12),
        _ => (mantissa, power),
    };
    let zeros = |c: char| "₀₁₂₃₄₅₆₇₈₉".chars().position(|d| d == c);
    let plain = match mantissa.find(|c| zeros(c).is_some()) {
        Some(at) => {
            let count = mantissa.chars().filter_map(zeros).fold(0, |sum, digit| sum * 10 + digit);
            let digits: String = mantissa[at..].chars().filter(char::is_ascii_digit).collect();
            // The zero in front of the small number is one of them.
            format!("0.{}{digits}", "0".repeat(count))
        }
        None => mantissa,
    };
    Some(plain.parse::<f64>().ok()? * 10f64.powi(power))
}

#[test]
fn the_numbers_of_people_are_read_right() {
    for (text, exact) in
        [("1,234.5 USDC", 1_234.5), ("12.35B L", 12.35e9), ("0.0₈3375 WETH per PEPE", 0.3375e-8), ("9.245 × 10¹⁷ L", 9.245e17)]
    {
        assert!((number(&json!(text)).unwrap() / exact - 1.0).abs() < 1e-12, "{text}");
    }
}

/// A random block of trades, and its hash.
async fn trade(devnet: &mut Devnet, actions: usize) -> String {
    devnet.trader.push_random(actions).await.unwrap();
    devnet.mine().await.unwrap().hash.to_string()
}

fn of_blocks(page: &Value, hashes: &[String]) -> Vec<(bool, bool)> {
    let in_them = |s: &&Value| hashes.iter().any(|hash| s["block"] == json!(hash));
    list(&page["swaps"]).iter().filter(in_them).map(|s| (s["removed"] == true, s["struck"] == true)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_graphiql_and_the_reference_show_what_the_api_says_through_a_reorg_and_an_outage() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 23, ..DevnetConfig::default() }).await.unwrap();
    // However slow this machine is: LIVE must not depend on when this test mines.
    let mut setup = Setup { extra_chain: "stall_timeout_ms = 600000".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    for _ in 0..6 {
        trade(&mut devnet, 12).await;
    }
    engine.at_head(&devnet).await;
    let mut browser = Browser::start(&chromium, &engine, folder.path(), 2);

    // GraphiQL's first tab was run on this very block; its subscription is waiting.
    let first = browser.graphiql(|l| l["result"].is_object()).await;
    let truth_now = truth(&engine).await;
    assert!(list(&first["tabs"]).len() >= 3, "{first}");
    assert_eq!(first["result"]["data"]["_meta"]["block"], truth_now["_meta"]["block"], "{first}");
    assert_eq!(first["result"]["data"]["pools"]["totalCount"], truth_now["pools"]["totalCount"]);
    browser.graphiql(|l| l["running"] == true).await;
    // Its subscription is known to run once a frame of it is there.
    while !browser.graphiql.iter().any(|l| l["result"]["data"]["onSwapsCreated"].is_object()) {
        trade(&mut devnet, 12).await;
        browser.shows_the_head(&engine, &devnet).await;
    }

    // The REST reference lists what there is, and what it is told to ask is answered with a pool of this chain; on a phone, too.
    while browser.docs.len() < 2 {
        browser.read().await;
    }
    for page in &browser.docs {
        assert!(list(&page["paths"]).contains(&json!("/v1/{chainId}/pools/{id}/overview")), "{page}");
        assert!(page["status"].as_str().unwrap().starts_with("200"), "{page}");
        let pool: Value = serde_json::from_str(page["body"].as_str().unwrap()).unwrap_or_else(|e| panic!("{e}: {page}"));
        assert!(list(&truth_now["pools"]["nodes"]).iter().any(|known| known["id"] == pool["id"]), "{page}");
        let (status, posted) = (page["posted"]["status"].as_str().unwrap(), page["posted"]["body"].as_str().unwrap());
        assert!(status.starts_with("200") && posted.contains("amountOutRaw"), "{page}");
        assert!(page["layout"]["scrollWidth"].as_f64() <= page["layout"]["width"].as_f64(), "{page}");
    }
    assert_ne!(browser.docs[0]["layout"]["background"], browser.docs[1]["layout"]["background"], "in the dark it is dark");

    // A swap comes: on top of the list, and in GraphiQL.
    let unit = devnet.deployment.pools[0].token0.unit_raw();
    devnet.trader.swap_v2(0, true, unit).await.unwrap();
    let mined = devnet.mine_all_ok().await.unwrap().hash.to_string();
    browser.shows_the_head(&engine, &devnet).await;
    let desk = browser.pages["desk"].clone();
    assert_eq!(desk["swaps"][0]["block"], json!(mined), "the newest is the first");
    assert_eq!(desk["banner"], Value::Null, "nothing was taken back so far");
    let swap = desk["swaps"][0]["id"].clone();
    let frame = |l: &Value| l["result"]["data"]["onSwapsCreated"].clone();
    let update = browser.graphiql(|l| frame(l)["data"][0]["id"] == swap).await;
    assert_eq!(frame(&update)["kind"], "UPDATE", "{update}");

    // Two more blocks, one of them with a new pool, and then three blocks never were.
    let mut orphans = vec![mined];
    orphans.push(trade(&mut devnet, 12).await);
    assert!(devnet.trader.create_pool_v3().await.unwrap());
    let v2 = devnet.first_pool(Protocol::V2).unwrap();
    devnet.trader.swap_v2(v2, false, devnet.trader.pools()[v2].token1.unit_raw()).await.unwrap();
    orphans.push(devnet.mine_all_ok().await.unwrap().hash.to_string());
    browser.shows_the_head(&engine, &devnet).await;
    let pools = list(&browser.pages["desk"]["pools"]).len();
    let doomed = of_blocks(&browser.pages["desk"], &orphans).len();
    assert!(doomed >= 3, "{doomed}");
    let reorg = devnet.reorg(3).await.unwrap();
    let says = format!("Reorg: 3 blocks taken back, down to block {}", reorg.ancestor);
    for name in PAGES {
        // First it is struck through and said …
        let page = browser
            .page(name, "strikes through what was taken back", |page| {
                let struck = of_blocks(page, &orphans);
                let all = struck.len() == doomed && struck.iter().all(|s| *s == (true, true));
                let blocks = orphans
                    .iter()
                    .all(|hash| list(&page["blocks"]).iter().any(|b| b["hash"] == json!(hash) && b["removed"] == true));
                if all && blocks && page["banner"] == json!(says) {
                    Ok(())
                } else {
                    Err(format!("banner {}, {struck:?}", page["banner"]))
                }
            })
            .await;
        // … also where there is little room.
        let layout = &page["layout"];
        assert!(layout["scrollWidth"].as_f64() <= layout["width"].as_f64(), "{name}: {layout}");
        assert!(layout["bodyWidth"].as_f64() <= layout["width"].as_f64(), "{name}: {layout}");
    }
    // … and then it is gone, and everything that is true is there.
    for name in PAGES {
        browser
            .page(name, "removes what was taken back", |page| {
                let left =
                    of_blocks(page, &orphans).len() + list(&page["blocks"]).iter().filter(|b| b["removed"] == true).count();
                if left == 0 { Ok(()) } else { Err(format!("{left} are still there")) }
            })
            .await;
    }
    browser.shows_the_head(&engine, &devnet).await;
    assert_eq!(list(&browser.pages["desk"]["pools"]).len(), pools - 1, "the pool of a block that never was");
    let retract = browser.graphiql(|l| frame(l)["kind"] == "RETRACT").await;
    assert_eq!(frame(&retract)["block"]["number"], json!(reorg.ancestor));
    for _ in 0..3 {
        trade(&mut devnet, 12).await;
        browser.shows_the_head(&engine, &devnet).await;
    }

    // On a phone nothing is out of reach; in the dark it is dark; both can be read.
    let (phone, dark) = (&browser.pages["phone"], &browser.pages["dark"]);
    assert_eq!((&phone["layout"]["width"], &phone["layout"]["scrollWidth"]), (&json!(390), &json!(390)), "{}", phone["layout"]);
    for name in PAGES {
        assert_eq!(browser.pages[name]["layout"]["hidden"], 0, "{name}: a column sticks out of its table");
    }
    assert!(dark["look"]["background"].as_f64().unwrap() < 0.02, "{}", dark["look"]);
    assert!(phone["look"]["background"].as_f64().unwrap() > 0.8, "{}", phone["look"]);
    for page in [phone, dark] {
        assert!(page["look"]["hardest"]["ratio"].as_f64().unwrap() >= 4.5, "{}: {}", page["page"], page["look"]);
    }
    assert!(browser.wrong.is_empty(), "no error on a console, no request to anybody else: {:#?}", browser.wrong);

    // The server goes, the chain moves on and is reorganised, the server comes back at the same place.
    setup.api_listen = engine.api.host().to_owned();
    let before = trade(&mut devnet, 12).await;
    browser.shows_the_head(&engine, &devnet).await;
    assert!(engine.terminate().await.success());
    for name in PAGES {
        let offline = |page: &Value| if page["state"] == "OFFLINE" { Ok(()) } else { Err(page["state"].to_string()) };
        browser.page(name, "says that it has no connection", offline).await;
    }
    devnet.reorg(1).await.unwrap();
    trade(&mut devnet, 12).await;
    trade(&mut devnet, 12).await;
    let engine = Engine::start(&setup, folder.path()).await;
    browser.shows_the_head(&engine, &devnet).await;
    for name in PAGES {
        // Where the page was there before the server had caught up, it is struck through first.
        browser
            .page(name, "removes what was taken back meanwhile", |page| {
                let left = of_blocks(page, std::slice::from_ref(&before));
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            })
            .await;
    }
    assert!(engine.terminate().await.success());

    let (rest, code) = browser.client.finish().await;
    assert_eq!(code, 0);
    let harmless = |line: &&Value| ["page", "graphiql", "docs"].iter().any(|event| line["event"] == *event);
    for line in browser.wrong.iter().chain(rest.iter().filter(|l| !harmless(l))) {
        // Only that the server was away, or on its way out: what the kernel had let in and nobody had accepted by then is reset.
        let away = |text: &str| {
            ["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "Unexpected response code: 503"]
                .iter()
                .any(|why| text.contains(why))
        };
        assert!(line["event"] == "console" && line["text"].as_str().is_some_and(away), "{line}");
    }
}

/// P6 on the screen: numbers that stand still are called DELAYED, then STALE, and LIVE again with the next block.
#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_says_when_blocks_stop_coming() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    // DELAYED lasts two of these, three times the page's own rhythm of asking.
    let setup = Setup { extra_chain: "stall_timeout_ms = 3000".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let mut browser = Browser::start(&chromium, &engine, folder.path(), 1);
    let is =
        |state: &'static str| move |page: &Value| if page["state"] == state { Ok(()) } else { Err(page["state"].to_string()) };
    // However long the browser took to come up.
    browser.page("desk", "says that the chain stands still", is("STALE")).await;
    while browser.pages["desk"]["state"] != "LIVE" {
        devnet.mine().await.unwrap();
        engine.at_head(&devnet).await;
        browser.read().await;
    }
    let delayed = browser.page("desk", "says that a block is late", is("DELAYED")).await;
    assert_eq!(delayed["stateText"], "Delayed");
    let stale = browser.page("desk", "says that the numbers are old", is("STALE")).await;
    assert_eq!(stale["stateText"], "Stale");
    // The numbers stay, with the block that they are of.
    assert_eq!(stale["head"]["hash"], json!(devnet.head().await.unwrap().hash.to_string()));
    let meta = engine.query("{ _meta { freshness } }", json!({})).await;
    assert_eq!(meta["_meta"]["freshness"], "STALE");
    browser.docs_are_read().await;
    assert!(engine.terminate().await.success());
    let (_, code) = browser.client.finish().await;
    assert_eq!(code, 0);
}
