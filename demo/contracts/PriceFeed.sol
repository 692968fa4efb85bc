// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Has the shape of a Chainlink aggregator: what the oracles write to, and what emits events.
contract PriceAggregator {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
    event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);
    event NewTransmission(
        uint32 indexed aggregatorRoundId,
        int192 answer,
        address transmitter,
        uint32 observationsTimestamp,
        int192[] observations,
        bytes observers,
        int192 juelsPerFeeCoin,
        bytes32 configDigest,
        uint40 epochAndRound
    );

    uint8 public immutable decimals;
    uint80 public round;
    int256 public answer;
    uint256 public updatedAt;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    /// As the older aggregators do: one event.
    function submit(int256 answer_) external {
        _set(answer_);
        emit AnswerUpdated(answer_, round, block.timestamp);
    }

    /// As OCR2 does, where the answer's own event was left out.
    function transmit(int192 answer_) external {
        _set(answer_);
        int192[] memory observations = new int192[](1);
        observations[0] = answer_;
        emit NewTransmission(uint32(round), answer_, msg.sender, uint32(block.timestamp), observations, hex"00", 0, bytes32(0), 1);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (round, answer, updatedAt, updatedAt, round);
    }

    function _set(int256 answer_) private {
        round += 1;
        answer = answer_;
        updatedAt = block.timestamp;
    }
}

/// Has the shape of the proxy that users read: another aggregator is another phase.
contract PriceProxy {
    PriceAggregator public aggregator;
    uint16 public phaseId;

    constructor(PriceAggregator aggregator_) {
        confirmAggregator(aggregator_);
    }

    /// Emits nothing, as on mainnet.
    function confirmAggregator(PriceAggregator aggregator_) public {
        aggregator = aggregator_;
        phaseId += 1;
    }

    function decimals() external view returns (uint8) {
        return aggregator.decimals();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (uint80 round, int256 answer, uint256 startedAt, uint256 updatedAt, ) = aggregator.latestRoundData();
        uint80 id = (uint80(phaseId) << 64) | round;
        return (id, answer, startedAt, updatedAt, id);
    }
}
