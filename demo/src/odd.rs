//! Contracts that only tests deploy: one that emits any log, and tokens that stumble metadata readers.

use alloy::primitives::{Address, B256, Bytes};

use crate::{
    contracts::{Contract, Emitter},
    devnet::Devnet,
    error::Result,
};

/// A deployed contract that emits whatever log it is told to.
#[derive(Debug, Clone, Copy)]
pub struct LogEmitter {
    pub address: Address,
}

impl LogEmitter {
    /// Deploys one; mines a block.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn deploy(devnet: &mut Devnet) -> Result<Self> {
        let address = devnet.deploy(Contract::Own("LogEmitter"), &[]).await?;
        Ok(Self { address })
    }

    /// Pushes a transaction that emits one log with these topics (four at most) and data.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn emit(&self, devnet: &mut Devnet, topics: Vec<B256>, data: Bytes) -> Result<()> {
        let from = devnet.deployment.deployer();
        devnet.trader.queue_mut().call(from, self.address, &Emitter::emitLogCall { topics, data }, 2_000_000).await
    }
}

/// Deployed odd tokens, as they exist on mainnet in one form or another.
#[derive(Debug, Clone, Copy)]
pub struct OddTokens {
    /// Name and symbol are `bytes32`: `Old Maker`, `OMKR`; 18 decimals.
    pub bytes32_symbol: Address,
    /// Neither name nor symbol; 9 decimals.
    pub no_symbol: Address,
    /// `decimals()` reverts; symbol `NODEC`.
    pub reverting_decimals: Address,
    /// A symbol of 4,096 X.
    pub huge_symbol: Address,
    /// `decimals()` answers 300; symbol `MANY`.
    pub huge_decimals: Address,
    /// `symbol()` burns all the gas it gets; 18 decimals.
    pub gas_burner: Address,
    /// Control characters and markup in name and symbol.
    pub markup_symbol: Address,
}

impl OddTokens {
    /// Deploys all of them; mines a block.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn deploy(devnet: &mut Devnet) -> Result<Self> {
        let tokens = Self {
            bytes32_symbol: devnet.push_deploy(Contract::Own("Bytes32SymbolToken"), &[]).await?,
            no_symbol: devnet.push_deploy(Contract::Own("NoSymbolToken"), &[]).await?,
            reverting_decimals: devnet.push_deploy(Contract::Own("RevertingDecimalsToken"), &[]).await?,
            huge_symbol: devnet.push_deploy(Contract::Own("HugeSymbolToken"), &[]).await?,
            huge_decimals: devnet.push_deploy(Contract::Own("HugeDecimalsToken"), &[]).await?,
            gas_burner: devnet.push_deploy(Contract::Own("GasBurnerToken"), &[]).await?,
            markup_symbol: devnet.push_deploy(Contract::Own("MarkupSymbolToken"), &[]).await?,
        };
        devnet.mine_all_ok().await?;
        Ok(tokens)
    }
}
