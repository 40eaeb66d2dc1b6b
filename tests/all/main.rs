//! The black-box tests, by theme. Without features only the harness tests itself.

#[cfg(feature = "external")]
mod services;
