//! A child process that never outlives this one, not even when this one is killed.
//!
//! The child runs under a few lines of `sh` in its own process group, so that Ctrl-C in the terminal reaches only us and we stop
//! things in order. The shell holds the read end of a pipe whose write end we hold: when we end, for whatever reason, the
//! kernel closes it, and the shell stops the child. (`PR_SET_PDEATHSIG` would need unsafe code and exists on Linux only.)

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// How the child is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopBy {
    /// SIGKILL at once: it has nothing to save.
    Kill,
    /// SIGTERM, and SIGKILL after 20 s.
    Term,
}

// $1: the signal's name; the rest: the command. fd 3 is our pipe. A background job of sh gets /dev/null as stdin, hence the fd.
const SCRIPT: &str = r#"sig=$1; shift
exec 3<&0
"$@" 3<&- </dev/null & pid=$!
( read -r _ <&3; kill -"$sig" "$pid" 2>/dev/null
  [ "$sig" = KILL ] || { n=0; while kill -0 "$pid" 2>/dev/null && [ $n -lt 200 ]; do sleep 0.1; n=$((n+1)); done; kill -KILL "$pid" 2>/dev/null; }
) >/dev/null 2>&1 & watch=$!
exec 3<&-
wait "$pid"; code=$?
kill "$watch" 2>/dev/null
exit $code"#;

/// A running child. Dropping it stops it and waits for its end.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    shell: Child,
}

impl Guarded {
    /// Starts `program`; its stdout goes line by line to `on_line` in a thread of its own (it ends with the child), its stderr to the end of `log`.
    ///
    /// # Errors
    /// When the shell or the log cannot be opened. A program that does not exist shows as an early exit (code 127).
    pub fn spawn<S: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = S>,
        stop_by: StopBy,
        log: &Path,
        mut on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let failed = |problem: String| Error::Process { program: name.clone(), problem };
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh", if stop_by == StopBy::Kill { "KILL" } else { "TERM" }])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(OpenOptions::new().create(true).append(true).open(log)?);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut shell = command.spawn().map_err(|e| failed(format!("cannot be started: {e}")))?;
        let stdout = shell.stdout.take().ok_or_else(|| failed("has no stdout".to_owned()))?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                match line {
                    Ok(line) => on_line(&line),
                    Err(_) => break,
                }
            }
        });
        Ok(Self { name, shell })
    }

    /// The name of the program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, when it ended.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.shell.try_wait()?)
    }

    /// Stops it and waits, at most `patience`, for its end. Returns `None` when it had to be killed.
    pub async fn stop(mut self, patience: Duration) -> Option<ExitStatus> {
        drop(self.shell.stdin.take());
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.shell.try_wait() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell ends as soon as its child has; after SIGTERM that is 20 s at most.
        let _ = self.shell.wait();
    }
}
