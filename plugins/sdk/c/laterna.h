// laterna.h: projections in C.
//
// Hides how a projection is described and how its changes reach the engine: tables and changes are declared once, by
// macros; a change is a struct whose fields are the columns, so that a wrong column, type or operation does not compile.
// The README is the manual. Needs C23 or GNU C with __VA_OPT__ (clang 12, gcc 10), and laterna.c in the build.
//
// Rules that hold everywhere:
//  - One fault is enough: where anything about an event is wrong, the first fault is kept, what is asked for afterwards is
//    null, zero or empty, and the engine gets the fault instead of the changes. So nothing needs to be checked in between.
//  - Text and bytes are not copied. They must live until the batch is answered: what comes from the event, from its JSON,
//    from laterna_format and laterna_alloc does, and so do literals; an array on the stack does not.
//  - Keep nothing in static variables: an instance lives for one batch, of as many events as there happen to be.
#ifndef LATERNA_H
#define LATERNA_H

#include "bindings/projection.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// One record of a topic: `offset`, and `timestamp_ms` (-1: none). Key, value and headers are read with the functions below.
typedef laterna_projection_types_event_t laterna_event;
// One value of a column, as it crosses to the engine. A zeroed one is NULL.
typedef laterna_projection_types_value_t laterna_value;

// Text or bytes that stand elsewhere. `at` is NULL where there is none: SQL NULL, JSON null, a tombstone.
typedef struct laterna_str {
    const char *at;
    size_t size;
} laterna_str;

// What one event gives: its changes, or its fault. Opaque: it goes from laterna_apply to the functions here.
typedef struct laterna_changes laterna_changes;

// To write: the changes that `event` asks for, by laterna_put; or a fault.
void laterna_apply(const laterna_event *event, laterna_changes *changes);

// ---- Faults and the log ----

// The event is at fault, with a reason as for printf. The first fault counts.
__attribute__((format(printf, 2, 3))) void laterna_reject(laterna_changes *changes, const char *reason, ...);
// The projection must not go on, with a reason as for printf. Outdoes a reject.
__attribute__((format(printf, 2, 3))) void laterna_halt(laterna_changes *changes, const char *reason, ...);
// Whether there is a fault so far: for loops that would be long, and work that would be in vain.
bool laterna_failed(const laterna_changes *changes);

typedef enum { LATERNA_TRACE, LATERNA_DEBUG, LATERNA_INFO, LATERNA_WARN, LATERNA_ERROR } laterna_level;
// One line in the projection's log, as for printf.
__attribute__((format(printf, 2, 3))) void laterna_log(laterna_level level, const char *line, ...);
// Ends the call with file, line and a reason as for printf in the log: for what cannot be.
#define laterna_panic(...) laterna_panic_at(__FILE__, __LINE__, __VA_ARGS__)
__attribute__((noreturn, format(printf, 3, 4))) void laterna_panic_at(const char *file, int line, const char *reason, ...);
// Panics where `condition` is false.
#define laterna_assert(condition) ((condition) ? (void)0 : laterna_panic("assertion failed: %s", #condition))

// ---- Memory, until the batch is answered ----

// `size` bytes, aligned for everything, never NULL.
void *laterna_alloc(size_t size);
// A text as for printf.
__attribute__((format(printf, 1, 2))) laterna_str laterna_format(const char *format, ...);

// ---- Texts ----

static inline laterna_str laterna_str_of(const char *text) {
    return (laterna_str){ text, text ? __builtin_strlen(text) : 0 };
}
// Whether both are the same text. No text equals nothing.
bool laterna_same(laterna_str left, laterna_str right);
// Whether `text` is the literal.
static inline bool laterna_is(laterna_str text, const char *literal) {
    return laterna_same(text, laterna_str_of(literal));
}
// For printf: printf("%.*s", LATERNA_ARGS(text)); at most 200 bytes.
#define LATERNA_ARGS(text) (int)((text).size < 200 ? (text).size : 200), ((text).at ? (text).at : "")

// ---- The event ----

// Name of the topic, and number of the partition from 0.
laterna_str laterna_topic(const laterna_changes *changes);
int32_t laterna_partition(const laterna_changes *changes);
// Whether the event has no value: what its key names is gone.
static inline bool laterna_is_tombstone(const laterna_event *event) { return !event->value.is_some; }
// The key's bytes; `at` is NULL where the record has no key.
laterna_str laterna_key(const laterna_event *event);
// The key as text. A reject where there is none, or it is not UTF-8.
laterna_str laterna_key_text(const laterna_event *event, laterna_changes *changes);
// The value's bytes; `at` is NULL for a tombstone.
laterna_str laterna_bytes_of(const laterna_event *event);
// The value as text; `at` is NULL for a tombstone. A reject where it is not UTF-8.
laterna_str laterna_text_of(const laterna_event *event, laterna_changes *changes);
// The last header of this name, one that LATERNA_TOPIC asks for; `at` is NULL where there is none or its value is null.
laterna_str laterna_header(const laterna_event *event, const char *name);

// ---- Exact numbers ----

