// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

interface IV3Pool {
    function token0() external view returns (address);
    function token1() external view returns (address);
    function mint(address owner, int24 lower, int24 upper, uint128 amount, bytes calldata data) external returns (uint256, uint256);
    function burn(int24 lower, int24 upper, uint128 amount) external returns (uint256, uint256);
    function collect(address to, int24 lower, int24 upper, uint128 amount0, uint128 amount1) external returns (uint128, uint128);
    function flash(address to, uint256 amount0, uint256 amount1, bytes calldata data) external;
}

interface IToken {
    function transfer(address to, uint256 value) external returns (bool);
}

/// Owns positions of V3 pools without a position manager, and borrows from them. Pays with the tokens it was given.
contract V3Direct {
    function mint(IV3Pool pool, int24 lower, int24 upper, uint128 amount) external {
        pool.mint(address(this), lower, upper, amount, "");
    }

    function burn(IV3Pool pool, int24 lower, int24 upper, uint128 amount) external {
        pool.burn(lower, upper, amount);
    }

    function collect(IV3Pool pool, int24 lower, int24 upper, uint128 amount0, uint128 amount1) external {
        pool.collect(address(this), lower, upper, amount0, amount1);
    }

    /// Pays `gift` more than it has to, of both tokens.
    function flash(IV3Pool pool, uint256 amount0, uint256 amount1, uint256 gift) external {
        pool.flash(address(this), amount0, amount1, abi.encode(amount0 + gift, amount1 + gift));
    }

    function uniswapV3MintCallback(uint256 amount0, uint256 amount1, bytes calldata) external {
        _pay(amount0, amount1);
    }

    function uniswapV3FlashCallback(uint256 fee0, uint256 fee1, bytes calldata data) external {
        (uint256 back0, uint256 back1) = abi.decode(data, (uint256, uint256));
        _pay(back0 + fee0, back1 + fee1);
    }

    function _pay(uint256 amount0, uint256 amount1) private {
        if (amount0 > 0) require(IToken(IV3Pool(msg.sender).token0()).transfer(msg.sender, amount0));
        if (amount1 > 0) require(IToken(IV3Pool(msg.sender).token1()).transfer(msg.sender, amount1));
    }
}
