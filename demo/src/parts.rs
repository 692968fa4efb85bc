//! The real parts that npm brought: the anvil binary and the contracts' artifacts.

use std::path::{Path, PathBuf};

use crate::{
    cache,
    error::{Error, Result},
};

/// An installed set of parts. Fetching them is `cargo xtask parts`' work, never a test's.
#[derive(Debug, Clone)]
pub struct Parts {
    root: PathBuf,
}

impl Parts {
    /// Finds the parts that fit the pins of this working copy.
    ///
    /// # Errors
    /// When they are not installed, or only half.
    pub fn find() -> Result<Self> {
        let root = cache::npm_dir(repo_root())?;
        if root.join(cache::STAMP).is_file() {
            return Ok(Self { root });
        }
        Err(Error::Parts(format!(
            "the parts for the local chain are not installed in {}: run `cargo xtask parts`",
            root.display()
        )))
    }

    /// The folder that holds `node_modules`; Node scripts resolve their imports from here.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of an npm package, such as `graphql-ws/dist/client.js`.
    pub fn npm_file(&self, path: &str) -> PathBuf {
        self.root.join("node_modules").join(path)
    }

    /// The anvil binary: `SWAPTIDE_ANVIL`, then PATH, then npm's.
    ///
    /// # Errors
    /// When there is none.
    pub fn anvil(&self) -> Result<PathBuf> {
        if let Some(file) = std::env::var_os("SWAPTIDE_ANVIL").filter(|v| !v.is_empty()) {
            return Ok(PathBuf::from(file));
        }
        if let Some(file) = cache::on_path("anvil") {
            return Ok(file);
        }
        let file = self.npm_file(&format!("{}/bin/anvil", cache::npm_anvil_package()));
        if file.is_file() {
            return Ok(file);
        }
        Err(Error::Parts(cache::no_anvil_text()))
    }
}

/// The folder that holds the packages of the TypeScript example, in `node_modules`.
///
/// # Errors
/// When they are not installed, or only half.
pub fn example() -> Result<PathBuf> {
    let dir = cache::example_dir(repo_root())?;
    if dir.join(cache::STAMP).is_file() {
        return Ok(dir);
    }
    let problem =
        format!("the packages of the example are not installed in {}: run `cargo xtask parts --examples`", dir.display());
    Err(Error::Parts(problem))
}

/// The folder with the packages of Schemathesis, for `PYTHONPATH`.
///
/// # Errors
/// When they are not installed, or only half.
pub fn schemathesis() -> Result<PathBuf> {
    let dir = cache::schemathesis_dir(repo_root()).map_err(|problem| Error::Parts(problem.to_string()))?;
    if dir.join(cache::STAMP).is_file() {
        return Ok(dir);
    }
    Err(Error::Parts(format!("Schemathesis is not installed in {}: run `cargo xtask parts --schemathesis`", dir.display())))
}

/// The mongod binary: `SWAPTIDE_MONGOD`, then PATH, then the pinned one.
///
/// # Errors
/// When there is none, or it is not fetched yet.
pub fn mongod() -> Result<PathBuf> {
    if let Some(file) = cache::own_mongod() {
        return Ok(file);
    }
    let dir = cache::mongod_dir(repo_root())?;
    if dir.join(cache::STAMP).is_file() {
        return Ok(dir.join("mongod"));
    }
    if cache::has_pinned_mongod() {
        return Err(Error::Parts(format!("mongod is not installed in {}: run `cargo xtask parts --mongod`", dir.display())));
    }
    Err(Error::Parts(cache::no_mongod_text()))
}

/// The repository this crate was compiled in.
pub fn repo_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
