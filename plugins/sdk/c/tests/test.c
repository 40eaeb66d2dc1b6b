// Unit tests of the C SDK, natively: a projection of every type, exact numbers, the calendar, JSON, faults.
#include "../laterna.c"

LATERNA_TABLE(cells, key(text, id), key(integer, part), nullable(boolean, flag), nullable(integer, whole), nullable(float, real), nullable(decimal, exact),
              nullable(text, words), nullable(bytes, raw), nullable(timestamp, instant), nullable(date, day), nullable(uuid, unique_id),
              nullable(json, document), ordered(day, whole), full_text(words))
LATERNA_UPSERT(cells, put_cell, key(id), key(part), set(flag), add(whole), max(real), min(exact), set_if_null(words), set(raw), newer(instant), set(day), set(unique_id), set(document))
LATERNA_INSERT(cells, made, key(id), key(part), plain(words))
LATERNA_DELETE_PREFIX(cells, cleared, key(id))
LATERNA_TABLE(sums, key(text, id), column(integer, total), commutative)
LATERNA_UPSERT(sums, summed, key(id), add(total))
LATERNA_UPDATE(sums, changed, key(id), set(total))
LATERNA_DELETE(sums, dropped, key(id))
LATERNA_PROJECTION(test, 3, LATERNA_TOPICS(LATERNA_TOPIC("a"), LATERNA_TOPIC("b", .value = LATERNA_BINARY, .headers = LATERNA_NAMES("x", "y"))),
                   LATERNA_TABLES(cells, sums), LATERNA_CHANGES(put_cell, made, cleared, summed, changed, dropped))

static int checks, failures;
#define CHECK(what) (checks++, (what) ? (void)0 : (failures++, (void)printf("FAILED %s:%d: %s\n", __FILE__, __LINE__, #what)))
static laterna_str S(const char *text) { return laterna_str_of(text); }

void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    laterna_json json = laterna_json_of(event, changes);
    laterna_put(changes, summed, .id = laterna_text(laterna_get_text(json, "id")), .total = laterna_integer(laterna_get_integer(json, "n")));
}

static projection_outcome_t apply(const char *value) {
    laterna_event event = { .offset = 7, .timestamp_ms = -1 };
    if (value) event.value = (laterna_projection_types_option_payload_t){ true, { 0, { .text = { (uint8_t *)value, strlen(value) } } } };
    return laterna_export_apply((char *)"a", 1, 0, &event, 1)->ptr[0];
}
static bool rejects(const char *value, const char *reason) {
    projection_outcome_t outcome = apply(value);
    laterna_str is = { (char *)outcome.val.reject.ptr, outcome.val.reject.len };
    if (outcome.tag == LATERNA_PROJECTION_TYPES_OUTCOME_REJECT && laterna_is(is, reason)) return true;
    printf("%s: tag %d %.*s\n", value ? value : "tombstone", outcome.tag, LATERNA_ARGS(is));
    return false;
}
static laterna_changes fresh(void) { return (laterna_changes){ 0 }; }
static bool shows(const char *text, const char *shown) {
    laterna_changes c = fresh();
    struct laterna_decimal d = laterna_decimal_of(S(text), &c);
    return !laterna_failed(&c) && laterna_is(laterna_decimal_text(d), shown);
}

