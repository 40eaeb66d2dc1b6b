//! What the topic `orders` says: one row an event, the last value of each field, and how many events there were.
//!
//! Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
//! raise the revision when the meaning of rows that are already there changes.

const laterna = @import("laterna");
const Text = laterna.Text;
pub const panic = laterna.panic;

const Rows = laterna.Table("keyless", struct {
    partition_number: i64,
    event_offset: i64,
    level: Text,
    text: Text,
    events: i64,
}, .{ .key = &.{ "partition_number", "event_offset" } });
const Seen = laterna.Upsert(Rows, .{ .level = .set, .text = .set, .events = .add });

comptime {
    laterna.projection(.{
        .name = "keyless",
        .revision = 1,
        .topics = .{laterna.Topic{ .name = "orders" }},
        .tables = .{Rows},
        .changes = .{Seen},
        .apply = apply,
    });
}

fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {
    const it = try event.json(struct {
        level: Text,
        text: Text,
    }, changes) orelse return; // a tombstone names no row here
    try changes.put(Seen, .{
        .partition_number = event.partition,
        .event_offset = event.offset,
        .level = it.level,
        .text = it.text,
        .events = 1,
    });
}
