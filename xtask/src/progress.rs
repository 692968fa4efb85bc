//! Progress of one or two things at once: redrawn lines on a terminal, a line every ten seconds elsewhere.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A terminal is redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(120);
const PLAIN_LINE: Duration = Duration::from_secs(10);

/// Shared by the threads that report.
pub(crate) struct Progress {
    state: Mutex<State>,
}

struct State {
    lines: Vec<(&'static str, String)>,
    terminal: bool,
    drawn: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        let lines = names.iter().map(|n| (*n, String::new())).collect();
        let terminal = std::io::stderr().is_terminal();
        Self { state: Mutex::new(State { lines, terminal, drawn: false, last: None }) }
    }

    /// Something moved. `text` should be short.
    pub(crate) fn set(&self, name: &str, text: &str) {
        self.update(name, text, false);
    }

    /// Something ended: shown in any case.
    pub(crate) fn done(&self, name: &str, text: &str) {
        self.update(name, text, true);
    }

    fn update(&self, name: &str, text: &str, now: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for line in state.lines.iter_mut().filter(|l| l.0 == name) {
            line.1 = text.to_owned();
        }
        let pause = if state.terminal { REDRAW } else { PLAIN_LINE };
        if now || state.last.is_none_or(|last| last.elapsed() >= pause) {
            state.draw();
            state.last = Some(Instant::now());
        }
    }
}

impl State {
    fn draw(&mut self) {
        let mut out = String::new();
        if self.terminal && self.drawn {
            out.push_str(&format!("\x1b[{}A", self.lines.len()));
        }
        if self.terminal {
            for (name, text) in &self.lines {
                let text: String = text.chars().take(100).collect();
                out.push_str(&format!("\x1b[2K{name:>8}  {text}\n"));
            }
        } else {
            let parts: Vec<String> = self.lines.iter().filter(|l| !l.1.is_empty()).map(|(n, t)| format!("{n}: {t}")).collect();
            out.push_str(&format!("{}\n", parts.join(" | ")));
        }
        self.drawn = true;
        let _ = std::io::stderr().write_all(out.as_bytes());
    }
}
