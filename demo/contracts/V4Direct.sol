// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

struct PoolKey {
    address currency0;
    address currency1;
    uint24 fee;
    int24 tickSpacing;
    address hooks;
}

struct ModifyLiquidityParams {
    int24 tickLower;
    int24 tickUpper;
    int256 liquidityDelta;
    bytes32 salt;
}

struct SwapParams {
    bool zeroForOne;
    int256 amountSpecified;
    uint160 sqrtPriceLimitX96;
}

interface IPoolManager {
    function unlock(bytes calldata data) external returns (bytes memory);
    function initialize(PoolKey calldata key, uint160 sqrtPriceX96) external returns (int24);
    function modifyLiquidity(PoolKey calldata key, ModifyLiquidityParams calldata params, bytes calldata hookData)
        external returns (int256 callerDelta, int256 feesAccrued);
    function swap(PoolKey calldata key, SwapParams calldata params, bytes calldata hookData) external returns (int256 delta);
    function donate(PoolKey calldata key, uint256 amount0, uint256 amount1, bytes calldata hookData) external returns (int256 delta);
    function sync(address currency) external;
    function settle() external payable returns (uint256);
    function take(address currency, address to, uint256 amount) external;
}

interface IPaid {
    function transfer(address to, uint256 value) external returns (bool);
}

/// Acts on the PoolManager without a router or a position manager, also several times in one transaction. Pays with what it was given.
contract V4Direct {
    IPoolManager public immutable manager;

    constructor(IPoolManager manager_) {
        manager = manager_;
    }

    receive() external payable {}

    function modify(PoolKey calldata key, ModifyLiquidityParams calldata params) external {
        manager.unlock(abi.encode(key, abi.encodeCall(IPoolManager.modifyLiquidity, (key, params, ""))));
    }

    function swap(PoolKey calldata key, SwapParams calldata params) external {
        manager.unlock(abi.encode(key, abi.encodeCall(IPoolManager.swap, (key, params, ""))));
    }

    function donate(PoolKey calldata key, uint256 amount0, uint256 amount1) external {
        manager.unlock(abi.encode(key, abi.encodeCall(IPoolManager.donate, (key, amount0, amount1, ""))));
    }

    /// Each of them is a call of this contract.
    function all(bytes[] calldata calls) external {
        for (uint256 i = 0; i < calls.length; i++) {
            (bool done, bytes memory why) = address(this).call(calls[i]);
            if (!done) _bubble(why);
        }
    }

    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        require(msg.sender == address(manager));
        (PoolKey memory key, bytes memory call) = abi.decode(data, (PoolKey, bytes));
        (bool done, bytes memory answer) = address(manager).call(call);
        if (!done) _bubble(answer);
        int256 delta = abi.decode(answer, (int256));
        _settle(key.currency0, int128(delta >> 128));
        _settle(key.currency1, int128(delta));
        return "";
    }

    function _settle(address currency, int128 amount) private {
        if (amount > 0) return manager.take(currency, address(this), uint128(amount));
        if (amount == 0) return;
        uint256 due = uint256(-int256(amount));
        if (currency == address(0)) {
            manager.settle{value: due}();
        } else {
            manager.sync(currency);
            require(IPaid(currency).transfer(address(manager), due));
            manager.settle();
        }
    }

    function _bubble(bytes memory why) private pure {
        assembly {
            revert(add(why, 32), mload(why))
        }
    }
}

/// A hook with `beforeSwap` alone, of pools with a dynamic fee: 0.05 % in odd blocks, 0.3 % in even ones.
contract DemoHook {
    uint24 private constant OVERRIDE = 0x400000;

    function beforeSwap(address, PoolKey calldata, SwapParams calldata, bytes calldata)
        external view returns (bytes4, int256, uint24)
    {
        uint24 fee = block.number % 2 == 0 ? 3000 : 500;
        return (this.beforeSwap.selector, 0, OVERRIDE | fee);
    }
}

interface IStored {
    function extsload(bytes32 slot) external view returns (bytes32);
}

/// Says what a swap comes to and where it leaves the pool, and takes it back.
contract V4Probe {
    IPoolManager public immutable manager;

    error Seen(int256 delta, bytes32 slot0, bytes32 liquidity);

    constructor(IPoolManager manager_) {
        manager = manager_;
    }

    /// `slot0` as the PoolManager stores it, and the liquidity in range, right after the swap.
    function probe(PoolKey calldata key, SwapParams calldata params)
        external returns (int256 delta, bytes32 slot0, bytes32 liquidity)
    {
        try manager.unlock(abi.encode(key, params)) {}
        catch (bytes memory why) {
            if (why.length != 100 || bytes4(why) != Seen.selector) {
                assembly {
                    revert(add(why, 32), mload(why))
                }
            }
            assembly {
                delta := mload(add(why, 36))
                slot0 := mload(add(why, 68))
                liquidity := mload(add(why, 100))
            }
        }
    }

    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        (PoolKey memory key, SwapParams memory params) = abi.decode(data, (PoolKey, SwapParams));
        int256 delta = manager.swap(key, params, "");
        // _pools is at slot 6; of a pool's state slot0 is first, liquidity fourth.
        uint256 pool = uint256(keccak256(abi.encode(keccak256(abi.encode(key)), uint256(6))));
        IStored stored = IStored(address(manager));
        revert Seen(delta, stored.extsload(bytes32(pool)), stored.extsload(bytes32(pool + 3)));
    }
}
