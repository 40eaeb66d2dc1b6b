// What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
#include "laterna.h"

LATERNA_TABLE(kinds,
              key(text, order_id), nullable(timestamp, at), nullable(integer, big), nullable(text, class_value),
              nullable(date, day), nullable(uuid, id), nullable(json, items), column(integer, n), nullable(text, note),
              nullable(boolean, paid), nullable(timestamp, placed_at), nullable(float, ratio), nullable(decimal, total),
              nullable(text, x), column(integer, events))
LATERNA_UPSERT(kinds, set_order_placed,
               key(order_id), set(at), set(big), set(class_value), set(day), set(id), set(items), set(n), set(note),
               set(paid), set(placed_at), set(ratio), set(total), set(x), add(events))
LATERNA_UPSERT(kinds, set_order_cancelled, key(order_id), set(n), set(note), add(events))
LATERNA_DELETE(kinds, set_gone, key(order_id))
LATERNA_PROJECTION(kinds, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(kinds),
                   LATERNA_CHANGES(set_order_placed, set_order_cancelled, set_gone))

void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    struct laterna_text_value key = laterna_text(laterna_key_text(event, changes));
    if (laterna_is_tombstone(event)) {
        laterna_put(changes, set_gone, .order_id = key);
        return;
    }
    laterna_json it = laterna_json_of(event, changes);
    laterna_str kind = laterna_get_text(it, "type");
    if (laterna_is(kind, "order.placed")) {
        laterna_put(changes, set_order_placed,
            .order_id = key,
            .at = laterna_timestamp(laterna_micros_of(laterna_get_text(it, "at"), changes)),
            .big = laterna_integer(laterna_get_integer(it, "big")),
            .class_value = laterna_text(laterna_get_text(it, "class")),
            .day = laterna_date(laterna_days_of(laterna_get_text(it, "day"), changes)),
            .id = laterna_uuid(laterna_get_text(it, "id")),
            .items = laterna_document(laterna_source(laterna_get(it, "items"))),
            .n = laterna_integer(laterna_get_integer(it, "n")),
            .note = laterna_text(laterna_get_text_or_null(it, "note")),
            .paid = laterna_boolean(laterna_get_boolean(it, "paid")),
            .placed_at = laterna_timestamp_ms(laterna_get_integer(it, "placed_at_ms")),
            .ratio = laterna_float(laterna_get_float(it, "ratio")),
            .total = laterna_decimal(laterna_get_decimal(it, "total")),
            .x = laterna_text(laterna_get_text(it, "é \"x\"")),
            .events = laterna_integer(1));
    } else if (laterna_is(kind, "order.cancelled")) {
        laterna_put(changes, set_order_cancelled,
            .order_id = key,
            .n = laterna_integer(laterna_get_integer(it, "n")),
            .note = laterna_text(laterna_get_text(it, "note")),
            .events = laterna_integer(1));
    }
}
