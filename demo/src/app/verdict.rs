//! The end: is what the engine says what the contracts say?

use std::time::{Duration, Instant};

use swaptide_demo::{Devnet, rpc::at};

use super::{
    Outcome,
    engine::{Audit, Engine},
    paid,
    play::Played,
    screen::Screen,
    view::View,
};

/// Two block times of a slow demo, generously: the engine is normally there within milliseconds.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Waits until the engine has the chain's head, audits it and prints the summary. An error when anything differs.
pub(crate) async fn verdict(devnet: &mut Devnet, engine: &mut Engine, screen: &mut Screen, played: &Played) -> Outcome {
    let head = devnet.head().await.map_err(|e| e.to_string())?;
    let hash = head.hash.to_string();
    catch_up(engine, head.number, &hash).await?;
    screen.say("comparing the engine's state with the contracts' …");
    let audit = engine.audit().await?;
    // The audit must be of the engine that is still there, and of no other block.
    engine.check_alive()?;
    let view = View::read(engine).await?;
    let outcome = judge(&audit, head.number, &hash, devnet.trader.pool_count());
    screen.summary(played, &view, &outcome);
    outcome?;
    if let Some(paid) = paid::quote(devnet, engine).await? {
        screen.say(&paid);
    }
    Ok(())
}

async fn catch_up(engine: &mut Engine, number: u64, hash: &str) -> Outcome {
    let end = Instant::now() + CATCH_UP;
    loop {
        engine.check_alive()?;
        let answer = View::head(engine).await;
        if answer.as_ref().is_ok_and(|(_, its)| its.eq_ignore_ascii_case(hash)) {
            return Ok(());
        }
        if Instant::now() > end {
            let is_at = answer.map_or_else(|e| e, |(number, hash)| format!("it is at {number} {hash}"));
            return Err(format!(
                "the engine did not reach the chain's head {number} {hash} within {} s: {is_at}",
                CATCH_UP.as_secs()
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The sentence for the summary. Exit code 0 alone is not believed: the audit must be of the chain's head and of every pool there is.
/// (And exit code 2 alone may be a wrong argument: drift comes with a document.)
fn judge(audit: &Audit, number: u64, hash: &str, pools: usize) -> Outcome<String> {
    let Some(report) = audit.json.as_ref().filter(|_| matches!(audit.exit_code, Some(0 | 2))) else {
        return Err(format!("the audit could not be made (exit code {:?}):\n{}", audit.exit_code, audit.text));
    };
    if audit.exit_code != Some(0) {
        return Err(format!("the engine's state DIFFERS from the contracts' at block {number}:\n{}", audit.text));
    }
    let audited = at(report, "/block_hash").as_str().unwrap_or_default();
    if !audited.eq_ignore_ascii_case(hash) {
        return Err(format!("the audit was of another block ({audited}) than the chain's head {number} {hash}"));
    }
    let compared = at(report, "/compared").as_u64().unwrap_or_default();
    if compared != pools as u64 {
        return Err(format!("the chain has {pools} pools, and the audit compared {compared}:\n{}", audit.text));
    }
    let counted = |what: &str| at(report, what).as_u64().unwrap_or_default();
    let (ticks, positions, tokens) = (counted("/ticks"), counted("/positions"), counted("/tokens"));
    Ok(format!(
        "the engine's state equals the contracts' at block {number} {hash}: pools compared: {compared}, ticks: {ticks}, positions: {positions}, their tokens: {tokens}"
    ))
}
