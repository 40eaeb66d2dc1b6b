//! What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.
//!
//! Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
//! raise the revision when the meaning of rows that are already there changes.

const laterna = @import("laterna");
const Decimal = laterna.Decimal;
const Timestamp = laterna.Timestamp;
pub const panic = laterna.panic;

const Rows = laterna.Table("plain", struct {
    customer_id: i64,
    at: ?Timestamp,
    total: Decimal,
    events: i64,
}, .{ .key = &.{"customer_id"}, .partitioning = .serial });
const Seen = laterna.Upsert(Rows, .{ .at = .set, .total = .set, .events = .add });

comptime {
    laterna.projection(.{
        .name = "plain",
        .revision = 1,
        .topics = .{laterna.Topic{ .name = "orders" }},
        .tables = .{Rows},
        .changes = .{Seen},
        .apply = apply,
    });
}

fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {
    const it = try event.json(struct {
        customer_id: i64,
        at_ms: ?i64,
        total: Decimal,
    }, changes) orelse return; // a tombstone names no row here
    try changes.put(Seen, .{
        .customer_id = it.customer_id,
        .at = if (it.at_ms) |millis| try Timestamp.fromMillis(millis) else null,
        .total = it.total,
        .events = 1,
    });
}