// units / 10^scale; scale 0 to 38. Zeroed, it is 0. What does not fit is a reject: nothing is rounded, nothing wraps.
struct laterna_decimal {
    __int128 units;
    int scale;
};
// From text: "12.50", "-1.2e3".
struct laterna_decimal laterna_decimal_of(laterna_str text, laterna_changes *changes);
static inline struct laterna_decimal laterna_cents(int64_t cents) { return (struct laterna_decimal){ cents, 2 }; }
struct laterna_decimal laterna_plus(struct laterna_decimal a, struct laterna_decimal b, laterna_changes *changes);
struct laterna_decimal laterna_minus(struct laterna_decimal a, struct laterna_decimal b, laterna_changes *changes);
struct laterna_decimal laterna_times(struct laterna_decimal a, int64_t factor, laterna_changes *changes);
// -1, 0 or 1: 1.0 equals 1.00.
int laterna_compare(struct laterna_decimal a, struct laterna_decimal b);
// Its text, with as many decimal places as its scale.
laterna_str laterna_decimal_text(struct laterna_decimal number);

// ---- Instants and days, UTC ----

// Microseconds since 1970 of an RFC 3339 text: "2026-01-31T12:00:00.25+01:00"; digits beyond microseconds are cut off.
int64_t laterna_micros_of(laterna_str text, laterna_changes *changes);
// Days since 1970 of "2026-01-31".
int32_t laterna_days_of(laterna_str text, laterna_changes *changes);
// The day that an instant falls on.
int32_t laterna_day_of_millis(int64_t millis);
int32_t laterna_day_of_micros(int64_t micros);

// ---- JSON ----
//
// A document is read and checked whole, by RFC 8259. A getter that finds something else rejects the event with the place:
// "items[1].quantity: a whole number wanted". Of equal names in an object the last one counts.

// A value in a document, or nothing at all: then `of` is NULL.
typedef struct laterna_json {
    laterna_changes *of;
    uint32_t index;
} laterna_json;

// The event's value as JSON. A reject where it is a tombstone, not UTF-8 or not JSON.
laterna_json laterna_json_of(const laterna_event *event, laterna_changes *changes);
// Any text as JSON.
laterna_json laterna_json_parse(laterna_str text, laterna_changes *changes);

typedef enum { LATERNA_NONE, LATERNA_NULL, LATERNA_BOOLEAN, LATERNA_NUMBER, LATERNA_TEXT, LATERNA_LIST, LATERNA_OBJECT } laterna_kind;
// What it is; LATERNA_NONE where there is nothing.
laterna_kind laterna_kind_of(laterna_json json);
// A field of an object; nothing where there is none.
laterna_json laterna_get(laterna_json object, const char *name);
// Whether a field is there and not null.
bool laterna_has(laterna_json object, const char *name);
// A field that must be there.
bool laterna_get_boolean(laterna_json object, const char *name);
int64_t laterna_get_integer(laterna_json object, const char *name);
double laterna_get_float(laterna_json object, const char *name);
laterna_str laterna_get_text(laterna_json object, const char *name);
laterna_json laterna_get_object(laterna_json object, const char *name);
laterna_json laterna_get_list(laterna_json object, const char *name);
// A decimal as text ("12.50") or a number, exactly as it is written.
struct laterna_decimal laterna_get_decimal(laterna_json object, const char *name);
// The same where it may be missing or null: then `at` is NULL.
laterna_str laterna_get_text_or_null(laterna_json object, const char *name);
// How many items a list or fields an object has.
uint32_t laterna_count(laterna_json json);
// The items of a list, or fields of an object, in order: laterna_each(item, items) { .. }
#define laterna_each(item, items) for (laterna_json item = laterna_first(items); item.of; item = laterna_next(item))
laterna_json laterna_first(laterna_json json);
laterna_json laterna_next(laterna_json json);
// The name of a field of an object; none elsewhere.
laterna_str laterna_name(laterna_json json);
// The value itself, which must be of that type.
laterna_str laterna_as_text(laterna_json json);
int64_t laterna_as_integer(laterna_json json);
double laterna_as_float(laterna_json json);
bool laterna_as_boolean(laterna_json json);
struct laterna_decimal laterna_as_decimal(laterna_json json);
// Its source text, as it stands in the event: for columns of type json, numbers with all their digits.
laterna_str laterna_source(laterna_json json);

// ---- Envelopes ----
//
// Where the projection's `format` is "cloudevents" or "debezium", the engine hands every event over as one JSON text, however it was
// written. A tombstone is a reject here, too: ask laterna_is_tombstone first.

// A CloudEvent. `subject` and `time` (RFC 3339: laterna_micros_of) may be without `at`, `data` may be nothing.
typedef struct laterna_cloud_event {
    laterna_str type, source, id, subject, time;
    laterna_json data;
} laterna_cloud_event;
static inline laterna_cloud_event laterna_cloud_event_of(const laterna_event *event, laterna_changes *changes) {
    laterna_json json = laterna_json_of(event, changes), none = { 0, 0 };
    laterna_cloud_event it = {
        laterna_get_text(json, "type"), laterna_get_text(json, "source"), laterna_get_text(json, "id"),
        laterna_get_text_or_null(json, "subject"), laterna_get_text_or_null(json, "time"),
        laterna_has(json, "data") ? laterna_get(json, "data") : none,
    };
    return it;
}

