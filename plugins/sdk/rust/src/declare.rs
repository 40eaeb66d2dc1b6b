//! How a projection is declared: the macros `table!` and `projection!`, and what they are made of.
//!
//! `table!` gives a module of column types and one struct a change; `projection!` numbers the changes of all tables
//! and exports the plugin. All that can be checked without an event is checked by the compiler.

use crate::bindings::laterna::projection::types;
use crate::{Column, KeyColumn};

/// A topic that a projection reads: its key and value come as text, without headers, unless it says otherwise.
///
/// A plain `"orders"` in `topics` is `Topic::new("orders")`.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic(types::Topic);

impl Topic {
    /// The topic of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Topic(types::Topic {
            name: name.into(),
            key: types::Encoding::Text,
            value: types::Encoding::Text,
            headers: Vec::new(),
        })
    }

    /// Asks for headers by name: others are not handed over, because each costs time.
    #[must_use]
    pub fn headers<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.0.headers.extend(names.map(String::from));
        self
    }

    /// Keys are binary: never checked for being text.
    #[must_use]
    pub fn binary_key(mut self) -> Self {
        self.0.key = types::Encoding::Bytes;
        self
    }

    /// Values are binary, like Avro or Protobuf: never checked for being text.
    #[must_use]
    pub fn binary_value(mut self) -> Self {
        self.0.value = types::Encoding::Bytes;
        self
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Topic::new(name)
    }
}

impl From<Topic> for types::Topic {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

/// A table that [`table!`](crate::table) has declared.
#[doc(hidden)]
pub trait Table {
    /// How many changes it declares.
    const CHANGES: u32;
    /// Its part of the descriptor.
    fn describe() -> types::Table;
    /// Its changes, in order.
    fn shapes() -> Vec<types::Shape>;
}

/// A table that stands in the list of [`projection!`](crate::projection).
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a table is missing in `projection!`",
    note = "name every table in its list: `tables: [orders, order_items]`"
)]
pub trait InProjection: Table {
    /// The number of its first change among those of all tables.
    const FIRST_CHANGE: u32;
}

/// A column of the descriptor.
pub fn column<T: Column>(name: &str) -> types::Column {
    types::Column { name: name.into(), column_type: T::TYPE, nullable: T::NULLABLE }
}

/// Compiles only where `T` can be in a key.
pub const fn key<T: KeyColumn>() {}

/// Texts of the descriptor.
pub fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

/// The words that can stand after a table's name.
pub mod partitioning {
    use crate::bindings::laterna::projection::types::Partitioning;
    /// Events of one partition change a row: what holds without a word.
    pub const BY_PARTITION: Partitioning = Partitioning::ByPartition;
    /// Rows are shared between partitions and changed by commutative operations only.
    #[allow(non_upper_case_globals, reason = "it is a word of `table!`")]
    pub const commutative: Partitioning = Partitioning::Commutative;
    /// Anything else: one writer for the whole projection.
    #[allow(non_upper_case_globals, reason = "it is a word of `table!`")]
    pub const serial: Partitioning = Partitioning::Serial;
}

/// The words that can stand under `indexes`.
pub mod index {
    use crate::bindings::laterna::projection::types::IndexKind;
    /// Equality, ranges and order.
    #[allow(non_upper_case_globals, reason = "it is a word of `table!`")]
    pub const ordered: IndexKind = IndexKind::Ordered;
    /// Words in text columns.
    #[allow(non_upper_case_globals, reason = "it is a word of `table!`")]
    pub const full_text: IndexKind = IndexKind::FullText;
}

