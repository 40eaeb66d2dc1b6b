// What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
#include "laterna.hpp"
using namespace laterna;

LATERNA_TABLE(kinds,
              key(text, order_id), nullable(timestamp, at), nullable(integer, big), nullable(text, class_value),
              nullable(date, day), nullable(uuid, id), nullable(json, items), column(integer, n), nullable(text, note),
              nullable(boolean, paid), nullable(timestamp, placed_at), nullable(float, ratio), nullable(decimal, total),
              nullable(text, x), column(integer, events))
LATERNA_UPSERT(kinds, OrderPlaced,
               key(order_id), set(at), set(big), set(class_value), set(day), set(id), set(items), set(n), set(note),
               set(paid), set(placed_at), set(ratio), set(total), set(x), add(events))
LATERNA_UPSERT(kinds, OrderCancelled, key(order_id), set(n), set(note), add(events))
LATERNA_DELETE(kinds, Gone, key(order_id))
LATERNA_PROJECTION(kinds, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(kinds),
                   LATERNA_CHANGES(OrderPlaced, OrderCancelled, Gone))

void laterna::apply(const Event &event, Changes &changes) {
    auto key = text(event.key_text());
    if (event.tombstone()) {
        changes.put(Gone{ .order_id = key });
        return;
    }
    Json it = event.json();
    auto kind = it.text("type");
    if (kind == "order.placed") {
        changes.put(OrderPlaced{
            .order_id = key,
            .at = timestamp_us(laterna_micros_of(raw(it.text("at")), changes.raw())),
            .big = integer(it.integer("big")),
            .class_value = text(it.text("class")),
            .day = date(laterna_days_of(raw(it.text("day")), changes.raw())),
            .id = uuid(it.text("id")),
            .items = document(it["items"].source()),
            .n = integer(it.integer("n")),
            .note = text(it.text_or_null("note")),
            .paid = boolean(it.boolean("paid")),
            .placed_at = timestamp_ms(it.integer("placed_at_ms")),
            .ratio = number(it.number("ratio")),
            .total = decimal(it.decimal("total")),
            .x = text(it.text("é \"x\"")),
            .events = integer(1),
        });
    } else if (kind == "order.cancelled") {
        changes.put(OrderCancelled{
            .order_id = key,
            .n = integer(it.integer("n")),
            .note = text(it.text("note")),
            .events = integer(1),
        });
    }
}
