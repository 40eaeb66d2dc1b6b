// Keeps the last value of each key of {{topic}}, and how many events it has had.
#include "laterna.hpp"
using namespace laterna;

LATERNA_TABLE(records, key(text, key), column(json, value), column(integer, last_offset))
LATERNA_UPSERT(records, Record, key(key), set(value), max(last_offset))
LATERNA_DELETE(records, RecordErased, key(key))

LATERNA_TABLE(counts, key(text, key), column(integer, events))
LATERNA_UPSERT(counts, Counted, key(key), add(events))

LATERNA_PROJECTION({{name}}, 1, LATERNA_TOPICS(LATERNA_TOPIC("{{topic}}")), LATERNA_TABLES(records, counts),
                   LATERNA_CHANGES(Record, RecordErased, Counted))

void laterna::apply(const Event &event, Changes &changes) {
    auto key = text(event.key_text());
    changes.put(Counted{ .key = key, .events = integer(1) });
    if (event.tombstone()) {
        changes.put(RecordErased{ .key = key });
        return;
    }
    Json json = event.json();
    if (json.kind() != LATERNA_OBJECT) changes.reject("the value is no JSON object");
    changes.put(Record{ .key = key, .value = document(json.source()), .last_offset = integer(event.offset()) });
}
