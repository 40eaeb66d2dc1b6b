//! The black-box tests, by theme.

#[cfg(feature = "external")]
mod external;
