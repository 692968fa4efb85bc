//! A TCP connection with faults: it is cut, reset, half-open, silent or slow, or has bytes in it that nobody sent. It knows nothing of
//! what it carries.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};

/// How it is now; what is open already is changed, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Each connection is ended as if its process had: FIN.
    Closed,
    /// The same without a goodbye: RST.
    Reset,
    /// Open, and nothing gets through; whoever connects is let in. What is said meanwhile arrives when it is over.
    Silent,
    /// What the client says arrives; nothing comes back.
    Deaf,
    /// Each piece that comes back is so much later.
    Slow(Duration),
}

pub struct Wire {
    /// `127.0.0.1:PORT`
    pub host: String,
    fault: watch::Sender<Fault>,
    server: watch::Sender<SocketAddr>,
    accepted: watch::Receiver<u64>,
    noise: broadcast::Sender<Vec<u8>>,
}

impl Wire {
    /// To a server that need not be there yet.
    pub async fn to(server: &str) -> Self {
        let (server, servers) = watch::channel(server.parse().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (fault, faults) = watch::channel(Fault::None);
        let (count, accepted) = watch::channel(0);
        let noise = broadcast::Sender::new(16);
        let noises = noise.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let server = servers.clone();
                tokio::spawn(carry(client, server, faults.clone(), noises.subscribe()));
            }
        });
        Self { host, fault, server, accepted, noise }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Leads somewhere else from now on; what is open is closed.
    pub fn point(&self, server: &str) {
        self.server.send_replace(server.parse().unwrap());
    }

    /// Bytes that whoever is connected now hears in the middle of what the server says.
    pub fn insert(&self, bytes: &[u8]) {
        // Nobody is connected.
        let _ = self.noise.send(bytes.to_vec());
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Until somebody has connected once more.
    pub async fn is_dialled_again(&self, since: u64) {
        self.accepted.clone().wait_for(|count| *count > since).await.unwrap();
    }
}

/// One connection.
async fn carry(
    client: TcpStream,
    mut servers: watch::Receiver<SocketAddr>,
    faults: watch::Receiver<Fault>,
    noise: broadcast::Receiver<Vec<u8>>,
) {
    let server = *servers.borrow_and_update();
    let cut = async {
        let mut faults = faults.clone();
        let ends = |fault: &Fault| matches!(fault, Fault::Closed | Fault::Reset);
        faults.wait_for(ends).await.map_or(Fault::Closed, |fault| *fault)
    };
    if let Fault::Reset = *faults.borrow() {
        client.set_zero_linger().unwrap();
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let cut = tokio::select! {
        cut = cut => Some(cut),
        _ = servers.changed() => None,
        () = up(&from_client, to_server, faults.clone()) => None,
        () = down(from_server, to_client, faults.clone(), noise) => None,
    };
    if cut == Some(Fault::Reset) {
        from_client.as_ref().set_zero_linger().unwrap();
    }
}

/// What the client says.
async fn up(from: &OwnedReadHalf, mut to: OwnedWriteHalf, mut faults: watch::Receiver<Fault>) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let _ = faults.wait_for(|fault| *fault != Fault::Silent).await;
        if from.readable().await.is_err() {
            return;
        }
        match from.try_read(&mut piece) {
            Ok(0) => return,
            Ok(length) if to.write_all(&piece[..length]).await.is_ok() => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// What comes back.
async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    mut noise: broadcast::Receiver<Vec<u8>>,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let _ = faults.wait_for(|fault| !matches!(fault, Fault::Silent | Fault::Deaf)).await;
        let heard = tokio::select! {
            length = from.read(&mut piece) => length.map(|length| piece[..length].to_vec()).unwrap_or_default(),
            Ok(noise) = noise.recv() => noise,
        };
        // It may have become silent while this was waited for.
        let fault = *faults.wait_for(|fault| !matches!(fault, Fault::Silent | Fault::Deaf)).await.unwrap();
        if let Fault::Slow(by) = fault {
            sleep_until(Instant::now() + by).await;
        }
        if heard.is_empty() || to.write_all(&heard).await.is_err() {
            return;
        }
    }
}
