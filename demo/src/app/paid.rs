//! One quote of the engine, sent with its own calldata: does it pay what it promised?

use alloy::primitives::{Address, Bytes, U256};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, Tx, contracts::Token, rpc::at};

use super::{Outcome, engine::Engine};

const QUOTE: &str = "query($in: Address!, $out: Address!, $amount: BigInt!) {
  quote(input: { tokenIn: $in, tokenOut: $out, amount: $amount, type: EXACT_INPUT }) {
    amountOut amountMinOrMax gasEstimate calldata to value routes { hops { pool { protocol } } } block { number hash } } }";

/// A sentence for the end. `None`: this chain has no Universal Router.
pub(crate) async fn quote(devnet: &mut Devnet, engine: &Engine) -> Outcome<Option<String>> {
    let from = devnet.deployment.deployer();
    let tokens = &devnet.deployment.tokens;
    let (Some(weth), Some(usdc)) = (tokens.first(), tokens.iter().find(|token| token.symbol == "USDC")) else { return Ok(None) };
    if devnet.deployment.v4.is_none() {
        return Ok(None);
    }
    // So much that one way alone would be a bad one.
    let (token_in, token_out, paid) = (weth.address, usdc.clone(), weth.unit_raw() * U256::from(25));
    let variables = json!({ "in": token_in, "out": token_out.address, "amount": paid.to_string() });
    let asked = json!({ "query": QUOTE, "variables": variables }).to_string();
    let response = engine.api.post_json("/graphql", &asked).await.map_err(|e| e.to_string())?;
    let answer: Value = serde_json::from_slice(&response.body).map_err(|e| e.to_string())?;
    let quote = at(&answer, "/data/quote");
    let text = |path: &str| at(quote, path).as_str().map(str::to_owned).ok_or_else(|| format!("no quote came: {answer}"));
    let number = |path: &str| text(path)?.parse::<U256>().map_err(|e| format!("{path}: {e}"));
    let data: Bytes = text("/calldata")?.parse().map_err(|_| "the calldata is no hex".to_owned())?;
    let to: Address = text("/to")?.parse().map_err(|_| "no address to send it to".to_owned())?;
    let (promised, least) = (number("/amountOut")?, number("/amountMinOrMax")?);
    let before = balance(devnet, token_out.address, from).await?;
    let tx = Tx { from, to: Some(to), data, gas: 6_000_000, value: number("/value")? };
    devnet.trader.queue_mut().push(tx).await.map_err(|e| e.to_string())?;
    devnet.mine_all_ok().await.map_err(|e| format!("the quote was sent with its own calldata, and reverted: {e}"))?;
    let got = balance(devnet, token_out.address, from).await?.saturating_sub(before);
    if got < least || got != promised {
        return Err(format!("a quote promised {promised} and at least {least}, and paid {got}: {quote}"));
    }
    let ways = at(quote, "/routes").as_array().map_or(0, Vec::len);
    let dollars = got / token_out.unit_raw();
    Ok(Some(format!(
        "PAID a quote of 25 WETH over {ways} ways, sent with its own calldata right after its block, paid what it promised: {dollars} USDC and a part, {got} in all"
    )))
}

async fn balance(devnet: &Devnet, token: Address, owner: Address) -> Outcome<U256> {
    devnet.rpc().view(token, &Token::balanceOfCall { owner }).await.map_err(|e| e.to_string())
}
