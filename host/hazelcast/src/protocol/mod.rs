//! The Open Binary Client Protocol, version 2: bytes in, bytes out, and no connection.

pub mod data;
pub mod failure;
pub mod frame;
pub mod requests;
pub mod responses;
#[cfg(test)]
mod tests;