/// Whether every column that takes no null is among the assigned ones.
pub const fn assigns_all(columns: &[(&str, bool)], assigned: &[&str]) -> bool {
    let mut at = 0;
    while at < columns.len() {
        let (name, nullable) = columns[at];
        let (mut found, mut next) = (nullable, 0);
        while next < assigned.len() {
            found |= same(name, assigned[next]);
            next += 1;
        }
        if !found {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether `prefix` is how `key` starts.
pub const fn starts_with(key: &[&str], prefix: &[&str]) -> bool {
    let mut at = 0;
    while at < prefix.len() {
        if at >= key.len() || !same(key[at], prefix[at]) {
            return false;
        }
        at += 1;
    }
    true
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

/// Declares a table and the changes that the projection makes in it.
///
/// ```
/// use laterna_sdk::prelude::*;
///
/// table! {
///     /// One row a product.
///     products(sku: String) {                     // name and primary key: one column or more
///         name: Option<String>,                   // an Option takes null
///         price: Option<Decimal>,
///         version: i64,
///     }
///     indexes { ordered(price, sku), full_text(name) }
///     changes {
///         upsert Created { name, price, version: newer };
///         update Renamed { name, version: newer };
///         delete Removed;
///     }
/// }
/// # projection! { name: "products", revision: 1, topics: ["products"], tables: [products], apply: apply }
/// # fn apply(_: &Event, changes: &mut Changes) -> Result<(), Fault> {
/// changes.push(Renamed { sku: "SKU-1".into(), name: Some("lantern".into()), version: 2 });
/// # Ok(())
/// # }
/// # fn main() {}
/// ```
///
/// Each change becomes a struct with the columns of the key and those that it names.
///
/// | action | meaning |
/// |---|---|
/// | `upsert Name { columns }` | insert the row, or combine it with the stored one; names every column that is not an `Option` |
/// | `update Name { columns }` | combine with the stored row; nothing where there is none |
/// | `insert Name { columns }` | insert the row; nothing where there is one |
/// | `delete Name` | delete the row |
/// | `delete_prefix Name(columns)` | delete all rows under the leading columns of the key |
///
/// In an upsert or update, a column may say how its value combines with the stored one: `last_offset: max`. The words
/// are the functions of [`operation`](crate::operation).
///
/// After the key may stand `commutative` (rows are shared between partitions, and changed by `add`, `max`, `min`, or
/// under `newer`) or `serial` (anything else that is shared: one writer for the whole projection). Without a word,
/// each row is only ever changed by events of one partition.
#[macro_export]
macro_rules! table {
    (
        $(#[$doc:meta])*
        $table:ident $keys:tt $($partitioning:ident)? {
            $($(#[$column_doc:meta])* $column:ident : $type:ty),* $(,)?
        }
        $(indexes { $($index:ident ($($on:ident),+ $(,)?)),* $(,)? })?
        changes { $($(#[$change_doc:meta])* $action:ident $Change:ident $({ $($assigned:tt)* })? $(($($prefix:ident),+ $(,)?))? ;)+ }
    ) => {
        $crate::__table! {
            [$(#[$doc])*] $table $keys [$($partitioning)?] [$($(#[$column_doc])* $column : $type),*]
            [$($($index ($($on),+))*)?] [$($Change)+]
        }
        $($crate::__change! { [$(#[$change_doc])*] $action $Change $table $keys [$($($assigned)*)?] [$($($prefix)+)?] })+
    };
}

/// The module of a table: a type for each column, and the table's part of the descriptor.
#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    (
        [$(#[$doc:meta])*] $table:ident ($($key:ident : $key_type:ty),+ $(,)?) [$($partitioning:ident)?]
        [$($(#[$column_doc:meta])* $column:ident : $type:ty),*] [$($index:ident ($($on:ident),+))*] [$($Change:ident)+]
    ) => {
        $(#[$doc])*
        #[allow(non_camel_case_types, dead_code, missing_docs, unreachable_pub, unused_imports, reason = "columns are named as in SQL")]
        pub mod $table {
            use super::*;
            $(pub type $key = $key_type;)+
            $($(#[$column_doc])* pub type $column = $type;)*
            pub const KEY: &[&str] = &[$(::core::stringify!($key)),+];
            pub const REST: &[(&str, bool)] = &[$((::core::stringify!($column), <$type as $crate::Column>::NULLABLE)),*];
            #[repr(u32)]
            pub enum Number { $($Change),+ }
            pub struct Table;
            const _: fn() = || { $($crate::__private::key::<$key_type>();)+ };
            $($(const _: ::core::option::Option<$on> = ::core::option::Option::None;)+)*
            impl $crate::Table for Table {
                const CHANGES: u32 = [$(::core::stringify!($Change)),+].len() as u32;
                fn describe() -> $crate::__private::types::Table {
                    $crate::__private::types::Table {
                        name: ::core::stringify!($table).into(),
                        columns: ::std::vec![
                            $($crate::__private::column::<$key_type>(::core::stringify!($key)),)+
                            $($crate::__private::column::<$type>(::core::stringify!($column)),)*
                        ],
                        primary_key: $crate::__private::names(KEY),
                        indexes: ::std::vec![$($crate::__private::types::Index {
                            columns: $crate::__private::names(&[$(::core::stringify!($on)),+]),
                            kind: $crate::__private::index::$index,
                        }),*],
                        partitioning: $crate::__partitioning!($($partitioning)?),
                    }
                }
                fn shapes() -> ::std::vec::Vec<$crate::__private::types::Shape> {
                    ::std::vec![$($crate::__private::types::Shape {
                        table: ::core::stringify!($table).into(),
                        action: super::$Change::action(),
                    }),+]
                }
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __partitioning {
    () => {
        $crate::__private::partitioning::BY_PARTITION
    };
    ($word:ident) => {
        $crate::__private::partitioning::$word
    };
}

/// The struct of a change: its fields, its action, and how it becomes a `Change`.
#[doc(hidden)]
#[macro_export]
macro_rules! __change {
    ([$($doc:tt)*] upsert $Change:ident $table:ident ($($key:ident : $key_type:ty),+ $(,)?) [$($column:ident $(: $operation:ident)?),* $(,)?] []) => {
        $crate::__struct! { [$($doc)*] $Change $table [$($key)+ $($column)*]
            $crate::__private::types::Action::Upsert(::std::vec![$($crate::__assignment!($table $column $($operation)?)),*]) }
        const _: () = ::core::assert!(
            $crate::__private::assigns_all($table::REST, &[$(::core::stringify!($column)),*]),
            "an upsert names every column that is not an Option: a new row needs them"
        );
    };
    ([$($doc:tt)*] update $Change:ident $table:ident ($($key:ident : $key_type:ty),+ $(,)?) [$($column:ident $(: $operation:ident)?),* $(,)?] []) => {
        $crate::__struct! { [$($doc)*] $Change $table [$($key)+ $($column)*]
            $crate::__private::types::Action::Update(::std::vec![$($crate::__assignment!($table $column $($operation)?)),*]) }
    };
    ([$($doc:tt)*] insert $Change:ident $table:ident ($($key:ident : $key_type:ty),+ $(,)?) [$($column:ident),* $(,)?] []) => {
        $crate::__struct! { [$($doc)*] $Change $table [$($key)+ $($column)*]
            $crate::__private::types::Action::Insert($crate::__private::names(&[$(::core::stringify!($column)),*])) }
        const _: () = ::core::assert!(
            $crate::__private::assigns_all($table::REST, &[$(::core::stringify!($column)),*]),
            "an insert names every column that is not an Option: a new row needs them"
        );
    };
    ([$($doc:tt)*] delete $Change:ident $table:ident ($($key:ident : $key_type:ty),+ $(,)?) [] []) => {
        $crate::__struct! { [$($doc)*] $Change $table [$($key)+] $crate::__private::types::Action::Delete }
    };
    ([$($doc:tt)*] delete_prefix $Change:ident $table:ident ($($key:ident : $key_type:ty),+ $(,)?) [] [$($prefix:ident)+]) => {
        $crate::__struct! { [$($doc)*] $Change $table [$($prefix)+]
            $crate::__private::types::Action::DeletePrefix([$(::core::stringify!($prefix)),+].len() as u32) }
        const _: () = ::core::assert!(
            $crate::__private::starts_with($table::KEY, &[$(::core::stringify!($prefix)),+]),
            "delete_prefix names the leading columns of the key, in the key's order"
        );
    };
    ([$($doc:tt)*] $action:ident $Change:ident $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($action), " ", ::core::stringify!($Change), "`: write `upsert Name { columns }`, `update Name { columns }`, ",
            "`insert Name { columns }`, `delete Name` or `delete_prefix Name(leading columns of the key)`"
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __assignment {
    ($table:ident $column:ident) => { $crate::__assignment!($table $column set) };
    ($table:ident $column:ident $operation:ident) => {
        $crate::__private::types::Assignment {
            column: ::core::stringify!($column).into(),
            operation: $crate::operation::$operation::<$table::$column>(),
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __struct {
    ([$($doc:tt)*] $Change:ident $table:ident [$($field:ident)+] $action:expr) => {
        $($doc)*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, unreachable_pub, reason = "the table says what its columns mean")]
        pub struct $Change { $(pub $field: $table::$field),+ }
        impl $Change {
            fn action() -> $crate::__private::types::Action { $action }
        }
        impl ::core::convert::From<$Change> for $crate::Change {
            fn from(change: $Change) -> Self {
                $crate::Change {
                    shape: <$table::Table as $crate::InProjection>::FIRST_CHANGE + $table::Number::$Change as u32,
                    values: ::std::vec![$($crate::Column::value(change.$field)),+],
                }
            }
        }
    };
}

/// Declares the projection and exports it: once in a crate.
///
/// * `name`: identifier of the projection, and of the schema that its tables are in.
/// * `revision`: raised when the meaning of the rows changes, so that they are rebuilt.
/// * `topics`: names, or [`Topic`]s that also ask for headers or binary payloads.
/// * `tables`: every table that [`table!`](crate::table) declares.
/// * `apply`: `fn(&Event, &mut Changes) -> Result<(), Fault>`. It sees one event and nothing else: an instance lives for
///   one batch, so what it keeps in statics is lost or, worse, is not.
#[macro_export]
macro_rules! projection {
    (
        name: $name:expr,
        revision: $revision:expr,
        topics: [$($topic:expr),+ $(,)?],
        tables: [$($($table:ident)::+),+ $(,)?],
        apply: $apply:expr $(,)?
    ) => {
        $crate::__number! { 0u32; $([$($table)::+])+ }

        #[doc(hidden)]
        #[allow(missing_docs, unreachable_pub, reason = "exported to the engine, not to Rust")]
        pub struct LaternaProjection;

        impl $crate::__private::Guest for LaternaProjection {
            fn describe() -> $crate::__private::types::Descriptor {
                $crate::__private::types::Descriptor {
                    name: ($name).into(),
                    revision: $revision,
                    topics: ::std::vec![$($crate::Topic::from($topic).into()),+],
                    tables: ::std::vec![$(<$($table)::+::Table as $crate::Table>::describe()),+],
                    shapes: [$(<$($table)::+::Table as $crate::Table>::shapes()),+].concat(),
                }
            }
            fn apply(batch: $crate::__private::types::Batch) -> ::std::vec::Vec<$crate::__private::types::Outcome> {
                $crate::__private::run(&batch, $apply)
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::__private::export_projection!(LaternaProjection with_types_in $crate::bindings);
    };
}

/// Numbers the changes of all tables, in the order of the tables.
#[doc(hidden)]
#[macro_export]
macro_rules! __number {
    ($first:expr;) => {};
    ($first:expr; [$($table:ident)::+] $($rest:tt)*) => {
        impl $crate::InProjection for $($table)::+::Table {
            const FIRST_CHANGE: u32 = $first;
        }
        $crate::__number! { <$($table)::+::Table as $crate::InProjection>::FIRST_CHANGE + <$($table)::+::Table as $crate::Table>::CHANGES; $($rest)* }
    };
}

/// What must not compile, each beside one that differs in the wrong part alone and does:
/// ```
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> } indexes { ordered(total) } changes { upsert A { total: add }; delete_prefix B(key); } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// A column that the table does not have:
/// ```compile_fail,E0412
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> }  changes { upsert A { total: add, other }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// A sum of texts:
/// ```compile_fail,E0277
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> }  changes { upsert A { total: add, note: add }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// An operation that there is not:
/// ```compile_fail,E0425
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> }  changes { upsert A { total: sum }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// A new row without its total:
/// ```compile_fail,E0080
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> }  changes { upsert A { note }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// Not the leading column of the key:
/// ```compile_fail,E0080
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> }  changes { upsert A { total: add }; delete_prefix B(slot); } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// An action that there is not:
/// ```compile_fail
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> }  changes { replace A { total }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// An index over no column:
/// ```compile_fail,E0412
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String, slot: i64) { total: i64, note: Option<String> } indexes { ordered(other) } changes { upsert A { total: add }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// A key that takes null:
/// ```compile_fail,E0277
/// use laterna_sdk::prelude::*;
/// table! { sums(key: Option<String>) { total: i64 } changes { upsert A { total: add }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
/// A table that the projection does not list:
/// ```compile_fail,E0277
/// use laterna_sdk::prelude::*;
/// table! { sums(key: String) { total: i64 } changes { upsert A { total: add }; } }
/// table! { other(key: String) { total: i64 } changes { upsert B { total: add }; } }
/// projection! { name: "p", revision: 1, topics: ["t"], tables: [sums], apply: apply }
/// fn apply(_: &Event, _: &mut Changes) -> Result<(), Fault> { Ok(()) }
/// fn main() {}
/// ```
#[cfg(doctest)]
pub struct MustNotCompile;
