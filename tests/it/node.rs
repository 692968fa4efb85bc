//! Real clients from npm, run by Node; they speak JSON lines.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use swaptide_demo::Parts;
use tokio::sync::mpsc;

use super::engine::PATIENCE;

/// A script of `tests/it/clients`, running. Dropping it kills it.
pub struct NodeClient {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl NodeClient {
    pub fn start(script: &str, args: &[&str]) -> Self {
        let parts = Parts::find().unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(script);
        let mut child = Command::new("node")
            .arg(file)
            .args(args)
            .env("PARTS", parts.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("Node is installed");
        let stdout = child.stdout.take().unwrap();
        let (tx, lines) = mpsc::channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tx.blocking_send(serde_json::from_str(&line).unwrap_or(Value::String(line))).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line, which must come.
    pub async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("the client says something");
        line.expect("the client is still running")
    }

    /// The first line for which this holds; the ones before are skipped.
    pub async fn until(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next().await;
            if what(&line) {
                return line;
            }
        }
    }

    /// Every line until its end, and its exit code.
    pub async fn finish(mut self) -> (Vec<Value>, i32) {
        let mut all = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.recv().await {
                all.push(line);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the client ends");
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (all, code)
    }
}

impl Drop for NodeClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
