//! A small HTTP/1.1 client for loopback: keep-alive, content-length and chunked bodies, nothing else.
//!
//! Not reqwest: built without a TLS provider (facts.md: ring everywhere), a reqwest client panics unless `main` installed one,
//! and tests and benches have no such `main`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::error::{Error, Result};

/// 120 s: the longest that one batch of a large setup may take on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(120);
/// 1 GiB: more than any answer of a local node; a larger length is a broken peer.
const MAX_BODY_BYTES: usize = 1 << 30;

/// A client for one host. Clones share its idle connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    host: Arc<str>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

type Connection = BufReader<TcpStream>;

impl HttpClient {
    /// `host` is `address:port`.
    pub fn new(host: impl Into<Arc<str>>) -> Self {
        Self { host: host.into(), idle: Arc::default() }
    }

    /// `address:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// # Errors
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send("GET", path, "").await
    }

    /// Posts a JSON text.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn post_json(&self, path: &str, body: &str) -> Result<Response> {
        self.send("POST", path, body).await
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Result<Response> {
        let failed = |problem: String| Error::Http { host: self.host.to_string(), problem };
        match tokio::time::timeout(TIMEOUT, self.exchange(method, path, body)).await {
            Ok(answer) => answer.map_err(|e| failed(e.to_string())),
            Err(_) => Err(failed(format!("nothing within {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<Response> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        if let Some(mut used) = self.take_idle() {
            // An idle connection may have been closed meanwhile. Only when not one byte came back is it safe to ask again.
            if used.write_all(request.as_bytes()).await.is_ok() && used.fill_buf().await.is_ok_and(|b| !b.is_empty()) {
                return self.receive(used).await;
            }
        }
        let stream = TcpStream::connect(&*self.host).await?;
        stream.set_nodelay(true)?;
        let mut fresh = BufReader::with_capacity(64 * 1024, stream);
        fresh.write_all(request.as_bytes()).await?;
        self.receive(fresh).await
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn receive(&self, mut connection: Connection) -> std::io::Result<Response> {
        let head = read_head(&mut connection).await?;
        let body = match head.length {
            Length::Bytes(length) => read_exactly(&mut connection, length).await?,
            Length::Chunked => read_chunks(&mut connection).await?,
        };
        if !head.close {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(Response { status: head.status, body })
    }
}

struct Head {
    status: u16,
    length: Length,
    close: bool,
}

enum Length {
    Bytes(usize),
    Chunked,
}

async fn read_head(connection: &mut Connection) -> std::io::Result<Head> {
    let status_line = read_line(connection).await?;
    let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no HTTP status"))?;
    let mut head = Head { status, length: Length::Bytes(0), close: false };
    loop {
        let line = read_line(connection).await?;
        if line.is_empty() {
            return Ok(head);
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = value.parse().map_err(|_| broken("bad content-length"))?;
                head.length = Length::Bytes(length);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.length = Length::Chunked,
            "connection" => head.close = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

async fn read_line(connection: &mut Connection) -> std::io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(broken("the connection was closed"));
    }
    Ok(line.trim_end().to_owned())
}

async fn read_exactly(connection: &mut Connection, length: usize) -> std::io::Result<Vec<u8>> {
    if length > MAX_BODY_BYTES {
        return Err(broken("the answer is too large"));
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok(body)
}

async fn read_chunks(connection: &mut Connection) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(connection).await?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).map_err(|_| broken("bad chunk"))?;
        if body.len().saturating_add(length) > MAX_BODY_BYTES {
            return Err(broken("the answer is too large"));
        }
        body.extend(read_exactly(connection, length).await?);
        read_line(connection).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}
