//! What every encoding here is made of: words, references to the words of a log, literals, and counts.

use alloy::primitives::{Address, B256, I256, U256};

/// Bytes that no encoder here made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub(super) &'static str);

pub(super) const CUT: CodecError = CodecError("the value ends too early");
pub(super) const RANGE: CodecError = CodecError("a field is out of its type's range");
pub(super) const TAG: CodecError = CodecError("the value has a tag that this version does not know");

pub(super) type Word = [u8; 32];

/// Below: index of a word of the log. From here on: a literal.
const LITERAL: u8 = 0x80;
/// A literal whose missing leading bytes are `0xff` (negative numbers) instead of zero.
const LITERAL_ONES: u8 = 0xc0;

/// Order-preserving: comparing the bytes compares the numbers.
#[must_use]
pub fn sortable(value: &I256) -> Word {
    (value.into_raw() ^ (U256::ONE << 255_usize)).to_be_bytes()
}

/// A field's 256-bit word, as the ABI has it.
pub(super) trait Field: Sized {
    fn word(&self) -> Word;
    /// `None` where the word is no value of this type.
    fn from_word(word: Word) -> Option<Self>;
}

impl Field for U256 {
    fn word(&self) -> Word {
        self.to_be_bytes()
    }
    fn from_word(word: Word) -> Option<Self> {
        Some(Self::from_be_bytes(word))
    }
}

impl Field for I256 {
    fn word(&self) -> Word {
        self.to_be_bytes()
    }
    fn from_word(word: Word) -> Option<Self> {
        Some(Self::from_be_bytes(word))
    }
}

impl Field for Address {
    fn word(&self) -> Word {
        self.into_word().0
    }
    fn from_word(word: Word) -> Option<Self> {
        let (pad, address) = word.split_first_chunk::<12>()?;
        (*pad == [0; 12]).then(|| Self::from_slice(address))
    }
}

impl Field for B256 {
    fn word(&self) -> Word {
        self.0
    }
    fn from_word(word: Word) -> Option<Self> {
        Some(word.into())
    }
}

impl Field for i128 {
    fn word(&self) -> Word {
        let mut word = if *self < 0 { [0xff; 32] } else { [0; 32] };
        if let Some(low) = word.last_chunk_mut::<16>() {
            *low = self.to_be_bytes();
        }
        word
    }
    fn from_word(word: Word) -> Option<Self> {
        let value = Self::from_be_bytes(*word.last_chunk::<16>()?);
        (value.word() == word).then_some(value)
    }
}

macro_rules! unsigned_fields {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            fn word(&self) -> Word {
                U256::from(*self).to_be_bytes()
            }
            fn from_word(word: Word) -> Option<Self> {
                Self::try_from(U256::from_be_bytes(word)).ok()
            }
        }
    )*};
}
unsigned_fields!(u8, u16, u32, u128);

impl Field for i32 {
    fn word(&self) -> Word {
        i128::from(*self).word()
    }
    fn from_word(word: Word) -> Option<Self> {
        Self::try_from(i128::from_word(word)?).ok()
    }
}

/// The words of a log that fields may refer to: topics, then the whole words of its data.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    topics: &'a [B256],
    data: &'a [Word],
}

impl<'a> Words<'a> {
    pub(super) const NONE: Self = Words { topics: &[], data: &[] };

    pub(super) fn new(topics: &'a [B256], data: &'a [u8]) -> Self {
        Self { topics, data: data.as_chunks::<32>().0 }
    }

    fn index_of(&self, word: &Word) -> Option<u8> {
        let at = self.topics.iter().map(|t| &t.0).chain(self.data).take(usize::from(LITERAL)).position(|w| w == word)?;
        u8::try_from(at).ok()
    }

    fn get(&self, at: u8) -> Option<Word> {
        let at = usize::from(at);
        match self.topics.get(at) {
            Some(topic) => Some(topic.0),
            None => self.data.get(at.checked_sub(self.topics.len())?).copied(),
        }
    }
}

pub(super) struct Writer<'a> {
    pub(super) out: Vec<u8>,
    pub(super) words: Words<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(words: Words<'a>, tag: u8) -> Self {
        let mut out = Vec::with_capacity(64);
        out.push(tag);
        Self { out, words }
    }

    pub(super) fn field(&mut self, value: &impl Field) {
        let word = value.word();
        match self.words.index_of(&word) {
            Some(at) => self.out.push(at),
            None => literal(&mut self.out, &word),
        }
    }
}

pub(super) fn literal(out: &mut Vec<u8>, word: &Word) {
    let (base, pad) = if word.first() == Some(&0xff) { (LITERAL_ONES, 0xff) } else { (LITERAL, 0) };
    let skip = word.iter().take_while(|b| **b == pad).count();
    let rest = word.get(skip..).unwrap_or(word);
    // At most 32, so the sum stays below the next base.
    out.push(base.saturating_add(u8::try_from(rest.len()).unwrap_or(32)));
    out.extend_from_slice(rest);
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | u8::try_from(value & 0x7f).unwrap_or(0));
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

pub(super) struct Parser<'a> {
    pub(super) rest: &'a [u8],
    pub(super) words: Words<'a>,
}

impl<'a> Parser<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn word(&mut self) -> Result<Word, CodecError> {
        let head = self.byte()?;
        if head < LITERAL {
            return self.words.get(head).ok_or(CodecError("a field refers to a word that its log does not have"));
        }
        let (base, pad) = if head >= LITERAL_ONES { (LITERAL_ONES, 0xff) } else { (LITERAL, 0) };
        let len = usize::from(head.saturating_sub(base));
        let bytes = self.take(len)?;
        let mut word = [pad; 32];
        let at = 32_usize.checked_sub(len).ok_or(RANGE)?;
        word.get_mut(at..).ok_or(RANGE)?.copy_from_slice(bytes);
        Ok(word)
    }

    pub(super) fn field<T: Field>(&mut self) -> Result<T, CodecError> {
        T::from_word(self.word()?).ok_or(RANGE)
    }

    pub(super) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(RANGE);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RANGE)
    }

    pub(super) fn end(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError("the value is longer than it should be")) }
    }
}
