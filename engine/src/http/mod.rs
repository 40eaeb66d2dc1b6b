//! HTTP: a thin translation of [`crate::control`]; decides nothing.
