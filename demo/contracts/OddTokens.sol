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

/// Keeps a part of what pools send and get, as its owner likes it: so do tokens with a "tax".
contract FeeToken {
    string public constant name = "Keeps A Part";
    string public constant symbol = "FEE";
    uint8 public constant decimals = 18;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => bool) public isPool;
    uint256 public buyFeeBps;
    uint256 public sellFeeBps;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    /// More than 10,000: it cannot be sent at all.
    function set(address[] calldata pools, uint256 buyFeeBps_, uint256 sellFeeBps_) external {
        for (uint256 i = 0; i < pools.length; i++) isPool[pools[i]] = true;
        (buyFeeBps, sellFeeBps) = (buyFeeBps_, sellFeeBps_);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        return true;
    }

    /// Answers with nothing, as Tether does.
    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private {
        uint256 bps = (isPool[from] ? buyFeeBps : 0) + (isPool[to] ? sellFeeBps : 0);
        uint256 fee = (value * bps) / 10000;
        require(fee <= value, "not for sale");
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        totalSupply -= fee;
        emit Transfer(from, to, value - fee);
        if (fee > 0) emit Transfer(from, address(0), fee);
    }
}

/// Balances are shares of a pot: when the pot grows or shrinks, so do all balances, and nobody says so.
contract ShareToken {
    string public constant name = "Share Of A Pot";
    string public constant symbol = "POT";
    uint8 public constant decimals = 18;
    uint256 public permille = 1000;
    mapping(address => uint256) private shares;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function balanceOf(address owner) public view returns (uint256) {
        return (shares[owner] * permille) / 1000;
    }

    function mint(address to, uint256 value) external {
        shares[to] += (value * 1000) / permille;
        emit Transfer(address(0), to, value);
    }

    function rebase(uint256 permille_) external {
        permille = permille_;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        // Rounded up: what arrives may be a little less than is said.
        uint256 moved = (value * 1000 + permille - 1) / permille;
        shares[msg.sender] -= moved;
        shares[to] += moved;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}
