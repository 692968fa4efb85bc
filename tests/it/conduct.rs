//! How tokens behave when they are moved, found out by borrowing them: fees that they keep, balances that change by themselves; and what
//! quotes make of it.

use alloy::{
    primitives::{Address, B256, U256},
    sol,
    sol_types::SolCall,
};
use serde_json::{Value, json};
use swaptide::{
    chain::tokens::probe::{self, Question},
    domain::{pool::Protocol, token::Loan},
};
use swaptide_demo::{Contract, Devnet, DevnetConfig};

use super::{
    engine::{Engine, PATIENCE, Setup},
    state::source,
};

sol! {
    interface Odd {
        function mint(address to, uint256 value) external;
        function set(address[] pools, uint256 buyFeeBps, uint256 sellFeeBps) external;
        function rebase(uint256 permille) external;
        function transfer(address to, uint256 value) external;
        function balanceOf(address owner) external view returns (uint256);
    }

    interface Plain {
        function mint(address[] to, uint256 value) external;
    }

    interface Factory {
        function createPair(address a, address b) external returns (address);
        function getPair(address a, address b) external view returns (address);
    }

    interface Pair {
        function mint(address to) external returns (uint256);
        function sync() external;
        function skim(address to) external;
    }
}

const GAS: u64 = 3_000_000;
const UNIT: u64 = 1_000_000_000_000_000_000;

struct Net {
    devnet: Devnet,
}

impl Net {
    async fn send<C: SolCall>(&mut self, to: Address, call: &C) {
        let from = self.devnet.deployment.deployer();
        self.devnet.trader.queue_mut().call(from, to, call, GAS).await.unwrap();
        self.devnet.mine_all_ok().await.unwrap();
    }

    async fn token(&mut self, contract: &'static str) -> Address {
        let token = self.devnet.deploy(Contract::Own(contract), &[]).await.unwrap();
        let to = self.devnet.deployment.deployer();
        self.send(token, &Odd::mintCall { to, value: U256::from(UNIT) * U256::from(1_000_000_000) }).await;
        token
    }

    /// A pair of an odd token and one of the devnet's own, with so many units of each.
    async fn pair(&mut self, odd: Address, plain: Address, units: [u64; 2]) -> Address {
        let (factory, me) = (self.devnet.deployment.v2_factory, self.devnet.deployment.deployer());
        self.send(factory, &Factory::createPairCall { a: odd, b: plain }).await;
        let pair = self.devnet.rpc().view(factory, &Factory::getPairCall { a: odd, b: plain }).await.unwrap();
        let [of_odd, of_plain] = units.map(|units| U256::from(UNIT) * U256::from(units));
        self.send(odd, &Odd::transferCall { to: pair, value: of_odd }).await;
        self.send(plain, &Plain::mintCall { to: vec![pair], value: of_plain }).await;
        self.send(pair, &Pair::mintCall { to: me }).await;
        pair
    }
}

async fn conduct(engine: &Engine, token: Address) -> Value {
    let query = "query($a: ID!) { token(id: $a) { conduct { buyFeeBps sellFeeBps rebases block { number } } } }";
    engine.query(query, json!({ "a": token })).await["token"]["conduct"].clone()
}

