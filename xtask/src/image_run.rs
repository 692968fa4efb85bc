//! Runs the image that was built, as its configuration says, against an empty chain on loopback.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    buildah::{Buildah, answer},
    cache, parts,
    progress::Progress,
    repo, run,
};

/// A cold start on a busy machine with two cores takes 3 s.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// What docs/operations.md tells an operator to give it.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// The Dockerfile's, and the chart's.
const USER: &str = "65532";
/// Something has to be at the address of a factory; nobody creates a pool on this chain.
const FACTORY: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

pub(crate) fn check(buildah: &Buildah, image: &str) -> Outcome {
    let folder = std::env::temp_dir().join(format!("swaptide-image-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let outcome = check_in(&folder, buildah, image);
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn check_in(folder: &Path, buildah: &Buildah, image: &str) -> Outcome {
    let [node, api, admin] = [free_port()?, free_port()?, free_port()?];
    let _chain = chain(node)?;
    let config = folder.join("swaptide.toml");
    let text = format!(
        "[[chain]]\nid = 31337\nname = \"local\"\nrpc = [\"ws://127.0.0.1:{node}\"]\n\
         [[chain.dex]]\nname = \"none\"\nprotocol = \"uniswap_v2\"\nfactory = \"{FACTORY}\"\n"
    );
    fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;

    let command = [buildah.config(image, "Entrypoint")?, buildah.config(image, "Cmd")?].concat();
    let health = buildah.config(image, "Healthcheck.Test")?.split_first().map(|(_, test)| test.to_vec()).unwrap_or_default();
    // The network is the host's: loopback, instead of the image's 0.0.0.0.
    let options = |config: &Path| {
        let file = format!("{}:/etc/swaptide/swaptide.toml:ro", config.display());
        let listen = |name: &str, port: u16| format!("SWAPTIDE__{name}__LISTEN=127.0.0.1:{port}");
        let all =
            ["--volume", &file, "--env", &listen("API", api), "--env", &listen("ADMIN", admin), "--env", "RPC_URL=ws://node"];
        all.map(str::to_owned).to_vec()
    };

    // Beside the engine: what the runtime asks, and the configuration that compose.yaml mounts.
    let beside = buildah.from(image)?;
    let is_healthy = || run::succeeds(&mut beside.run(&options(&config), &health));
    // A new volume takes its owner from here; buildah would set a wrong one right when it runs something.
    let owner = answer(Command::new("stat").arg("--format=%u").arg(beside.root()?.join("data")))?;
    if owner != USER {
        return Err(format!("/data is owned by {owner}: {USER} cannot write there"));
    }
    let check_config = ["swaptide", "check-config", "/etc/swaptide/swaptide.toml"].map(str::to_owned);
    answer(&mut beside.run(&options(&repo().join("deploy/swaptide.toml")), &check_config))?;
    if is_healthy() {
        return Err(format!("`{}` says healthy, and nothing runs", health.join(" ")));
    }

    let container = buildah.from(image)?;
    let engine = container.run(&options(&config), &command).stdin(Stdio::null()).spawn();
    let mut engine = Guard(engine.map_err(|e| format!("buildah cannot be started: {e}"))?);
    let began = Instant::now();
    for path in ["/health", "/ready"] {
        until(path, START_DEADLINE, || {
            if let Some(status) = engine.exit_status()? {
                return Err(format!("the image's command ended ({status}): see above"));
            }
            Ok(get(admin, path).is_ok_and(|(status, _)| status == 200).then_some(()))
        })?;
    }
    println!("image: ready after {:.1} s", began.elapsed().as_secs_f64());

    serves_what_was_embedded(api)?;
    let process = descendant(engine.0.id(), "swaptide").ok_or("no process of the container is called swaptide")?;
    let user = status_line(process, "Uid:").unwrap_or_default();
    if user.split_whitespace().next() != Some(USER) {
        return Err(format!("it runs as {user}, not as {USER}"));
    }
    if !is_healthy() {
        return Err(format!("`{}` says unhealthy, and it is not", health.join(" ")));
    }

    let began = Instant::now();
    answer(Command::new("kill").args(["-TERM", &process.to_string()]))?;
    let status = until("its end after SIGTERM", STOP_DEADLINE, || engine.exit_status())?;
    if !status.success() {
        return Err(format!("after SIGTERM it ended with {status}"));
    }
    println!("image: healthy as {USER}, serves its page, ended with 0 in {:.1} s after SIGTERM", began.elapsed().as_secs_f64());
    Ok(())
}

/// The page, and a file of GraphiQL.
fn serves_what_was_embedded(port: u16) -> Outcome {
    for (path, holds) in [("/", "Swaptide"), ("/assets/vendor/react.production.min.js", "React")] {
        match get(port, path)? {
            (200, body) if body.contains(holds) => {}
            (status, _) => return Err(format!("GET {path} answers {status}, or without `{holds}`")),
        }
    }
    Ok(())
}

/// Killed when it is dropped, with all that it started: buildah does not pass the signal on.
struct Guard(Child);

impl Guard {
    fn exit_status(&mut self) -> Outcome<Option<ExitStatus>> {
        self.0.try_wait().map_err(|e| format!("the process cannot be waited for: {e}"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            for process in descendants(self.0.id()) {
                run::succeeds(Command::new("kill").args(["-KILL", &process.to_string()]));
            }
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// An anvil with one contract on it.
fn chain(port: u16) -> Outcome<Guard> {
    let anvil =
        match std::env::var_os("SWAPTIDE_ANVIL").filter(|v| !v.is_empty()).map(PathBuf::from).or_else(|| cache::on_path("anvil"))
        {
            Some(file) => file,
            None => parts::npm_anvil(&parts::ensure(&Progress::new(&["parts"]))?.dir),
        };
    let mut command = Command::new(&anvil);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--block-time", "1", "--silent"]).stdin(Stdio::null());
    let anvil = Guard(command.spawn().map_err(|e| format!("{} cannot be started: {e}", anvil.display()))?);
    let code = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"anvil_setCode","params":["{FACTORY}","0x00"]}}"#);
    until("anvil", START_DEADLINE, || Ok(http(port, "POST", "/", &code).ok().filter(|(status, _)| *status == 200)))?;
    Ok(anvil)
}

/// Asks until there is an answer.
fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(format!("waited {} s for {what}", deadline.as_secs()));
        }
        #[expect(clippy::disallowed_methods, reason = "xtask has one thread, and nothing else to do")]
        sleep(POLL);
    }
}

fn free_port() -> Outcome<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

fn get(port: u16, path: &str) -> Outcome<(u16, String)> {
    http(port, "GET", path, "")
}

/// One request to loopback by HTTP/1.0, which ends with the connection. Status and body.
fn http(port: u16, method: &str, path: &str, body: &str) -> Outcome<(u16, String)> {
    let exchange = || -> std::io::Result<String> {
        let timeout = Duration::from_secs(3);
        let mut socket = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all((head + body).as_bytes())?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = exchange().map_err(|e| format!("{method} {path} on port {port}: {e}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{method} {path}: no HTTP"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("{method} {path}: no status"))?, body.to_owned()))
}

/// Containers share the host's processes: the one below buildah with this name.
fn descendant(parent: u32, name: &str) -> Option<u32> {
    descendants(parent).into_iter().find(|process| status_line(*process, "Name:").as_deref() == Some(name))
}

/// All processes below this one.
fn descendants(parent: u32) -> Vec<u32> {
    let all: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let mut found = vec![parent];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(all.iter().filter(|process| status_line(**process, "PPid:") == Some(of.to_string())));
        next += 1;
    }
    found.split_off(1)
}

fn status_line(process: u32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}
