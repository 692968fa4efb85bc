//! The servers: ours, the same schema behind the engine's own WebSocket, and a broadcaster that knows nothing.

use std::{
    io::BufRead as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_graphql_axum::GraphQLSubscription;
use axum::Router;
use futures_util::{SinkExt as _, StreamExt as _};
use swaptide::api;
use tokio::{net::TcpListener, sync::broadcast};
use tokio_tungstenite::tungstenite::{
    Message, Utf8Bytes,
    handshake::server::{Request, Response},
    protocol::WebSocketConfig,
};
use tokio_util::sync::CancellationToken;

use super::chain::{CHAIN, Chain, POOL};
use crate::http::Result;

/// What waits for one client of the bare broadcaster; it has to lag behind by as much before it loses anything.
const BARE_CAPACITY: usize = 1_024;

pub(super) fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("before 2554")
}

/// A frame as ours sends it, byte for byte but for the id of the operation.
fn frame(at: u64, number: u64, swaps: usize) -> Utf8Bytes {
    let cursor = "A".repeat(82);
    let swap =
        |index| format!(r#"{{"amount0Raw":"{at}","amount1Raw":"-1000000007","logIndex":{index},"pool":{{"id":"{POOL:#x}"}}}}"#);
    let data = (0..swaps).map(swap).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"id":"1","type":"next","payload":{{"data":{{"onSwapsCreated":{{"kind":"UPDATE","cursor":"{cursor}","block":{{"number":{number}}},"data":[{data}]}}}}}}}}"#
    )
    .into()
}

/// Serves one kind and says on which port; sends once a line is read.
pub(crate) fn serve(kind: &str, rate: f64, swaps: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let port = listener.local_addr()?.port();
    let folder = tempfile::tempdir()?;
    let mut send: Box<dyn FnMut(u64, u64)> = match kind {
        "bare" => {
            let (frames, _) = broadcast::channel::<Utf8Bytes>(BARE_CAPACITY);
            runtime.spawn(bare(listener, frames.clone()));
            Box::new(move |at, number| drop(frames.send(frame(at, number, swaps))))
        }
        "ours" | "stock" => {
            let mut chain = Chain::new();
            let state = chain.state(&folder.path().join("bench.db"));
            let router = if kind == "ours" {
                api::public_router(state)
            } else {
                Router::new().route_service("/graphql", GraphQLSubscription::new(api::executor(&state)))
            };
            runtime.spawn(api::serve(listener, router, CancellationToken::new()));
            Box::new(move |at, _| chain.swap(at, swaps))
        }
        other => return Err(format!("{other} is no server: ours, bare, stock").into()),
    };
    println!("{port}");
    std::io::stdin().lock().read_line(&mut String::new())?;
    let (began, began_ns) = (Instant::now(), now_ns());
    let _in_runtime = runtime.enter();
    for number in 0_u64.. {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Its turn counts, and not when the one before it let it go.
        send(began_ns + (number as f64 * 1e9 / rate) as u64, CHAIN + number);
    }
    Ok(())
}

/// One task a client: all that waits is fed, and flushed once.
async fn bare(listener: TcpListener, frames: broadcast::Sender<Utf8Bytes>) {
    while let Ok((stream, _)) = listener.accept().await {
        let frames = frames.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let protocol = |request: &Request, mut response: Response| {
                let asked = request.headers().get("sec-websocket-protocol").cloned();
                response.headers_mut().extend(asked.map(|asked| (axum::http::header::SEC_WEBSOCKET_PROTOCOL, asked)));
                Ok(response)
            };
            let config = WebSocketConfig::default().read_buffer_size(4 * 1024).write_buffer_size(16 * 1024);
            let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, protocol, Some(config)).await?;
            let (mut sink, mut incoming) = socket.split();
            // It is told what it waits for, and then nothing is understood.
            let mut is_quiet = false;
            for answer in [r#"{"type":"connection_ack"}"#, r#"{"id":"1","type":"next","payload":{}}"#] {
                is_quiet = matches!(incoming.next().await, Some(Ok(Message::Text(text))) if text.contains("onReorg"));
                sink.send(Message::text(answer)).await?;
            }
            if is_quiet {
                while incoming.next().await.is_some_and(|heard| heard.is_ok()) {}
                return Ok(());
            }
            let mut waiting = frames.subscribe();
            loop {
                let mut next = waiting.recv().await;
                loop {
                    match next {
                        Ok(frame) => sink.feed(Message::Text(frame)).await?,
                        Err(broadcast::error::RecvError::Closed) => return Ok(()),
                        // Nobody tells a client of this server that it lost something.
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                    }
                    next = match waiting.try_recv() {
                        Ok(frame) => Ok(frame),
                        Err(broadcast::error::TryRecvError::Lagged(lost)) => Err(broadcast::error::RecvError::Lagged(lost)),
                        Err(_) => break,
                    };
                }
                sink.flush().await?;
            }
            #[expect(unreachable_code, reason = "says what the task fails with")]
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        });
    }
}
