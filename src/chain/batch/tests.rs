use std::sync::Mutex;

use alloy::primitives::U256;
use proptest::prelude::*;

use super::*;

/// EIP-3860.
const MAX_INITCODE_SIZE: usize = 49_152;

fn call(to: u8, data_bytes: usize) -> Call {
    Call { to: Address::repeat_byte(to), data: vec![to; data_bytes].into() }
}

/// What the contract does, in Rust: answers up to `room` bytes, then stops.
fn contract(input: &Bytes, room: usize, answer: impl Fn(&Call) -> CallOutcome) -> (Vec<Call>, Bytes) {
    let arguments = &input[CREATION_CODE.len()..];
    let length: usize = U256::from_be_slice(&arguments[32..64]).to();
    let mut rest = &arguments[64..64 + length];
    assert_eq!(rest[..4], CALL_GAS_CAP.to_be_bytes());
    rest = &rest[6..];
    let (mut calls, mut out) = (Vec::new(), vec![FORMAT]);
    while !rest.is_empty() && (calls.is_empty() || out.len() < room) {
        let size = usize::from(u16::from_be_bytes([rest[20], rest[21]]));
        let call = Call { to: Address::from_slice(&rest[..20]), data: Bytes::copy_from_slice(&rest[22..22 + size]) };
        rest = &rest[22 + size..];
        let data = match answer(&call) {
            CallOutcome::Returned(data) => {
                out.push(1);
                data
            }
            CallOutcome::Failed => {
                out.push(0);
                Bytes::new()
            }
        };
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&data);
        calls.push(call);
    }
    (calls, out.into())
}

fn echo(call: &Call) -> CallOutcome {
    if call.to == Address::repeat_byte(9) { CallOutcome::Failed } else { CallOutcome::Returned(call.data.clone()) }
}

#[test]
fn the_committed_bytecode_is_there_and_leaves_room_for_a_full_request() {
    assert!(CREATION_CODE.len() > 100);
    assert!(CREATION_CODE.len() + 64 + 32 + 6 + INPUT_MAX_BYTES <= MAX_INITCODE_SIZE);
    assert_ne!(FORMAT, 0xEF);
}

proptest! {
    #[test]
    fn what_is_encoded_is_what_the_contract_reads_and_its_answers_decode(sizes in prop::collection::vec((1..12_u8, 0..300_usize), 0..40)) {
        let calls: Vec<Call> = sizes.iter().map(|(to, size)| call(*to, *size)).collect();
        let (read, answer) = contract(&encode(&calls, CALL_GAS_CAP, 64), usize::MAX, echo);
        prop_assert_eq!(&read, &calls);
        let outcomes: Vec<CallOutcome> = calls.iter().map(echo).collect();
        prop_assert_eq!(decode(&answer, calls.len()), Ok(outcomes));
    }

    #[test]
    fn chunks_cover_all_calls_once_in_order_and_fit(sizes in prop::collection::vec(0..60_000_usize, 0..60)) {
        let calls: Vec<Call> = sizes.iter().map(|size| call(1, *size)).collect();
        let mut next = 0;
        for range in chunks(&calls) {
            prop_assert_eq!(range.start, next);
            prop_assert!(!range.is_empty() && range.len() <= CHUNK_MAX_CALLS);
            let bytes: usize = calls[range.clone()].iter().map(encoded_bytes).sum();
            prop_assert!(bytes <= INPUT_MAX_BYTES || range.len() == 1);
            next = range.end;
        }
        prop_assert_eq!(next, calls.len());
    }

    #[test]
    fn a_damaged_answer_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), calls in 0..20_usize) {
        if let Ok(outcomes) = decode(&bytes.into(), calls) {
            prop_assert!(outcomes.len() <= calls);
        }
    }
}

#[test]
fn an_answer_in_another_shape_is_named() {
    let cases: [(&[u8], BatchError); 4] = [
        (&[], BatchError::Format),
        (&[0xef, 0], BatchError::Format),
        (&[1, 1, 0, 2, 7], BatchError::Cut),
        (&[1, 1, 0, 0, 1, 0, 0], BatchError::TooMany),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(&Bytes::copy_from_slice(bytes), 1), Err(expected));
    }
}

async fn run(
    calls: &[Call],
    node: impl Fn(&Bytes) -> Result<Bytes, ChainError> + Sync,
) -> (Result<Vec<CallOutcome>, ChainError>, usize) {
    let requests = Mutex::new(0);
    let outcome = execute(calls, 64, |input| {
        *requests.lock().unwrap() += 1;
        let answer = node(&input);
        async move { answer }
    })
    .await;
    let requests = *requests.lock().unwrap();
    (outcome, requests)
}

#[tokio::test]
async fn a_contract_that_stops_early_is_asked_for_the_rest() {
    let calls: Vec<Call> = (0..50).map(|n| call(n, 40)).collect();
    let (outcome, requests) = run(&calls, |input| Ok(contract(input, 430, echo).1)).await;
    assert_eq!(outcome.unwrap(), calls.iter().map(echo).collect::<Vec<_>>());
    assert_eq!(requests, 5);
}

#[tokio::test]
async fn one_call_that_breaks_the_request_fails_alone() {
    let calls: Vec<Call> = (0..100).map(|n| call(n, 4)).collect();
    let node = |input: &Bytes| {
        let (read, answer) = contract(input, usize::MAX, echo);
        if read.contains(&call(77, 4)) { Err(ChainError::Refused("out of gas".into())) } else { Ok(answer) }
    };
    let (outcome, _) = run(&calls, node).await;
    let expected: Vec<CallOutcome> =
        calls.iter().map(|c| if *c == call(77, 4) { CallOutcome::Failed } else { echo(c) }).collect();
    assert_eq!(outcome.unwrap(), expected);
}

#[tokio::test]
async fn a_node_that_cannot_do_it_at_all_is_an_error_and_not_a_hundred_failed_calls() {
    let calls: Vec<Call> = (0..100).map(|n| call(n, 4)).collect();
    let (outcome, requests) = run(&calls, |_| Err(ChainError::Refused("no such method".into()))).await;
    assert!(matches!(outcome, Err(ChainError::Refused(_))), "{outcome:?}");
    assert!(requests < 12);
    let (outcome, requests) = run(&calls, |_| Err(ChainError::Unavailable("down".into()))).await;
    assert!(matches!(outcome, Err(ChainError::Unavailable(_))), "{outcome:?}");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn calldata_that_fits_no_request_fails_without_one_and_nothing_needs_none() {
    let (outcome, requests) = run(&[call(1, 60_000)], |_| panic!("not asked")).await;
    assert_eq!((outcome.unwrap(), requests), (vec![CallOutcome::Failed], 0));
    let (outcome, requests) = run(&[], |_| panic!("not asked")).await;
    assert_eq!((outcome.unwrap(), requests), (vec![], 0));
}
