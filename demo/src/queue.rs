//! Transactions of the next block. They are ordered by strictly falling gas price and carry explicit nonces, so that a seed fixes
//! the order within every block, and with it every log.

use std::{collections::HashMap, time::Instant};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use serde_json::{Value, json};

use crate::{
    contracts::Contract,
    error::{Error, Result},
    parts::Parts,
    rpc::{Rpc, at, quantity},
};

/// 1,000 gwei at the top of a block, falling by 1,000 wei per transaction: above any base fee that full blocks reach here.
const TOP_GAS_PRICE_WEI: u64 = 1_000_000_000_000;
/// 2.8 of the block's 3 billion gas; what is pushed above that goes into a block of its own.
const BLOCK_GAS: u64 = 2_800_000_000;

/// A block that was just mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mined {
    pub number: u64,
    pub hash: B256,
    pub parent_hash: B256,
    /// Unix seconds.
    pub timestamp_s: u64,
    pub transactions: usize,
    /// Just before the node was asked to mine.
    pub asked_at: Instant,
    /// When the node said that it had.
    pub mined_at: Instant,
}

/// A transaction from an unlocked account.
#[derive(Debug, Clone)]
pub struct Tx {
    pub from: Address,
    pub to: Option<Address>,
    pub data: Bytes,
    pub gas: u64,
    pub value: U256,
}

/// The transactions that wait for the next block.
#[derive(Debug)]
pub struct TxQueue {
    rpc: Rpc,
    nonces: HashMap<Address, u64>,
    pending: Vec<(Tx, u64)>,
    pending_gas: u64,
}

impl TxQueue {
    /// # Errors
    /// When the accounts' nonces cannot be read.
    pub async fn new(rpc: Rpc, accounts: &[Address]) -> Result<Self> {
        let mut queue = Self { rpc, nonces: accounts.iter().map(|a| (*a, 0)).collect(), pending: Vec::new(), pending_gas: 0 };
        queue.reload_nonces().await?;
        Ok(queue)
    }

    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Puts a transaction at the end of the next block. Returns its nonce.
    ///
    /// # Errors
    /// When the block was full and could not be mined, or the account is not ours.
    pub async fn push(&mut self, tx: Tx) -> Result<u64> {
        if self.pending_gas.saturating_add(tx.gas) > BLOCK_GAS {
            self.mine().await?;
        }
        let next =
            self.nonces.get_mut(&tx.from).ok_or_else(|| Error::Usage(format!("{} is not an unlocked account", tx.from)))?;
        let nonce = *next;
        *next += 1;
        self.pending_gas += tx.gas;
        self.pending.push((tx, nonce));
        Ok(nonce)
    }

    /// Pushes a contract call.
    ///
    /// # Errors
    /// As `push`.
    pub async fn call<C: SolCall>(&mut self, from: Address, to: Address, call: &C, gas: u64) -> Result<()> {
        let data = call.abi_encode().into();
        self.push(Tx { from, to: Some(to), data, gas, value: U256::ZERO }).await.map(|_| ())
    }

    /// Pushes the creation of a contract; `arguments` are its ABI-encoded constructor arguments. Returns the address it will have.
    ///
    /// # Errors
    /// As `push`, or when the artifact is missing.
    pub async fn deploy(&mut self, parts: &Parts, from: Address, contract: Contract, arguments: &[u8]) -> Result<Address> {
        let code = [&contract.creation_code(parts)?, arguments].concat();
        self.deploy_code(from, code.into()).await
    }

    /// Pushes the creation of a contract from raw creation code. Returns the address it will have.
    ///
    /// # Errors
    /// As `push`.
    pub async fn deploy_code(&mut self, from: Address, creation_code: Bytes) -> Result<Address> {
        let nonce = self.push(Tx { from, to: None, data: creation_code, gas: 12_000_000, value: U256::ZERO }).await?;
        Ok(from.create(nonce))
    }

