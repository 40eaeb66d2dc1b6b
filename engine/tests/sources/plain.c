// What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
#include "laterna.h"

// A value that is NULL where its field is null or left out.
#define OR_NULL(type, name, value) (laterna_has(it, name) ? (value) : (struct laterna_##type##_value){ 0 })

LATERNA_TABLE(plain, key(integer, customer_id), nullable(timestamp, at), column(decimal, total), column(integer, events), serial)
LATERNA_UPSERT(plain, set_seen, key(customer_id), set(at), set(total), add(events))
LATERNA_PROJECTION(plain, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(plain),
                   LATERNA_CHANGES(set_seen))

void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    if (laterna_is_tombstone(event)) return; // it names no row here
    laterna_json it = laterna_json_of(event, changes);
    if (laterna_kind_of(it) != LATERNA_OBJECT) laterna_reject(changes, "the value is no JSON object");
    laterna_put(changes, set_seen,
        .customer_id = laterna_integer(laterna_get_integer(it, "customer_id")),
        .at = OR_NULL(timestamp, "at_ms", laterna_timestamp_ms(laterna_get_integer(it, "at_ms"))),
        .total = laterna_decimal(laterna_get_decimal(it, "total")),
        .events = laterna_integer(1));
}
