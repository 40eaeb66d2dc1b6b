// What the topic `orders` says: one row an event, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
#include "laterna.hpp"
using namespace laterna;

LATERNA_TABLE(keyless,
              key(integer, partition_number), key(integer, event_offset), column(text, level), column(text, text),
              column(integer, events))
LATERNA_UPSERT(keyless, Seen, key(partition_number), key(event_offset), set(level), set(text), add(events))
LATERNA_PROJECTION(keyless, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(keyless),
                   LATERNA_CHANGES(Seen))

void laterna::apply(const Event &event, Changes &changes) {
    if (event.tombstone()) return; // it names no row here
    Json it = event.json();
    if (it.kind() != LATERNA_OBJECT) changes.reject("the value is no JSON object");
    changes.put(Seen{
        .partition_number = integer(event.partition()),
        .event_offset = integer(event.offset()),
        .level = text(it.text("level")),
        .text = text(it.text("text")),
        .events = integer(1),
    });
}
