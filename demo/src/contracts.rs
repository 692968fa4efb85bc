//! The contracts: npm's artifacts (real Uniswap, WETH9, OpenZeppelin) and our few own ones, and their interfaces.

use std::{collections::BTreeMap, sync::OnceLock};

use alloy::{primitives::Bytes, sol};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    parts::Parts,
};

/// A contract that can be deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    Weth9,
    V2Factory,
    V2Router,
    V3Factory,
    V3Router,
    PositionManager,
    QuoterV2,
    /// For their creation code, whose hash is in the addresses of their pools.
    V2Pair,
    V3Pool,
    V4Manager,
    V4Positions,
    V4Quoter,
    V4StateView,
    UniversalRouter,
    Permit2,
    /// OpenZeppelin's ERC721PresetMinterPauserAutoId.
    Erc721,
    /// OpenZeppelin's ERC1155PresetMinterPauser.
    Erc1155,
    /// One of ours by its name in `demo/contracts/`.
    Own(&'static str),
}

impl Contract {
    fn npm_path(self) -> Option<&'static str> {
        Some(match self {
            Self::Weth9 => "@uniswap/v2-periphery/build/WETH9.json",
            Self::V2Factory => "@uniswap/v2-core/build/UniswapV2Factory.json",
            Self::V2Router => "@uniswap/v2-periphery/build/UniswapV2Router02.json",
            Self::V3Factory => "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
            Self::V3Router => "@uniswap/v3-periphery/artifacts/contracts/SwapRouter.sol/SwapRouter.json",
            Self::PositionManager => {
                "@uniswap/v3-periphery/artifacts/contracts/NonfungiblePositionManager.sol/NonfungiblePositionManager.json"
            }
            Self::QuoterV2 => "@uniswap/v3-periphery/artifacts/contracts/lens/QuoterV2.sol/QuoterV2.json",
            Self::V2Pair => "@uniswap/v2-core/build/UniswapV2Pair.json",
            Self::V3Pool => "@uniswap/v3-core/artifacts/contracts/UniswapV3Pool.sol/UniswapV3Pool.json",
            Self::V4Manager => "@uniswap/v4-periphery/foundry-out/PoolManager.sol/PoolManager.default.json",
            Self::V4Positions => "@uniswap/v4-periphery/foundry-out/PositionManager.sol/PositionManager.json",
            Self::V4Quoter => "@uniswap/v4-periphery/foundry-out/V4Quoter.sol/V4Quoter.json",
            Self::V4StateView => "@uniswap/v4-periphery/foundry-out/StateView.sol/StateView.json",
            Self::UniversalRouter => "@uniswap/universal-router/artifacts/contracts/UniversalRouter.sol/UniversalRouter.json",
            Self::Permit2 => "@uniswap/v4-periphery/lib/permit2/test/utils/DeployPermit2.sol",
            Self::Erc721 => "@openzeppelin/contracts/build/contracts/ERC721PresetMinterPauserAutoId.json",
            Self::Erc1155 => "@openzeppelin/contracts/build/contracts/ERC1155PresetMinterPauser.json",
            Self::Own(_) => return None,
        })
    }

    /// The creation code, without constructor arguments.
    ///
    /// # Errors
    /// When the artifact is missing or holds no bytecode.
    pub fn creation_code(self, parts: &Parts) -> Result<Bytes> {
        match (self, self.npm_path()) {
            (_, Some(path)) => {
                let file = parts.npm_file(path);
                let bad = |problem: String| Error::Artifact { file: file.display().to_string(), problem };
                let text = std::fs::read_to_string(&file).map_err(|e| bad(e.to_string()))?;
                if self == Self::Permit2 {
                    return permit2(&text).ok_or_else(|| bad("it holds no bytecode".to_owned()));
                }
                let json: Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
                bytecode(&json).ok_or_else(|| bad("it holds no bytecode".to_owned()))
            }
            (Self::Own(name), _) => own(name),
            _ => Err(Error::Usage("a contract without artifact".to_owned())),
        }
    }
}

/// Its package holds the code that is on every chain, in the script that puts it there.
fn permit2(script: &str) -> Option<Bytes> {
    // Copies what follows it into memory, and returns that.
    const DEPLOYER: [u8; 13] = alloy::primitives::hex!("600d380380600d6000396000f3");
    let code = script.split_once("hex\"")?.1.split_once('"')?.0;
    let code: Bytes = code.parse().ok()?;
    Some([&DEPLOYER[..], &code].concat().into())
}

