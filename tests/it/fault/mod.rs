//! What goes wrong between the parts of a deployment, on purpose: a [`wire::Wire`] that is cut, and a [`liar::Liar`] that says of the chain
//! what is not so. [`oracle::Oracle`] says what must be true all the same.

pub mod liar;
pub mod oracle;
pub mod wire;
