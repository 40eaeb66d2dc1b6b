// Orders and their items, as they stand: what a shop's order page reads.
//
// An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.
#include "laterna.h"

// An order as it stands.
LATERNA_TABLE(orders, key(text, order_id), nullable(text, customer_id), column(text, status), column(integer, item_count),
              column(decimal, total), column(timestamp, placed_at), column(integer, last_offset), ordered(customer_id, placed_at))
LATERNA_UPSERT(orders, order, key(order_id), set(customer_id), set(status), set(item_count), set(total), set(placed_at), max(last_offset))
LATERNA_UPDATE(orders, cancelled, key(order_id), set(status), max(last_offset))
LATERNA_DELETE(orders, order_erased, key(order_id))

// A line of an order, from 0.
LATERNA_TABLE(order_items, key(text, order_id), key(integer, line), column(text, sku), column(integer, quantity), column(decimal, unit_price))
LATERNA_UPSERT(order_items, item, key(order_id), key(line), set(sku), set(quantity), set(unit_price))
LATERNA_DELETE_PREFIX(order_items, items_erased, key(order_id))

LATERNA_PROJECTION(order_summary, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(orders, order_items),
                   LATERNA_CHANGES(order, cancelled, order_erased, item, items_erased))

void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    if (laterna_is_tombstone(event)) {
        laterna_str id = laterna_key_text(event, changes);
        laterna_put(changes, order_erased, .order_id = laterna_text(id));
        laterna_put(changes, items_erased, .order_id = laterna_text(id));
        return;
    }
    laterna_json json = laterna_json_of(event, changes);
    laterna_str type = laterna_get_text(json, "type");
    if (laterna_is(type, "order.cancelled")) {
        laterna_put(changes, cancelled, .order_id = laterna_text(laterna_get_text(json, "order_id")),
                    .status = laterna_literal("cancelled"), .last_offset = laterna_integer(event->offset));
        return;
    }
    bool placed = laterna_is(type, "order.placed");
    if (!placed && !laterna_is(type, "order.updated")) return;

    struct laterna_text_value id = laterna_text(laterna_get_text(json, "order_id"));
    int64_t item_count = 0;
    struct laterna_decimal total = { 0 };
    laterna_json items = laterna_get_list(json, "items");
    laterna_each(it, items) {
        int64_t quantity = laterna_get_integer(it, "quantity");
        if (__builtin_add_overflow(item_count, quantity, &item_count)) laterna_reject(changes, "too many items");
        total = laterna_plus(total, laterna_times(laterna_get_decimal(it, "unit_price"), quantity, changes), changes);
    }
    laterna_put(changes, order, .order_id = id, .customer_id = laterna_text(laterna_get_text_or_null(json, "customer_id")),
                .status = laterna_literal(placed ? "placed" : "updated"), .item_count = laterna_integer(item_count),
                .total = laterna_decimal(total), .placed_at = laterna_timestamp_ms(laterna_get_integer(json, "placed_at_ms")),
                .last_offset = laterna_integer(event->offset));
    laterna_put(changes, items_erased, .order_id = id);
    int64_t line = 0;
    laterna_each(it, items)
        laterna_put(changes, item, .order_id = id, .line = laterna_integer(line++), .sku = laterna_text(laterna_get_text(it, "sku")),
                    .quantity = laterna_integer(laterna_get_integer(it, "quantity")),
                    .unit_price = laterna_decimal(laterna_get_decimal(it, "unit_price")));
}
