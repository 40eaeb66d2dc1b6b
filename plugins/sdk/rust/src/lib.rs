#![doc = include_str!("../README.md")]

mod changes;
mod decimal;
mod declare;
mod envelope;
mod event;
mod guest;
pub mod log;
#[cfg(target_arch = "wasm32")]
mod memory;
pub mod operation;
mod time;
mod value;

pub use changes::{Changes, Fault};
pub use decimal::Decimal;
pub use declare::{InProjection, Table, Topic};
pub use envelope::{ChangeSource, CloudEvent, Op, RowChange};
pub use event::Event;
pub use time::{Date, Timestamp};
pub use value::{Column, Json, KeyColumn, Ordered, Sum, Uuid, ValueError};

/// One row operation, as it goes to the engine. It is made from a change that [`table!`] declares.
pub use bindings::laterna::projection::types::Change;

/// All that a projection needs: `use laterna_sdk::prelude::*;`
pub mod prelude {
    pub use crate::{Changes, Date, Decimal, Event, Fault, Json, Timestamp, Topic, Uuid};
    pub use crate::{debug, error, halt, info, projection, reject, table, trace, warn};
}

/// What the macros need in the crates that use them. Not for authors: it may change at any time.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::laterna::projection::types;
    pub use crate::bindings::{Guest, export_projection};
    pub use crate::declare::{assigns_all, column, index, key, names, partitioning, starts_with};
    pub use crate::guest::run;
}

#[allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "projection",
        pub_export_macro: true,
        export_macro_name: "export_projection",
        additional_derives: [PartialEq],
    });
}
