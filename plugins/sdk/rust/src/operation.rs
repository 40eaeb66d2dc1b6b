//! How a new value combines with the stored one: the word after the colon in `last_offset: max`.
//!
//! A column without a word is [`set`]. What a column's type cannot do does not compile.

use crate::bindings::laterna::projection::types::Operation;
use crate::{Column, Ordered, Sum};

/// The new value, null included.
pub const fn set<T: Column>() -> Operation {
    Operation::Set
}

/// The sum; null counts as 0. The engine rejects an event whose sum does not fit the column.
pub const fn add<T: Sum>() -> Operation {
    Operation::Add
}

/// The greater one; null loses.
pub const fn max<T: Ordered>() -> Operation {
    Operation::Max
}

/// The lesser one; null loses.
pub const fn min<T: Ordered>() -> Operation {
    Operation::Min
}

/// The stored value, or the new one where the stored one is null.
pub const fn set_if_null<T: Column>() -> Operation {
    Operation::SetIfNull
}

/// A guard for the whole change: it takes effect, and sets this value, only where there is no row or the stored
/// value is null or lesser. So an older version never overwrites a newer one, and one that comes twice counts once.
/// At most one in a change.
pub const fn newer<T: Ordered>() -> Operation {
    Operation::Newer
}
