// Orders and their items, as they stand: what a shop's order page reads.
//
// An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.
#include "laterna.hpp"
using namespace laterna;

// An order as it stands.
LATERNA_TABLE(orders, key(text, order_id), nullable(text, customer_id), column(text, status), column(integer, item_count),
              column(decimal, total), column(timestamp, placed_at), column(integer, last_offset), ordered(customer_id, placed_at))
LATERNA_UPSERT(orders, Order, key(order_id), set(customer_id), set(status), set(item_count), set(total), set(placed_at), max(last_offset))
LATERNA_UPDATE(orders, Cancelled, key(order_id), set(status), max(last_offset))
LATERNA_DELETE(orders, OrderErased, key(order_id))

// A line of an order, from 0.
LATERNA_TABLE(order_items, key(text, order_id), key(integer, line), column(text, sku), column(integer, quantity), column(decimal, unit_price))
LATERNA_UPSERT(order_items, Item, key(order_id), key(line), set(sku), set(quantity), set(unit_price))
LATERNA_DELETE_PREFIX(order_items, ItemsErased, key(order_id))

LATERNA_PROJECTION(order_summary, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(orders, order_items),
                   LATERNA_CHANGES(Order, Cancelled, OrderErased, Item, ItemsErased))

void laterna::apply(const Event &event, Changes &changes) {
    if (event.tombstone()) {
        changes.put(OrderErased{ .order_id = text(event.key_text()) });
        changes.put(ItemsErased{ .order_id = text(event.key_text()) });
        return;
    }
    Json json = event.json();
    auto type = json.text("type");
    if (type == "order.cancelled") {
        changes.put(Cancelled{ .order_id = text(json.text("order_id")), .status = text("cancelled"), .last_offset = integer(event.offset()) });
        return;
    }
    bool placed = type == "order.placed";
    if (!placed && type != "order.updated") return;

    auto id = text(json.text("order_id"));
    int64_t item_count = 0;
    Decimal total = changes.zero();
    for (Json it : json.list("items")) {
        if (__builtin_add_overflow(item_count, it.integer("quantity"), &item_count)) changes.reject("too many items");
        total += it.decimal("unit_price") * it.integer("quantity");
    }
    changes.put(Order{ .order_id = id, .customer_id = text(json.text_or_null("customer_id")), .status = text(placed ? "placed" : "updated"),
                       .item_count = integer(item_count), .total = decimal(total), .placed_at = timestamp_ms(json.integer("placed_at_ms")),
                       .last_offset = integer(event.offset()) });
    changes.put(ItemsErased{ .order_id = id });
    int64_t line = 0;
    for (Json it : json.list("items"))
        changes.put(Item{ .order_id = id, .line = integer(line++), .sku = text(it.text("sku")),
                          .quantity = integer(it.integer("quantity")), .unit_price = decimal(it.decimal("unit_price")) });
}
