//! A real mongod on a free port, as a replica set of one: transactions need that.
//!
//! Absent on purpose: a MongoDB driver. Two commands are said in the wire protocol (OP_MSG) as it stands in its specification.

use std::{
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    error::{Error, Result},
    guard::{Guarded, StopBy},
    parts,
};

/// 60 s: a cold start on a busy machine with two cores takes 3 s.
const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// The port is free when it is asked for; somebody else may take it before mongod does.
const PORT_TRIES: usize = 3;

/// Small enough to run beside everything else.
pub(crate) const CACHE_MB: u32 = 512;

/// In its folder, where it takes TLS.
const CERTIFICATE: &str = "server.pem";

/// A running server. Dropping it kills it; its data goes too, where the folder was its own.
#[derive(Debug)]
pub struct Mongod {
    process: Option<Guarded>,
    folder: PathBuf,
    own_folder: bool,
    port: u16,
    cache_mb: u32,
}

impl Mongod {
    /// Starts one with a new, empty folder, and waits until it takes writes.
    ///
    /// # Errors
    /// When there is no mongod, or it does not come up.
    pub async fn start() -> Result<Self> {
        Self::in_folder(&new_folder(), true, CACHE_MB).await
    }

    /// The same, and it takes TLS too: `pem` holds its private key and its certificate.
    ///
    /// # Errors
    /// As [`Mongod::start`].
    pub async fn start_with_tls(pem: &str) -> Result<Self> {
        let folder = new_folder();
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(CERTIFICATE), pem)?;
        Self::in_folder(&folder, true, CACHE_MB).await
    }

    /// Starts one over a folder that is kept.
    ///
    /// # Errors
    /// As [`Mongod::start`].
    pub async fn over(folder: &Path) -> Result<Self> {
        Self::in_folder(folder, false, CACHE_MB).await
    }

    /// The same, with a cache of this size in place of a small one.
    ///
    /// # Errors
    /// As [`Mongod::start`].
    pub async fn over_with_cache(folder: &Path, cache_mb: u32) -> Result<Self> {
        Self::in_folder(folder, false, cache_mb).await
    }

    async fn in_folder(folder: &Path, own_folder: bool, cache_mb: u32) -> Result<Self> {
        let mut mongod = Self::listening(folder, own_folder, cache_mb).await?;
        mongod.become_primary().await?;
        Ok(mongod)
    }

    /// It answers, and belongs to the replica set that its folder knows, or to none.
    pub(crate) async fn listening(folder: &Path, own_folder: bool, cache_mb: u32) -> Result<Self> {
        let binary = parts::mongod()?;
        std::fs::create_dir_all(folder)?;
        let mut tries = 1;
        loop {
            let port = free_port()?;
            let process = spawn(&binary, folder, port, cache_mb)?;
            let mut mongod = Self { process: Some(process), folder: folder.to_owned(), own_folder, port, cache_mb };
            match mongod.says(|_| true).await {
                Ok(_) => return Ok(mongod),
                Err(_) if tries < PORT_TRIES && mongod.log().contains("Address already in use") => {
                    mongod.own_folder = false;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `mongodb://127.0.0.1:PORT/DATABASE?replicaSet=rs0`.
    pub fn uri(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?replicaSet=rs0", self.port)
    }

    /// The same over TLS: the server's certificate must be one of this PEM file, or signed by one.
    pub fn tls_uri(&self, database: &str, ca: &Path) -> String {
        format!("{}&tls=true&tlsCAFile={}", self.uri(database), ca.display())
    }

    /// SIGKILL. The data stays, and so does the port's claim on [`Mongod::resume`].
    pub fn kill(&mut self) {
        self.process.take();
    }

    /// Starts it again after [`Mongod::kill`], over the same data and at the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn resume(&mut self) -> Result<()> {
        self.listen_again()?;
        self.become_primary().await
    }

    pub(crate) fn listen_again(&mut self) -> Result<()> {
        self.process = Some(spawn(&parts::mongod()?, &self.folder, self.port, self.cache_mb)?);
        Ok(())
    }

    /// Kills it and starts it again with a cache of another size, over the same data and at the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart_with_cache(&mut self, cache_mb: u32) -> Result<()> {
        self.kill();
        self.cache_mb = cache_mb;
        self.resume().await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("mongod.log")).unwrap_or_default()
    }

    async fn become_primary(&mut self) -> Result<()> {
        if !is_primary(&self.says(|_| true).await?) {
            // A folder that was a replica set before already knows: then this says so and does nothing.
            self.initiate(&[self.host()]).await?;
        }
        self.says(is_primary).await.map(drop)
    }

    /// Makes a replica set of these, of which it is one.
    pub(crate) async fn initiate(&self, hosts: &[String]) -> Result<()> {
        self.command(&initiate(hosts))
            .await
            .map(drop)
            .map_err(|e| Error::Process { program: "mongod".to_owned(), problem: format!("does not become a replica set: {e}") })
    }

    /// Waits until it answers `hello` with this, and gives the answer.
    pub(crate) async fn says(&mut self, what: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let end = Instant::now() + START_DEADLINE;
        loop {
            let ended = self.process.as_mut().map(Guarded::exit_status).transpose()?.flatten();
            if ended.is_some() || Instant::now() > end {
                let log = self.log();
                let said = log
                    .lines()
                    .rev()
                    .find(|l| l.contains("\"s\":\"E\"") || l.contains("\"s\":\"F\""))
                    .unwrap_or("it said nothing");
                let problem = format!("did not come up: {said}");
                return Err(Error::Process { program: "mongod".to_owned(), problem });
            }
            match self.hello().await {
                Ok(answer) if what(&answer) => return Ok(answer),
                Ok(_) | Err(_) => sleep(POLL).await,
            }
        }
    }

    pub(crate) async fn hello(&self) -> std::io::Result<Vec<u8>> {
        self.command(&hello()).await
    }

    /// Gives its office up for so many seconds, whether another one could take it or not.
    pub(crate) async fn step_down(&self, seconds: i32) -> std::io::Result<()> {
        let command = [int("replSetStepDown", seconds), int("secondaryCatchUpPeriodSecs", 1), boolean("force", true)];
        self.command(&document(&[command.concat(), text("$db", "admin")])).await.map(drop)
    }

    /// One OP_MSG (opcode 2013) with one document, and the document that is answered.
    async fn command(&self, document: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let mut message = Vec::new();
        let length = i32::try_from(21 + document.len()).unwrap_or(i32::MAX);
        for field in [length, 1, 0, 2013, 0] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.push(0);
        message.extend_from_slice(document);
        socket.write_all(&message).await?;
        let length = socket.read_i32_le().await?;
        let mut rest = vec![0; usize::try_from(length).unwrap_or(0).saturating_sub(4).min(1 << 20)];
        socket.read_exact(&mut rest).await?;
        Ok(rest)
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        self.process.take();
        if self.own_folder {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

pub(crate) fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("swaptide-mongod-{}-{n}", std::process::id()))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn spawn(binary: &Path, folder: &Path, port: u16, cache_mb: u32) -> Result<Guarded> {
    let log = folder.join("mongod.log");
    let mut args = vec![
        "--replSet".to_owned(),
        "rs0".to_owned(),
        "--bind_ip".to_owned(),
        "127.0.0.1".to_owned(),
        "--port".to_owned(),
        port.to_string(),
        "--dbpath".to_owned(),
        folder.display().to_string(),
        "--nounixsocket".to_owned(),
        "--wiredTigerCacheSizeGB".to_owned(),
        (f64::from(cache_mb) / 1_024.0).to_string(),
        "--oplogSize".to_owned(),
        "256".to_owned(),
        "--setParameter".to_owned(),
        "diagnosticDataCollectionEnabled=false".to_owned(),
        "--logpath".to_owned(),
        log.display().to_string(),
        "--logappend".to_owned(),
    ];
    let certificate = folder.join(CERTIFICATE);
    if certificate.is_file() {
        // Without TLS as well: that is how it is asked whether it is up.
        let tls = ["--tlsMode", "preferTLS", "--tlsAllowConnectionsWithoutCertificates", "--tlsCertificateKeyFile"];
        args.extend(tls.map(str::to_owned));
        args.push(certificate.display().to_string());
    }
    Guarded::spawn(binary, args, StopBy::Kill, &folder.join("mongod.err"), |_| {})
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// A BSON document from elements that are encoded already.
fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = elements.concat();
    let length = i32::try_from(body.len() + 5).unwrap_or(i32::MAX);
    [&length.to_le_bytes(), body.as_slice(), &[0]].concat()
}

fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[kind], name.as_bytes(), &[0], value].concat()
}