    /// Sends what waits and mines it as one block.
    ///
    /// # Errors
    /// When the node refuses a transaction or is gone.
    pub async fn mine(&mut self) -> Result<Mined> {
        let mut gas_price = TOP_GAS_PRICE_WEI;
        let mut requests = Vec::with_capacity(self.pending.len());
        for (tx, nonce) in self.pending.drain(..) {
            requests.push(json!([request(&tx, Some(nonce), gas_price)]));
            gas_price -= 1_000;
        }
        self.pending_gas = 0;
        self.rpc.batch("eth_sendTransaction", &requests).await?;
        let asked_at = Instant::now();
        self.rpc.call("evm_mine", json!([])).await?;
        let mined_at = Instant::now();
        latest(&self.rpc, asked_at, mined_at).await
    }

    /// Mines, and insists that every transaction of the block succeeded.
    ///
    /// # Errors
    /// When one reverted.
    pub async fn mine_all_ok(&mut self) -> Result<Mined> {
        let mined = self.mine().await?;
        assert_all_ok(&self.rpc, mined.number).await?;
        Ok(mined)
    }

    /// Reads the nonces again and forgets what waits: after a reorg.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn reload_nonces(&mut self) -> Result<()> {
        const METHOD: &str = "eth_getTransactionCount";
        self.pending.clear();
        self.pending_gas = 0;
        let accounts: Vec<Address> = self.nonces.keys().copied().collect();
        let params: Vec<Value> = accounts.iter().map(|a| json!([a, "latest"])).collect();
        for (account, nonce) in accounts.into_iter().zip(self.rpc.batch(METHOD, &params).await?) {
            self.nonces.insert(account, quantity(METHOD, &nonce)?);
        }
        Ok(())
    }
}

pub(crate) fn request(tx: &Tx, nonce: Option<u64>, gas_price_wei: u64) -> Value {
    let mut request = json!({
        "from": tx.from, "data": tx.data, "gas": format!("{:#x}", tx.gas), "value": tx.value, "gasPrice": format!("{gas_price_wei:#x}"),
    });
    if let (Some(to), Some(fields)) = (tx.to, request.as_object_mut()) {
        fields.insert("to".to_owned(), json!(to));
    }
    if let (Some(nonce), Some(fields)) = (nonce, request.as_object_mut()) {
        fields.insert("nonce".to_owned(), json!(format!("{nonce:#x}")));
    }
    request
}

/// The head block.
pub(crate) async fn latest(rpc: &Rpc, asked_at: Instant, mined_at: Instant) -> Result<Mined> {
    const METHOD: &str = "eth_getBlockByNumber";
    let block = rpc.call(METHOD, json!(["latest", false])).await?;
    let hash = |field: &str| -> Result<B256> {
        serde_json::from_value(at(&block, &format!("/{field}")).clone())
            .map_err(|e| Error::Answer { method: METHOD.to_owned(), problem: format!("{field}: {e}") })
    };
    Ok(Mined {
        number: quantity(METHOD, at(&block, "/number"))?,
        hash: hash("hash")?,
        parent_hash: hash("parentHash")?,
        timestamp_s: quantity(METHOD, at(&block, "/timestamp"))?,
        transactions: at(&block, "/transactions").as_array().map_or(0, Vec::len),
        asked_at,
        mined_at,
    })
}

/// Insists that every transaction of a block succeeded.
///
/// # Errors
/// When one reverted.
pub async fn assert_all_ok(rpc: &Rpc, number: u64) -> Result<()> {
    let receipts = rpc.call("eth_getBlockReceipts", json!([format!("{number:#x}")])).await?;
    let receipts = receipts.as_array().cloned().unwrap_or_default();
    let bad: Vec<usize> = receipts.iter().enumerate().filter(|(_, r)| at(r, "/status") != "0x1").map(|(i, _)| i).collect();
    match bad.first() {
        None => Ok(()),
        Some(&first) => Err(Error::Reverted { block: number, reverted: bad.len(), total: receipts.len(), first }),
    }
}
