//! The one system package that a test needs.

use std::path::PathBuf;

use crate::{Outcome, apt, cache};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// `SWAPTIDE_CHROMIUM`, or the first one on PATH, or installed by apt where there is root. `None`: the browser test cannot run
/// here; in CI that is an error.
pub(crate) fn find() -> Outcome<Option<PathBuf>> {
    if let Some(file) = std::env::var_os("SWAPTIDE_CHROMIUM").filter(|v| !v.is_empty()) {
        return Ok(Some(file.into()));
    }
    let on_path = || NAMES.iter().find_map(|name| cache::on_path(name));
    if let Some(file) = on_path() {
        return Ok(Some(file));
    }
    if apt::can_install() {
        println!("chromium: installing it with apt-get for the browser test");
        let installed = apt::install(&["chromium"]);
        if let (Err(problem), true) = (&installed, is_ci()) {
            return Err(problem.clone());
        }
        if let Some(file) = on_path() {
            return Ok(Some(file));
        }
    }
    let text = "no Chromium on PATH: install it (Debian: `apt install chromium`) or set SWAPTIDE_CHROMIUM";
    if is_ci() {
        return Err(format!("{text}; in CI the browser test must run"));
    }
    println!("chromium: the browser test is not run, {text}");
    Ok(None)
}

/// Every CI system sets `CI`.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0")
}