// A change that Debezium saw. `op`: c create, r read in a snapshot, u update, d delete, t truncate, m message; 0 where it has none.
// `before` and `after` are nothing where there is no such row. `ts_ms`: when the database made it, in milliseconds since 1970; -1: not told.
typedef struct laterna_row_change {
    char op;
    laterna_json before, after;
    int64_t ts_ms;
} laterna_row_change;
static inline laterna_row_change laterna_row_change_of(const laterna_event *event, laterna_changes *changes) {
    laterna_json json = laterna_json_of(event, changes), none = { 0, 0 };
    laterna_str op = laterna_get_text(json, "op");
    laterna_json source = laterna_has(json, "source") ? laterna_get(json, "source") : none;
    laterna_row_change it = {
        op.size == 1 ? op.at[0] : (char)0,
        laterna_has(json, "before") ? laterna_get_object(json, "before") : none,
        laterna_has(json, "after") ? laterna_get_object(json, "after") : none,
        laterna_has(source, "ts_ms") ? laterna_get_integer(source, "ts_ms") : -1,
    };
    return it;
}

// ---- Values of columns ----
//
// Each type of column has a function here, and a struct of the same name that a field of a change takes. `{0}`, and a
// text, bytes, uuid or json whose `at` is NULL, are SQL NULL. A field that is left out is NULL, too, which the engine
// refuses for a column that takes none.

#define LATERNA_TYPE_(type) struct laterna_##type { laterna_value value; };
#define LATERNA_TAG_(type) LATERNA_PROJECTION_TYPES_VALUE_##type
LATERNA_TYPE_(boolean_value) LATERNA_TYPE_(integer_value) LATERNA_TYPE_(float_value) LATERNA_TYPE_(decimal_value)
LATERNA_TYPE_(text_value) LATERNA_TYPE_(bytes_value) LATERNA_TYPE_(timestamp_value) LATERNA_TYPE_(date_value)
LATERNA_TYPE_(uuid_value) LATERNA_TYPE_(json_value)

static inline laterna_value laterna_of_str_(uint8_t tag, laterna_str text) {
    laterna_value value = { 0 };
    if (text.at) value.tag = tag, value.val.text.ptr = (uint8_t *)text.at, value.val.text.len = text.size;
    return value;
}
static inline struct laterna_boolean_value laterna_boolean(bool flag) {
    struct laterna_boolean_value it = { { .tag = LATERNA_TAG_(BOOLEAN) } };
    it.value.val.boolean = flag;
    return it;
}
static inline struct laterna_integer_value laterna_integer(int64_t whole) {
    struct laterna_integer_value it = { { .tag = LATERNA_TAG_(INTEGER) } };
    it.value.val.integer = whole;
    return it;
}
// NaN and infinities are refused by the engine.
static inline struct laterna_float_value laterna_float(double number) {
    struct laterna_float_value it = { { .tag = LATERNA_TAG_(FLOAT) } };
    it.value.val.float_ = number;
    return it;
}
static inline struct laterna_decimal_value laterna_decimal(struct laterna_decimal number) {
    return (struct laterna_decimal_value){ laterna_of_str_(LATERNA_TAG_(DECIMAL), laterna_decimal_text(number)) };
}
static inline struct laterna_text_value laterna_text(laterna_str text) {
    return (struct laterna_text_value){ laterna_of_str_(LATERNA_TAG_(TEXT), text) };
}
static inline struct laterna_text_value laterna_literal(const char *text) { return laterna_text(laterna_str_of(text)); }
static inline struct laterna_bytes_value laterna_bytes(laterna_str bytes) {
    return (struct laterna_bytes_value){ laterna_of_str_(LATERNA_TAG_(BYTES), bytes) };
}
// From microseconds since 1970-01-01T00:00:00Z.
static inline struct laterna_timestamp_value laterna_timestamp(int64_t micros) {
    struct laterna_timestamp_value it = { { .tag = LATERNA_TAG_(TIMESTAMP) } };
    it.value.val.timestamp = micros;
    return it;
}
// From milliseconds since 1970. What is too far off reaches the engine as it is, and is refused with the column's name.
struct laterna_timestamp_value laterna_timestamp_ms(int64_t millis);
// From days since 1970-01-01.
static inline struct laterna_date_value laterna_date(int32_t days) {
    struct laterna_date_value it = { { .tag = LATERNA_TAG_(DATE) } };
    it.value.val.date = days;
    return it;
}
// 32 hexadecimal digits in groups of 8-4-4-4-12.
static inline struct laterna_uuid_value laterna_uuid(laterna_str text) {
    return (struct laterna_uuid_value){ laterna_of_str_(LATERNA_TAG_(UUID), text) };
}
// One JSON document: laterna_source(json), or a text of one's own.
static inline struct laterna_json_value laterna_document(laterna_str text) {
    return (struct laterna_json_value){ laterna_of_str_(LATERNA_TAG_(JSON), text) };
}

