// laterna.hpp: projections in C++20 and later.
//
// Hides the pointers of laterna.h: texts are std::string_view, JSON is indexed and looped over, decimals have operators.
// Tables and changes are declared by the macros of laterna.h, which the README of the C SDK lists; a change is an
// aggregate whose fields are the columns, so that a wrong column or type does not compile.
//
// One fault is enough: the first one is kept, what is asked for afterwards is null, zero or empty, and the engine gets the
// fault instead of the changes. So there are no exceptions, and nothing needs to be checked in between. Texts are not
// copied: what comes from the event and its JSON lives until the batch is answered.
#ifndef LATERNA_HPP
#define LATERNA_HPP

#ifdef __clang__
#pragma clang diagnostic ignored "-Wc99-designator"
#pragma clang diagnostic ignored "-Wc99-extensions"
#pragma clang diagnostic ignored "-Wmissing-field-initializers"
#endif

#include "c/laterna.h"
#include <cstdio>
#include <optional>
#include <string_view>

namespace laterna {

inline laterna_str raw(std::string_view text) { return { text.data() ? text.data() : "", text.size() }; }
inline std::string_view view(laterna_str text) { return { text.at ? text.at : "", text.size }; }
inline std::optional<std::string_view> maybe(laterna_str text) {
    return text.at ? std::optional(view(text)) : std::nullopt;
}

// An exact decimal number: laterna_decimal, with operators. What does not fit rejects the event; nothing is rounded.
class Decimal {
public:
    explicit Decimal(laterna_changes *of, struct laterna_decimal number = {}) : of_(of), number_(number) {}
    Decimal operator+(const Decimal &other) const { return Decimal(of_, laterna_plus(number_, other.number_, of_)); }
    Decimal operator-(const Decimal &other) const { return Decimal(of_, laterna_minus(number_, other.number_, of_)); }
    Decimal operator*(int64_t factor) const { return Decimal(of_, laterna_times(number_, factor, of_)); }
    Decimal &operator+=(const Decimal &other) { return *this = *this + other; }
    Decimal &operator-=(const Decimal &other) { return *this = *this - other; }
    // 1.0 equals 1.00.
    bool operator==(const Decimal &other) const { return laterna_compare(number_, other.number_) == 0; }
    bool operator<(const Decimal &other) const { return laterna_compare(number_, other.number_) < 0; }
    std::string_view text() const { return view(laterna_decimal_text(number_)); }
    struct laterna_decimal raw() const { return number_; }

private:
    laterna_changes *of_;
    struct laterna_decimal number_;
};

// A value of a JSON document, or nothing. What is not as it is asked for rejects the event, with its place.
class Json {
public:
    Json(laterna_changes *of, laterna_json json) : of_(of), json_(json) {}
    laterna_kind kind() const { return laterna_kind_of(json_); }
    // Whether it has a field of this name that is not null.
    bool has(const char *name) const { return laterna_has(json_, name); }
    // The fields of an object, which must be there, as what they must be.
    std::string_view text(const char *name) const { return view(laterna_get_text(json_, name)); }
    std::optional<std::string_view> text_or_null(const char *name) const { return maybe(laterna_get_text_or_null(json_, name)); }
    int64_t integer(const char *name) const { return laterna_get_integer(json_, name); }
    double number(const char *name) const { return laterna_get_float(json_, name); }
    bool boolean(const char *name) const { return laterna_get_boolean(json_, name); }
    Decimal decimal(const char *name) const { return Decimal(of_, laterna_get_decimal(json_, name)); }
    Json object(const char *name) const { return { of_, laterna_get_object(json_, name) }; }
    Json list(const char *name) const { return { of_, laterna_get_list(json_, name) }; }
    // A field, or nothing.
    Json operator[](const char *name) const { return { of_, laterna_get(json_, name) }; }
    // The value itself.
    std::string_view text() const { return view(laterna_as_text(json_)); }
    int64_t integer() const { return laterna_as_integer(json_); }
    double number() const { return laterna_as_float(json_); }
    bool boolean() const { return laterna_as_boolean(json_); }
    Decimal decimal() const { return Decimal(of_, laterna_as_decimal(json_)); }
    // The name of a field in a loop over an object.
    std::string_view name() const { return view(laterna_name(json_)); }
    // Its source text, numbers with all their digits: for columns of type json.
    std::string_view source() const { return view(laterna_source(json_)); }
    uint32_t size() const { return laterna_count(json_); }

    // The items of a list, the fields of an object: for (Json item : items).
    class Iterator {
    public:
        Iterator(laterna_changes *of, laterna_json at) : of_(of), at_(at) {}
        Json operator*() const { return { of_, at_ }; }
        Iterator &operator++() { return at_ = laterna_next(at_), *this; }
        bool operator!=(const Iterator &other) const { return at_.of != other.at_.of || (at_.of && at_.index != other.at_.index); }