/// Truffle and Hardhat write `bytecode`, with or without `0x`; forge an object there; waffle writes `evm.bytecode.object`.
fn bytecode(artifact: &Value) -> Option<Bytes> {
    let places = ["/bytecode", "/bytecode/object", "/evm/bytecode/object"];
    let text = places.into_iter().find_map(|place| artifact.pointer(place)?.as_str())?;
    text.parse().ok().filter(|code: &Bytes| !code.is_empty())
}

/// Our contracts, compiled by `cargo xtask contracts`.
fn own(name: &str) -> Result<Bytes> {
    static OWN: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    let all = OWN.get_or_init(|| serde_json::from_str(include_str!("../contracts/artifacts.json")).unwrap_or_default());
    all.get(name).and_then(bytecode).ok_or_else(|| Error::Artifact {
        file: "demo/contracts/artifacts.json".to_owned(),
        problem: format!("it holds no {name}"),
    })
}

sol! {
    /// ERC-20, and the open `mint` of our DemoToken.
    #[derive(Debug)]
    interface Token {
        function name() external view returns (string);
        function symbol() external view returns (string);
        function decimals() external view returns (uint8);
        function totalSupply() external view returns (uint256);
        function balanceOf(address owner) external view returns (uint256);
        function approve(address spender, uint256 value) external returns (bool);
        function transfer(address to, uint256 value) external returns (bool);
        function mint(address[] to, uint256 value) external;
    }

    #[derive(Debug)]
    interface Weth {
        function deposit() external payable;
    }

    #[derive(Debug)]
    interface V2Factory {
        function createPair(address tokenA, address tokenB) external returns (address pair);
        function getPair(address tokenA, address tokenB) external view returns (address pair);
    }

    #[derive(Debug)]
    interface V2Pair {
        function token0() external view returns (address);
        function token1() external view returns (address);
        function totalSupply() external view returns (uint256);
        function getReserves() external view returns (uint112 reserve0, uint112 reserve1, uint32 blockTimestampLast);
        function sync() external;
        function skim(address to) external;
    }

    #[derive(Debug)]
    interface V2Router {
        function addLiquidity(address tokenA, address tokenB, uint256 amountADesired, uint256 amountBDesired, uint256 amountAMin,
            uint256 amountBMin, address to, uint256 deadline) external returns (uint256 amountA, uint256 amountB, uint256 liquidity);
        function removeLiquidity(address tokenA, address tokenB, uint256 liquidity, uint256 amountAMin, uint256 amountBMin,
            address to, uint256 deadline) external returns (uint256 amountA, uint256 amountB);
        function swapExactTokensForTokens(uint256 amountIn, uint256 amountOutMin, address[] path, address to, uint256 deadline)
            external returns (uint256[] amounts);
    }

    #[derive(Debug)]
    interface V3Factory {
        function enableFeeAmount(uint24 fee, int24 tickSpacing) external;
        function createPool(address tokenA, address tokenB, uint24 fee) external returns (address pool);
        function getPool(address tokenA, address tokenB, uint24 fee) external view returns (address pool);
    }

    #[derive(Debug)]
    interface V3Pool {
        function token0() external view returns (address);
        function token1() external view returns (address);
        function fee() external view returns (uint24);
        function tickSpacing() external view returns (int24);
        function liquidity() external view returns (uint128);
        function slot0() external view returns (uint160 sqrtPriceX96, int24 tick, uint16 observationIndex,
            uint16 observationCardinality, uint16 observationCardinalityNext, uint8 feeProtocol, bool unlocked);
        function ticks(int24 tick) external view returns (uint128 liquidityGross, int128 liquidityNet, uint256 feeGrowthOutside0X128,
            uint256 feeGrowthOutside1X128, int56 tickCumulativeOutside, uint160 secondsPerLiquidityOutsideX128, uint32 secondsOutside,
            bool initialized);
        function tickBitmap(int16 wordPosition) external view returns (uint256);
        function initialize(uint160 sqrtPriceX96) external;
        function increaseObservationCardinalityNext(uint16 observationCardinalityNext) external;
    }

    #[derive(Debug)]
    interface V3Router {
        struct ExactInputSingleParams {
            address tokenIn; address tokenOut; uint24 fee; address recipient; uint256 deadline; uint256 amountIn;
            uint256 amountOutMinimum; uint160 sqrtPriceLimitX96;
        }
        function exactInputSingle(ExactInputSingleParams params) external payable returns (uint256 amountOut);
    }

    #[derive(Debug)]
    interface PositionManager {
        struct MintParams {
            address token0; address token1; uint24 fee; int24 tickLower; int24 tickUpper; uint256 amount0Desired;
            uint256 amount1Desired; uint256 amount0Min; uint256 amount1Min; address recipient; uint256 deadline;
        }
        struct DecreaseLiquidityParams { uint256 tokenId; uint128 liquidity; uint256 amount0Min; uint256 amount1Min; uint256 deadline; }
        struct CollectParams { uint256 tokenId; address recipient; uint128 amount0Max; uint128 amount1Max; }
        function createAndInitializePoolIfNecessary(address token0, address token1, uint24 fee, uint160 sqrtPriceX96)
            external payable returns (address pool);
        function mint(MintParams params) external payable returns (uint256 tokenId, uint128 liquidity, uint256 amount0, uint256 amount1);
        function decreaseLiquidity(DecreaseLiquidityParams params) external payable returns (uint256 amount0, uint256 amount1);
        function collect(CollectParams params) external payable returns (uint256 amount0, uint256 amount1);
        function multicall(bytes[] data) external payable returns (bytes[] results);
        function totalSupply() external view returns (uint256);
        function positions(uint256 tokenId) external view returns (uint96 nonce, address operator, address token0, address token1,
            uint24 fee, int24 tickLower, int24 tickUpper, uint128 liquidity, uint256 feeGrowthInside0LastX128,
            uint256 feeGrowthInside1LastX128, uint128 tokensOwed0, uint128 tokensOwed1);
    }

    #[derive(Debug)]
    interface QuoterV2 {
        struct QuoteExactInputSingleParams { address tokenIn; address tokenOut; uint256 amountIn; uint24 fee; uint160 sqrtPriceLimitX96; }
        function quoteExactInputSingle(QuoteExactInputSingleParams params) external
            returns (uint256 amountOut, uint160 sqrtPriceX96After, uint32 initializedTicksCrossed, uint256 gasEstimate);
    }

    #[derive(Debug)]
    interface Permit2 {
        function approve(address token, address spender, uint160 amount, uint48 expiration) external;
    }

    #[derive(Debug)]
    interface UniversalRouter {
        function execute(bytes commands, bytes[] inputs, uint256 deadline) external payable;
    }

    #[derive(Debug)]
    interface V4Manager {
        struct Key { address currency0; address currency1; uint24 fee; int24 tickSpacing; address hooks; }
        function initialize(Key key, uint160 sqrtPriceX96) external returns (int24 tick);
        function setProtocolFeeController(address controller) external;
        function setProtocolFee(Key key, uint24 newProtocolFee) external;
        function protocolFeesAccrued(address currency) external view returns (uint256 amount);
    }

    #[derive(Debug)]
    interface V4Positions {
        function modifyLiquidities(bytes unlockData, uint256 deadline) external payable;
        function nextTokenId() external view returns (uint256);
        function getPositionLiquidity(uint256 tokenId) external view returns (uint128 liquidity);
        function transferFrom(address from, address to, uint256 id) external;
    }

    #[derive(Debug)]
    interface V4State {
        function getSlot0(bytes32 poolId) external view returns (uint160 sqrtPriceX96, int24 tick, uint24 protocolFee, uint24 lpFee);
    }

    #[derive(Debug)]
    interface V4Quoter {
        struct Key { address currency0; address currency1; uint24 fee; int24 tickSpacing; address hooks; }
        struct QuoteExactSingleParams { Key poolKey; bool zeroForOne; uint128 exactAmount; bytes hookData; }
        function quoteExactInputSingle(QuoteExactSingleParams params) external returns (uint256 amountOut, uint256 gasEstimate);
        function quoteExactOutputSingle(QuoteExactSingleParams params) external returns (uint256 amountIn, uint256 gasEstimate);
    }

    /// Ours: acts on the PoolManager itself.
    #[derive(Debug)]
    interface V4Direct {
        struct Key { address currency0; address currency1; uint24 fee; int24 tickSpacing; address hooks; }
        struct ModifyLiquidityParams { int24 tickLower; int24 tickUpper; int256 liquidityDelta; bytes32 salt; }
        struct SwapParams { bool zeroForOne; int256 amountSpecified; uint160 sqrtPriceLimitX96; }
        function modify(Key key, ModifyLiquidityParams params) external;
        function swap(Key key, SwapParams params) external;
        function donate(Key key, uint256 amount0, uint256 amount1) external;
        function all(bytes[] calls) external;
    }

    /// Ours: what a swap comes to, and where it leaves the pool.
    #[derive(Debug)]
    interface V4Probe {
        struct Key { address currency0; address currency1; uint24 fee; int24 tickSpacing; address hooks; }
        struct SwapParams { bool zeroForOne; int256 amountSpecified; uint160 sqrtPriceLimitX96; }
        function probe(Key key, SwapParams params) external returns (int256 delta, bytes32 slot0, bytes32 liquidity);
    }

    /// Ours: any log that the EVM can emit.
    #[derive(Debug)]
    interface Emitter {
        function emitLog(bytes32[] topics, bytes data) external;
    }
}