/// Blocks go on until a token was tried with this outcome, after block `after`.
async fn becomes(engine: &Engine, net: &mut Net, token: Address, after: u64, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let arrived = async {
        loop {
            net.devnet.mine().await.unwrap();
            engine.at_head(&net.devnet).await;
            last = conduct(engine, token).await;
            if last["block"]["number"].as_u64().is_some_and(|number| number > after) && is(&last) {
                return;
            }
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, arrived).await;
    assert!(outcome.is_ok(), "{token}: {last}\n{}", engine.log());
    last
}

async fn quote(engine: &Engine, ends: [Address; 2], kind: &str) -> Value {
    let query =
        "query($q: QuoteInput!) { quote(input: $q) { amountOut warnings calldata routes { hops { pool { id } tokenOut } } } }";
    let [token_in, token_out] = ends;
    let input = json!({ "tokenIn": token_in, "tokenOut": token_out, "amount": UNIT.to_string(), "type": kind, "maxSplits": 1, "recipient": Address::repeat_byte(9) });
    let answer = engine.raw_query(query, json!({ "q": input })).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"]["quote"].clone()
}

fn warns(quote: &Value, of: &str) -> bool {
    quote["warnings"].as_array().unwrap().contains(&json!(of))
}

/// All the plain ones are well-behaved, in pools of all protocols; one that keeps parts says how much.
#[tokio::test(flavor = "multi_thread")]
async fn a_loan_tells_what_a_token_keeps_whoever_lends_it() {
    let config = DevnetConfig { seed: 41, v2_pools: 3, v3_pools: 3, v4_pools: 3, max_new_pools: 0, ..DevnetConfig::default() };
    let mut net = Net { devnet: Devnet::start(config).await.unwrap() };
    let fee = net.token("FeeToken").await;
    let manager = net.devnet.deployment.v4.as_ref().unwrap().manager;
    net.send(fee, &Odd::setCall { pools: vec![manager], buyFeeBps: U256::from(1), sellFeeBps: U256::from(10_001) }).await;
    let all = U256::from(UNIT) * U256::from(1_000_000);
    net.send(fee, &Odd::mintCall { to: manager, value: all }).await;

    let source = source(&net.devnet);
    let mut questions = Vec::new();
    for pool in &net.devnet.deployment.pools {
        let protocol = if pool.protocol == swaptide_demo::Protocol::V2 { Protocol::UniswapV2 } else { Protocol::UniswapV3 };
        for (token, is_token0) in [(pool.token0.address, true), (pool.token1.address, false)] {
            questions.push(Question { token, lender: pool.address, protocol, is_token0 });
        }
    }
    for token in net.devnet.deployment.tokens.iter().take(2) {
        questions.push(Question { token: token.address, lender: manager, protocol: Protocol::UniswapV4, is_token0: true });
    }
    let head: B256 = net.devnet.head().await.unwrap().hash;
    assert!(questions.len() > 10 && questions.len() <= probe::QUESTIONS_MAX, "{}", questions.len());
    let loans = probe::ask(&source, head, &questions).await.unwrap();
    assert_eq!(loans.len(), questions.len());
    for (question, loan) in questions.iter().zip(loans) {
        let loan = loan.unwrap_or_else(|| panic!("{question:?} does not lend"));
        let held = net.devnet.rpc().view(question.token, &Odd::balanceOfCall { owner: question.lender }).await.unwrap();
        let lent = if held / U256::from(1_000) < U256::from(1_000_000) {
            U256::from(1_000_000).min(held / U256::from(2))
        } else {
            held / U256::from(1_000)
        };
        assert_eq!(loan, Loan { held, lent, received: lent, given: true, arrived: lent }, "{question:?}");
    }

    let odd = |lender: Address, protocol: Protocol| Question { token: fee, lender, protocol, is_token0: true };
    let pool = net.devnet.deployment.pools[0].address;
    let asked = [
        odd(manager, Protocol::UniswapV4),
        odd(pool, Protocol::UniswapV2),
        odd(fee, Protocol::UniswapV3),
        odd(Address::ZERO, Protocol::UniswapV2),
    ];
    let loans = probe::ask(&source, head, &asked).await.unwrap();
    let lent = all / U256::from(1_000);
    let kept = Loan { held: all, lent, received: lent - lent / U256::from(10_000), given: false, arrived: U256::ZERO };
    assert_eq!(loans, [Some(kept), None, None, None], "it cannot be sent back, and who is no pool lends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_warn_of_tokens_that_keep_a_part_or_change_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let config = DevnetConfig { seed: 43, tokens: 4, v2_pools: 5, v3_pools: 3, max_new_pools: 0, ..DevnetConfig::default() };
    let mut net = Net { devnet: Devnet::start(config).await.unwrap() };
    let plain: Vec<Address> = net.devnet.deployment.tokens.iter().skip(1).map(|token| token.address).collect();
    let (fee, grows, shrinks) = (net.token("FeeToken").await, net.token("ShareToken").await, net.token("ShareToken").await);
    let rich = net.pair(fee, plain[0], [1_000_000, 1_000_000]).await;
    let cheap = net.pair(fee, plain[1], [1_000, 100_000_000]).await;
    let of_growing = net.pair(grows, plain[0], [1_000_000, 1_000_000]).await;
    net.pair(shrinks, plain[0], [1_000_000, 1_000_000]).await;

    let mut setup = Setup::of(&net.devnet, folder.path());
    setup.extra_chain = "token_probe_seconds = 1\nfinality = 12".to_owned();
    let engine = Engine::start(&setup, folder.path()).await;
    let is_plain =
        |seen: &Value| seen["buyFeeBps"] == json!(0) && seen["sellFeeBps"] == json!(0) && seen["rebases"] == json!(false);
    for token in [&plain[..], &[fee, grows, shrinks]].concat() {
        becomes(&engine, &mut net, token, 0, is_plain).await;
    }
    let through = quote(&engine, [plain[0], plain[1]], "EXACT_INPUT").await;
    assert_eq!(
        through["routes"][0]["hops"][0]["tokenOut"],
        json!(fee),
        "as long as it keeps nothing it is worth to go through: {through}"
    );
    assert!(through["calldata"].is_string() && !warns(&through, "FEE_ON_TRANSFER"), "{through}");

    // It begins to keep parts.
    let (buy, sell) = (U256::from(300), U256::from(500));
    net.send(fee, &Odd::setCall { pools: vec![rich, cheap], buyFeeBps: buy, sellFeeBps: sell }).await;
    let set = net.devnet.head().await.unwrap().number;
    let seen = becomes(&engine, &mut net, fee, set, |seen| seen["buyFeeBps"] == json!(300)).await;
    assert_eq!(seen["sellFeeBps"], json!(500), "{seen}");
    for (ends, kind) in [([fee, plain[0]], "EXACT_INPUT"), ([plain[0], fee], "EXACT_INPUT"), ([plain[0], fee], "EXACT_OUTPUT")] {
        let warned = quote(&engine, ends, kind).await;
        assert!(warns(&warned, "FEE_ON_TRANSFER") && warned["calldata"].is_null(), "{warned}");
    }
    let around = quote(&engine, [plain[0], plain[1]], "EXACT_INPUT").await;
    let hops = around["routes"].as_array().unwrap().iter().flat_map(|leg| leg["hops"].as_array().unwrap());
    assert!(
        hops.clone().count() > 0 && hops.clone().all(|hop| hop["tokenOut"] != json!(fee)),
        "what a next pool gets would be less: {around}"
    );
    let chain = net.devnet.chain_id;
    let path = format!("/v1/{chain}/quote?tokenIn={fee:#x}&tokenOut={:#x}&amount={UNIT}", plain[0]);
    let rest: Value = serde_json::from_slice(&engine.api.get(&path).await.unwrap().body).unwrap();
    assert_eq!((&rest["calldata"], warns(&rest, "FEE_ON_TRANSFER")), (&Value::Null, true), "{rest}");

    // Gifts are no growth: a plain token's transfers say where they are from.
    let given = net.devnet.deployment.deployer();
    net.send(plain[0], &Plain::mintCall { to: vec![of_growing, rich], value: U256::from(UNIT) }).await;
    net.send(of_growing, &Pair::syncCall {}).await;
    net.send(rich, &Pair::skimCall { to: given }).await;
    // One grows, and its pair takes it in at once; one shrinks, and its pair has less than it says.
    net.send(grows, &Odd::rebaseCall { permille: U256::from(1_100) }).await;
    net.send(of_growing, &Pair::syncCall {}).await;
    net.send(shrinks, &Odd::rebaseCall { permille: U256::from(900) }).await;
    let rebased = net.devnet.head().await.unwrap().number;
    becomes(&engine, &mut net, shrinks, rebased, |seen| seen["rebases"] == json!(true)).await;
    let seen = becomes(&engine, &mut net, grows, rebased, |seen| seen["rebases"] == json!(true)).await;
    let bought = quote(&engine, [plain[0], grows], "EXACT_INPUT").await;
    assert!(warns(&bought, "REBASING_TOKEN") && bought["calldata"].is_string(), "{bought}");
    // All that was open is settled by then.
    let settled = seen["block"]["number"].as_u64().unwrap() + 10;
    for token in [plain[0], plain[1], fee] {
        becomes(&engine, &mut net, token, settled, |seen| seen["rebases"] == json!(false)).await;
    }
    let calm = quote(&engine, [plain[0], plain[1]], "EXACT_INPUT").await;
    assert!(!warns(&calm, "REBASING_TOKEN") && !warns(&calm, "FEE_ON_TRANSFER"), "{calm}");
    assert_eq!(engine.terminate().await.code(), Some(0));
}
