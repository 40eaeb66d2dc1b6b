//! Orders and their items, as they stand: what a shop's order page reads.
//!
//! An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.

const std = @import("std");
const laterna = @import("laterna");
const Text = laterna.Text;
const Decimal = laterna.Decimal;
const Timestamp = laterna.Timestamp;
pub const panic = laterna.panic;

/// An order as it stands.
const Orders = laterna.Table("orders", struct {
    order_id: Text,
    customer_id: ?Text,
    status: Text,
    item_count: i64,
    total: Decimal,
    placed_at: Timestamp,
    last_offset: i64,
}, .{ .key = &.{"order_id"}, .indexes = &.{.{ .columns = &.{ "customer_id", "placed_at" } }} });
const Order = laterna.Upsert(Orders, .{ .customer_id = .set, .status = .set, .item_count = .set, .total = .set, .placed_at = .set, .last_offset = .max });
const Cancelled = laterna.Update(Orders, .{ .status = .set, .last_offset = .max });
const OrderErased = laterna.Delete(Orders);

/// A line of an order, from 0.
const OrderItems = laterna.Table("order_items", struct { order_id: Text, line: i64, sku: Text, quantity: i64, unit_price: Decimal }, .{ .key = &.{ "order_id", "line" } });
const Item = laterna.Upsert(OrderItems, .{ .sku = .set, .quantity = .set, .unit_price = .set });
const ItemsErased = laterna.DeletePrefix(OrderItems, 1);

comptime {
    laterna.projection(.{
        .name = "order_summary",
        .revision = 1,
        .topics = .{laterna.Topic{ .name = "orders" }},
        .tables = .{ Orders, OrderItems },
        .changes = .{ Order, Cancelled, OrderErased, Item, ItemsErased },
        .apply = apply,
    });
}

const Details = struct {
    order_id: Text,
    customer_id: ?Text,
    placed_at_ms: i64,
    items: []const struct { sku: Text, quantity: i64, unit_price: Decimal },
};

fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {
    const kind = try event.json(struct { type: Text }, changes) orelse {
        const order_id = try event.keyText(changes);
        try changes.put(OrderErased, .{ .order_id = order_id });
        try changes.put(ItemsErased, .{ .order_id = order_id });
        return;
    };
    if (std.mem.eql(u8, kind.type, "order.cancelled")) {
        const it = (try event.json(struct { order_id: Text }, changes)).?;
        return changes.put(Cancelled, .{ .order_id = it.order_id, .status = "cancelled", .last_offset = event.offset });
    }
    const placed = std.mem.eql(u8, kind.type, "order.placed");
    if (!placed and !std.mem.eql(u8, kind.type, "order.updated")) return;

    const order = (try event.json(Details, changes)).?;
    var item_count: i64 = 0;
    var total: Decimal = .zero;
    for (order.items) |it| {
        item_count = std.math.add(i64, item_count, it.quantity) catch return changes.reject("too many items", .{});
        total = try total.plus(try it.unit_price.times(it.quantity));
    }
    try changes.put(Order, .{
        .order_id = order.order_id,
        .customer_id = order.customer_id,
        .status = if (placed) "placed" else "updated",
        .item_count = item_count,
        .total = total,
        .placed_at = try .fromMillis(order.placed_at_ms),
        .last_offset = event.offset,
    });
    try changes.put(ItemsErased, .{ .order_id = order.order_id });
    for (order.items, 0..) |it, line| {
        try changes.put(Item, .{ .order_id = order.order_id, .line = @intCast(line), .sku = it.sku, .quantity = it.quantity, .unit_price = it.unit_price });
    }
}
