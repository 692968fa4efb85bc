//! Serving until told to stop, and then stopping in good order.

use std::{future::IntoFuture as _, io, net::SocketAddr, time::Duration};

use axum::{Router, serve::ListenerExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Requests that run when the server is told to stop get this long.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A peer that takes nothing of what was written to it for this long, whatever the protocol, is cut off: it must not hold memory.
#[cfg(target_os = "linux")]
const UNREAD_MAX_MS: u32 = 30_000;
/// WebSockets are no requests any more: their goodbye (close 1001) is written in this time.
const GOODBYE: Duration = Duration::from_millis(250);

/// Serves until `shutdown`; then no new connections, running requests finish, WebSockets say goodbye.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let asked = shutdown.clone();
    // Frames leave when they are written, not when the peer has acknowledged the last ones.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's delay");
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&*connection, UNREAD_MAX_MS) {
            tracing::debug!(%error, "a peer that takes nothing is not cut off");
        }
    });
    // With the peer's address: limits are per address.
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned());
    let bounded = async move {
        asked.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = server.into_future() => ended?,
        () = bounded => tracing::warn!(seconds = DRAIN_MAX.as_secs(), "some requests did not finish in time and were cut off"),
    }
    tokio::time::sleep(GOODBYE).await;
    Ok(())
}
