//! order_summary on what wit-bindgen generates, without the SDK: what the SDK is measured against (tests/languages/run).
//!
//! The SDK's JSON reader and decimals are taken, as the reader is not what is compared; nothing else of it is.

const std = @import("std");
const c = @import("projection");
const Decimal = @import("laterna").Decimal;
const Reading = @import("laterna").Changes;
const parseJson = @import("laterna").parseJson;

const memory = std.heap.c_allocator;
const Event = c.laterna_projection_types_event_t;
const Value = c.laterna_projection_types_value_t;
const Change = c.laterna_projection_types_change_t;
const String = c.projection_string_t;
const Shape = enum(u32) { order, cancelled, order_erased, item, items_erased };

/// The types of the contract are embedded by the engine, so nothing has to be linked for them.
export fn __component_type_object_force_link_projection() void {}

fn string(bytes: []const u8) !String {
    // The pointer of an empty slice may be outside of the memory.
    if (bytes.len == 0) return .{ .ptr = @ptrFromInt(1), .len = 0 };
    return .{ .ptr = (try memory.dupe(u8, bytes)).ptr, .len = bytes.len };
}
fn text(bytes: []const u8) !Value {
    return .{ .tag = c.LATERNA_PROJECTION_TYPES_VALUE_TEXT, .val = .{ .text = try string(bytes) } };
}
fn integer(whole: i64) Value {
    return .{ .tag = c.LATERNA_PROJECTION_TYPES_VALUE_INTEGER, .val = .{ .integer = whole } };
}
fn money(number: Decimal) !Value {
    var buffer: [44]u8 = undefined;
    return .{ .tag = c.LATERNA_PROJECTION_TYPES_VALUE_DECIMAL, .val = .{ .decimal = try string(number.print(&buffer)) } };
}

const List = struct {
    changes: std.ArrayList(Change),

    fn room(count: usize) !List {
        return .{ .changes = try .initCapacity(memory, count) };
    }
    fn add(self: *List, shape: Shape, values: []const Value) !void {
        const copy = try memory.dupe(Value, values);
        self.changes.appendAssumeCapacity(.{ .shape = @intFromEnum(shape), .values = .{ .ptr = copy.ptr, .len = copy.len } });
    }
};

const Details = struct {
    order_id: []const u8,
    customer_id: ?[]const u8,
    placed_at_ms: i64,
    items: []const struct { sku: []const u8, quantity: i64, unit_price: Decimal },
};

fn stands(event: *const Event, order: Details, status: []const u8) !List {
    var item_count: i64 = 0;
    var total: Decimal = .zero;
    for (order.items) |item| {
        item_count = try std.math.add(i64, item_count, item.quantity);
        total = try total.plus(try item.unit_price.times(item.quantity));
    }
    const placed_at = try std.math.mul(i64, order.placed_at_ms, 1000);
    var list: List = try .room(2 + order.items.len);
    try list.add(.order, &.{
        try text(order.order_id),
        if (order.customer_id) |customer| try text(customer) else .{ .tag = c.LATERNA_PROJECTION_TYPES_VALUE_NULL, .val = .{ .integer = 0 } },
        try text(status),
        integer(item_count),
        try money(total),
        .{ .tag = c.LATERNA_PROJECTION_TYPES_VALUE_TIMESTAMP, .val = .{ .timestamp = placed_at } },
        integer(event.offset),
    });
    try list.add(.items_erased, &.{try text(order.order_id)});
    for (order.items, 0..) |item, line| {
        try list.add(.item, &.{ try text(order.order_id), integer(@intCast(line)), try text(item.sku), integer(item.quantity), try money(item.unit_price) });
    }
    return list;
}

/// The bytes, where they are text.
fn textOf(payload: anytype) !?[]const u8 {
    if (!payload.is_some) return null;
    if (payload.val.tag != c.LATERNA_PROJECTION_TYPES_PAYLOAD_TEXT) return error.NotText;
    return if (payload.val.val.text.len == 0) "" else payload.val.val.text.ptr[0..payload.val.val.text.len];
}

fn changesOf(event: *const Event, reading: *Reading) !List {
    const json = try textOf(&event.value) orelse {
        const id = try textOf(&event.key) orelse return error.NoKey;
        var list: List = try .room(2);
        try list.add(.order_erased, &.{try text(id)});
        try list.add(.items_erased, &.{try text(id)});
        return list;
    };
    const kind = (try parseJson(struct { type: []const u8 }, json, reading)).type;
    if (std.mem.eql(u8, kind, "order.placed")) return stands(event, try parseJson(Details, json, reading), "placed");
    if (std.mem.eql(u8, kind, "order.updated")) return stands(event, try parseJson(Details, json, reading), "updated");
    if (!std.mem.eql(u8, kind, "order.cancelled")) return .room(0);
    const cancelled = try parseJson(struct { order_id: []const u8 }, json, reading);
    var list: List = try .room(1);
    try list.add(.cancelled, &.{ try text(cancelled.order_id), try text("cancelled"), integer(event.offset) });
    return list;
}

