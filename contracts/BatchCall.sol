// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Many read-only calls in one `eth_call` that has no `to`: the constructor makes them and returns the answers where a
/// creation would return code. Nothing is deployed, so it needs no Multicall3 on the chain.
///
/// Input, appended to the creation code as one ABI `bytes`, big-endian and packed:
///   uint32 gas cap of each call | uint16 most bytes kept of each answer | then per call: address | uint16 n | n bytes calldata
/// Output, packed:
///   uint8 1 (EIP-3541 refuses code that starts with 0xEF) | then per call: uint8 ok | uint16 n | n bytes answer
///
/// It stops early, with the answers so far, when the next call could overrun the gas that is left or the 24,576 bytes
/// that EIP-170 allows code to have. The caller goes on from there. At least one call is always made.
contract BatchCall {
    constructor(bytes memory input) {
        assembly ("memory-safe") {
            let cursor := add(input, 32)
            let end := add(cursor, mload(input))
            let gasCap := shr(224, mload(cursor))
            let maxReturn := shr(240, mload(add(cursor, 4)))
            cursor := add(cursor, 6)

            let start := mload(0x40)
            mstore8(start, 1)
            let out := add(start, 1)
            // EIP-170, less the head of one more answer.
            let limit := sub(add(start, 24576), add(3, maxReturn))
            // What a whole answer may still cost after the calls: 200 gas a byte of "code", memory, and the loop itself.
            let reserve := add(mul(24576, 200), 100000)
            // A call gets at most 63/64 of what is left.
            let need := add(reserve, add(gasCap, div(gasCap, 32)))

            for { let first := 1 } lt(cursor, end) { first := 0 } {
                if iszero(first) {
                    if gt(out, limit) { break }
                    if lt(gas(), need) { break }
                }
                let target := shr(96, mload(cursor))
                let size := shr(240, mload(add(cursor, 20)))
                cursor := add(cursor, 22)
                let ok := 0
                let kept := 0
                // A call to an address without code succeeds with nothing: that is no answer.
                if extcodesize(target) {
                    // Nothing is copied by the call itself, so a huge answer costs us nothing.
                    ok := staticcall(gasCap, target, cursor, size, 0, 0)
                    if ok {
                        kept := returndatasize()
                        if gt(kept, maxReturn) { kept := maxReturn }
                        returndatacopy(add(out, 3), 0, kept)
                    }
                }
                cursor := add(cursor, size)
                mstore8(out, ok)
                mstore8(add(out, 1), shr(8, kept))
                mstore8(add(out, 2), and(kept, 255))
                out := add(out, add(3, kept))
            }
            return(start, sub(out, start))
        }
    }
}
