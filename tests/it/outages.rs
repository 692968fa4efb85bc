//! P1, P2, P6: the node is cut off, silent, slow, or speaks nonsense. Nothing is lost, nothing is double, and what is old says so.

use std::time::Duration;

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};
use tokio::time::Instant;

use super::{
    engine::{Engine, PATIENCE, Setup},
    fault::{
        oracle::Oracle,
        wire::{Fault, Wire},
    },
};

/// A node behind two wires, one for each way to it.
struct Cut {
    devnet: Devnet,
    ws: Wire,
    http: Wire,
    setup: Setup,
    folder: tempfile::TempDir,
}

impl Cut {
    async fn new(seed: u64, extra_chain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
        let host = devnet.http_url.trim_start_matches("http://");
        let (ws, http) = (Wire::to(host).await, Wire::to(host).await);
        let rpc = vec![format!("ws://{}", ws.host), format!("http://{}", http.host)];
        let setup = Setup { rpc, extra_chain: extra_chain.to_owned(), ..Setup::of(&devnet, folder.path()) };
        Self { devnet, ws, http, setup, folder }
    }

    fn set(&self, fault: Fault) {
        self.ws.set(fault);
        self.http.set(fault);
    }

    async fn engine(&self) -> Engine {
        Engine::start(&self.setup, self.folder.path()).await
    }

    async fn trade(&mut self, blocks: u64) {
        self.devnet.fill(blocks, 6).await.unwrap();
    }

    async fn agrees(&self, engine: &Engine) {
        Oracle::of(&self.devnet).await.agrees(&self.devnet, engine).await;
    }
}

async fn freshness(engine: &Engine) -> Value {
    engine.query("{ _meta { freshness } }", json!({})).await["_meta"]["freshness"].clone()
}

/// Until it says so, and how long that took.
async fn is(engine: &Engine, expected: &str) -> Duration {
    let began = Instant::now();
    while freshness(engine).await != expected {
        assert!(began.elapsed() < PATIENCE, "it never says {expected}; it said:\n{}", engine.log());
        tokio::task::yield_now().await;
    }
    began.elapsed()
}

/// Row 3: cut in every way, for a moment and until it is called STALE.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_caught_up_with_and_what_is_old_meanwhile_says_so() {
    let mut cut = Cut::new(91, "stall_timeout_ms = 2000").await;
    let engine = cut.engine().await;
    cut.trade(4).await;
    cut.agrees(&engine).await;
    for fault in [Fault::Closed, Fault::Reset, Fault::Silent, Fault::Deaf] {
        // Over before anything is late.
        cut.set(fault);
        cut.trade(2).await;
        cut.set(Fault::None);
        cut.agrees(&engine).await;
        // A reorg meanwhile.
        cut.set(fault);
        let since = Instant::now();
        cut.trade(3).await;
        cut.devnet.reorg(2).await.unwrap();
        is(&engine, "DELAYED").await;
        let delayed = since.elapsed();
        is(&engine, "STALE").await;
        assert!(delayed >= Duration::from_millis(1_000), "{fault:?}: not before it is late: {delayed:?}");
        cut.trade(10).await;
        cut.set(Fault::None);
        cut.agrees(&engine).await;
        cut.trade(1).await;
        engine.at_head(&cut.devnet).await;
        assert_eq!(freshness(&engine).await, "LIVE", "{fault:?}");
    }
    assert!(engine.terminate().await.success());
}

/// Row 4: one of two endpoints is open and says nothing. The other one takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_noticed_and_the_other_endpoint_takes_over() {
    let mut cut = Cut::new(92, "stall_timeout_ms = 4000").await;
    let engine = cut.engine().await;
    cut.trade(4).await;
    cut.agrees(&engine).await;
    for hole in [Fault::Silent, Fault::Deaf] {
        cut.ws.set(hole);
        let began = Instant::now();
        cut.trade(1).await;
        engine.at_head(&cut.devnet).await;
        println!("{hole:?}: the other endpoint has taken over after {:.1} s", began.elapsed().as_secs_f64());
        cut.trade(3).await;
        cut.agrees(&engine).await;
        let before = cut.ws.accepted();
        cut.ws.set(Fault::None);
        // It comes back by itself: heads are pushed again.
        tokio::time::timeout(PATIENCE, cut.ws.is_dialled_again(before.saturating_sub(1))).await.unwrap();
        cut.trade(2).await;
        cut.agrees(&engine).await;
    }
    assert!(engine.terminate().await.success());
}

/// Row 8: bytes that nobody sent, in the middle of what a node says.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frame_end_the_connection_and_nothing_else() {
    let mut cut = Cut::new(93, "").await;
    let engine = cut.engine().await;
    cut.trade(2).await;
    cut.agrees(&engine).await;
    let text = |text: &[u8]| [&[0x81, u8::try_from(text.len()).unwrap()], text].concat();
    let noises = [
        b"\xff\xff\xff\xff nonsense".to_vec(),
        text(b"{"),
        text(br#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"boom"}}"#),
        text(br#"{"jsonrpc":"2.0","id":999999,"result":null}"#),
        text(br#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x0","result":{}}}"#),
        text(b"[]"),
        vec![0x88, 0x00],
    ];
    for noise in noises {
        cut.ws.insert(&noise);
        cut.trade(2).await;
        cut.agrees(&engine).await;
    }
    assert!(engine.terminate().await.success());
}

/// Row 3, slow: each answer takes so long that several blocks pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_slow_is_followed_all_the_same() {
    let mut cut = Cut::new(94, "").await;
    cut.trade(20).await;
    cut.set(Fault::Slow(Duration::from_millis(150)));
    let engine = cut.engine().await;
    for _ in 0..5 {
        cut.trade(3).await;
        cut.devnet.reorg(1).await.unwrap();
    }
    cut.agrees(&engine).await;
    assert!(engine.terminate().await.success());
}
