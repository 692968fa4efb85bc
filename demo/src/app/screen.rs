//! What the person sees: a table that is redrawn in place on a terminal, a line every five seconds elsewhere.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use swaptide_demo::{Deployment, Devnet};

use super::{
    Outcome,
    engine::Engine,
    play::Played,
    view::{PoolLine, View},
};

/// More pools than this are counted, not listed: the table must fit the terminal.
const MAX_ROWS: usize = 16;
/// `events/s` is an average over this time.
const RATE_WINDOW: Duration = Duration::from_secs(5);

pub(crate) struct Screen {
    terminal: bool,
    color: bool,
    /// Lines of the table that are on the terminal now.
    drawn: usize,
    notes: VecDeque<String>,
    rate: VecDeque<(Instant, f64)>,
}

impl Screen {
    pub(crate) fn new(color: bool) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), color, drawn: 0, notes: VecDeque::new(), rate: VecDeque::new() }
    }

    /// How often `draw` is worth calling.
    pub(crate) fn refresh(&self) -> Duration {
        if self.terminal { Duration::from_millis(500) } else { Duration::from_secs(5) }
    }

    /// A line that stays.
    pub(crate) fn say(&self, text: &str) {
        println!("{text}");
    }

    pub(crate) fn say_urls(&self, engine: &Engine, devnet: &Devnet) {
        if let Some(port) = engine.port_taken {
            println!("port {port} is taken; using another");
        }
        let (api, admin) = (engine.api.host(), engine.admin.host());
        println!("\n  live page  {}", self.paint("1;36", &format!("http://{api}/")));
        println!("  GraphiQL   {}", self.paint("36", &format!("http://{api}/graphiql")));
        println!("  metrics    {}", self.paint("36", &format!("http://{admin}/metrics")));
        // What another engine on the same chain needs.
        println!("  node       {}", devnet.ws_url);
        println!("  factories  V2 {}, V3 {}", devnet.deployment.v2_factory, devnet.deployment.v3_factory);
        if let Some(v4) = &devnet.deployment.v4 {
            println!("  V4         PoolManager {}, Universal Router {}", v4.manager, v4.router);
        }
        println!("  config     {}", engine.config.display());
        println!("\nCtrl-C ends it.\n");
    }

    /// Something that happened, shown for a while.
    pub(crate) fn note(&mut self, text: &str) {
        if self.terminal {
            self.notes.push_back(text.to_owned());
            while self.notes.len() > 3 {
                self.notes.pop_front();
            }
        } else {
            println!("{text}");
        }
    }

    /// Draws what the engine serves; `head` is the chain's.
    pub(crate) fn draw(
        &mut self,
        engine: &Engine,
        deployment: &Deployment,
        head: u64,
        view: Result<View, String>,
        running: Duration,
    ) {
        let view = match view {
            Ok(view) => view,
            Err(problem) => return self.frame(&[self.paint("31", &format!("the engine does not answer: {problem}"))]),
        };
        let summary = self.summary_line(head, &view, running);
        if !self.terminal {
            return self.frame(&[summary]);
        }
        let mut lines = vec![self.paint("1", &summary), self.paint("2", &format!("http://{}/", engine.api.host()))];
        lines.push(self.paint("2", &format!("{:<14} {:<4} {:>7}  {:>24}  {}", "POOL", "", "FEE", "PRICE", "LIQUIDITY")));
        lines.extend(view.pools.iter().take(MAX_ROWS).map(|pool| pool_row(pool, deployment)));
        let hidden = view.pools_total.saturating_sub(MAX_ROWS as u64);
        if hidden > 0 {
            lines.push(self.paint("2", &format!("… and {hidden} more")));
        }
        lines.extend(self.notes.iter().map(|note| self.paint("33", note)));
        self.frame(&lines);
    }

    fn summary_line(&mut self, head: u64, view: &View, running: Duration) -> String {
        let now = Instant::now();
        self.rate.push_back((now, view.events_total));
        while self.rate.len() > 2 && self.rate.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            self.rate.pop_front();
        }
        let per_second = self.rate.front().map_or(0.0, |(at, events)| {
            let seconds = now.duration_since(*at).as_secs_f64();
            if seconds > 0.0 { (view.events_total - events) / seconds } else { 0.0 }
        });
        // The subgraph's rule: a count stops at 10,000 and says so.
        let swaps = if view.swaps >= 10_000 { "10,000+".to_owned() } else { grouped(&view.swaps.to_string()) };
        let (minutes, seconds) = (running.as_secs() / 60, running.as_secs() % 60);
        format!(
            "block {} · lag {} · {} pools · {swaps} swaps · {per_second:.0} events/s · {:.0} reorgs · {minutes:02}:{seconds:02}",
            grouped(&view.block.to_string()),
            head.saturating_sub(view.block),
            view.pools_total,
            view.reorgs_total,
        )
    }

    /// Writes the lines over those of the last time.
    fn frame(&mut self, lines: &[String]) {
        let mut out = String::new();
        if self.terminal {
            if self.drawn > 0 {
                let _ = write!(out, "\x1b[{}A", self.drawn);
            }
            // No wrapping while drawing: a narrow terminal cuts the lines instead of moving them. Then clear what is below.
            out.push_str("\x1b[?7l");
            for line in lines {
                let _ = writeln!(out, "\x1b[2K{line}");
            }
            out.push_str("\x1b[?7h\x1b[J");
            self.drawn = lines.len();
        } else {
            for line in lines {
                let _ = writeln!(out, "{line}");
            }
        }
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }

    /// What is drawn stays; the next line goes below it.
    pub(crate) fn end_table(&mut self) {
        self.drawn = 0;
        println!();
    }

    /// The last word.
    pub(crate) fn summary(&self, played: &Played, view: &View, outcome: &Outcome<String>) {
        println!(
            "blocks {}, transactions {}, reorgs {} (blocks taken back {}), seconds {:.0}; the engine counted events {}, pools {}, reorgs {}",
            played.blocks,
            grouped(&played.transactions.to_string()),
            played.reorgs,
            played.reorged_blocks,
            played.time.as_secs_f64(),
            grouped(&format!("{:.0}", view.events_total)),
            view.pools_total,
            view.reorgs_total,
        );
        match outcome {
            Ok(sentence) => println!("{} {sentence}", self.paint("1;32", "EQUAL")),
            Err(_) => println!("{} see below", self.paint("1;31", "NOT EQUAL")),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A pair is shown the way people say it: what is priced first, the dollar or WETH second.
fn pool_row(pool: &PoolLine, deployment: &Deployment) -> String {
    let rank = |symbol: &str| match symbol {
        "USDC" | "USDT" => 3,
        "DAI" => 2,
        "WETH" => 1,
        _ => 0,
    };
    let [symbol0, symbol1] = &pool.symbols;
    let (base, quote, price) =
        if rank(symbol1) >= rank(symbol0) { (symbol0, symbol1, pool.prices[1]) } else { (symbol1, symbol0, pool.prices[0]) };
    let price = price.map_or("no price yet".to_owned(), |p| format!("{} {quote}", significant(p)));
    let amount = |symbol: &str, raw: Option<f64>| {
        let decimals = deployment.tokens.iter().find(|t| t.symbol == symbol).map_or(18, |t| i32::from(t.decimals));
        raw.map_or("?".to_owned(), |raw| format!("{} {symbol}", short(raw / 10_f64.powi(decimals))))
    };
    let inside = if pool.v2 {
        format!("{} + {}", amount(symbol0, pool.reserves[0]), amount(symbol1, pool.reserves[1]))
    } else {
        pool.liquidity.map_or("?".to_owned(), |l| format!("L {l:.3e}"))
    };
    let fee = if pool.fee_pips > 1_000_000 { "by swap".to_owned() } else { format!("{} %", pool.fee_pips as f64 / 10_000.0) };
    format!("{:<14} {:<4} {fee:>7}  {price:>24}  {inside}", format!("{base}/{quote}"), pool.protocol)
}

/// Six significant digits, grouped: `2,998.12`, `0.0000100231`.
fn significant(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let digits = 5 - value.log10().floor() as i32;
    let text = format!("{value:.*}", usize::try_from(digits.clamp(0, 18)).unwrap_or_default());
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
        None => grouped(&text),
    }
}

/// `1.23 M`.
fn short(value: f64) -> String {
    for (limit, unit) in [(1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")] {
        if value >= limit {
            return format!("{:.2}{unit}", value / limit);
        }
    }
    format!("{value:.2}")
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!(significant(2_998.123_456), "2,998.12");
        assert_eq!(significant(0.000_010_023_14), "0.0000100231");
        assert_eq!(significant(1_234_567.8), "1,234,568");
        assert_eq!(short(1_234_567.0), "1.23 M");
        assert_eq!(grouped("1000"), "1,000");
        assert_eq!(grouped("100"), "100");
    }
}
