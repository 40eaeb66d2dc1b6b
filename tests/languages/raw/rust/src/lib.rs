//! `order_summary` on what wit-bindgen generates, without the SDK: what the SDK is measured against (`tests/languages/run`).
//!
//! Written as one would who has the contract and serde_json only. Its exact decimals are what this projection needs of them.

#![allow(unsafe_code, reason = "what is generated needs it")]
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "what it exports is exported to an engine only"))]

use laterna::projection::types::*;
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../../wit", world: "projection" });
}
#[cfg(target_arch = "wasm32")]
use bindings::export;
use bindings::{Guest, laterna};

const ORDER: u32 = 0;
const CANCELLED: u32 = 1;
const ORDER_ERASED: u32 = 2;
const ITEM: u32 = 3;
const ITEMS_ERASED: u32 = 4;

#[derive(Deserialize)]
#[serde(tag = "type")]
enum OrderEvent<'a> {
    #[serde(rename = "order.placed", borrow)]
    Placed(Details<'a>),
    #[serde(rename = "order.updated", borrow)]
    Updated(Details<'a>),
    #[serde(rename = "order.cancelled")]
    Cancelled { order_id: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Details<'a> {
    order_id: Cow<'a, str>,
    customer_id: Option<String>,
    placed_at_ms: i64,
    items: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price: Amount,
}

/// An exact amount of money: `units / 10^scale`.
#[derive(Clone, Copy)]
struct Amount {
    units: i128,
    scale: u32,
}

impl Amount {
    const SCALE_MAX: u32 = 38;

    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let negative = mantissa.starts_with('-');
        let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let count = whole.len() + fraction.len();
        if count == 0 {
            return None;
        }
        let mut units = 0i128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            if !digit.is_ascii_digit() {
                return None;
            }
            let digit = digit - b'0';
            // Up to 18 digits fit into 64 bits, which are multiplied at once.
            units = if count <= 18 {
                i128::from(units as i64 * 10 + i64::from(digit))
            } else {
                units.checked_mul(10)?.checked_add(digit.into())?
            };
        }
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if scale < 0 && units != 0 {
            units = units.checked_mul(10i128.checked_pow(scale.unsigned_abs())?)?;
        }
        scale = scale.max(0);
        let scale = scale.unsigned_abs();
        (scale <= Self::SCALE_MAX).then_some(Amount { units: if negative { -units } else { units }, scale })
    }

    fn plus(self, other: Amount) -> Option<Amount> {
        let scale = self.scale.max(other.scale);
        let at = |amount: Amount| match scale - amount.scale {
            0 => Some(amount.units),
            more => amount.units.checked_mul(10i128.pow(more)),
        };
        Some(Amount { units: at(self)?.checked_add(at(other)?)?, scale })
    }

    fn times(self, factor: i64) -> Option<Amount> {
        let small = i64::try_from(self.units).ok().and_then(|units| units.checked_mul(factor)).map(i128::from);
        Some(Amount { units: small.or_else(|| self.units.checked_mul(factor.into()))?, ..self })
    }

    fn value(self) -> Value {
        let mut text = [0u8; 42];
        let mut at = text.len();
        let (mut rest, mut places) = (self.units.unsigned_abs(), self.scale);
        loop {
            let digit;
            // Division of 128 bits is a slow call.
            (rest, digit) = match u64::try_from(rest) {
                Ok(small) => ((small / 10).into(), (small % 10) as u8),
                Err(_) => (rest / 10, (rest % 10) as u8),
            };
            at -= 1;
            text[at] = b'0' + digit;
            if places == 1 {
                at -= 1;
                text[at] = b'.';
            } else if places == 0 && rest == 0 {
                break;
            }
            places = places.saturating_sub(1);
        }
        if self.units < 0 {
            at -= 1;
            text[at] = b'-';
        }
        Value::Decimal(String::from_utf8_lossy(&text[at..]).into_owned())
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = Amount;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a decimal number as text, or a whole number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                Amount::parse(text).ok_or_else(|| E::custom(format_args!("{text:?} is no decimal number")))
            }
            fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Amount, E> {
                Ok(Amount { units: whole.into(), scale: 0 })
            }
            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Amount, E> {
                Ok(Amount { units: whole.into(), scale: 0 })
            }
        }
        deserializer.deserialize_any(Number)
    }
}

