// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Emits any log that the EVM can: zero to four topics, any data. Tests use it for malformed and impostor events.
contract LogEmitter {
    function emitLog(bytes32[] calldata topics, bytes calldata data) external {
        require(topics.length <= 4, "at most four topics");
        bytes memory d = data;
        bytes32[4] memory t;
        for (uint256 i = 0; i < topics.length; i++) t[i] = topics[i];
        uint256 n = topics.length;
        assembly {
            let at := add(d, 32)
            let len := mload(d)
            switch n
            case 0 { log0(at, len) }
            case 1 { log1(at, len, mload(t)) }
            case 2 { log2(at, len, mload(t), mload(add(t, 32))) }
            case 3 { log3(at, len, mload(t), mload(add(t, 32)), mload(add(t, 64))) }
            default { log4(at, len, mload(t), mload(add(t, 32)), mload(add(t, 64)), mload(add(t, 96))) }
        }
    }
}