int main(void) {
    // What is declared.
    const projection_descriptor_t *d = laterna_describe();
    CHECK(d->revision == 3 && d->topics.len == 2 && d->tables.len == 2 && d->shapes.len == 6);
    CHECK(d->topics.ptr[1].value == LATERNA_BINARY && d->topics.ptr[1].headers.len == 2 && d->topics.ptr[1].headers.ptr[1].ptr[0] == 'y');
    CHECK(d->tables.ptr[0].columns.len == 12 && d->tables.ptr[0].primary_key.len == 2 && d->tables.ptr[0].indexes.len == 2);
    CHECK(d->tables.ptr[0].indexes.ptr[0].columns.len == 2 && d->tables.ptr[0].indexes.ptr[1].kind == LATERNA_PROJECTION_TYPES_INDEX_KIND_FULL_TEXT);
    CHECK(d->tables.ptr[0].partitioning == 0 && d->tables.ptr[1].partitioning == 1 && d->tables.ptr[1].indexes.len == 0);
    CHECK(!d->tables.ptr[0].columns.ptr[1].nullable && d->tables.ptr[0].columns.ptr[2].nullable && d->tables.ptr[0].columns.ptr[11].column_type == LATERNA_PROJECTION_TYPES_COLUMN_TYPE_JSON);
    CHECK(d->shapes.ptr[0].action.val.upsert.len == 10 && d->shapes.ptr[0].action.val.upsert.ptr[6].operation == LATERNA_PROJECTION_TYPES_OPERATION_NEWER);
    CHECK(d->shapes.ptr[1].action.tag == LATERNA_PROJECTION_TYPES_ACTION_INSERT && d->shapes.ptr[1].action.val.insert.len == 1);
    CHECK(d->shapes.ptr[2].action.tag == LATERNA_PROJECTION_TYPES_ACTION_DELETE_PREFIX && d->shapes.ptr[2].action.val.delete_prefix == 1);

    // An event, its change, its faults.
    projection_outcome_t outcome = apply("{\"id\":\"\\u00e4\\ud83d\\ude00\",\"n\":9007199254740993}");
    CHECK(outcome.tag == 0 && outcome.val.changes.len == 1 && outcome.val.changes.ptr[0].shape == 3);
    CHECK(outcome.val.changes.ptr[0].values.ptr[1].val.integer == 9007199254740993);
    CHECK(outcome.val.changes.ptr[0].values.ptr[0].val.text.len == 6);
    CHECK(rejects(NULL, "the value is not JSON: the event is a tombstone"));
    CHECK(rejects("{\"id\":\"a\"}", "n: a whole number of 64 bits wanted"));
    CHECK(rejects("{\"id\":7,\"n\":1}", "id: a text wanted"));
    CHECK(rejects("{\"id\":\"a\",\"n\":1.0}", "n: a whole number of 64 bits wanted"));
    CHECK(rejects("{\"id\":\"a\",\"n\":9223372036854775808}", "n: a whole number of 64 bits wanted"));
    CHECK(rejects("{\"id\":\"a\",\"n\":1", "the value is not JSON: the text ends too early at byte 15"));
    CHECK(rejects("[1]", "id: an object wanted around it"));
    for (const char **bad = (const char *[]){ "", "01", "1.", "-", "1e", "\"\\x\"", "\"\\ud800\"", "\"a", "[1,]", "{\"a\"}", "nul", "1 2", "\"\t\"", "{,}", NULL }; *bad; bad++) {
        laterna_changes c = fresh();
        laterna_json_parse(S(*bad), &c);
        CHECK(laterna_failed(&c));
    }
    laterna_changes c = fresh();
    // Wherever it stands among the eight bytes that are looked at together, every byte ends a text that may not stand in one, and no other.
    for (int byte = 1; byte < 256; byte++) {
        for (size_t place = 0; place < 20; place++) {
            char text[32] = "[\"aaaaaaaaaaaaaaaaaaaa\"]";
            text[2 + place] = (char)byte;
            c = fresh();
            laterna_json_parse(S(text), &c);
            CHECK(laterna_failed(&c) == (byte < 0x20 || byte == '"' || byte == '\\'));
        }
    }
    c = fresh();
    CHECK(laterna_as_integer(laterna_json_parse(S("9223372036854775807"), &c)) == INT64_MAX && !laterna_failed(&c));
    CHECK(laterna_as_integer(laterna_json_parse(S("-999999999999999999"), &c)) == -999999999999999999 && !laterna_failed(&c));
    laterna_as_integer(laterna_json_parse(S("9223372036854775808"), &c));
    CHECK(laterna_failed(&c));
    c = fresh();
    laterna_json json = laterna_json_parse(S("{\"a\":[{\"b\":1},{\"b\":\"x\"}],\"a2\":{\"d\": [1, 2.50e1] },\"n\":null,\"k\":1,\"k\":-9223372036854775808}"), &c);
    CHECK(laterna_get_integer(json, "k") == INT64_MIN && !laterna_has(json, "n") && laterna_count(laterna_get(json, "a")) == 2);
    CHECK(laterna_is(laterna_source(laterna_get_object(json, "a2")), "{\"d\": [1, 2.50e1] }"));
    int64_t seen = 0;
    laterna_each(item, laterna_get_list(json, "a")) seen += laterna_get_integer(item, "b");
    CHECK(seen == 1 && laterna_failed(&c) && laterna_is(c.reason, "a[1].b: a whole number of 64 bits wanted"));

    // Exact numbers.
    CHECK(shows("12.50", "12.50") && shows("-0.05", "-0.05") && shows("-1.2e3", "-1200") && shows("1.25E-2", "0.0125") && shows(".5", "0.5"));
    CHECK(shows("170141183460469231731687303715884105727", "170141183460469231731687303715884105727") && shows("0e99", "0"));
    CHECK(shows("-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728"));
    for (const char **bad = (const char *[]){ "", "-", "1,0", "1.2.3", "NaN", " 1", "1e39", "1e-39", "1e", "170141183460469231731687303715884105728", NULL }; *bad; bad++) {
        c = fresh();
        laterna_decimal_of(S(*bad), &c);
        CHECK(laterna_failed(&c));
    }
    c = fresh();
    struct laterna_decimal tenth = laterna_decimal_of(S("0.1"), &c), most = laterna_decimal_of(S("170141183460469231731687303715884105727"), &c);
    CHECK(laterna_is(laterna_decimal_text(laterna_plus(tenth, laterna_decimal_of(S("0.25"), &c), &c)), "0.35"));
    CHECK(laterna_is(laterna_decimal_text(laterna_times(laterna_cents(-9007199254793), 9999, &c)), "-900629853486752.07"));
    CHECK(laterna_compare(tenth, laterna_decimal_of(S("0.100"), &c)) == 0 && laterna_compare(laterna_cents(-1), tenth) < 0 && !laterna_failed(&c));
    laterna_times(most, 2, &c);
    CHECK(laterna_failed(&c));

    // Instants and days.
    c = fresh();
    CHECK(laterna_days_of(S("1970-01-01"), &c) == 0 && laterna_days_of(S("0001-01-01"), &c) == -719162 && laterna_days_of(S("2024-02-29"), &c) == 19782);
    CHECK(laterna_micros_of(S("2026-01-31T12:00:00.25+01:00"), &c) == 1769857200250000 && laterna_micros_of(S("1969-12-31T23:59:59.999999Z"), &c) == -1);
    CHECK(laterna_day_of_millis(-1) == -1 && laterna_day_of_millis(-86400001) == -2 && laterna_day_of_micros(86400000000) == 1 && !laterna_failed(&c));
    for (const char **bad = (const char *[]){ "2026-02-30", "1900-02-29", "2026-13-01", "26-01-01", NULL }; *bad; bad++) {
        c = fresh();
        laterna_days_of(S(*bad), &c);
        CHECK(laterna_failed(&c));
    }
    struct laterna_timestamp_value far = laterna_timestamp_ms(INT64_MAX);
    CHECK(far.value.tag == LATERNA_TAG_(DECIMAL) && laterna_is((laterna_str){ (char *)far.value.val.decimal.ptr, far.value.val.decimal.len }, "9223372036854775807000"));
    CHECK(laterna_text((laterna_str){ 0 }).value.tag == 0 && laterna_literal("").value.tag == LATERNA_TAG_(TEXT));

    // A halt outdoes a reject, and the first reject stays.
    c = fresh();
    laterna_reject(&c, "one %d", 1);
    laterna_reject(&c, "two");
    CHECK(c.fault == REJECT && laterna_is(c.reason, "one 1"));
    laterna_halt(&c, "stop");
    CHECK(c.fault == HALT && laterna_is(c.reason, "stop"));

    // Envelopes.
    const char *paid = "{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/shop\",\"type\":\"paid\",\"time\":\"2026-01-31T12:00:00Z\",\"data\":{\"n\":9007199254740993}}";
    laterna_event wrapped = { .value = { true, { 0, { .text = { (uint8_t *)paid, strlen(paid) } } } } };
    c = fresh();
    laterna_cloud_event cloud = laterna_cloud_event_of(&wrapped, &c);
    CHECK(!laterna_failed(&c) && laterna_is(cloud.type, "paid") && laterna_is(cloud.source, "/shop") && laterna_is(cloud.id, "7") && !cloud.subject.at);
    CHECK(laterna_micros_of(cloud.time, &c) == 1769860800000000 && laterna_get_integer(cloud.data, "n") == 9007199254740993);
    const char *gone = "{\"op\":\"d\",\"before\":{\"n\":1},\"after\":null,\"source\":{\"ts_ms\":5}}";
    wrapped.value.val.val.text = (projection_string_t){ (uint8_t *)gone, strlen(gone) };
    laterna_row_change change = laterna_row_change_of(&wrapped, &c);
    CHECK(!laterna_failed(&c) && change.op == 'd' && laterna_get_integer(change.before, "n") == 1 && !change.after.of && change.ts_ms == 5);
    wrapped.value.val.val.text = (projection_string_t){ (uint8_t *)"{}", 2 };
    change = laterna_row_change_of(&wrapped, &c);
    CHECK(laterna_failed(&c) && laterna_is(c.reason, "op: a text wanted") && change.op == 0 && change.ts_ms == -1);

    printf("%d passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