fn apply(event: &Event) -> Result<Vec<Change>, String> {
    let json = match &event.value {
        Some(Payload::Text(json)) => json,
        Some(Payload::Bytes(_)) => return Err("the value is not UTF-8 text".to_owned()),
        None => {
            let Some(Payload::Text(id)) = &event.key else { return Err("a tombstone wants a key of text".to_owned()) };
            let erased = |shape| Change { shape, values: vec![Value::Text(id.clone())] };
            return Ok(vec![erased(ORDER_ERASED), erased(ITEMS_ERASED)]);
        }
    };
    let (order, status) = match serde_json::from_str(json).map_err(|error| error.to_string())? {
        OrderEvent::Placed(order) => (order, "placed"),
        OrderEvent::Updated(order) => (order, "updated"),
        OrderEvent::Cancelled { order_id } => {
            let values = vec![Value::Text(order_id), Value::Text("cancelled".to_owned()), Value::Integer(event.offset)];
            return Ok(vec![Change { shape: CANCELLED, values }]);
        }
        OrderEvent::Other => return Ok(Vec::new()),
    };
    let (mut item_count, mut total) = (0i64, Amount { units: 0, scale: 0 });
    for item in &order.items {
        item_count = item_count.checked_add(item.quantity).ok_or("too many items")?;
        let price = item.unit_price.times(item.quantity);
        total = price.and_then(|price| total.plus(price)).ok_or("the total has too many digits")?;
    }
    let id = || Value::Text(order.order_id.clone().into_owned());
    let mut changes = Vec::with_capacity(2 + order.items.len());
    changes.push(Change {
        shape: ORDER,
        values: vec![
            id(),
            order.customer_id.map_or(Value::Null, Value::Text),
            Value::Text(status.to_owned()),
            Value::Integer(item_count),
            total.value(),
            Value::Timestamp(order.placed_at_ms.checked_mul(1000).ok_or("placed_at_ms is too far off")?),
            Value::Integer(event.offset),
        ],
    });
    changes.push(Change { shape: ITEMS_ERASED, values: vec![id()] });
    for (line, item) in (0..).zip(order.items) {
        let price = item.unit_price.value();
        let values = vec![id(), Value::Integer(line), Value::Text(item.sku), Value::Integer(item.quantity), price];
        changes.push(Change { shape: ITEM, values });
    }
    Ok(changes)
}

struct OrderSummary;

impl Guest for OrderSummary {
    fn describe() -> Descriptor {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let column = |name: &str, column_type, nullable| Column { name: name.to_owned(), column_type, nullable };
        let set = |name: &str| Assignment { column: name.to_owned(), operation: Operation::Set };
        let last_offset = || Assignment { column: "last_offset".to_owned(), operation: Operation::Max };
        let shape = |table: &str, action| Shape { table: table.to_owned(), action };
        let order = ["customer_id", "status", "item_count", "total", "placed_at"].map(set).into_iter();
        Descriptor {
            name: "order_summary".to_owned(),
            revision: 1,
            topics: vec![Topic {
                name: "orders".to_owned(),
                key: Encoding::Text,
                value: Encoding::Text,
                headers: Vec::new(),
            }],
            tables: vec![
                Table {
                    name: "orders".to_owned(),
                    columns: vec![
                        column("order_id", ColumnType::Text, false),
                        column("customer_id", ColumnType::Text, true),
                        column("status", ColumnType::Text, false),
                        column("item_count", ColumnType::Integer, false),
                        column("total", ColumnType::Decimal, false),
                        column("placed_at", ColumnType::Timestamp, false),
                        column("last_offset", ColumnType::Integer, false),
                    ],
                    primary_key: names(&["order_id"]),
                    indexes: vec![Index { columns: names(&["customer_id", "placed_at"]), kind: IndexKind::Ordered }],
                    partitioning: Partitioning::ByPartition,
                },
                Table {
                    name: "order_items".to_owned(),
                    columns: vec![
                        column("order_id", ColumnType::Text, false),
                        column("line", ColumnType::Integer, false),
                        column("sku", ColumnType::Text, false),
                        column("quantity", ColumnType::Integer, false),
                        column("unit_price", ColumnType::Decimal, false),
                    ],
                    primary_key: names(&["order_id", "line"]),
                    indexes: Vec::new(),
                    partitioning: Partitioning::ByPartition,
                },
            ],
            shapes: vec![
                shape("orders", Action::Upsert(order.chain([last_offset()]).collect())),
                shape("orders", Action::Update(vec![set("status"), last_offset()])),
                shape("orders", Action::Delete),
                shape("order_items", Action::Upsert(["sku", "quantity", "unit_price"].map(set).into())),
                shape("order_items", Action::DeletePrefix(1)),
            ],
        }
    }

    fn apply(batch: Batch) -> Vec<Outcome> {
        batch.events.iter().map(|event| apply(event).map_or_else(Outcome::Reject, Outcome::Changes)).collect()
    }
}

#[cfg(target_arch = "wasm32")]
export!(OrderSummary with_types_in bindings);
