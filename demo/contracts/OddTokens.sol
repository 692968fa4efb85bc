// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import "./DemoToken.sol";

/// Tokens that exist on mainnet in one form or another and that metadata readers stumble over.

/// Like MKR and SAI: name and symbol are bytes32.
contract Bytes32SymbolToken {
    bytes32 public constant name = "Old Maker";
    bytes32 public constant symbol = "OMKR";
    uint8 public constant decimals = 18;
    uint256 public constant totalSupply = 1e24;
}

/// Has decimals, but neither name nor symbol.
contract NoSymbolToken {
    uint8 public constant decimals = 9;
    uint256 public constant totalSupply = 1e15;
}

/// `decimals()` reverts: there is no price for such a token, and nobody may guess 18.
contract RevertingDecimalsToken {
    string public constant name = "No Decimals";
    string public constant symbol = "NODEC";
    uint256 public constant totalSupply = 1e24;

    function decimals() external pure returns (uint8) {
        revert("no decimals");
    }
}

/// A symbol of 4,096 characters: it must not get into anybody's memory or page as it is.
contract HugeSymbolToken {
    string public constant name = "Huge";
    uint8 public constant decimals = 18;
    uint256 public constant totalSupply = 1e24;

    function symbol() external pure returns (string memory) {
        bytes memory s = new bytes(4096);
        for (uint256 i = 0; i < s.length; i++) s[i] = "X";
        return string(s);
    }
}

/// `decimals()` answers 300: it does not fit a uint8.
contract HugeDecimalsToken {
    string public constant name = "Many Decimals";
    string public constant symbol = "MANY";
    uint256 public constant decimals = 300;
    uint256 public constant totalSupply = 1e24;
}

/// Burns the gas it is given in `symbol()`: a metadata call needs a gas limit and must fail alone, not with its batch.
contract GasBurnerToken {
    string public constant name = "Burner";
    uint8 public constant decimals = 18;
    uint256 public constant totalSupply = 1e24;

    function symbol() external view returns (string memory) {
        uint256 x;
        while (gasleft() > 100) x++;
        return x == 0 ? "" : "BURN";
    }
}

/// A symbol with control characters and markup, as phishing tokens have it.
contract MarkupSymbolToken is DemoToken {
    constructor() DemoToken("Visit \x1b[31m<script>alert(1)</script>", "<b>\x00\xe2\x80\xae$", 18) {}
}