    private:
        laterna_changes *of_;
        laterna_json at_;
    };
    Iterator begin() const { return { of_, laterna_first(json_) }; }
    Iterator end() const { return { of_, {} }; }

private:
    laterna_changes *of_;
    laterna_json json_;
};

// What one event gives: its changes, or its fault.
class Changes {
public:
    explicit Changes(laterna_changes *changes) : changes_(changes) {}
    // Adds a change: changes.put(order{ .order_id = text(id), .. });
    template <typename Change> void put(const Change &change) { laterna_put_(changes_, change); }
    // This event is at fault. The first fault counts.
    void reject(std::string_view reason) { laterna_reject(changes_, "%.*s", static_cast<int>(reason.size()), reason.data()); }
    // The projection must not go on.
    void halt(std::string_view reason) { laterna_halt(changes_, "%.*s", static_cast<int>(reason.size()), reason.data()); }
    bool failed() const { return laterna_failed(changes_); }
    // The number 0, to add to.
    Decimal zero() const { return Decimal(changes_); }
    laterna_changes *raw() { return changes_; }

private:
    laterna_changes *changes_;
};

// A CloudEvent: wants format = "cloudevents" for the topic.
struct CloudEvent {
    std::string_view type, source, id;
    // What it is about, and when it happened (RFC 3339).
    std::optional<std::string_view> subject, time;
    std::optional<Json> data;
};
// A change that Debezium saw: wants format = "debezium" for the topic.
struct RowChange {
    // c create, r read in a snapshot, u update, d delete, t truncate, m message; 0 where it has none.
    char op;
    std::optional<Json> before, after;
    // When the database made it, in milliseconds since 1970.
    std::optional<int64_t> ts_ms;
};

// One record of a topic.
class Event {
public:
    Event(const laterna_event *event, laterna_changes *changes) : event_(event), changes_(changes) {}
    int64_t offset() const { return event_->offset; }
    // Milliseconds since 1970; -1: none.
    int64_t timestamp_ms() const { return event_->timestamp_ms; }
    std::string_view topic() const { return view(laterna_topic(changes_)); }
    int32_t partition() const { return laterna_partition(changes_); }
    // Whether it has no value: what its key names is gone.
    bool tombstone() const { return laterna_is_tombstone(event_); }
    std::optional<std::string_view> key() const { return maybe(laterna_key(event_)); }
    // A reject where there is none, or it is not UTF-8.
    std::string_view key_text() const { return view(laterna_key_text(event_, changes_)); }
    std::optional<std::string_view> bytes() const { return maybe(laterna_bytes_of(event_)); }
    std::string_view text() const { return view(laterna_text_of(event_, changes_)); }
    std::optional<std::string_view> header(const char *name) const { return maybe(laterna_header(event_, name)); }
    // The value as JSON. A reject where it is a tombstone, not UTF-8 or not JSON.
    Json json() const { return { changes_, laterna_json_of(event_, changes_) }; }
    // The value as a CloudEvent, or as Debezium's change. Rejects as json() does.
    CloudEvent cloud_event() const {
        auto it = laterna_cloud_event_of(event_, changes_);
        return { view(it.type), view(it.source), view(it.id), maybe(it.subject), maybe(it.time), maybe(it.data) };
    }
    RowChange change() const {
        auto it = laterna_row_change_of(event_, changes_);
        return { it.op, maybe(it.before), maybe(it.after), it.ts_ms < 0 ? std::nullopt : std::optional(it.ts_ms) };
    }

private:
    std::optional<std::string_view> maybe(laterna_str text) const { return laterna::maybe(text); }
    std::optional<Json> maybe(laterna_json json) const { return json.of ? std::optional(Json(changes_, json)) : std::nullopt; }
    const laterna_event *event_;
    laterna_changes *changes_;
};

// Values of columns; nullopt is NULL.
inline laterna_boolean_value boolean(bool flag) { return laterna_boolean(flag); }
inline laterna_integer_value integer(int64_t whole) { return laterna_integer(whole); }
inline laterna_float_value number(double number) { return laterna_float(number); }
inline laterna_decimal_value decimal(const Decimal &number) { return laterna_decimal(number.raw()); }
inline laterna_text_value text(std::string_view text) { return laterna_text(raw(text)); }
inline laterna_text_value text(std::optional<std::string_view> text) { return text ? laterna_text(raw(*text)) : laterna_text_value{}; }
inline laterna_text_value text(const char *text) { return laterna_text(laterna_str_of(text)); }
inline laterna_bytes_value bytes(std::string_view bytes) { return laterna_bytes(raw(bytes)); }
inline laterna_timestamp_value timestamp_us(int64_t micros) { return laterna_timestamp(micros); }
inline laterna_timestamp_value timestamp_ms(int64_t millis) { return laterna_timestamp_ms(millis); }
inline laterna_date_value date(int32_t days) { return laterna_date(days); }
inline laterna_uuid_value uuid(std::string_view text) { return laterna_uuid(raw(text)); }
inline laterna_json_value document(std::string_view text) { return laterna_document(raw(text)); }
// NULL in a column of any type: .total = null.
struct Null { template <typename Value> operator Value() const { return Value{}; } };
inline constexpr Null null{};

// To write: the changes that `event` asks for, or a fault.
void apply(const Event &event, Changes &changes);

} // namespace laterna

extern "C" inline __attribute__((used)) void laterna_apply(const laterna_event *event, laterna_changes *changes) {
    laterna::Changes out(changes);
    laterna::apply(laterna::Event(event, changes), out);
}

#endif