// ---- Changes, one by one ----

// Adds a change: laterna_put(changes, order, .order_id = laterna_text(id), .status = laterna_literal("placed"));
#define laterna_put(changes, change, ...) change##__put(changes, (struct change){ __VA_ARGS__ })
// What laterna_put comes to: a copy of the values.
void laterna_add_change(laterna_changes *changes, uint32_t shape, const laterna_value *values, size_t count);

#ifdef __cplusplus
}
// The same macros serve C++, where an address of any type does not become one of another by itself.
struct laterna_address_ {
    const void *at;
    template <typename T> operator T *() const { return static_cast<T *>(const_cast<void *>(at)); }
};
#define LATERNA_LIST_(array) { laterna_address_{ array }, sizeof(array) / sizeof *(array) }
#define LATERNA_PUT_OVERLOAD_(change) \
    __attribute__((unused)) static inline void laterna_put_(laterna_changes *changes, const change &row) { change##__put(changes, row); }
#else
#define LATERNA_LIST_(array) { (void *)(array), sizeof(array) / sizeof *(array) }
#define LATERNA_PUT_OVERLOAD_(change)
#endif

// ---- Declarations ----

// Calls m(context, item) for each item. Two of a kind, because one cannot stand inside itself.
#define LATERNA_PARENS_ ()
#define LATERNA_EXPAND_(...) LATERNA_EXPAND3_(LATERNA_EXPAND3_(LATERNA_EXPAND3_(LATERNA_EXPAND3_(__VA_ARGS__))))
#define LATERNA_EXPAND3_(...) LATERNA_EXPAND2_(LATERNA_EXPAND2_(LATERNA_EXPAND2_(LATERNA_EXPAND2_(__VA_ARGS__))))
#define LATERNA_EXPAND2_(...) LATERNA_EXPAND1_(LATERNA_EXPAND1_(LATERNA_EXPAND1_(LATERNA_EXPAND1_(__VA_ARGS__))))
#define LATERNA_EXPAND1_(...) __VA_ARGS__
#define LATERNA_EACH_(m, context, ...) __VA_OPT__(LATERNA_EXPAND_(LATERNA_EACH_ONE_(m, context, __VA_ARGS__)))
#define LATERNA_EACH_ONE_(m, context, item, ...) \
    m(context, item) __VA_OPT__(LATERNA_EACH_AGAIN_ LATERNA_PARENS_ (m, context, __VA_ARGS__))
#define LATERNA_EACH_AGAIN_() LATERNA_EACH_ONE_
#define LATERNA_INNER_EXPAND_(...) LATERNA_INNER_EXPAND2_(LATERNA_INNER_EXPAND2_(LATERNA_INNER_EXPAND2_(__VA_ARGS__)))
#define LATERNA_INNER_EXPAND2_(...) LATERNA_INNER_EXPAND1_(LATERNA_INNER_EXPAND1_(LATERNA_INNER_EXPAND1_(__VA_ARGS__)))
#define LATERNA_INNER_EXPAND1_(...) __VA_ARGS__
#define LATERNA_INNER_(m, context, ...) __VA_OPT__(LATERNA_INNER_EXPAND_(LATERNA_INNER_ONE_(m, context, __VA_ARGS__)))
#define LATERNA_INNER_ONE_(m, context, item, ...) \
    m(context, item) __VA_OPT__(LATERNA_INNER_AGAIN_ LATERNA_PARENS_ (m, context, __VA_ARGS__))
#define LATERNA_INNER_AGAIN_() LATERNA_INNER_ONE_

#define LATERNA_CAT_(a, b) LATERNA_CAT1_(a, b)
#define LATERNA_CAT1_(a, b) a##b
#define LATERNA_CALL_(m, ...) m(__VA_ARGS__)
#define LATERNA_CALL2_(m, ...) m(__VA_ARGS__)
#define LATERNA_STRING_(name) { (uint8_t *)#name, sizeof #name - 1 }

// Types of columns, by the word that names them.
#define LATERNA_CONTRACT_(type) LATERNA_PROJECTION_TYPES_COLUMN_TYPE_##type
#define LATERNA_CONTRACT_TYPE_boolean LATERNA_CONTRACT_(BOOLEAN)
#define LATERNA_CONTRACT_TYPE_integer LATERNA_CONTRACT_(INTEGER)
#define LATERNA_CONTRACT_TYPE_float LATERNA_CONTRACT_(FLOAT)
#define LATERNA_CONTRACT_TYPE_decimal LATERNA_CONTRACT_(DECIMAL)
#define LATERNA_CONTRACT_TYPE_text LATERNA_CONTRACT_(TEXT)
#define LATERNA_CONTRACT_TYPE_bytes LATERNA_CONTRACT_(BYTES)
#define LATERNA_CONTRACT_TYPE_timestamp LATERNA_CONTRACT_(TIMESTAMP)
#define LATERNA_CONTRACT_TYPE_date LATERNA_CONTRACT_(DATE)
#define LATERNA_CONTRACT_TYPE_uuid LATERNA_CONTRACT_(UUID)
#define LATERNA_CONTRACT_TYPE_json LATERNA_CONTRACT_(JSON)

// Items of LATERNA_TABLE: what is not named in a pass expands to nothing.
//   key(type, name)       a column of the primary key, in the key's order
//   column(type, name)    a column that takes no NULL
//   nullable(type, name)  a column that takes NULL
//   ordered(columns..)    an index for equality, ranges and order
//   full_text(columns..)  an index over words
//   commutative, serial   rows are shared between partitions; without a word, events of one partition change a row
#define LATERNA_ITEM_key(type, name) key, type, name
#define LATERNA_ITEM_column(type, name) column, type, name
#define LATERNA_ITEM_nullable(type, name) nullable, type, name
#define LATERNA_ITEM_ordered(...) ordered, __VA_ARGS__
#define LATERNA_ITEM_full_text(...) full_text, __VA_ARGS__
#define LATERNA_ITEM_commutative commutative
#define LATERNA_ITEM_serial serial
#define LATERNA_PASS_(context, item) LATERNA_CALL_(LATERNA_PASS1_, context, LATERNA_ITEM_##item)
#define LATERNA_PASS1_(context, ...) LATERNA_CALL2_(LATERNA_PASS2_, LATERNA_UNPACK_ context, __VA_ARGS__)
#define LATERNA_UNPACK_(table, pass) table, pass
#define LATERNA_PASS2_(table, pass, kind, ...) LATERNA_##pass##_##kind(table, __VA_ARGS__)

// Pass FIELD: a struct with the column's types, for checks only.
#define LATERNA_FIELD_key(table, type, name) struct laterna_##type##_value name;
#define LATERNA_FIELD_column(table, type, name) struct laterna_##type##_value name;
#define LATERNA_FIELD_nullable(table, type, name) struct laterna_##type##_value name;
#define LATERNA_FIELD_ordered(table, ...)
#define LATERNA_FIELD_full_text(table, ...)
#define LATERNA_FIELD_commutative(table, ...)
#define LATERNA_FIELD_serial(table, ...)
// Pass KEYS: a struct with a byte for each key column, so that an offset is the position in the key.
#define LATERNA_KEYS_key(table, type, name) char name;
#define LATERNA_KEYS_column(table, type, name)
#define LATERNA_KEYS_nullable(table, type, name)
#define LATERNA_KEYS_ordered(table, ...)
#define LATERNA_KEYS_full_text(table, ...)
#define LATERNA_KEYS_commutative(table, ...)
#define LATERNA_KEYS_serial(table, ...)
// Pass NEEDED: for each column 1 where a new row needs it.
#define LATERNA_NEEDED_key(table, type, name)
#define LATERNA_NEEDED_column(table, type, name) table##__needs_##name = 1,
#define LATERNA_NEEDED_nullable(table, type, name) table##__needs_##name = 0,
#define LATERNA_NEEDED_ordered(table, ...)
#define LATERNA_NEEDED_full_text(table, ...)
#define LATERNA_NEEDED_commutative(table, ...)
#define LATERNA_NEEDED_serial(table, ...)
#define LATERNA_SUM_key(table, type, name)
#define LATERNA_SUM_column(table, type, name) +1
#define LATERNA_SUM_nullable(table, type, name)
#define LATERNA_SUM_ordered(table, ...)
#define LATERNA_SUM_full_text(table, ...)
#define LATERNA_SUM_commutative(table, ...)
#define LATERNA_SUM_serial(table, ...)
// Pass COLUMN, KEYNAME, INDEX, SHARED: the parts of the descriptor.
#define LATERNA_COLUMN_key(table, type, name) { LATERNA_STRING_(name), LATERNA_CONTRACT_TYPE_##type, false },
#define LATERNA_COLUMN_column(table, type, name) { LATERNA_STRING_(name), LATERNA_CONTRACT_TYPE_##type, false },
#define LATERNA_COLUMN_nullable(table, type, name) { LATERNA_STRING_(name), LATERNA_CONTRACT_TYPE_##type, true },
#define LATERNA_COLUMN_ordered(table, ...)
#define LATERNA_COLUMN_full_text(table, ...)
#define LATERNA_COLUMN_commutative(table, ...)
#define LATERNA_COLUMN_serial(table, ...)
#define LATERNA_KEYNAME_key(table, type, name) LATERNA_STRING_(name),
#define LATERNA_KEYNAME_column(table, type, name)
#define LATERNA_KEYNAME_nullable(table, type, name)
#define LATERNA_KEYNAME_ordered(table, ...)
#define LATERNA_KEYNAME_full_text(table, ...)
#define LATERNA_KEYNAME_commutative(table, ...)
#define LATERNA_KEYNAME_serial(table, ...)
#define LATERNA_INDEX_key(table, type, name)
#define LATERNA_INDEX_column(table, type, name)
#define LATERNA_INDEX_nullable(table, type, name)
#define LATERNA_INDEX_ordered(table, ...) LATERNA_INDEX_OVER_(table, ORDERED, __VA_ARGS__)
#define LATERNA_INDEX_full_text(table, ...) LATERNA_INDEX_OVER_(table, FULL_TEXT, __VA_ARGS__)
#define LATERNA_INDEX_commutative(table, ...)
#define LATERNA_INDEX_serial(table, ...)
#ifdef __cplusplus
#define LATERNA_TEXTS_(...) { laterna_address_{ [] { static const projection_string_t texts[] = { __VA_ARGS__ }; return texts; }() }, \
                              sizeof(projection_string_t[]){ __VA_ARGS__ } / sizeof(projection_string_t) }
