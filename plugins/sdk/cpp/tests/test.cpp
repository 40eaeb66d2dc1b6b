// Unit tests of the C++ SDK, natively: declarations, events, JSON, decimals, faults.
#include "../laterna.hpp"
#include <cstring>
using namespace laterna;

LATERNA_TABLE(rows, key(text, id), column(integer, total), nullable(decimal, price), nullable(text, note), nullable(json, rest), ordered(total, id), serial)
LATERNA_UPSERT(rows, Row, key(id), add(total), max(price), set(note), set(rest))
LATERNA_DELETE(rows, Gone, key(id))
LATERNA_PROJECTION(test, 2, LATERNA_TOPICS(LATERNA_TOPIC("t", .headers = LATERNA_NAMES("h"))), LATERNA_TABLES(rows), LATERNA_CHANGES(Row, Gone))

void laterna::apply(const Event &event, Changes &changes) {
    if (event.header("h") == "cloud") {
        auto it = event.cloud_event();
        return changes.put(Row{ .id = text(it.type), .total = integer(it.data ? it.data->integer("n") : 0), .note = text(it.time), .rest = null });
    }
    if (event.header("h") == "change") {
        auto it = event.change();
        return changes.put(Row{ .id = text(std::string_view(&it.op, 1)), .total = integer(it.before->integer("n")), .note = text(it.after ? "there" : "gone"), .rest = document(it.ts_ms == 5 ? "5" : "0") });
    }
    if (event.tombstone()) return changes.put(Gone{ .id = text(event.key_text()) });
    Json json = event.json();
    Decimal sum = changes.zero();
    int64_t total = 0;
    for (Json item : json.list("items")) sum += item.decimal("price") * 2, total += item.integer("n");
    if (json.has("stop")) changes.halt("stop it");
    changes.put(Row{ .id = text(json.text("id")), .total = integer(total), .price = decimal(sum), .note = text(json.text_or_null("note")), .rest = document(json["items"].source()) });
}

extern "C" const projection_list_outcome_t *laterna_export_apply(char *, size_t, int32_t, laterna_event *, size_t);
static int checks, failures;
#define CHECK(what) (checks++, (what) ? (void)0 : (failures++, (void)std::printf("FAILED line %d: %s\n", __LINE__, #what)))

static laterna_projection_types_option_payload_t payload(const char *text) {
    laterna_projection_types_option_payload_t made{};
    if (text) made.is_some = true, made.val.val.text = { reinterpret_cast<uint8_t *>(const_cast<char *>(text)), std::strlen(text) };
    return made;
}
static projection_outcome_t run(const char *key, const char *value, const char *kind = nullptr) {
    laterna_event event{};
    event.key = payload(key);
    event.value = payload(value);
    char topic[] = "t", h[] = "h";
    laterna_projection_types_header_t header{ { reinterpret_cast<uint8_t *>(h), 1 }, payload(kind) };
    event.headers = { &header, 1 };
    return laterna_export_apply(topic, 1, 0, &event, 1)->ptr[0];
}
static std::string_view of(projection_string_t text) { return { reinterpret_cast<char *>(text.ptr), text.len }; }

int main() {
    auto *d = laterna_describe();
    CHECK(of(d->name) == "test" && d->revision == 2 && d->shapes.len == 2 && of(d->topics.ptr[0].headers.ptr[0]) == "h");
    CHECK(d->tables.ptr[0].partitioning == 2 && d->tables.ptr[0].indexes.len == 1 && of(d->tables.ptr[0].indexes.ptr[0].columns.ptr[1]) == "id");
    CHECK(d->shapes.ptr[0].action.val.upsert.len == 4 && d->shapes.ptr[1].action.tag == LATERNA_PROJECTION_TYPES_ACTION_DELETE);

    auto row = run(nullptr, R"({"id":"a","items":[{"price":"0.10","n":9007199254740993},{"price":1.25,"n":1}],"note":null})");
    CHECK(row.tag == 0 && row.val.changes.len == 1 && row.val.changes.ptr[0].shape == 0);
    auto *values = row.val.changes.ptr[0].values.ptr;
    CHECK(of(values[0].val.text) == "a" && values[1].val.integer == 9007199254740994 && of(values[2].val.decimal) == "2.70" && values[3].tag == 0);
    CHECK(of(values[4].val.json) == R"([{"price":"0.10","n":9007199254740993},{"price":1.25,"n":1}])");
    auto gone = run("k", nullptr);
    CHECK(gone.tag == 0 && gone.val.changes.ptr[0].shape == 1 && of(gone.val.changes.ptr[0].values.ptr[0].val.text) == "k");
    auto nameless = run(nullptr, nullptr);
    CHECK(nameless.tag == 1 && of(nameless.val.reject) == "the event has no key");
    auto wrong = run(nullptr, R"({"id":"a","items":[{"price":"1,0","n":1}]})");
    CHECK(wrong.tag == 1 && of(wrong.val.reject) == "items[0].price: a decimal number wanted, like 12.50");
    auto halted = run(nullptr, R"({"id":7,"items":[],"stop":1})");
    CHECK(halted.tag == 2 && of(halted.val.halt) == "stop it");
    auto cloud = run(nullptr, R"({"id":"7","source":"s","type":"paid","time":"2026-01-31T12:00:00Z","data":{"n":7}})", "cloud");
    values = cloud.val.changes.ptr[0].values.ptr;
    CHECK(cloud.tag == 0 && of(values[0].val.text) == "paid" && values[1].val.integer == 7 && of(values[3].val.text) == "2026-01-31T12:00:00Z");
    auto change = run(nullptr, R"({"op":"d","before":{"n":7},"after":null,"source":{"ts_ms":5}})", "change");
    values = change.val.changes.ptr[0].values.ptr;
    CHECK(change.tag == 0 && of(values[0].val.text) == "d" && values[1].val.integer == 7 && of(values[3].val.text) == "gone" && of(values[4].val.json) == "5");
    std::printf("%d passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
