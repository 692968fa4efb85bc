//! The options of the demo.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

/// Shared with `cargo xtask demo --help`, which must not need a build.
pub(crate) const HELP: &str = include_str!("help.txt");

/// 400 pools: what the curated list and every pair of 29 tokens give comfortably; more belongs to the benches.
const MAX_POOLS: usize = 400;
/// 1,000 transactions: three quarters of what fits into one block.
const MAX_RATE: usize = 1_000;

/// What the engine stores in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Sqlite,
    Mongodb,
}

/// What the person asked for.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    pub(crate) engine: Option<PathBuf>,
    /// Of trading; `None` until Ctrl-C.
    pub(crate) duration: Option<Duration>,
    pub(crate) seed: u64,
    pub(crate) pools: usize,
    /// Transactions per block.
    pub(crate) rate: usize,
    pub(crate) block_time: Duration,
    /// Blocks from one reorg to the next, about; 0 for none.
    pub(crate) reorg_every: u64,
    pub(crate) port: u16,
    pub(crate) store: StoreKind,
    pub(crate) color: bool,
    pub(crate) help: bool,
}

impl Args {
    /// Parses the command line without the program's name.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            engine: None,
            duration: None,
            seed: 1,
            pools: 10,
            rate: 12,
            block_time: Duration::from_millis(1000),
            reorg_every: 15,
            port: 8080,
            store: StoreKind::Sqlite,
            color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            help: false,
        };
        while let Some(arg) = args.next() {
            // `--name value` and `--name=value` are the same.
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            let mut value = || inline.clone().or_else(|| args.next()).ok_or_else(|| format!("{name} needs a value; see --help"));
            match name.as_str() {
                "--engine" => parsed.engine = Some(value()?.into()),
                "--seconds" => parsed.duration = Some(Duration::from_secs(number(&name, &value()?, 1, 86_400)?)),
                "--seed" => parsed.seed = number(&name, &value()?, 0, u64::MAX)?,
                "--pools" => parsed.pools = size(number(&name, &value()?, 1, MAX_POOLS as u64)?),
                "--rate" => parsed.rate = size(number(&name, &value()?, 0, MAX_RATE as u64)?),
                "--block-ms" => parsed.block_time = Duration::from_millis(number(&name, &value()?, 20, 60_000)?),
                "--reorg-every" => parsed.reorg_every = number(&name, &value()?, 0, 1_000_000)?,
                "--port" => parsed.port = u16::try_from(number(&name, &value()?, 0, 65_535)?).unwrap_or_default(),
                "--store" => parsed.store = store(&value()?)?,
                "--no-color" => parsed.color = false,
                "--help" | "-h" => parsed.help = true,
                _ => return Err(format!("`{name}` is not an option of the demo; see --help")),
            }
        }
        Ok(parsed)
    }
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{name} takes a number from {least} to {most}, not `{value}`")),
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn store(value: &str) -> Result<StoreKind, String> {
    match value {
        "sqlite" => Ok(StoreKind::Sqlite),
        "mongodb" => Ok(StoreKind::Mongodb),
        other => Err(format!("--store takes sqlite or mongodb, not `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args, String> {
        Args::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let args = parse("--seconds 5 --seed=9 --pools=3 --block-ms 250 --no-color").expect("good options");
        assert_eq!((args.duration, args.seed, args.pools), (Some(Duration::from_secs(5)), 9, 3));
        assert_eq!((args.block_time, args.color), (Duration::from_millis(250), false));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("--pools 0", "1 to 400"),
            ("--seconds", "needs a value"),
            ("--port 99999", "0 to 65535"),
            ("--store oracle", "sqlite or mongodb"),
            ("--colour", "not an option"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
