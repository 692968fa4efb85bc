// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// How tokens behave when they are moved: each is borrowed from a pool and given back, within one `eth_call` that has no `to`. The constructor
/// asks and returns the answers where a creation would return code; every loan ends in a revert, and nothing is deployed.
///
/// Input, appended to the creation code as one ABI `bytes`, packed, per question:
///   uint8 kind | address token | address pool
///   kind: 0, 1 token0, token1 of a V2 pair; 2, 3 token0, token1 of a V3 pool; 4 a currency of a V4 PoolManager
/// Output, packed:
///   uint8 1 (EIP-3541 refuses code that starts with 0xEF) | then per question:
///   uint8 ok | uint256 what the pool holds | uint256 lent | uint256 received | uint256 1: it was given back | uint256 arrived
///
/// It stops early, with the answers so far, when the next question could overrun the gas that is left. At least one is always asked.
contract TokenProbe {
    uint256 private constant GAS = 2_000_000;

    constructor(bytes memory input) {
        address borrower = address(new Borrower());
        bytes4 ask = Borrower.ask.selector;
        assembly ("memory-safe") {
            let cursor := add(input, 32)
            let end := add(cursor, mload(input))
            let start := mload(0x40)
            mstore(start, ask)
            let answers := add(start, 128)
            mstore8(answers, 1)
            let out := add(answers, 1)
            // 200 gas a byte of "code", and the loop.
            let need := add(add(GAS, div(GAS, 32)), add(mul(24576, 200), 100000))
            for { let first := 1 } lt(cursor, end) { first := 0 } {
                if iszero(first) { if lt(gas(), need) { break } }
                mstore(add(start, 4), shr(248, mload(cursor)))
                mstore(add(start, 36), shr(96, mload(add(cursor, 1))))
                mstore(add(start, 68), shr(96, mload(add(cursor, 21))))
                cursor := add(cursor, 41)
                let done := call(GAS, borrower, 0, start, 100, 0, 0)
                // It always reverts; only its own answer has this length and begins like this.
                let ok := 0
                calldatacopy(out, calldatasize(), 161)
                if and(iszero(done), eq(returndatasize(), 192)) {
                    returndatacopy(0, 0, 32)
                    if eq(mload(0), 0x70726f62) {
                        ok := 1
                        returndatacopy(add(out, 1), 32, 160)
                    }
                }
                mstore8(out, ok)
                out := add(out, 161)
            }
            return(answers, sub(out, answers))
        }
    }
}

/// Borrows, and reverts with what it saw.
contract Borrower {
    uint256 private constant ANSWER = 0x70726f62;

    uint8 private kind;
    address private token;
    address private pool;
    uint256 private held;
    uint256 private lent;
    uint256 private before;

    function ask(uint8 kind_, address token_, address pool_) external {
        (kind, token, pool) = (kind_, token_, pool_);
        held = balance(pool_);
        // A thousandth; of little at least so much that a part of ten thousand shows.
        lent = held / 1000;
        if (lent < 1e6) lent = held / 2 < 1e6 ? held / 2 : 1e6;
        require(lent > 0);
        before = balance(address(this));
        if (kind_ < 2) {
            (uint256 lent0, uint256 lent1) = kind_ == 0 ? (lent, uint256(0)) : (uint256(0), lent);
            Pair(pool_).swap(lent0, lent1, address(this), hex"00");
        } else if (kind_ < 4) {
            (uint256 lent0, uint256 lent1) = kind_ == 2 ? (lent, uint256(0)) : (uint256(0), lent);
            Flash(pool_).flash(address(this), lent0, lent1, hex"00");
        } else {
            Manager(pool_).unlock(hex"00");
        }
        revert();
    }

    /// Called back: each fork has another name for it.
    fallback() external {
        if (kind == 4) Manager(pool).take(token, address(this), lent);
        uint256 received = balance(address(this)) - before;
        uint256 there = balance(pool);
        // Some answer with nothing; what counts is what arrives.
        (bool given,) = token.call(abi.encodeCall(Token.transfer, (pool, received)));
        uint256 arrived = given ? balance(pool) - there : 0;
        bytes memory answer = abi.encode(ANSWER, held, lent, received, given, arrived);
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    function balance(address of_) private view returns (uint256) {
        return Token(token).balanceOf(of_);
    }
}

interface Token {
    function balanceOf(address of_) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
}

interface Pair {
    function swap(uint256 amount0Out, uint256 amount1Out, address to, bytes calldata data) external;
}

interface Flash {
    function flash(address recipient, uint256 amount0, uint256 amount1, bytes calldata data) external;
}

interface Manager {
    function unlock(bytes calldata data) external returns (bytes memory);
    function take(address currency, address to, uint256 amount) external;
}
