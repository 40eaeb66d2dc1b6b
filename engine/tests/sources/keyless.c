// What the topic `orders` says: one row an event, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.
#include "laterna.h"

LATERNA_TABLE(keyless,
              key(integer, partition_number), key(integer, event_offset), column(text, level), column(text, text),
              column(integer, events))
LATERNA_UPSERT(keyless, set_seen, key(partition_number), key(event_offset), set(level), set(text), add(events))
LATERNA_PROJECTION(keyless, 1, LATERNA_TOPICS(LATERNA_TOPIC("orders")), LATERNA_TABLES(keyless),
                   LATERNA_CHANGES(set_seen))

void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    if (laterna_is_tombstone(event)) return; // it names no row here
    laterna_json it = laterna_json_of(event, changes);
    if (laterna_kind_of(it) != LATERNA_OBJECT) laterna_reject(changes, "the value is no JSON object");
    laterna_put(changes, set_seen,
        .partition_number = laterna_integer(laterna_partition(changes)),
        .event_offset = laterna_integer(event->offset),
        .level = laterna_text(laterna_get_text(it, "level")),
        .text = laterna_text(laterna_get_text(it, "text")),
        .events = laterna_integer(1));
}
