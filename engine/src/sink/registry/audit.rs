//! What is kept of an order beside what it has changed: its line in the audit, and its answer for a client that asks again under the same key.
//!
//! Invariants: both are written in the order's own transaction, so neither tells of what did not happen; a key stands for one request of one
//! client, and gives the first answer for a day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::orders::{Outcome, refused};
use super::records;
use super::transaction::{Parameter, Transaction};
use super::{Asked, Done, Order, OrderError};
use crate::sink::SinkError;

/// How long an idempotency key is known.
const REQUESTS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Writes the order's line.
pub(super) async fn note(
    tx: &mut dyn Transaction,
    order: &Order,
    asked: &Asked,
    outcome: &Outcome,
) -> Result<(), SinkError> {
    let actor = &asked.actor;
    tx.run(
        "INSERT INTO @audit (actor, role, source, action, projection, plugin_digest, detail, before, after) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        vec![
            (&actor.name).into(),
            (&actor.role).into(),
            (&actor.source).into(),
            order.name().into(),
            order.projection().into(),
            Parameter::Text(outcome.digest.clone()),
            (&detail(order)).into(),
            (&outcome.before).into(),
            (&outcome.after).into(),
        ],
    )
    .await?;
    Ok(())
}

/// What the client asked for: in the words of the request where it is more than this order, else what the order says; never what the engine
/// found at the time.
pub(super) fn request(order: &Order, asked: &Asked) -> String {
    if let Some(request) = &asked.request {
        return request.clone();
    }
    let mut detail = detail(order);
    if let Some(members) = detail.as_object_mut() {
        for found in ["digest", "file", "targets", "collect_at_us"] {
            members.remove(found);
        }
    }
    format!("{} {} {detail}", order.name(), order.projection())
}

/// What a request was answered under its key before. Refused: `idempotency_mismatch`.
pub(in crate::sink) async fn answered(
    tx: &mut dyn Transaction,
    asked: &Asked,
    request: &str,
) -> Result<Option<Done>, OrderError> {
    let Some(key) = &asked.idempotency_key else { return Ok(None) };
    let Some((before, done)) = records::request(tx, &asked.actor.name, key).await? else { return Ok(None) };
    if before != fingerprint(request) {
        let message = format!("the key {key:?} was used for another request; use a new key for each");
        return Err(refused("idempotency_mismatch", message, Some(key)));
    }
    Ok(Some(Done {
        changed: done["changed"] == true,
        generation: done["generation"].as_u64().and_then(|number| u32::try_from(number).ok()),
        rebuild: done["rebuild"].as_str().map(str::to_owned),
    }))
}

/// Keeps what an order has done for whoever sends it again under its key.
pub(super) async fn remember(
    tx: &mut dyn Transaction,
    order: &Order,
    asked: &Asked,
    done: &Done,
) -> Result<(), SinkError> {
    let Some(key) = &asked.idempotency_key else { return Ok(()) };
    let Done { changed, generation, rebuild } = done;
    let done = json!({ "changed": changed, "generation": generation, "rebuild": rebuild });
    let oldest = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(REQUESTS_KEPT);
    let oldest = i64::try_from(oldest.as_micros()).unwrap_or(i64::MAX);
    tx.run("DELETE FROM @request WHERE created_at < $1", vec![Parameter::Time(Some(oldest))]).await?;
    let fingerprint = fingerprint(&request(order, asked));
    tx.run(
        "INSERT INTO @request (actor, key, fingerprint, done) VALUES ($1, $2, $3, $4) ON CONFLICT (actor, key) DO NOTHING",
        vec![(&asked.actor.name).into(), key.into(), (&fingerprint).into(), (&done).into()],
    )
    .await?;
    Ok(())
}

fn fingerprint(request: &str) -> String {
    Sha256::digest(request.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was asked for, for people.
fn detail(order: &Order) -> Json {
    match order {
        Order::Create { digest, file, .. } | Order::Hold { digest, file, .. } => {
            json!({ "digest": digest, "file": file })
        }
        Order::Deploy { digest, file, generation, .. } => {
            json!({ "digest": digest, "file": file, "generation": generation })
        }
        Order::Desire { desired, reason, .. } => json!({ "desired": desired, "reason": reason }),
        Order::Switch { id } => json!({ "rebuild": id }),
        Order::File { digest, file, .. } => json!({ "digest": digest, "file": file }),
        Order::Restart { .. } | Order::Drop { .. } => json!({}),
        Order::BeginRebuild { digest, file, switch, max_rate, forced, targets, .. } => json!({
            "digest": digest, "file": file, "switch": switch, "max_rate": max_rate, "forced": forced, "targets": targets,
        }),
        Order::MoveRebuild { id, from, to, reason } => {
            json!({ "rebuild": id, "from": from, "to": to, "reason": reason })
        }
        Order::Swap { id, collect_at_us } => json!({ "rebuild": id, "collect_at_us": collect_at_us }),
        Order::Rollback { collect_at_us, .. } => json!({ "collect_at_us": collect_at_us }),
        Order::CancelRebuild { id, reason } => json!({ "rebuild": id, "reason": reason }),
        Order::Collect { generation, .. } => json!({ "generation": generation }),
    }
}
