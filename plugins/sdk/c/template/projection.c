// Keeps the last value of each key of {{topic}}, and how many events it has had.
#include "laterna.h"

LATERNA_TABLE(records, key(text, key), column(json, value), column(integer, last_offset))
LATERNA_UPSERT(records, record, key(key), set(value), max(last_offset))
LATERNA_DELETE(records, record_erased, key(key))

LATERNA_TABLE(counts, key(text, key), column(integer, events))
LATERNA_UPSERT(counts, counted, key(key), add(events))

LATERNA_PROJECTION({{name}}, 1, LATERNA_TOPICS(LATERNA_TOPIC("{{topic}}")), LATERNA_TABLES(records, counts),
                   LATERNA_CHANGES(record, record_erased, counted))

void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    struct laterna_text_value key = laterna_text(laterna_key_text(event, changes));
    laterna_put(changes, counted, .key = key, .events = laterna_integer(1));
    if (laterna_is_tombstone(event)) {
        laterna_put(changes, record_erased, .key = key);
        return;
    }
    laterna_json json = laterna_json_of(event, changes);
    if (laterna_kind_of(json) != LATERNA_OBJECT) laterna_reject(changes, "the value is no JSON object");
    laterna_put(changes, record, .key = key, .value = laterna_document(laterna_source(json)), .last_offset = laterna_integer(event->offset));
}
