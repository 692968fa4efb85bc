//! A price feed of Chainlink's shape: a proxy, and the aggregators behind it.

use alloy::{
    primitives::{Address, I256, U256, aliases::I192},
    sol_types::SolValue,
};

use crate::{contracts::Contract, devnet::Devnet, error::Result};

alloy::sol! {
    contract Aggregator {
        function submit(int256 answer) external;
        function transmit(int192 answer) external;
    }

    contract Proxy {
        function confirmAggregator(address aggregator) external;
    }
}

const GAS: u64 = 500_000;

/// A deployed proxy and its current aggregator. Everything but [`PriceOracle::deploy`] pushes a transaction; mine to make it so.
#[derive(Debug, Clone, Copy)]
pub struct PriceOracle {
    pub proxy: Address,
    pub aggregator: Address,
}

impl PriceOracle {
    /// Deploys both; mines two blocks. It has no answer yet.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn deploy(devnet: &mut Devnet, decimals: u8) -> Result<Self> {
        let aggregator = Self::aggregator(devnet, decimals).await?;
        let proxy = devnet.deploy(Contract::Own("PriceProxy"), &aggregator.abi_encode()).await?;
        Ok(Self { proxy, aggregator })
    }

    /// Another aggregator, which no proxy knows yet; mines a block.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn aggregator(devnet: &mut Devnet, decimals: u8) -> Result<Address> {
        devnet.deploy(Contract::Own("PriceAggregator"), &U256::from(decimals).abi_encode()).await
    }

    /// An answer, announced by `AnswerUpdated`.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn submit(&self, devnet: &mut Devnet, answer: i128) -> Result<()> {
        let call = Aggregator::submitCall { answer: I256::try_from(answer).unwrap_or(I256::MAX) };
        let from = devnet.deployment.deployer();
        devnet.trader.queue_mut().call(from, self.aggregator, &call, GAS).await
    }

    /// An answer, announced by `NewTransmission` alone.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn transmit(&self, devnet: &mut Devnet, answer: i128) -> Result<()> {
        let call = Aggregator::transmitCall { answer: I192::try_from(answer).unwrap_or(I192::MAX) };
        let from = devnet.deployment.deployer();
        devnet.trader.queue_mut().call(from, self.aggregator, &call, GAS).await
    }

    /// The proxy's next phase. Emits nothing.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn confirm(&mut self, devnet: &mut Devnet, aggregator: Address) -> Result<()> {
        self.aggregator = aggregator;
        let from = devnet.deployment.deployer();
        devnet.trader.queue_mut().call(from, self.proxy, &Proxy::confirmAggregatorCall { aggregator }, GAS).await
    }
}
