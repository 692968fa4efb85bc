//! A node that says what is not so: everything is asked of a real one, and what comes back is changed on its way, over HTTP and WebSocket.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::IntoResponse,
    routing::post,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use swaptide_demo::{Devnet, http::HttpClient};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite;

/// What becomes of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    AsItIs,
    /// What it says now is not what the node said.
    Changed,
    /// Nothing is said.
    Never,
    Twice,
}

/// The method and its parameters, and the whole answer. A push is one of `eth_subscription`, without parameters.
type Lie = dyn Fn(&str, &Value, &mut Value) -> Told + Send + Sync;

struct Shared {
    http: HttpClient,
    ws: String,
    lie: Mutex<Arc<Lie>>,
    lies: watch::Sender<u64>,
}

pub struct Liar {
    shared: Arc<Shared>,
    pub http_url: String,
    pub ws_url: String,
}

impl Liar {
    /// It tells the truth at first.
    pub async fn before(devnet: &Devnet) -> Self {
        let http = HttpClient::new(devnet.http_url.trim_start_matches("http://"));
        let truth: Arc<Lie> = Arc::new(|_, _, _| Told::AsItIs);
        let (lie, lies) = (Mutex::new(truth), watch::Sender::new(0));
        let shared = Arc::new(Shared { http, ws: devnet.ws_url.clone(), lie, lies });
        let router = Router::new().route("/", post(answer).get(upgrade)).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { shared, http_url: format!("http://{host}"), ws_url: format!("ws://{host}") }
    }

    pub fn lies(&self, lie: impl Fn(&str, &Value, &mut Value) -> Told + Send + Sync + 'static) {
        *self.shared.lie.lock().unwrap() = Arc::new(lie);
    }

    pub fn is_honest(&self) {
        self.lies(|_, _, _| Told::AsItIs);
    }

    /// Until it has lied so often.
    pub async fn has_lied(&self, times: u64) {
        self.shared.lies.subscribe().wait_for(|lies| *lies >= times).await.unwrap();
    }
}

impl Shared {
    /// How often it is said.
    fn tell(&self, asked: &(String, Value), answer: &mut Value) -> usize {
        let lie = self.lie.lock().unwrap().clone();
        let told = lie(&asked.0, &asked.1, answer);
        if told != Told::AsItIs {
            self.lies.send_modify(|lies| *lies += 1);
        }
        match told {
            Told::AsItIs | Told::Changed => 1,
            Told::Never => 0,
            Told::Twice => 2,
        }
    }
}

/// Of each request, by its id.
fn asked(body: &Value) -> HashMap<String, (String, Value)> {
    let all = body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice);
    let one = |request: &Value| {
        let method = request["method"].as_str().unwrap_or_default().to_owned();
        (request["id"].to_string(), (method, request["params"].clone()))
    };
    all.iter().map(one).collect()
}

async fn answer(State(shared): State<Arc<Shared>>, body: String) -> impl IntoResponse {
    let asked = asked(&serde_json::from_str(&body).unwrap());
    let Ok(answer) = shared.http.post_json("/", &body).await else {
        return (axum::http::StatusCode::BAD_GATEWAY, String::new());
    };
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let said = |one: &mut Value| asked.get(&one["id"].to_string()).is_none_or(|asked| shared.tell(asked, one) > 0);
    let is_said = match &mut answer {
        Value::Array(all) => {
            all.retain_mut(said);
            !all.is_empty()
        }
        one => said(one),
    };
    if is_said { (axum::http::StatusCode::OK, answer.to_string()) } else { (axum::http::StatusCode::BAD_GATEWAY, String::new()) }
}

async fn upgrade(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> impl IntoResponse {
    upgrade.max_message_size(usize::MAX).max_frame_size(usize::MAX).on_upgrade(|client| talk(client, shared))
}

async fn talk(client: WebSocket, shared: Arc<Shared>) {
    let config = tungstenite::protocol::WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let Ok((node, _)) = tokio_tungstenite::connect_async_with_config(&shared.ws, Some(config), true).await else { return };
    let ((mut to_client, mut from_client), (mut to_node, mut from_node)) = (client.split(), node.split());
    let mut open: HashMap<String, (String, Value)> = HashMap::new();
    loop {
        tokio::select! {
            said = from_client.next() => {
                let Some(Ok(Message::Text(text))) = said else { return };
                open.extend(asked(&serde_json::from_str(&text).unwrap()));
                if to_node.send(tungstenite::Message::text(text.to_string())).await.is_err() {
                    return;
                }
            }
            said = from_node.next() => {
                let text = match said {
                    Some(Ok(tungstenite::Message::Text(text))) => text,
                    Some(Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_))) => continue,
                    _ => return,
                };
                let mut message: Value = serde_json::from_str(&text).unwrap();
                let asked = open.remove(&message["id"].to_string());
                let asked = asked.unwrap_or_else(|| (message["method"].as_str().unwrap_or_default().to_owned(), Value::Null));
                for _ in 0..shared.tell(&asked, &mut message) {
                    if to_client.send(Message::Text(message.to_string().into())).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
