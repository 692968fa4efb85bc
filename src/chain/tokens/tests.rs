use alloy::{primitives::B256, sol_types::SolValue};
use proptest::prelude::*;

use super::*;

fn at() -> BlockRef {
    BlockRef { number: 1, hash: B256::repeat_byte(1), parent_hash: B256::ZERO, timestamp: 2 }
}

/// As the batch contract cuts it.
fn returned(data: Vec<u8>) -> CallOutcome {
    CallOutcome::Returned(data[..data.len().min(RETURN_MAX_BYTES)].to_vec().into())
}

fn string(text: &str) -> CallOutcome {
    returned(text.to_owned().abi_encode())
}

fn word(value: U256) -> CallOutcome {
    returned(value.to_be_bytes_vec())
}

fn bytes32(text: &[u8]) -> CallOutcome {
    let mut word = [0_u8; 32];
    word[..text.len()].copy_from_slice(text);
    returned(word.to_vec())
}

fn symbol_of(answer: CallOutcome) -> (Option<String>, Vec<TokenFlag>) {
    let meta = parse(1, Address::ZERO, at(), &[string("Name"), answer, word(U256::from(18)), word(U256::from(5))]);
    assert_eq!(meta.name.as_deref(), Some("Name"));
    (meta.symbol, meta.flags)
}

#[test]
fn an_ordinary_token_has_no_flags() {
    let meta = parse(1, Address::ZERO, at(), &[string("USD Coin"), string("USDC"), word(U256::from(6)), word(U256::MAX)]);
    let expected = TokenMeta {
        chain: 1,
        address: Address::ZERO,
        name: Some("USD Coin".into()),
        symbol: Some("USDC".into()),
        decimals: Some(6),
        total_supply: Some(U256::MAX),
        flags: vec![],
        as_of: at(),
    };
    assert_eq!(meta, expected);
}

#[test]
fn a_token_that_answers_nothing_gets_a_flag_for_each() {
    let failed = [const { CallOutcome::Failed }; 4];
    let empty = [const { CallOutcome::Returned(Bytes::new()) }; 4];
    for answers in [failed, empty] {
        let meta = parse(1, Address::ZERO, at(), &answers);
        assert_eq!((meta.name, meta.symbol, meta.decimals, meta.total_supply), (None, None, None, None));
        use TokenFlag::*;
        assert_eq!(meta.flags, [NameMissing, SymbolMissing, DecimalsMissing, TotalSupplyMissing]);
    }
}

#[test]
fn odd_symbols_are_flagged_and_never_guessed() {
    use TokenFlag::{SymbolBytes32, SymbolMissing, TextMended};
    let some = |text: &str, flags: &[TokenFlag]| (Some(text.to_owned()), flags.to_vec());
    let none = || (None, vec![SymbolMissing]);
    let claims = |offset: u64, length: U256, content: &[u8]| {
        let mut data = U256::from(offset).to_be_bytes_vec();
        data.extend(length.to_be_bytes::<32>());
        data.extend_from_slice(content);
        returned(data)
    };
    assert_eq!(symbol_of(bytes32(b"MKR")), some("MKR", &[SymbolBytes32]));
    assert_eq!(symbol_of(bytes32(&[b'x'; 32])), some(&"x".repeat(32), &[SymbolBytes32]));
    assert_eq!(symbol_of(bytes32(b"")), none());
    assert_eq!(symbol_of(bytes32(b"A\0B")), some("A", &[SymbolBytes32, TextMended]));
    assert_eq!(symbol_of(bytes32(&[0xff, 0xfe])), some("\u{fffd}\u{fffd}", &[SymbolBytes32, TextMended]));
    assert_eq!(symbol_of(string("")), none());
    assert_eq!(symbol_of(string(&"é".repeat(64))), some(&"é".repeat(64), &[]));
    assert_eq!(symbol_of(string(&"é".repeat(65))), some(&"é".repeat(64), &[TextMended]));
    // A character is never cut in two.
    assert_eq!(symbol_of(string(&format!("a{}", "é".repeat(64)))), some(&format!("a{}", "é".repeat(63)), &[TextMended]));
    assert_eq!(symbol_of(string(&"m".repeat(500_000))), some(&"m".repeat(128), &[TextMended]));
    assert_eq!(symbol_of(string("a\u{7}b\nc")), some("abc", &[TextMended]));
    assert_eq!(symbol_of(string("\0\0")), none());
    assert_eq!(symbol_of(claims(32, U256::MAX, &[b'x'; 400])), none());
    assert_eq!(symbol_of(claims(32, U256::from(10), b"short")), none());
    assert_eq!(symbol_of(claims(1 << 40, U256::from(1), b"x")), none());
    assert_eq!(symbol_of(claims(64, U256::ZERO, b"")), none());
    // Not padded to words: short, but all there.
    assert_eq!(symbol_of(claims(32, U256::from(4), b"ODD!")), some("ODD!", &[]));
    assert_eq!(symbol_of(returned(vec![0; 31])), none());
}

#[test]
fn decimals_above_77_are_absurd_and_less_than_a_word_is_missing() {
    let cases = [
        (word(U256::from(77)), Some(77), vec![]),
        (word(U256::from(78)), None, vec![TokenFlag::DecimalsAbsurd]),
        (word(U256::from(274)), None, vec![TokenFlag::DecimalsAbsurd]),
        (word(U256::MAX), None, vec![TokenFlag::DecimalsAbsurd]),
        (returned(vec![18]), None, vec![TokenFlag::DecimalsMissing]),
        (CallOutcome::Failed, None, vec![TokenFlag::DecimalsMissing]),
    ];
    for (answer, decimals, flags) in cases {
        let meta = parse(1, Address::ZERO, at(), &[string("N"), string("S"), answer, word(U256::ONE)]);
        assert_eq!((meta.decimals, meta.flags), (decimals, flags));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_a_token_answers_the_texts_are_short_clean_and_flagged(
        answers in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..RETURN_MAX_BYTES + 1),
            (0..200_u64, any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(offset, length, content)| {
                let mut data = U256::from(offset).to_be_bytes_vec();
                data.extend(U256::from(length).to_be_bytes::<32>());
                data.extend(content);
                data
            }),
            ".{0,300}".prop_map(|text| text.abi_encode()),
        ], 4)
    ) {
        let answers: [CallOutcome; 4] = answers.into_iter().map(returned).collect::<Vec<_>>().try_into().unwrap();
        let meta = parse(1, Address::ZERO, at(), &answers);
        for (text, missing) in [(&meta.name, TokenFlag::NameMissing), (&meta.symbol, TokenFlag::SymbolMissing)] {
            prop_assert_eq!(text.is_none(), meta.flags.contains(&missing));
            if let Some(text) = text {
                prop_assert!(!text.is_empty() && text.len() <= TOKEN_TEXT_MAX_BYTES && !text.chars().any(char::is_control));
            }
        }
        prop_assert_eq!(meta.total_supply.is_none(), meta.flags.contains(&TokenFlag::TotalSupplyMissing));
        prop_assert!(meta.flags.is_sorted());
    }

    #[test]
    fn an_honest_text_comes_through_unchanged(text in "[a-zA-Z0-9 €₿]{1,42}") {
        prop_assert_eq!(symbol_of(string(&text)), (Some(text), vec![]));
    }
}