#else
#define LATERNA_TEXTS_(...) LATERNA_LIST_(((projection_string_t[]){ __VA_ARGS__ }))
#endif
#define LATERNA_INDEX_OVER_(table, kind, ...) \
    { LATERNA_TEXTS_(LATERNA_INNER_(LATERNA_INDEXED_, table, __VA_ARGS__)), LATERNA_PROJECTION_TYPES_INDEX_KIND_##kind },
// The column must be one of the table: else its offset has no meaning.
#define LATERNA_INDEXED_(table, name) \
    { (uint8_t *)#name, sizeof #name - 1 + 0 * offsetof(struct table##__columns, name) },
#define LATERNA_SHARED_key(table, type, name)
#define LATERNA_SHARED_column(table, type, name)
#define LATERNA_SHARED_nullable(table, type, name)
#define LATERNA_SHARED_ordered(table, ...)
#define LATERNA_SHARED_full_text(table, ...)
#define LATERNA_SHARED_commutative(table, ...) +LATERNA_PROJECTION_TYPES_PARTITIONING_COMMUTATIVE
#define LATERNA_SHARED_serial(table, ...) +LATERNA_PROJECTION_TYPES_PARTITIONING_SERIAL

// Declares a table: its name, then items as above.
#define LATERNA_TABLE(table, ...) \
    struct table##__columns { LATERNA_EACH_(LATERNA_PASS_, (table, FIELD), __VA_ARGS__) }; \
    struct table##__keys { LATERNA_EACH_(LATERNA_PASS_, (table, KEYS), __VA_ARGS__) }; \
    enum { LATERNA_EACH_(LATERNA_PASS_, (table, NEEDED), __VA_ARGS__) \
           table##__needed = 0 LATERNA_EACH_(LATERNA_PASS_, (table, SUM), __VA_ARGS__) }; \
    static const laterna_projection_types_column_t table##__column[] = { \
        LATERNA_EACH_(LATERNA_PASS_, (table, COLUMN), __VA_ARGS__) }; \
    static const projection_string_t table##__key[] = { LATERNA_EACH_(LATERNA_PASS_, (table, KEYNAME), __VA_ARGS__) }; \
    static const laterna_projection_types_index_t table##__index[] = { \
        LATERNA_EACH_(LATERNA_PASS_, (table, INDEX), __VA_ARGS__) }; \
    static const laterna_projection_types_table_t table##__table = { \
        .name = LATERNA_STRING_(table), .columns = LATERNA_LIST_(table##__column), \
        .primary_key = LATERNA_LIST_(table##__key), .indexes = LATERNA_LIST_(table##__index), \
        .partitioning = 0 LATERNA_EACH_(LATERNA_PASS_, (table, SHARED), __VA_ARGS__) };

// Columns of a change: key(name), then for upsert and update an operation and the name:
//   set          the new value, NULL included
//   add          the sum; NULL counts as 0
//   max, min     the greater, the lesser one; NULL loses
//   set_if_null  the stored value, or the new one where the stored one is NULL
//   newer        a guard for the whole change: it takes effect only where the stored value is NULL or lesser
// and for insert plain(name).
#define LATERNA_IN_key(name) key, name, SET
#define LATERNA_IN_plain(name) plain, name, SET
#define LATERNA_IN_set(name) any, name, SET
#define LATERNA_IN_add(name) sum, name, ADD
#define LATERNA_IN_max(name) order, name, MAX
#define LATERNA_IN_min(name) order, name, MIN
#define LATERNA_IN_set_if_null(name) any, name, SET_IF_NULL
#define LATERNA_IN_newer(name) order, name, NEWER
#define LATERNA_SET_(context, item) LATERNA_CALL_(LATERNA_SET1_, context, LATERNA_IN_##item)
#define LATERNA_SET1_(context, ...) LATERNA_CALL2_(LATERNA_SET2_, LATERNA_UNPACK3_ context, __VA_ARGS__)
#define LATERNA_UNPACK3_(table, change, pass) table, change, pass
#define LATERNA_SET2_(table, change, pass, kind, name, operation) LATERNA_##pass##_##kind##_(table, change, name, operation)

#define LATERNA_TYPEOF_(table, name) __typeof__(((struct table##__columns *)0)->name)
#define LATERNA_MEMBER_(table, change, name, operation) LATERNA_TYPEOF_(table, name) name;
#define LATERNA_MEMBER_key_ LATERNA_MEMBER_
#define LATERNA_MEMBER_plain_ LATERNA_MEMBER_
#define LATERNA_MEMBER_any_ LATERNA_MEMBER_
#define LATERNA_MEMBER_sum_ LATERNA_MEMBER_
#define LATERNA_MEMBER_order_ LATERNA_MEMBER_
#define LATERNA_GIVEN_key_(table, change, name, operation)
#define LATERNA_GIVEN_(table, change, name, operation) +table##__needs_##name
#define LATERNA_GIVEN_plain_ LATERNA_GIVEN_
#define LATERNA_GIVEN_any_ LATERNA_GIVEN_
#define LATERNA_GIVEN_sum_ LATERNA_GIVEN_
#define LATERNA_GIVEN_order_ LATERNA_GIVEN_
#define LATERNA_KEYED_key_(table, change, name, operation) +1
#define LATERNA_KEYED_plain_(table, change, name, operation)
#define LATERNA_KEYED_any_(table, change, name, operation)
#define LATERNA_KEYED_sum_(table, change, name, operation)
#define LATERNA_KEYED_order_(table, change, name, operation)
#define LATERNA_CHECK_key_(table, change, name, operation) \
    _Static_assert(offsetof(struct change, name) == sizeof(laterna_value) * offsetof(struct table##__keys, name), \
                   "name the key's columns first, in the key's order: " #change "." #name);
#define LATERNA_CHECK_plain_(table, change, name, operation)
#define LATERNA_CHECK_any_(table, change, name, operation)
#define LATERNA_CHECK_sum_(table, change, name, operation) \
    _Static_assert(_Generic((LATERNA_TYPEOF_(table, name) *)0, struct laterna_integer_value *: 1, \
                            struct laterna_float_value *: 1, struct laterna_decimal_value *: 1, default: 0), \
                   "add is for integer, float and decimal: " #change "." #name);
#define LATERNA_CHECK_order_(table, change, name, operation) \
    _Static_assert(_Generic((LATERNA_TYPEOF_(table, name) *)0, struct laterna_boolean_value *: 0, \
                            struct laterna_bytes_value *: 0, struct laterna_json_value *: 0, default: 1), \
                   "max, min and newer are not for boolean, bytes and json: " #change "." #name);
#define LATERNA_ASSIGN_key_(table, change, name, operation)
#define LATERNA_ASSIGN_(table, change, name, operation) \
    { LATERNA_STRING_(name), LATERNA_PROJECTION_TYPES_OPERATION_##operation },
#define LATERNA_ASSIGN_any_ LATERNA_ASSIGN_
#define LATERNA_ASSIGN_sum_ LATERNA_ASSIGN_
#define LATERNA_ASSIGN_order_ LATERNA_ASSIGN_
#define LATERNA_PLAIN_key_(table, change, name, operation)
#define LATERNA_PLAIN_plain_(table, change, name, operation) LATERNA_STRING_(name),

// The struct of a change, how it is put, and its shape.
#define LATERNA_CHANGE_(table, change, action_, ...) \
    struct change { LATERNA_EACH_(LATERNA_SET_, (table, change, MEMBER), __VA_ARGS__) }; \
    LATERNA_EACH_(LATERNA_SET_, (table, change, CHECK), __VA_ARGS__) \
    enum { change##__keyed = 0 LATERNA_EACH_(LATERNA_SET_, (table, change, KEYED), __VA_ARGS__) }; \
    /* An undefined symbol of this kind at link time: the change is missing in LATERNA_CHANGES. */ \
    static uint32_t change##__is_missing_in_LATERNA_CHANGES(void); \
    __attribute__((unused)) static inline void change##__put(laterna_changes *changes, struct change row) { \
        laterna_add_change(changes, change##__is_missing_in_LATERNA_CHANGES(), (const laterna_value *)&row, \
                           sizeof row / sizeof(laterna_value)); \
    } \
    LATERNA_PUT_OVERLOAD_(change) \
    static const laterna_projection_types_shape_t change##__shape = { LATERNA_STRING_(table), action_ };
#define LATERNA_WHOLE_KEY_(table, change) \
    _Static_assert(change##__keyed == sizeof(struct table##__keys), "name every column of the key of " #table " in " #change);
#define LATERNA_WHOLE_ROW_(table, change, ...) \
    _Static_assert(table##__needed == 0 LATERNA_EACH_(LATERNA_SET_, (table, change, GIVEN), __VA_ARGS__), \
                   "a new row of " #table " needs every column that takes no NULL in " #change);
#define LATERNA_ASSIGNMENTS_(table, change, ...) \
    static const laterna_projection_types_assignment_t change##__set[] = { \
        LATERNA_EACH_(LATERNA_SET_, (table, change, ASSIGN), __VA_ARGS__) };
#define LATERNA_ACTION_(action) LATERNA_PROJECTION_TYPES_ACTION_##action

// Insert the row, or combine it with the stored one.
#define LATERNA_UPSERT(table, change, ...) \
    LATERNA_ASSIGNMENTS_(table, change, __VA_ARGS__) \
    LATERNA_CHANGE_(table, change, { LATERNA_ACTION_(UPSERT) LATERNA_COMMA_ .val.upsert = LATERNA_LIST_(change##__set) }, __VA_ARGS__) \
    LATERNA_WHOLE_KEY_(table, change) LATERNA_WHOLE_ROW_(table, change, __VA_ARGS__)
// Combine with the stored row; nothing where there is none.
#define LATERNA_UPDATE(table, change, ...) \
    LATERNA_ASSIGNMENTS_(table, change, __VA_ARGS__) \
    LATERNA_CHANGE_(table, change, { LATERNA_ACTION_(UPDATE) LATERNA_COMMA_ .val.update = LATERNA_LIST_(change##__set) }, __VA_ARGS__) \
    LATERNA_WHOLE_KEY_(table, change)
// Insert the row; nothing where there is one.
#define LATERNA_INSERT(table, change, ...) \
    static const projection_string_t change##__set[] = { LATERNA_EACH_(LATERNA_SET_, (table, change, PLAIN), __VA_ARGS__) }; \
    LATERNA_CHANGE_(table, change, { LATERNA_ACTION_(INSERT) LATERNA_COMMA_ .val.insert = LATERNA_LIST_(change##__set) }, __VA_ARGS__) \
    LATERNA_WHOLE_KEY_(table, change) LATERNA_WHOLE_ROW_(table, change, __VA_ARGS__)
// Delete the row.
#define LATERNA_DELETE(table, change, ...) \
    LATERNA_CHANGE_(table, change, { LATERNA_ACTION_(DELETE) LATERNA_COMMA_ .val.delete_prefix = 0 }, __VA_ARGS__) LATERNA_WHOLE_KEY_(table, change)
// Delete all rows under the leading columns of the key.
#define LATERNA_DELETE_PREFIX(table, change, ...) \
    LATERNA_CHANGE_(table, change, { LATERNA_ACTION_(DELETE_PREFIX) LATERNA_COMMA_ .val.delete_prefix = change##__keyed }, __VA_ARGS__)
#define LATERNA_COMMA_ ,

// A topic, by its name; beside it `.key = LATERNA_BINARY`, `.value = LATERNA_BINARY`, `.headers = LATERNA_NAMES("trace-id")`.
#define LATERNA_TOPIC(topic, ...) { .name = { (uint8_t *)topic, sizeof topic - 1 } __VA_OPT__(, ) __VA_ARGS__ }
// Keys or values are binary, like Avro or Protobuf: never checked for being text.
#define LATERNA_BINARY LATERNA_PROJECTION_TYPES_ENCODING_BYTES
#define LATERNA_NAME_(context, text) { (uint8_t *)text, sizeof text - 1 },
#define LATERNA_NAMES(...) LATERNA_TEXTS_(LATERNA_INNER_(LATERNA_NAME_, , __VA_ARGS__))

// Lists of LATERNA_PROJECTION.
#define LATERNA_TOPICS(...) __VA_ARGS__
#define LATERNA_TABLES(...) __VA_ARGS__
#define LATERNA_CHANGES(...) __VA_ARGS__
#define LATERNA_NUMBER_(context, change) change##__number,
#define LATERNA_INDEX_OF_(context, change) \
    __attribute__((unused)) static inline uint32_t change##__is_missing_in_LATERNA_CHANGES(void) { return change##__number; }
#define LATERNA_ONE_(context, item) +1
#define LATERNA_TABLE_OF_(context, table) tables[table_count++] = table##__table;
#define LATERNA_SHAPE_OF_(context, change) shapes[shape_count++] = change##__shape;

// Declares the projection, once: its name; its revision, raised when the meaning of the rows changes, so that they are
// rebuilt; LATERNA_TOPICS(..), LATERNA_TABLES(..), LATERNA_CHANGES(..).
#define LATERNA_PROJECTION(name_, revision_, topics_, tables_, changes_) \
    enum { LATERNA_EACH_(LATERNA_NUMBER_, , changes_) laterna_change_count_ }; \
    LATERNA_EACH_(LATERNA_INDEX_OF_, , changes_) \
    static laterna_projection_types_topic_t laterna_topics_[] = { topics_ }; \
    const projection_descriptor_t *laterna_describe(void) { \
        static laterna_projection_types_table_t tables[0 LATERNA_EACH_(LATERNA_ONE_, , tables_)]; \
        static laterna_projection_types_shape_t shapes[laterna_change_count_]; \
        static projection_descriptor_t descriptor; \
        size_t table_count = 0, shape_count = 0; \
        LATERNA_EACH_(LATERNA_TABLE_OF_, , tables_) \
        LATERNA_EACH_(LATERNA_SHAPE_OF_, , changes_) \
        descriptor = (projection_descriptor_t){ .name = LATERNA_STRING_(name_), .revision = revision_, \
            .topics = LATERNA_LIST_(laterna_topics_), .tables = { tables, table_count }, .shapes = { shapes, shape_count } }; \
        return &descriptor; \
    }

// What LATERNA_PROJECTION defines, and the engine asks for.
#ifdef __cplusplus
extern "C"
#endif
const projection_descriptor_t *laterna_describe(void);

#endif
