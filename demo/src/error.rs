//! What can go wrong while a local chain is made and driven. The texts say what to do.

/// An error of the devnet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part that npm brings is not in the cache, or there is none for this platform.
    #[error("{0}")]
    Parts(String),
    /// A file of an npm package is not what it should be.
    #[error("{file}: {problem}; run `cargo xtask parts` to install the parts again")]
    Artifact { file: String, problem: String },
    /// A child process did not start, or ended when it should not have.
    #[error("{program} {problem}")]
    Process { program: String, problem: String },
    /// The connection failed.
    #[error("no answer from {host}: {problem}")]
    Http { host: String, problem: String },
    /// The node refused a request.
    #[error("the node refused {method}: {message} (code {code})")]
    Rpc { method: String, code: i64, message: String },
    /// The node answered something else than the method promises.
    #[error("the node's answer to {method} cannot be read: {problem}")]
    Answer { method: String, problem: String },
    /// A transaction that had to succeed did not.
    #[error("{reverted} of {total} transactions of block {block} reverted, the first at index {first}")]
    Reverted { block: u64, reverted: usize, total: usize, first: usize },
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
