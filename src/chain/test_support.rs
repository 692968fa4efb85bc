//! What the tests of this layer share.

pub(crate) use crate::domain::test_support::case_file;
