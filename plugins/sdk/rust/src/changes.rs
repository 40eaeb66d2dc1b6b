//! What a projection answers: changes, or a fault.

use crate::Change;

/// The changes that one event asks for, in the order in which they take effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// Adds a change: a value of one of the types that `table!` declares under `changes`.
    pub fn push(&mut self, change: impl Into<Change>) {
        self.0.push(change.into());
    }

    /// Makes room for `additional` more changes: worth it where an event gives many.
    pub fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the event says nothing to this projection so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes themselves: for tests, which compare them with `Change::from(Placed { .. })`.
    pub fn into_vec(self) -> Vec<Change> {
        self.0
    }
}

/// Why a projection does not apply an event. Made by [`reject!`](crate::reject) and [`halt!`](crate::halt).
///
/// Any error that `?` meets in a projection becomes `Reject` with the error's text, because with the same event it
/// would come again: parsing, conversions, and whatever else depends on the event alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event is at fault, with the reason. The engine sets it aside or halts, as its operator has chosen.
    Reject(String),
    /// The projection must not go on, with the reason. Its checkpoint stays at this event.
    Halt(String),
}

// `Fault` is not an `Error` itself: that is what makes room for this.
impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        Fault::Reject(reason)
    }
}

/// A [`Fault::Reject`] with a formatted reason: this event is at fault.
///
/// ```
/// # use laterna_sdk::prelude::*;
/// fn positive(quantity: i64) -> Result<i64, Fault> {
///     if quantity > 0 { Ok(quantity) } else { Err(reject!("quantity {quantity}: more than 0 wanted")) }
/// }
/// assert_eq!(positive(0), Err(Fault::Reject("quantity 0: more than 0 wanted".into())));
/// ```
#[macro_export]
macro_rules! reject {
    ($($message:tt)+) => { $crate::Fault::Reject(::std::format!($($message)+)) };
}

/// A [`Fault::Halt`] with a formatted reason: the projection must not go on.
///
/// ```
/// # use laterna_sdk::prelude::*;
/// # let version = 2;
/// let fault = halt!("orders of version {version} need a newer projection");
/// assert_eq!(fault, Fault::Halt("orders of version 2 need a newer projection".into()));
/// ```
#[macro_export]
macro_rules! halt {
    ($($message:tt)+) => { $crate::Fault::Halt(::std::format!($($message)+)) };
}
