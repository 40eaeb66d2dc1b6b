// What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
#include "laterna.hpp"
using namespace laterna;

LATERNA_TABLE(plain, key(integer, customer_id), nullable(timestamp, at), column(decimal, total), column(integer, events), serial)
LATERNA_UPSERT(plain, Seen, key(customer_id), set(at), set(total), add(events))
LATERNA_PROJECTION(plain, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(plain),
                   LATERNA_CHANGES(Seen))

void laterna::apply(const Event &event, Changes &changes) {
    if (event.tombstone()) return; // it names no row here
    Json it = event.json();
    if (it.kind() != LATERNA_OBJECT) changes.reject("the value is no JSON object");
    changes.put(Seen{
        .customer_id = integer(it.integer("customer_id")),
        .at = it.has("at_ms") ? timestamp_ms(it.integer("at_ms")) : laterna_timestamp_value{},
        .total = decimal(it.decimal("total")),
        .events = integer(1),
    });
}
