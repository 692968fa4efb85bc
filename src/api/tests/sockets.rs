//! The WebSocket, with a real client on a real port.

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{client::*, world::*};

#[tokio::test]
async fn a_subscription_runs_over_the_socket_until_the_server_stops() {
    let mut world = World::new();
    let url = listen(&world).await;
    let mut socket = ready(&url).await;
    say(&mut socket, json!({ "id": "1", "type": "subscribe", "payload": { "query": format!(r#"subscription {{ onPoolUpdated(ids: ["{PAIR}"]) {{ kind data {{ reserve0 }} }} }}"#) } })).await;
    let first = hear(&mut socket).await;
    assert_eq!((&first["id"], &first["payload"]["data"]["onPoolUpdated"]["kind"]), (&json!("1"), &json!("SNAPSHOT")));
    world.mine(v2_swap(1, 1, 55, 10));
    let second = hear(&mut socket).await;
    assert_eq!(second["payload"]["data"]["onPoolUpdated"], json!({ "kind": "UPDATE", "data": [{ "reserve0": "55" }] }));
    say(&mut socket, json!({ "id": "2", "type": "subscribe", "payload": { "query": "{ __typename }" } })).await;
    assert_eq!(hear(&mut socket).await["payload"]["data"], json!({ "__typename": "Query" }));
    assert_eq!(hear(&mut socket).await, json!({ "type": "complete", "id": "2" }));
    assert_eq!(world.state.metrics.ws_connections.get(), 1);
    world.state.draining.cancel();
    assert_eq!(close_code(&mut socket).await, 1001);
    assert!(matches!(open(&url, "graphql-transport-ws", None).await, Err(Error::Http(r)) if r.status() == 503));
}

#[tokio::test]
async fn an_operation_that_fails_gets_an_error_message_and_its_id_is_free_again() {
    let world = World::new();
    let mut socket = ready(&listen(&world).await).await;
    for _ in 0..2 {
        say(&mut socket, json!({ "id": "x", "type": "subscribe", "payload": { "query": "subscription { nothing }" } })).await;
        let error = hear(&mut socket).await;
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("x")));
        assert_eq!(error["payload"][0]["extensions"]["code"], "BAD_USER_INPUT");
        say(&mut socket, json!({ "type": "ping" })).await;
        assert_eq!(hear(&mut socket).await["type"], "pong");
    }
}

#[tokio::test]
async fn breaking_the_protocol_closes_with_its_code() {
    let world = World::new();
    let url = listen(&world).await;
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": "subscription { blocks { seq } }" } });
    let mut socket = open(&url, "graphql-transport-ws", None).await.unwrap();
    say(&mut socket, subscribe.clone()).await;
    assert_eq!(close_code(&mut socket).await, 4401);
    let mut socket = ready(&url).await;
    say(&mut socket, subscribe.clone()).await;
    say(&mut socket, subscribe).await;
    assert_eq!(close_code(&mut socket).await, 4409);
    let mut socket = ready(&url).await;
    say(&mut socket, json!({ "type": "connection_init" })).await;
    assert_eq!(close_code(&mut socket).await, 4429);
    let mut socket = ready(&url).await;
    socket.send(Message::text("nonsense")).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 4400);
    let mut socket = open(&url, "", None).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 4406);
}

#[tokio::test]
async fn only_allowed_origins_may_open_a_socket() {
    let world = World::new();
    let url = listen(&world).await;
    assert!(open(&url, "graphql-transport-ws", Some("http://localhost:5173")).await.is_ok());
    let refused = open(&url, "graphql-transport-ws", Some("http://evil.example")).await;
    assert!(matches!(refused, Err(Error::Http(r)) if r.status() == 403));
    assert!(open(&format!("{url}/ws"), "graphql-transport-ws", None).await.is_ok());
}
