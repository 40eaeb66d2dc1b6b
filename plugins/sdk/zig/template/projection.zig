//! Keeps the last value of each key of {{topic}}, and how many events it has had.

const laterna = @import("laterna");
const Text = laterna.Text;
pub const panic = laterna.panic;

const Records = laterna.Table("records", struct { key: Text, value: laterna.Json, last_offset: i64 }, .{ .key = &.{"key"} });
const Record = laterna.Upsert(Records, .{ .value = .set, .last_offset = .max });
const RecordErased = laterna.Delete(Records);

const Counts = laterna.Table("counts", struct { key: Text, events: i64 }, .{ .key = &.{"key"} });
const Counted = laterna.Upsert(Counts, .{ .events = .add });

comptime {
    laterna.projection(.{
        .name = "{{name}}",
        .revision = 1,
        .topics = .{laterna.Topic{ .name = "{{topic}}" }},
        .tables = .{ Records, Counts },
        .changes = .{ Record, RecordErased, Counted },
        .apply = apply,
    });
}

fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {
    const key = try event.keyText(changes);
    try changes.put(Counted, .{ .key = key, .events = 1 });
    const json = try event.json(laterna.Json, changes) orelse return changes.put(RecordErased, .{ .key = key });
    if (json.text[0] != '{') return changes.reject("the value is no JSON object", .{});
    try changes.put(Record, .{ .key = key, .value = json, .last_offset = event.offset });
}
