use super::*;

fn failure(code: i64, message: &str) -> Failure {
    WireError { code, message: message.into() }.into()
}

/// As providers word it.
#[test]
fn what_providers_say_about_a_range_that_is_too_large_is_understood() {
    let said = [
        (-32005, "query returned more than 10000 results"),
        (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x2]."),
        (
            -32602,
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, or you can request any block range with a cap of 10K logs in the response.",
        ),
        (
            -32600,
            "You can make eth_getLogs requests with up to a 500 block range. Based on your parameters, this block range should work: [0x1, 0x2]",
        ),
        (-32000, "block range is too wide"),
        (-32602, "block range too large"),
        (-32701, "exceed maximum block range: 5000"),
        (-32614, "eth_getLogs is limited to a 10,000 range"),
        (-32602, "query exceeds max block range 100000"),
        (-32602, "query exceeds max results 20000, retry with the range 0-100"),
        (-32008, "Response size is larger than 150MB limit."),
        (-32007, "Response is too big"),
        (-32000, "logs matched by query exceeds limit of 10000"),
        (-32002, "query timeout exceeded"),
        (-32000, "request timed out"),
        (35, "ranges over 10000 blocks are not supported on freetier"),
        (-32005, "limit exceeded"),
    ];
    for (code, message) in said {
        assert!(matches!(failure(code, message), Failure::TooLarge(_)), "{message}: {:?}", failure(code, message));
    }
}

#[test]
fn rate_limits_unknown_blocks_and_refusals_are_told_apart() {
    for (code, message) in [
        (429, "Your app has exceeded its compute units per second capacity."),
        (-32005, "daily request count exceeded, request rate limited"),
        (-32005, "project ID request rate exceeded: too many requests"),
        (-32007, "50/second request limit reached"),
    ] {
        let failure = failure(code, message);
        assert!(matches!(failure, Failure::Busy { .. }) && failure.is_unhealthy() && failure.is_worth_retrying(), "{message}");
    }
    for (code, message) in
        [(-32000, "unknown block"), (-32000, "header not found"), (-32001, "Block not found"), (-32001, "resource not found")]
    {
        assert_eq!(failure(code, message), Failure::UnknownBlock, "{message}");
    }
    for (code, message) in [
        (-32601, "the method eth_foo does not exist"),
        (3, "execution reverted"),
        (-32000, "missing trie node"),
        (-32602, "invalid params"),
    ] {
        let failure = failure(code, message);
        assert!(matches!(failure, Failure::Refused(_)) && !failure.is_unhealthy() && !failure.is_worth_retrying(), "{message}");
    }
}

#[test]
fn http_statuses_are_told_apart() {
    let after = Some(Duration::from_secs(7));
    assert_eq!(from_status(429, after), Failure::Busy { message: "HTTP status 429".into(), after });
    assert!(matches!(from_status(413, None), Failure::TooLarge(_)));
    assert!(matches!(from_status(401, None), Failure::Refused(_)));
    assert!(matches!(from_status(404, None), Failure::Refused(_)));
    for status in [408, 500, 502, 503, 504] {
        assert!(matches!(from_status(status, None), Failure::Unreachable(_)), "{status}");
    }
}

#[test]
fn the_caller_learns_what_it_can_act_on() {
    let hash = B256::repeat_byte(1);
    let of = |failure: Failure| failure.into_chain_error("host", Some(hash));
    assert!(matches!(of(Failure::UnknownBlock), ChainError::UnknownBlock(h) if h == hash));
    assert!(matches!(of(Failure::TooLarge("x".into())), ChainError::RangeTooLarge(_)));
    assert!(matches!(of(Failure::Contradiction("x".into())), ChainError::Contradiction(_)));
    assert!(matches!(of(Failure::Refused("x".into())), ChainError::Refused(_)));
    assert!(matches!(of(Failure::WrongChain { expected: 1, found: 2 }), ChainError::Refused(_)));
    for failure in [Failure::Timeout(Duration::ZERO), Failure::BadAnswer("x".into()), Failure::Unreachable("x".into())] {
        assert!(matches!(of(failure), ChainError::Unavailable(_)));
    }
}

#[test]
fn a_limit_of_blocks_is_learned_from_what_providers_say_and_from_nothing_else() {
    for (message, blocks) in [
        (
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, or you can request any block range with a cap of 10K logs in the response. Based on your parameters and the response size limit, this block range should work: [0x0, 0x7ff]",
            Some(2_000),
        ),
        (
            "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x1, 0xa]",
            Some(10),
        ),
        ("exceed maximum block range: 5000", Some(5_000)),
        ("eth_getLogs is limited to a 10,000 range", Some(10_000)),
        ("query exceeds max block range 100000", Some(100_000)),
        ("ranges over 10000 blocks are not supported on freetier", Some(10_000)),
        ("block range limit exceeded: maximum allowed is 500 blocks", Some(500)),
        ("Block range too large: maximum allowed range is 1000", Some(1_000)),
        ("eth_getLogs and eth_newFilter are limited to a 5 range", Some(5)),
        ("requested too many blocks from 0 to 99999, maximum is set to 2048 blocks", Some(2_048)),
        // No limit of blocks, or none that holds for the next question.
        ("query returned more than 10000 results. Try with this block range [0x1, 0x2].", None),
        ("query exceeds max results 20000, retry with the range 0-100", None),
        ("logs matched by query exceeds limit of 10000", None),
        ("Response size is larger than 150MB limit.", None),
        ("no answer within 10s", None),
        ("block range is too wide", None),
    ] {
        assert_eq!(range_limit(message), blocks, "{message}");
    }
}
