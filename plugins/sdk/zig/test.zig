//! Unit tests of the Zig SDK, natively.
const std = @import("std");
const laterna = @import("laterna.zig");
const expect = std.testing.expect;

const Rows = laterna.Table("rows", struct { id: laterna.Text, total: i64, price: ?laterna.Decimal }, .{ .key = &.{"id"} });
const Row = laterna.Upsert(Rows, .{ .total = .add, .price = .max });
const p = .{ .name = "test", .revision = 1, .topics = .{laterna.Topic{ .name = "t" }}, .tables = .{Rows}, .changes = .{Row}, .apply = apply };

fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {
    const e = try event.json(struct { id: laterna.Text, n: i64, price: ?laterna.Decimal }, changes) orelse return changes.halt("stop", .{});
    try changes.put(Row, .{ .id = e.id, .total = e.n, .price = e.price });
}

test "an event gives its change, or a reject with the place" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var changes: laterna.Changes = .{ .allocator = arena.allocator() };
    try laterna.applyTo(p, &.{ .topic = "t", .value = "{\"id\":\"a\",\"n\":9007199254740993,\"price\":\"12.50\"}" }, &changes);
    const values = changes.list.items[0].values.slice();
    try expect(values[1].is.integer == 9007199254740993);
    try std.testing.expectEqualStrings("12.50", values[2].is.text.slice());
    inline for (.{
        .{ "{\"id\":\"a\"}", "n: missing" },
        .{ "{\"id\":\"a\",\"n\":1.0}", "n: a whole number of 64 bits wanted" },
        .{ "{\"id\":\"a\",\"n\":\"1\"}", "n: a whole number of 64 bits wanted" },
        .{ "{\"id\":\"a\",\"n\":1", "not JSON" },
    }) |case| {
        try std.testing.expectError(error.Reject, laterna.applyTo(p, &.{ .topic = "t", .value = case[0] }, &changes));
        try expect(std.mem.find(u8, changes.reason, case[1]) != null);
    }
    try std.testing.expectError(error.Halt, laterna.applyTo(p, &.{ .topic = "t" }, &changes));
}

test "decimals, instants and days" {
    var buffer: [44]u8 = undefined;
    inline for (.{ .{ "-0.05", "-0.05" }, .{ "-1.2e3", "-1200" }, .{ "170141183460469231731687303715884105727", "170141183460469231731687303715884105727" } }) |case|
        try std.testing.expectEqualStrings(case[1], (try laterna.Decimal.parse(case[0])).print(&buffer));
    inline for (.{ "", "-", "1,0", "1.2.3", "1e39", "1e-39", "1e", "1e1_0" }) |text| try expect(std.meta.isError(laterna.Decimal.parse(text)));
    try expect((try laterna.Decimal.parse("1.0")).order(.{ .units = 1 }) == .eq);
    try expect((try laterna.Timestamp.parse("2026-01-31T12:00:00.25+01:00")).micros == 1769857200250000);
    try expect((try laterna.Date.parse("0001-01-01")).days == -719162);
    try expect(std.meta.isError(laterna.Date.parse("2026-02-30")));
}

test "a CloudEvent and a change of Debezium's are read" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var changes: laterna.Changes = .{ .allocator = arena.allocator() };
    const Thing = struct { id: i64 };
    const event: laterna.Event = .{ .topic = "t", .value = "{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/shop\",\"type\":\"paid\",\"time\":\"2026-01-31T12:00:00Z\",\"data\":{\"id\":9007199254740993}}" };
    const paid = (try event.json(laterna.CloudEvent(Thing), &changes)).?;
    try std.testing.expectEqualStrings("paid", paid.type);
    try expect(paid.data.?.id == 9007199254740993 and paid.subject == null and paid.time.?.micros == 1769860800000000);
    const gone: laterna.Event = .{ .topic = "t", .value = "{\"op\":\"d\",\"before\":{\"id\":1},\"after\":null,\"source\":{\"ts_ms\":5,\"lsn\":7}}" };
    const change = (try gone.json(laterna.RowChange(Thing), &changes)).?;
    try std.testing.expectEqualStrings("d", change.op);
    try expect(change.before.?.id == 1 and change.after == null and change.source.?.ts_ms.? == 5);
    const wrong: laterna.Event = .{ .topic = "t", .value = "{\"after\":null}" };
    try std.testing.expectError(error.Reject, wrong.json(laterna.RowChange(Thing), &changes));
    try expect(std.mem.find(u8, changes.reason, "op: missing") != null);
}