fn text(name: &str, value: &str) -> Vec<u8> {
    let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
    element(2, name, &[&length.to_le_bytes(), value.as_bytes(), &[0]].concat())
}

fn int(name: &str, value: i32) -> Vec<u8> {
    element(16, name, &value.to_le_bytes())
}

fn hello() -> Vec<u8> {
    document(&[int("hello", 1), text("$db", "admin")])
}

fn boolean(name: &str, value: bool) -> Vec<u8> {
    element(8, name, &[u8::from(value)])
}

pub(crate) fn is_primary(hello: &[u8]) -> bool {
    contains(hello, b"\x08isWritablePrimary\0\x01")
}

pub(crate) fn is_secondary(hello: &[u8]) -> bool {
    contains(hello, b"\x08secondary\0\x01")
}

/// `{ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "127.0.0.1:PORT" }, …], settings: { … } } }`: members miss each other
/// after 2 s instead of 10.
fn initiate(hosts: &[String]) -> Vec<u8> {
    let member = |(id, host): (i32, &String)| element(3, &id.to_string(), &document(&[int("_id", id), text("host", host)]));
    let members: Vec<Vec<u8>> = (0..).zip(hosts).map(member).collect();
    let settings = document(&[int("electionTimeoutMillis", 2_000), int("heartbeatIntervalMillis", 500)]);
    let config = [text("_id", "rs0"), element(4, "members", &document(&members)), element(3, "settings", &settings)];
    document(&[element(3, "replSetInitiate", &document(&config)), text("$db", "admin")])
}
