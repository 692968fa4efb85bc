//! JSON-RPC over HTTP: raw values in and out, batches, and typed contract calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall,
};
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    http::HttpClient,
};

/// 200 requests: a batch of transactions stays below the node's request size limit.
const BATCH: usize = 200;

/// A JSON-RPC client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rpc {
    http: HttpClient,
    next_id: Arc<AtomicU64>,
}

impl Rpc {
    /// `host` is `address:port`.
    pub fn new(host: impl Into<Arc<str>>) -> Self {
        Self { http: HttpClient::new(host), next_id: Arc::default() }
    }

    /// One request; `params` is a JSON array.
    ///
    /// # Errors
    /// When the node is gone or refuses.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let text = self.request(method, &params).to_string();
        let answer: Value = self.post(method, &text).await?;
        result_of(method, answer)
    }

    /// Many requests of one method at once; the answers come in the order of `params`.
    ///
    /// # Errors
    /// The first one that failed.
    pub async fn batch(&self, method: &str, params: &[Value]) -> Result<Vec<Value>> {
        let mut results = Vec::with_capacity(params.len());
        for part in params.chunks(BATCH) {
            let requests: Vec<Value> = part.iter().map(|p| self.request(method, p)).collect();
            let text = Value::Array(requests).to_string();
            let answers: Vec<Value> = self.post(method, &text).await?;
            if answers.len() != part.len() {
                let problem = format!("{} answers to {} requests", answers.len(), part.len());
                return Err(Error::Answer { method: method.to_owned(), problem });
            }
            for answer in answers {
                results.push(result_of(method, answer)?);
            }
        }
        Ok(results)
    }

    /// A contract's answer at the latest block.
    ///
    /// # Errors
    /// When the call reverts or its answer does not decode.
    pub async fn view<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return> {
        self.view_at(to, call, json!("latest")).await
    }

    /// A contract's answer at a block: a tag, a number in hex, or `{"blockHash": …}`.
    ///
    /// # Errors
    /// When the call reverts or its answer does not decode.
    pub async fn view_at<C: SolCall>(&self, to: Address, call: &C, block: Value) -> Result<C::Return> {
        let answer = self.call("eth_call", json!([call_object(to, call), block])).await?;
        decode_return::<C>(&answer)
    }

    /// Many calls at the latest block, answers in order.
    ///
    /// # Errors
    /// The first one that failed.
    pub async fn view_many<C: SolCall>(&self, calls: &[(Address, C)]) -> Result<Vec<C::Return>> {
        let params: Vec<Value> = calls.iter().map(|(to, call)| json!([call_object(*to, call), "latest"])).collect();
        self.batch("eth_call", &params).await?.iter().map(decode_return::<C>).collect()
    }

    fn request(&self, method: &str, params: &Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": self.next_id.fetch_add(1, Ordering::Relaxed), "method": method, "params": params })
    }

    async fn post<T: serde::de::DeserializeOwned>(&self, method: &str, text: &str) -> Result<T> {
        let response = self.http.post_json("/", text).await?;
        serde_json::from_slice(&response.body)
            .map_err(|e| Error::Answer { method: method.to_owned(), problem: format!("HTTP {}, {e}", response.status) })
    }
}

fn call_object<C: SolCall>(to: Address, call: &C) -> Value {
    json!({ "to": to, "data": Bytes::from(call.abi_encode()) })
}

fn decode_return<C: SolCall>(answer: &Value) -> Result<C::Return> {
    let unreadable = |problem: String| Error::Answer { method: C::SIGNATURE.to_owned(), problem };
    let data: Bytes = serde_json::from_value(answer.clone()).map_err(|e| unreadable(e.to_string()))?;
    C::abi_decode_returns(&data).map_err(|e| unreadable(format!("{e}, {} bytes", data.len())))
}

fn result_of(method: &str, mut answer: Value) -> Result<Value> {
    if let Some(error) = answer.get("error") {
        return Err(Error::Rpc {
            method: method.to_owned(),
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: error.get("message").and_then(Value::as_str).unwrap_or("without a message").to_owned(),
        });
    }
    answer
        .get_mut("result")
        .map(Value::take)
        .ok_or_else(|| Error::Answer { method: method.to_owned(), problem: "neither result nor error".to_owned() })
}

/// A quantity such as `"0x1f"`.
///
/// # Errors
/// When the value is no such quantity or does not fit.
pub fn quantity(method: &str, value: &Value) -> Result<u64> {
    let unreadable = || Error::Answer { method: method.to_owned(), problem: format!("{value} is no quantity") };
    let number: U256 = serde_json::from_value(value.clone()).map_err(|_| unreadable())?;
    u64::try_from(number).map_err(|_| unreadable())
}

/// The value at a JSON pointer such as `/block/hash`; null where there is none.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
