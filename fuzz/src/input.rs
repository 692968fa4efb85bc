//! Values out of bytes, from the front; where there are none left they are zeros. Numbers say their length first, so that small ones, large
//! ones and powers of two are all near: a byte changed is another number of the same kind.

use alloy::primitives::{Address, U256};

pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub(super) fn is(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(super) fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.array())
    }

    pub(super) fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// Sign-extended: what a log may have as a tick.
    pub(super) fn i24(&mut self) -> i32 {
        let [high, mid, low] = self.array();
        i32::from_be_bytes([high, mid, low, 0]) >> 8
    }

    pub(super) fn u24(&mut self) -> u32 {
        let [high, mid, low] = self.array();
        u32::from_be_bytes([0, high, mid, low])
    }

    /// A length up to 32 and so many bytes, or a power of two.
    pub(super) fn u256(&mut self) -> U256 {
        match usize::from(self.byte()) {
            length @ 0..=32 => U256::from_be_slice(self.take(length)),
            power => U256::ONE << (power - 33),
        }
    }

    /// Of so many bits at most.
    pub(super) fn bits(&mut self, bits: usize) -> U256 {
        self.u256() & (U256::MAX >> (256 - bits))
    }

    /// Of 128 bits at most.
    pub(super) fn u128(&mut self, bits: usize) -> u128 {
        self.bits(bits).wrapping_to()
    }

    /// One of four, the zero address among them.
    pub(super) fn address(&mut self) -> Address {
        Address::repeat_byte(self.byte() % 4)
    }
}
