//! The benchmarks' two projections as plain functions: what the guests `bench_w1` and `bench_w2` run in the sandbox, and
//! what the native loop that they are measured against runs without one.
//!
//! W1 keeps one row an order. W2 adds each item to its product's day. No engine, no SDK: the rows go to an [`Output`].

use serde::Deserialize;
use std::borrow::Cow;

/// Where the rows go.
pub trait Output {
    /// An order as it stands: upserted by `order_id`; all columns are set, `last_offset` is the greater one.
    fn order(&mut self, order: OrderRow<'_>);
    /// An item sold: `quantity` and `revenue_cents` are added to the row of (`day`, `sku`).
    fn sale(&mut self, sale: SaleRow<'_>);
}

/// A row of `orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow<'a> {
    /// Primary key.
    pub order_id: Cow<'a, str>,
    /// Who ordered.
    pub customer_id: Option<Cow<'a, str>>,
    /// `placed` or `updated`.
    pub status: &'static str,
    /// Sum of the quantities.
    pub item_count: i64,
    /// Sum of quantity times price, in hundredths.
    pub total_cents: i64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub placed_at_micros: i64,
    /// Offset of the event.
    pub last_offset: i64,
}

/// What one item adds to `daily_sales`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleRow<'a> {
    /// Primary key: days since 1970-01-01.
    pub day: i32,
    /// Primary key: the product.
    pub sku: Cow<'a, str>,
    /// Pieces.
    pub quantity: i64,
    /// Quantity times price, in hundredths.
    pub revenue_cents: i64,
}

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    order_id: Cow<'a, str>,
    #[serde(borrow)]
    customer_id: Option<Cow<'a, str>>,
    placed_at_ms: i64,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    sku: Cow<'a, str>,
    quantity: i64,
    #[serde(borrow)]
    unit_price: Cow<'a, str>,
}

/// W1: the order's row.
///
/// # Errors
/// Where the value is not an order, or its sums do not fit.
pub fn w1(value: &str, offset: i64, output: &mut impl Output) -> Result<(), String> {
    let order = parse(value)?;
    order_row(order, offset, output, |_, _, _| {})
}

/// W2: the order's row, and each item of a placed order in its day's.
///
/// # Errors
/// Where the value is not an order, or its sums do not fit.
pub fn w2(value: &str, offset: i64, output: &mut impl Output) -> Result<(), String> {
    let order = parse(value)?;
    let day = i32::try_from(order.placed_at_ms.div_euclid(86_400_000)).map_err(|_| "placed_at_ms: too far off")?;
    let placed = order.kind == "order.placed";
    order_row(order, offset, output, |output, item, revenue_cents| {
        if placed {
            output.sale(SaleRow { day, sku: item.sku, quantity: item.quantity, revenue_cents });
        }
    })
}

fn parse(value: &str) -> Result<Order<'_>, String> {
    serde_json::from_str(value).map_err(|error| format!("not an order: {error}"))
}

fn order_row<'a, O: Output>(
    order: Order<'a>,
    offset: i64,
    output: &mut O,
    mut each: impl FnMut(&mut O, Item<'a>, i64),
) -> Result<(), String> {
    let status = match &*order.kind {
        "order.placed" => "placed",
        "order.updated" => "updated",
        _ => return Ok(()),
    };
    let (mut item_count, mut total_cents) = (0i64, 0i64);
    for item in order.items {
        let revenue = cents(&item.unit_price)
            .ok_or_else(|| format!("unit_price {:?}: two decimal places wanted", item.unit_price))?
            .checked_mul(item.quantity)
            .ok_or("the total does not fit")?;
        total_cents = total_cents.checked_add(revenue).ok_or("the total does not fit")?;
        item_count = item_count.checked_add(item.quantity).ok_or("the item count does not fit")?;
        each(output, item, revenue);
    }
    output.order(OrderRow {
        order_id: order.order_id,
        customer_id: order.customer_id,
        status,
        item_count,
        total_cents,
        placed_at_micros: order.placed_at_ms.checked_mul(1000).ok_or("placed_at_ms: too far off")?,
        last_offset: offset,
    });
    Ok(())
}

/// Reads `"-12.50"` as -1250: at most 13 digits before the point, two after it.
fn cents(price: &str) -> Option<i64> {
    let (negative, digits) = price.strip_prefix('-').map_or((false, price), |digits| (true, digits));
    let (whole, hundredths) = digits.split_once('.')?;
    if whole.is_empty() || whole.len() > 13 || hundredths.len() != 2 {
        return None;
    }
    let cents = whole
        .bytes()
        .chain(hundredths.bytes())
        .try_fold(0i64, |cents, byte| byte.is_ascii_digit().then(|| cents * 10 + i64::from(byte - b'0')))?;
    Some(if negative { -cents } else { cents })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Rows(Vec<String>);

    impl Output for Rows {
        fn order(&mut self, order: OrderRow<'_>) {
            self.0.push(format!("{order:?}"));
        }
        fn sale(&mut self, sale: SaleRow<'_>) {
            self.0.push(format!("{sale:?}"));
        }
    }

    const PLACED: &str = r#"{"type":"order.placed","order_id":"o-1","customer_id":"c-1","placed_at_ms":86400001,
        "items":[{"sku":"a","quantity":2,"unit_price":"12.50"},{"sku":"b","quantity":-1,"unit_price":"-0.05"}],"note":""}"#;
    const ORDER: &str = r#"OrderRow { order_id: "o-1", customer_id: Some("c-1"), status: "placed", item_count: 1, total_cents: 2505, placed_at_micros: 86400001000, last_offset: 7 }"#;

    #[test]
    fn w1_gives_the_order_and_w2_its_sales_too() {
        let mut rows = Rows::default();
        w1(PLACED, 7, &mut rows).unwrap();
        assert_eq!(rows.0, [ORDER]);
        let mut rows = Rows::default();
        w2(PLACED, 7, &mut rows).unwrap();
        assert_eq!(
            rows.0,
            [
                r#"SaleRow { day: 1, sku: "a", quantity: 2, revenue_cents: 2500 }"#,
                r#"SaleRow { day: 1, sku: "b", quantity: -1, revenue_cents: 5 }"#,
                ORDER
            ]
        );
    }

    #[test]
    fn what_is_no_order_is_an_error_and_sums_never_wrap() {
        let mut rows = Rows::default();
        assert!(w1("{}", 0, &mut rows).is_err());
        assert!(w1(&PLACED.replace("12.50", "12.5"), 0, &mut rows).is_err());
        assert!(w1(&PLACED.replace(":2,", ":9223372036854775807,"), 0, &mut rows).is_err());
        assert!(rows.0.is_empty());
    }
}
