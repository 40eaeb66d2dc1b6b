//! What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.
//!
//! Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
//! raise the revision when the meaning of rows that are already there changes.

const std = @import("std");
const laterna = @import("laterna");
const Text = laterna.Text;
const Decimal = laterna.Decimal;
const Timestamp = laterna.Timestamp;
pub const panic = laterna.panic;

const Rows = laterna.Table("kinds", struct {
    order_id: Text,
    at: ?Timestamp,
    big: ?i64,
    class_value: ?Text,
    day: ?laterna.Date,
    id: ?laterna.Uuid,
    items: ?laterna.Json,
    n: i64,
    note: ?Text,
    paid: ?bool,
    placed_at: ?Timestamp,
    ratio: ?f64,
    total: ?Decimal,
    x: ?Text,
    events: i64,
}, .{ .key = &.{"order_id"} });
const OrderPlaced = laterna.Upsert(Rows, .{ .at = .set, .big = .set, .class_value = .set, .day = .set, .id = .set, .items = .set, .n = .set, .note = .set, .paid = .set, .placed_at = .set, .ratio = .set, .total = .set, .x = .set, .events = .add });
const OrderCancelled = laterna.Upsert(Rows, .{ .n = .set, .note = .set, .events = .add });
const Gone = laterna.Delete(Rows);

comptime {
    laterna.projection(.{
        .name = "kinds",
        .revision = 1,
        .topics = .{laterna.Topic{ .name = "orders" }},
        .tables = .{Rows},
        .changes = .{ OrderPlaced, OrderCancelled, Gone },
        .apply = apply,
    });
}

fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {
    const key = try event.keyText(changes);
    const incoming = try event.json(struct { type: Text }, changes) orelse return changes.put(Gone, .{ .order_id = key });
    if (std.mem.eql(u8, incoming.type, "order.placed")) {
        const it = (try event.json(struct {
            at: Timestamp,
            big: i64,
            class: Text,
            day: laterna.Date,
            id: laterna.Uuid,
            items: laterna.Json,
            n: i64,
            note: ?Text,
            paid: bool,
            placed_at_ms: i64,
            ratio: f64,
            total: Decimal,
            @"é \"x\"": Text,
        }, changes)).?;
        try changes.put(OrderPlaced, .{
            .order_id = key,
            .at = it.at,
            .big = it.big,
            .class_value = it.class,
            .day = it.day,
            .id = it.id,
            .items = it.items,
            .n = it.n,
            .note = it.note,
            .paid = it.paid,
            .placed_at = try Timestamp.fromMillis(it.placed_at_ms),
            .ratio = it.ratio,
            .total = it.total,
            .x = it.@"é \"x\"",
            .events = 1,
        });
    } else if (std.mem.eql(u8, incoming.type, "order.cancelled")) {
        const it = (try event.json(struct {
            n: i64,
            note: Text,
        }, changes)).?;
        try changes.put(OrderCancelled, .{
            .order_id = key,
            .n = it.n,
            .note = it.note,
            .events = 1,
        });
    }
}