export fn exports_projection_apply(batch: *c.projection_batch_t, outcomes: *c.projection_list_outcome_t) void {
    const events = batch.events.ptr[0..batch.events.len];
    const answers = memory.alloc(c.projection_outcome_t, events.len) catch @panic("out of memory");
    // What an event's document takes serves the next one.
    var arena: std.heap.ArenaAllocator = .init(memory);
    for (events, answers) |*event, *answer| {
        var reading: Reading = .{ .allocator = arena.allocator() };
        if (changesOf(event, &reading)) |list| {
            const changes = list.changes.items;
            answer.* = .{ .tag = c.LATERNA_PROJECTION_TYPES_OUTCOME_CHANGES, .val = .{
                .changes = .{ .ptr = if (changes.len == 0) @ptrFromInt(8) else changes.ptr, .len = changes.len },
            } };
        } else |wrong| {
            if (wrong == error.OutOfMemory) @panic("out of memory");
            const reason = string(if (wrong == error.Reject) reading.reason else @errorName(wrong)) catch @panic("out of memory");
            answer.* = .{ .tag = c.LATERNA_PROJECTION_TYPES_OUTCOME_REJECT, .val = .{ .reject = reason } };
        }
        _ = arena.reset(.retain_capacity);
    }
    outcomes.* = .{ .ptr = answers.ptr, .len = answers.len };
    c.projection_batch_free(batch);
}

fn listed(comptime L: type, items: anytype) L {
    const Item = @typeInfo(@FieldType(L, "ptr")).pointer.child;
    const copy = memory.alloc(Item, items.len) catch @panic("out of memory");
    inline for (items, copy) |item, *to| to.* = item;
    return .{ .ptr = copy.ptr, .len = copy.len };
}
fn named(name: []const u8) String {
    return string(name) catch @panic("out of memory");
}
fn column(name: []const u8, kind: u8, nullable: bool) c.laterna_projection_types_column_t {
    return .{ .name = named(name), .column_type = kind, .nullable = nullable };
}
fn set(name: []const u8) c.laterna_projection_types_assignment_t {
    return .{ .column = named(name), .operation = c.LATERNA_PROJECTION_TYPES_OPERATION_SET };
}

export fn exports_projection_describe(descriptor: *c.projection_descriptor_t) void {
    const Columns = c.laterna_projection_types_list_column_t;
    const Assignments = c.laterna_projection_types_list_assignment_t;
    const Strings = c.projection_list_string_t;
    const none: c.laterna_projection_types_list_index_t = .{ .ptr = null, .len = 0 };
    const last_offset: c.laterna_projection_types_assignment_t = .{ .column = named("last_offset"), .operation = c.LATERNA_PROJECTION_TYPES_OPERATION_MAX };
    descriptor.* = .{
        .name = named("order_summary"),
        .revision = 1,
        .topics = listed(c.laterna_projection_types_list_topic_t, .{c.laterna_projection_types_topic_t{
            .name = named("orders"),
            .key = c.LATERNA_PROJECTION_TYPES_ENCODING_TEXT,
            .value = c.LATERNA_PROJECTION_TYPES_ENCODING_TEXT,
            .headers = .{ .ptr = null, .len = 0 },
        }}),
        .tables = listed(c.laterna_projection_types_list_table_t, .{
            c.laterna_projection_types_table_t{
                .name = named("orders"),
                .columns = listed(Columns, .{
                    column("order_id", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_TEXT, false),
                    column("customer_id", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_TEXT, true),
                    column("status", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_TEXT, false),
                    column("item_count", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_INTEGER, false),
                    column("total", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_DECIMAL, false),
                    column("placed_at", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_TIMESTAMP, false),
                    column("last_offset", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_INTEGER, false),
                }),
                .primary_key = listed(Strings, .{named("order_id")}),
                .indexes = listed(c.laterna_projection_types_list_index_t, .{c.laterna_projection_types_index_t{
                    .columns = listed(Strings, .{ named("customer_id"), named("placed_at") }),
                    .kind = c.LATERNA_PROJECTION_TYPES_INDEX_KIND_ORDERED,
                }}),
                .partitioning = c.LATERNA_PROJECTION_TYPES_PARTITIONING_BY_PARTITION,
            },
            c.laterna_projection_types_table_t{
                .name = named("order_items"),
                .columns = listed(Columns, .{
                    column("order_id", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_TEXT, false),
                    column("line", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_INTEGER, false),
                    column("sku", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_TEXT, false),
                    column("quantity", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_INTEGER, false),
                    column("unit_price", c.LATERNA_PROJECTION_TYPES_COLUMN_TYPE_DECIMAL, false),
                }),
                .primary_key = listed(Strings, .{ named("order_id"), named("line") }),
                .indexes = none,
                .partitioning = c.LATERNA_PROJECTION_TYPES_PARTITIONING_BY_PARTITION,
            },
        }),
        .shapes = listed(c.laterna_projection_types_list_shape_t, .{
            c.laterna_projection_types_shape_t{ .table = named("orders"), .action = .{
                .tag = c.LATERNA_PROJECTION_TYPES_ACTION_UPSERT,
                .val = .{ .upsert = listed(Assignments, .{ set("customer_id"), set("status"), set("item_count"), set("total"), set("placed_at"), last_offset }) },
            } },
            c.laterna_projection_types_shape_t{ .table = named("orders"), .action = .{
                .tag = c.LATERNA_PROJECTION_TYPES_ACTION_UPDATE,
                .val = .{ .update = listed(Assignments, .{ set("status"), last_offset }) },
            } },
            c.laterna_projection_types_shape_t{ .table = named("orders"), .action = .{ .tag = c.LATERNA_PROJECTION_TYPES_ACTION_DELETE, .val = .{ .delete_prefix = 0 } } },
            c.laterna_projection_types_shape_t{ .table = named("order_items"), .action = .{
                .tag = c.LATERNA_PROJECTION_TYPES_ACTION_UPSERT,
                .val = .{ .upsert = listed(Assignments, .{ set("sku"), set("quantity"), set("unit_price") }) },
            } },
            c.laterna_projection_types_shape_t{ .table = named("order_items"), .action = .{ .tag = c.LATERNA_PROJECTION_TYPES_ACTION_DELETE_PREFIX, .val = .{ .delete_prefix = 1 } } },
        }),
    };
}
