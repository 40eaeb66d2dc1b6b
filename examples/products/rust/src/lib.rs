//! Products as they stand, under versions.
//!
//! `newer` guards every change: it takes effect only where its version is above the row's. So a late, older event
//! changes nothing, and one that comes twice counts once, as `changes` shows. A deletion is a version like any other,
//! and its row stays: a late event must find something to be older than. Only a tombstone erases the row.

use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! {
    name: "products",
    revision: 1,
    topics: ["products"],
    tables: [products],
    apply: apply,
}

table! {
    /// A product as of its highest version.
    products(sku: String) {
        /// None where all that is known of the product is that it was deleted.
        name: Option<String>,
        category: Option<String>,
        price: Option<Decimal>,
        status: String,
        attributes: Option<Json>,
        version: i64,
        /// How many events have changed the row.
        changes: i64,
        updated_at: Timestamp,
        deleted_at: Option<Timestamp>,
    }
    indexes { ordered(category, price), full_text(name) }
    changes {
        upsert Product { name, category, price, status, attributes, version: newer, changes: add, updated_at, deleted_at };
        update StatusChanged { status, version: newer, changes: add, updated_at };
        upsert Deleted { status, version: newer, changes: add, updated_at, deleted_at };
        delete Erased;
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum ProductEvent {
    #[serde(rename = "product.created", alias = "product.updated")]
    Stands {
        sku: String,
        version: i64,
        at_ms: i64,
        name: String,
        category: Option<String>,
        price: Decimal,
        status: Option<String>,
        attributes: Option<Json>,
    },
    #[serde(rename = "product.status.changed")]
    StatusChanged { sku: String, version: i64, at_ms: i64, status: String },
    #[serde(rename = "product.deleted")]
    Deleted { sku: String, version: i64, at_ms: i64 },
    #[serde(other)]
    Other,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    match event.json()? {
        Some(ProductEvent::Stands { sku, version, at_ms, name, category, price, status, attributes }) => {
            changes.push(Product {
                sku,
                name: Some(name),
                category,
                price: Some(price),
                status: status.unwrap_or_else(|| "active".into()),
                attributes,
                version,
                changes: 1,
                updated_at: Timestamp::from_millis(at_ms)?,
                deleted_at: None,
            });
        }
        Some(ProductEvent::StatusChanged { sku, version, at_ms, status }) => {
            let updated_at = Timestamp::from_millis(at_ms)?;
            changes.push(StatusChanged { sku, status, version, changes: 1, updated_at });
        }
        Some(ProductEvent::Deleted { sku, version, at_ms }) => {
            let at = Timestamp::from_millis(at_ms)?;
            let status = "deleted".into();
            changes.push(Deleted { sku, status, version, changes: 1, updated_at: at, deleted_at: Some(at) });
        }
        Some(ProductEvent::Other) => {}
        None => changes.push(Erased { sku: event.key_text()?.into() }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use laterna_sdk::Change;

    fn changes_of(value: &str) -> Vec<Change> {
        let mut changes = Changes::default();
        apply(&Event::new("products").with_key("p-1").with_value(value), &mut changes).unwrap();
        changes.into_vec()
    }

    #[test]
    fn a_product_is_active_unless_its_event_says_otherwise() {
        let value = r#"{"type":"product.created","sku":"p-1","version":1,"at_ms":0,"name":"lamp","price":"2.50","attributes":{"b":1}}"#;
        let at = Timestamp::from_micros(0);
        let product = |status: &str| Product {
            sku: "p-1".into(),
            name: Some("lamp".into()),
            category: None,
            price: Some(Decimal::cents(250)),
            status: status.into(),
            attributes: Json::of(&std::collections::BTreeMap::from([("b", 1)])).ok(),
            version: 1,
            changes: 1,
            updated_at: at,
            deleted_at: None,
        };
        assert_eq!(changes_of(value), [product("active").into()]);
        assert_eq!(
            changes_of(&value.replace("version", r#"status":"sold_out","version"#)),
            [product("sold_out").into()]
        );
    }

    #[test]
    fn a_deletion_is_a_version_and_a_tombstone_erases() {
        let at = Timestamp::from_micros(5000);
        let deleted = Deleted {
            sku: "p-1".into(),
            status: "deleted".into(),
            version: 4,
            changes: 1,
            updated_at: at,
            deleted_at: Some(at),
        };
        assert_eq!(changes_of(r#"{"type":"product.deleted","sku":"p-1","version":4,"at_ms":5}"#), [deleted.into()]);
        let mut changes = Changes::default();
        apply(&Event::new("products").with_key("p-1"), &mut changes).unwrap();
        assert_eq!(changes.into_vec(), [Erased { sku: "p-1".into() }.into()]);
    }
}
