// laterna.c: what stands behind laterna.h. Hides the memory of a batch, the four functions of the contract's ABI, exact
// decimals, the calendar, and a JSON reader.
//
// Invariants: an instance has one thread and lives for one batch, so `batch` memory is never given back; nothing here
// rounds, wraps or cuts a number; a fault, once there, stays. The structs of bindings/projection.h are on wasm32 what the
// component model's canonical ABI lays out, so events are read and changes are answered where they stand.
#include "laterna.h"
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef laterna_projection_types_change_t change;
typedef laterna_projection_types_payload_t payload;

// ---- Memory of the batch ----

enum { GRAIN = 16, RUN = 64 << 10 };
static struct { char *at; size_t left; } batch;

void *laterna_alloc(size_t size) {
    size_t whole = (size + GRAIN - 1) & ~(size_t)(GRAIN - 1);
    if (whole < size) laterna_panic("%zu bytes of memory wanted", size);
    if (whole > batch.left) {
        // What is large gets a piece of its own, and the run goes on behind it.
        size_t run = whole > RUN / 4 ? whole : RUN;
        char *fresh = malloc(run + GRAIN);
        if (!fresh) laterna_panic("out of memory: %zu bytes wanted", size);
        fresh += -(uintptr_t)fresh & (GRAIN - 1);
        if (run == whole) return fresh;
        batch.at = fresh;
        batch.left = run;
    }
    void *piece = batch.at;
    batch.at += whole;
    batch.left -= whole;
    return piece;
}

static laterna_str format(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (size < 0) return laterna_str_of("(a message that printf cannot make)");
    char *text = laterna_alloc((size_t)size + 1);
    vsnprintf(text, (size_t)size + 1, format, arguments);
    return (laterna_str){ text, (size_t)size };
}

laterna_str laterna_format(const char *text, ...) {
    va_list arguments;
    va_start(arguments, text);
    laterna_str made = format(text, arguments);
    va_end(arguments);
    return made;
}

bool laterna_same(laterna_str left, laterna_str right) {
    return left.at && right.at && left.size == right.size && memcmp(left.at, right.at, left.size) == 0;
}

// ---- Log ----

#ifdef __wasm__
__attribute__((import_module("laterna:projection/log@0.1.0"), import_name("write")))
void laterna_log_write_(int32_t level, const char *at, size_t size);
#else
static void laterna_log_write_(int32_t level, const char *at, size_t size) {
    fprintf(stderr, "%d: %.*s\n", (int)level, (int)size, at);
}
#endif

void laterna_log(laterna_level level, const char *line, ...) {
    va_list arguments;
    va_start(arguments, line);
    laterna_str text = format(line, arguments);
    va_end(arguments);
    laterna_log_write_((int32_t)level, text.at, text.size);
}

void laterna_panic_at(const char *file, int line, const char *reason, ...) {
    // No memory of the batch: it may be what has run out.
    char text[600];
    int size = snprintf(text, sizeof text, "panicked at %.200s:%d: ", file, line);
    va_list arguments;
    va_start(arguments, reason);
    int rest = vsnprintf(text + size, sizeof text - (size_t)size, reason, arguments);
    va_end(arguments);
    size_t whole = (size_t)size + (rest > 0 ? (size_t)rest : 0);
    laterna_log_write_(LATERNA_ERROR, text, whole < sizeof text ? whole : sizeof text - 1);
    __builtin_trap();
}

// ---- One event ----

typedef struct {
    laterna_kind kind;
    uint32_t parent, next, count; // next: the index behind its subtree
    bool flag;
    laterna_str name, text, source;
} node;

struct laterna_changes {
    laterna_str topic;
    int32_t partition;
    change *at;
    size_t count, room;
    enum { FINE, REJECT, HALT } fault;
    laterna_str reason;
    // All documents of the event, one behind the other; the memory serves the next event too.
    node *nodes;
    uint32_t node_count, node_room;
};

static void fail(laterna_changes *changes, int fault, laterna_str reason) {
    if ((int)changes->fault >= fault) return;
    changes->fault = fault;
    changes->reason = reason;
}

void laterna_reject(laterna_changes *changes, const char *reason, ...) {
    if (changes->fault != FINE) return;
    va_list arguments;
    va_start(arguments, reason);
    fail(changes, REJECT, format(reason, arguments));
    va_end(arguments);
}

void laterna_halt(laterna_changes *changes, const char *reason, ...) {
    va_list arguments;
    va_start(arguments, reason);
    fail(changes, HALT, format(reason, arguments));
    va_end(arguments);
}

bool laterna_failed(const laterna_changes *changes) { return changes->fault != FINE; }

void laterna_add_change(laterna_changes *changes, uint32_t shape, const laterna_value *values, size_t count) {
    if (changes->fault != FINE) return;
    if (changes->count == changes->room) {
        size_t room = changes->room ? 2 * changes->room : 8;
        change *at = laterna_alloc(room * sizeof *at);
        if (changes->count) memcpy(at, changes->at, changes->count * sizeof *at);
        changes->at = at;
        changes->room = room;
    }
    laterna_value *copy = laterna_alloc(count * sizeof *copy);
    memcpy(copy, values, count * sizeof *copy);
    changes->at[changes->count++] = (change){ shape, { copy, count } };
}

laterna_str laterna_topic(const laterna_changes *changes) { return changes->topic; }
int32_t laterna_partition(const laterna_changes *changes) { return changes->partition; }

static laterna_str bytes_of(const payload *payload) {
    // Both cases are a pointer and a size. An empty one may come with any pointer, but never as none.
    laterna_str bytes = { (const char *)payload->val.bytes.ptr, payload->val.bytes.len };
    return bytes.size && bytes.at ? bytes : (laterna_str){ "", 0 };
}
static bool is_text(const payload *payload) { return payload->tag == LATERNA_PROJECTION_TYPES_PAYLOAD_TEXT; }

laterna_str laterna_key(const laterna_event *event) {
    return event->key.is_some ? bytes_of(&event->key.val) : (laterna_str){ 0 };
}

laterna_str laterna_key_text(const laterna_event *event, laterna_changes *changes) {
    laterna_str key = laterna_key(event);
    if (key.at && is_text(&event->key.val)) return key;
    if (key.at) laterna_reject(changes, "the key is not UTF-8 text (%zu bytes)", key.size);
    else laterna_reject(changes, "the event has no key");
    return (laterna_str){ 0 };
}

laterna_str laterna_bytes_of(const laterna_event *event) {
    return event->value.is_some ? bytes_of(&event->value.val) : (laterna_str){ 0 };
}

laterna_str laterna_text_of(const laterna_event *event, laterna_changes *changes) {
    laterna_str value = laterna_bytes_of(event);
    if (!value.at || is_text(&event->value.val)) return value;
    laterna_reject(changes, "the value is not UTF-8 text (%zu bytes)", value.size);
    return (laterna_str){ 0 };
}

laterna_str laterna_header(const laterna_event *event, const char *name) {
    for (size_t i = event->headers.len; i-- > 0;) {
        const laterna_projection_types_header_t *header = &event->headers.ptr[i];
        if (laterna_is((laterna_str){ (const char *)header->name.ptr, header->name.len }, name))
            return header->value.is_some ? bytes_of(&header->value.val) : (laterna_str){ 0 };
    }
    return (laterna_str){ 0 };
}

// ---- The contract's functions ----

static void answer(laterna_changes *changes, const laterna_event *event, projection_outcome_t *outcome) {
    changes->at = NULL;
    changes->count = changes->room = 0;
    changes->fault = FINE;
    changes->node_count = 0;
    laterna_apply(event, changes);
    projection_string_t reason = { (uint8_t *)changes->reason.at, changes->reason.size };
    switch (changes->fault) {
        case FINE:
            outcome->tag = LATERNA_PROJECTION_TYPES_OUTCOME_CHANGES;
            outcome->val.changes = (laterna_projection_types_list_change_t){ changes->at, changes->count };
            return;
        case REJECT: outcome->tag = LATERNA_PROJECTION_TYPES_OUTCOME_REJECT; outcome->val.reject = reason; return;
        case HALT: outcome->tag = LATERNA_PROJECTION_TYPES_OUTCOME_HALT; outcome->val.halt = reason; return;
    }
}

#ifdef __wasm__
#define EXPORT(name) __attribute__((export_name(name)))
#else
#define EXPORT(name)
#endif
// The names are not those of the exports, which are words that an author may want.
const projection_descriptor_t *laterna_export_describe(void);
const projection_list_outcome_t *laterna_export_apply(char *topic, size_t topic_size, int32_t partition, laterna_event *events, size_t count);
void *laterna_export_realloc(void *old, size_t old_size, size_t align, size_t size);

EXPORT("describe") const projection_descriptor_t *laterna_export_describe(void) { return laterna_describe(); }

EXPORT("apply") const projection_list_outcome_t *laterna_export_apply(char *topic, size_t topic_size, int32_t partition, laterna_event *events, size_t count) {
    static projection_list_outcome_t outcomes;
    static laterna_changes changes;
    changes.topic = (laterna_str){ topic, topic_size };
    changes.partition = partition;
    outcomes.ptr = laterna_alloc(count * sizeof *outcomes.ptr);
    outcomes.len = count;
    for (size_t i = 0; i < count; i++) answer(&changes, &events[i], &outcomes.ptr[i]);
    return &outcomes;
}

// The host puts the batch here.
EXPORT("cabi_realloc") void *laterna_export_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    void *piece = laterna_alloc(size);
    if (old_size) memcpy(piece, old, old_size < size ? old_size : size);
    return piece;
}

// ---- Exact decimals ----

enum { SCALE_MAX = 38 };
typedef struct laterna_decimal decimal;
typedef unsigned __int128 u128;
#define I128_MIN ((__int128)((u128)1 << 127))

static __int128 power_of_ten(int exponent) {
    __int128 power = 1;
    while (exponent-- > 0) power *= 10;
    return power;
}

// Why it is no decimal, or NULL.
static const char *parse_decimal(laterna_str text, decimal *number) {
    static const char wrong[] = "a decimal number wanted, like 12.50", large[] = "a decimal number of at most 38 digits wanted";
    const char *at = text.at, *end = at + text.size;
    bool negative = false, point = false;
    if (at < end && (*at == '-' || *at == '+')) negative = *at++ == '-';
    // Negative all the way, because there is one more of those; up to 18 digits fit into 64 bits, which is faster.
    __int128 units = 0;
    int64_t small = 0;
    long places = 0;
    size_t count = 0;
    for (; at < end; at++) {
        if (*at == '.' && !point) { point = true; continue; }
        if (*at < '0' || *at > '9') break;
        int digit = *at - '0';
        if (count < 18) {
            units = small = small * 10 - digit;
        } else if (__builtin_mul_overflow(units, (__int128)10, &units) || __builtin_sub_overflow(units, (__int128)digit, &units)) {
            return large;
        }
        count++;
        places += point;
    }
    if (count == 0) return wrong;
    long exponent = 0;
    if (at < end) {
        if (*at != 'e' && *at != 'E') return wrong;
        bool minus = false;
        if (++at < end && (*at == '-' || *at == '+')) minus = *at++ == '-';
        if (at == end) return wrong;
        for (; at < end; at++) {
            if (*at < '0' || *at > '9') return wrong;
            exponent = exponent * 10 + (*at - '0');
            if (exponent > 100000000) return large;
        }
        if (minus) exponent = -exponent;
    }
    long scale = places - exponent;
    if (units == 0 && scale < 0) scale = 0;
    for (; scale < 0; scale++)
        if (__builtin_mul_overflow(units, (__int128)10, &units)) return large;
    if (scale > SCALE_MAX || (!negative && units == I128_MIN)) return large;
    *number = (decimal){ negative ? units : -units, (int)scale };
    return NULL;
}

static decimal decimal_or_reject(const char *wrong, laterna_str text, decimal number, laterna_changes *changes) {
    if (!wrong) return number;
    laterna_reject(changes, "\"%.*s\": %s", LATERNA_ARGS(text), wrong);
    return (decimal){ 0 };
}

decimal laterna_decimal_of(laterna_str text, laterna_changes *changes) {
    decimal number = { 0 };
    if (!text.at) return number;
    return decimal_or_reject(parse_decimal(text, &number), text, number, changes);
}

static bool units_at(decimal number, int scale, __int128 *units) {
    *units = number.units;
    if (scale == number.scale || number.units == 0) return true;
    return !__builtin_mul_overflow(number.units, power_of_ten(scale - number.scale), units);
}

static decimal too_long(decimal a, const char *operation, laterna_str b, laterna_changes *changes) {
    laterna_str text = laterna_decimal_text(a);
    laterna_reject(changes, "%.*s %s %.*s: more than 38 digits", LATERNA_ARGS(text), operation, LATERNA_ARGS(b));
    return (decimal){ 0 };
}

decimal laterna_plus(decimal a, decimal b, laterna_changes *changes) {
    int scale = a.scale > b.scale ? a.scale : b.scale;
    __int128 left, right, sum;
    if (units_at(a, scale, &left) && units_at(b, scale, &right) && !__builtin_add_overflow(left, right, &sum)) return (decimal){ sum, scale };
    return too_long(a, "plus", laterna_decimal_text(b), changes);
}

decimal laterna_minus(decimal a, decimal b, laterna_changes *changes) {
    int scale = a.scale > b.scale ? a.scale : b.scale;
    __int128 left, right, difference;
    if (units_at(a, scale, &left) && units_at(b, scale, &right) && !__builtin_sub_overflow(left, right, &difference)) return (decimal){ difference, scale };
    return too_long(a, "minus", laterna_decimal_text(b), changes);
}

decimal laterna_times(decimal a, int64_t factor, laterna_changes *changes) {
    __int128 units;
    int64_t small;
    if (a.units == (int64_t)a.units && !__builtin_mul_overflow((int64_t)a.units, factor, &small)) return (decimal){ small, a.scale };
    if (!__builtin_mul_overflow(a.units, (__int128)factor, &units)) return (decimal){ units, a.scale };
    return too_long(a, "times", laterna_format("%lld", (long long)factor), changes);
}

int laterna_compare(decimal a, decimal b) {
    // Whole parts first: what is left is below 10^38, so it can be brought to the other's scale.
    __int128 one_a = power_of_ten(a.scale), one_b = power_of_ten(b.scale);
    __int128 rest_a = a.units % one_a, rest_b = b.units % one_b, whole_a = a.units / one_a, whole_b = b.units / one_b;
    if (whole_a != whole_b) return whole_a < whole_b ? -1 : 1;
    rest_a *= power_of_ten(SCALE_MAX - a.scale);
    rest_b *= power_of_ten(SCALE_MAX - b.scale);
    return rest_a < rest_b ? -1 : rest_a > rest_b;
}

laterna_str laterna_decimal_text(decimal number) {
    char text[48], *at = text + sizeof text;
    u128 rest = number.units < 0 ? -(u128)number.units : (u128)number.units;
    int places = number.scale;
    for (;;) {
        int digit;
        // Division of 128 bits is a slow call.
        if (rest <= UINT64_MAX) digit = (int)((uint64_t)rest % 10), rest = (uint64_t)rest / 10;
        else digit = (int)(rest % 10), rest /= 10;
        *--at = (char)('0' + digit);
        if (places == 1) *--at = '.';
        else if (places == 0 && rest == 0) break;
        if (places > 0) places--;
    }
    if (number.units < 0) *--at = '-';
    size_t size = (size_t)(text + sizeof text - at);
    return (laterna_str){ memcpy(laterna_alloc(size), at, size), size };
}

struct laterna_timestamp_value laterna_timestamp_ms(int64_t millis) {
    int64_t micros;
    if (!__builtin_mul_overflow(millis, (int64_t)1000, &micros)) return laterna_timestamp(micros);
    laterna_str text = laterna_format("%lld000", (long long)millis);
    return (struct laterna_timestamp_value){ laterna_of_str_(LATERNA_TAG_(DECIMAL), text) };
}

// ---- Calendar: proleptic Gregorian, UTC ----

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
int32_t laterna_day_of_millis(int64_t millis) {
    int64_t day = floor_divide(millis, 86400000);
    // 292 million years: far outside of what a date column takes, where the engine says so.
    return day < INT32_MIN ? INT32_MIN : day > INT32_MAX ? INT32_MAX : (int32_t)day;
}
int32_t laterna_day_of_micros(int64_t micros) { return (int32_t)floor_divide(micros, 86400000000); }

// A number of exactly `count` digits, or -1.
static int digits(const char *at, int count) {
    int number = 0;
    for (; count > 0; count--, at++) {
        if (*at < '0' || *at > '9') return -1;
        number = number * 10 + (*at - '0');
    }
    return number;
}

static bool parse_day(const char *text, int64_t *days) {
    if (text[4] != '-' || text[7] != '-') return false;
    int year = digits(text, 4), month = digits(text + 5, 2), day = digits(text + 8, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1) return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > (month == 2 ? 28 + leap : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31)) return false;
    // Years from March, so that the leap day is the last one; 400 of them are 146,097 days.
    int64_t from_march = month > 2 ? year : year - 1, era = floor_divide(from_march, 400), of_era = from_march - era * 400;
    int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    *days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return true;
}

int32_t laterna_days_of(laterna_str text, laterna_changes *changes) {
    int64_t days;
    if (text.at && text.size == 10 && parse_day(text.at, &days)) return (int32_t)days;
    if (text.at) laterna_reject(changes, "\"%.*s\": a day wanted, like 2026-01-31", LATERNA_ARGS(text));
    return 0;
}

static bool parse_instant(laterna_str text, int64_t *micros) {
    int64_t days;
    const char *at = text.at, *end = at + text.size;
    if (text.size < 20 || !parse_day(at, &days) || !strchr("Tt ", at[10]) || at[13] != ':' || at[16] != ':') return false;
    int hour = digits(at + 11, 2), minute = digits(at + 14, 2), second = digits(at + 17, 2);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return false;
    int64_t fraction = 0, weight = 100000;
    at += 19;
    if (*at == '.') {
        const char *first = ++at;
        for (; at < end && *at >= '0' && *at <= '9'; at++, weight /= 10) fraction += weight * (*at - '0');
        if (at == first) return false;
    }
    int64_t offset = 0;
    if (end - at == 6 && (*at == '+' || *at == '-') && at[3] == ':') {
        int hours = digits(at + 1, 2), minutes = digits(at + 4, 2);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return false;
        offset = (*at == '-' ? -1 : 1) * (hours * 60 + minutes);
    } else if (end - at != 1 || (*at != 'Z' && *at != 'z')) {
        return false;
    }
    *micros = (((days * 1440 + hour * 60 + minute - offset) * 60 + second) * 1000000) + fraction;
    return true;
}

int64_t laterna_micros_of(laterna_str text, laterna_changes *changes) {
    int64_t micros;
    if (text.at && parse_instant(text, &micros)) return micros;
    if (text.at) laterna_reject(changes, "\"%.*s\": an instant wanted, like 2026-01-31T12:00:00Z (RFC 3339)", LATERNA_ARGS(text));
    return 0;
}

// ---- JSON ----

enum { DEPTH_MAX = 128, NO_PARENT = UINT32_MAX };
typedef struct { laterna_changes *changes; const char *start, *at, *end; const char *wrong; } reader;

static bool broken(reader *r, const char *wrong) {
    if (!r->wrong) r->wrong = wrong;
    return false;
}

static void space(reader *r) {
    const char *at = r->at, *end = r->end;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
    r->at = at;
}

// Where a text first has a quote, a backslash or a control character. Eight bytes at a time: in the sandbox each turn of a loop looks
// whether time is up.
static const char *end_of_plain(const char *at, const char *end) {
    const uint64_t each = 0x0101010101010101, top = 0x80 * each;
    for (; end - at >= 8; at += 8) {
        uint64_t bytes;
        memcpy(&bytes, at, 8);
        uint64_t quote = bytes ^ each * '"', slash = bytes ^ each * '\\';
        // The lowest mark is right: a byte that is less only borrows from those above it.
        uint64_t marks = (((quote - each) & ~quote) | ((slash - each) & ~slash) | ((bytes - each * 0x20) & ~bytes)) & top;
        if (marks) return at + __builtin_ctzll(marks) / 8;
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++;
    return at;
}

static int hexadecimal(reader *r) {
    int number = 0;
    if (r->end - r->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = *r->at++, digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        number = number * 16 + digit;
    }
    return number;
}

static char *utf8(char *to, uint32_t c) {
    if (c < 0x80) return *to++ = (char)c, to;
    if (c < 0x800) return *to++ = (char)(0xC0 | c >> 6), *to++ = (char)(0x80 | (c & 63)), to;
    if (c < 0x10000) *to++ = (char)(0xE0 | c >> 12);
    else *to++ = (char)(0xF0 | c >> 18), *to++ = (char)(0x80 | (c >> 12 & 63));
    return *to++ = (char)(0x80 | (c >> 6 & 63)), *to++ = (char)(0x80 | (c & 63)), to;
}

static bool read_text(reader *r, laterna_str *text) {
    if (r->at >= r->end || *r->at != '"') return broken(r, "a text expected");
    const char *first = ++r->at;
    r->at = end_of_plain(first, r->end);
    if (r->at < r->end && *r->at == '"') {
        *text = (laterna_str){ first, (size_t)(r->at++ - first) };
        return true;
    }
    // From the first escape on it is copied: no longer than what is left up to the closing quote.
    const char *close = r->at;
    while (close < r->end && *close != '"') close += *close == '\\' ? 2 : 1;
    if (close >= r->end) return broken(r, "a text without end");
    char *copy = laterna_alloc((size_t)(close - first) + 1), *to = copy;
    memcpy(to, first, (size_t)(r->at - first));
    to += r->at - first;
    while (r->at < close) {
        unsigned char c = (unsigned char)*r->at++;
        if (c < 0x20) return broken(r, "a control character in a text");
        if (c != '\\') { *to++ = (char)c; continue; }
        switch (c = (unsigned char)*r->at++) {
            case '"': case '\\': case '/': *to++ = (char)c; break;
            case 'b': *to++ = '\b'; break;
            case 'f': *to++ = '\f'; break;
            case 'n': *to++ = '\n'; break;
            case 'r': *to++ = '\r'; break;
            case 't': *to++ = '\t'; break;
            case 'u': {
                int unit = hexadecimal(r);
                if (unit < 0) return broken(r, "four hexadecimal digits expected");
                if (unit >= 0xD800 && unit < 0xE000) {
                    bool high = unit < 0xDC00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u';
                    if (!high) return broken(r, "half of a surrogate pair");
                    r->at += 2;
                    int low = hexadecimal(r);
                    if (low < 0xDC00 || low > 0xDFFF) return broken(r, "half of a surrogate pair");
                    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                }
                to = utf8(to, (uint32_t)unit);
                break;
            }
            default: return broken(r, "an unknown escape");
        }
    }
    if (r->at != close) return broken(r, "a text without end");
    r->at++;
    *text = (laterna_str){ copy, (size_t)(to - copy) };
    return true;
}

static bool some_digits(reader *r) {
    const char *at = r->at, *end = r->end;
    while (at < end && *at >= '0' && *at <= '9') at++;
    bool some = at > r->at;
    r->at = at;
    return some || broken(r, "a digit expected");
}

static bool read_number(reader *r) {
    if (*r->at == '-') r->at++;
    if (r->at < r->end && *r->at == '0') r->at++;
    else if (!some_digits(r)) return false;
    if (r->at < r->end && *r->at == '.' && (r->at++, !some_digits(r))) return false;
    if (r->at < r->end && (*r->at | 32) == 'e') {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-')) r->at++;
        return some_digits(r);
    }
    return true;
}

static bool word(reader *r, const char *expected) {
    size_t size = strlen(expected);
    if ((size_t)(r->end - r->at) < size || memcmp(r->at, expected, size) != 0) return broken(r, "a value expected");
    r->at += size;
    return true;
}

static bool read_value(reader *r, uint32_t parent, laterna_str name, int depth) {
    laterna_changes *of = r->changes;
    space(r);
    if (r->at >= r->end) return broken(r, "the text ends too early");
    if (depth > (int)DEPTH_MAX) return broken(r, "nested more than 128 deep");
    if (of->node_count == of->node_room) {
        uint32_t room = of->node_room ? 2 * of->node_room : 64;
        node *nodes = realloc(of->nodes, room * sizeof *nodes);
        if (!nodes) laterna_panic("out of memory: %u JSON values", room);
        of->nodes = nodes;
        of->node_room = room;
    }
    uint32_t me = of->node_count++, count = 0;
    const char *first = r->at;
    laterna_kind kind;
    laterna_str text = { 0 };
    bool flag = false;
    // Its name and parent must stand before its children ask for them; the rest follows.
    of->nodes[me] = (node){ .parent = parent, .name = name };
    switch (*first) {
        case '"':
            kind = LATERNA_TEXT;
            if (!read_text(r, &text)) return false;
            break;
        case '{': case '[': {
            kind = *first == '{' ? LATERNA_OBJECT : LATERNA_LIST;
            char close = *first == '{' ? '}' : ']';
            r->at++;
            space(r);
            if (r->at < r->end && *r->at == close) { r->at++; break; }
            for (;; count++) {
                laterna_str field = { 0 };
                if (kind == LATERNA_OBJECT) {
                    space(r);
                    if (!read_text(r, &field)) return false;
                    space(r);
                    if (r->at >= r->end || *r->at != ':') return broken(r, "':' expected");
                    r->at++;
                }
                if (!read_value(r, me, field, depth + 1)) return false;
                space(r);
                if (r->at >= r->end) return broken(r, "the text ends too early");
                if (*r->at == close) { r->at++; count++; break; }
                if (*r->at != ',') return broken(r, kind == LATERNA_OBJECT ? "',' or '}' expected" : "',' or ']' expected");
                r->at++;
            }
            break;
        }
        case 't': kind = LATERNA_BOOLEAN; flag = true; if (!word(r, "true")) return false; break;
        case 'f': kind = LATERNA_BOOLEAN; if (!word(r, "false")) return false; break;
        case 'n': kind = LATERNA_NULL; if (!word(r, "null")) return false; break;
        default:
            kind = LATERNA_NUMBER;
            if (*first != '-' && (*first < '0' || *first > '9')) return broken(r, "a value expected");
            if (!read_number(r)) return false;
    }
    node *it = &of->nodes[me];
    it->kind = kind;
    it->flag = flag;
    it->count = count;
    it->next = of->node_count;
    it->text = text;
    it->source = (laterna_str){ first, (size_t)(r->at - first) };
    return true;
}

laterna_json laterna_json_parse(laterna_str text, laterna_changes *changes) {
    laterna_json nothing = { 0 }, json = { changes, changes->node_count };
    if (!text.at) return nothing;
    reader r = { changes, text.at, text.at, text.at + text.size, NULL };
    bool whole = read_value(&r, NO_PARENT, (laterna_str){ 0 }, 0);
    if (whole) {
        space(&r);
        whole = r.at == r.end || broken(&r, "more text behind the value");
    }
    if (whole) return json;
    laterna_reject(changes, "the value is not JSON: %s at byte %zu", r.wrong, (size_t)(r.at - r.start));
    return nothing;
}

laterna_json laterna_json_of(const laterna_event *event, laterna_changes *changes) {
    if (laterna_is_tombstone(event)) laterna_reject(changes, "the value is not JSON: the event is a tombstone");
    return laterna_json_parse(laterna_text_of(event, changes), changes);
}

static const node *node_of(laterna_json json) { return json.of ? &json.of->nodes[json.index] : NULL; }

// Where a value stands: "items[1].quantity".
static laterna_str path(laterna_json json, const char *field) {
    laterna_str made = laterna_format("%s", field ? field : "");
    for (const node *it = node_of(json); it && it->parent != NO_PARENT; json.index = it->parent, it = node_of(json)) {
        const node *parent = &json.of->nodes[it->parent];
        const char *dot = made.size && made.at[0] != '[' ? "." : "";
        if (parent->kind == LATERNA_LIST || !it->name.at) {
            uint32_t position = 0;
            for (uint32_t sibling = it->parent + 1; sibling != json.index; sibling = json.of->nodes[sibling].next) position++;
            made = laterna_format("[%u]%s%.*s", position, dot, LATERNA_ARGS(made));
        } else {
            made = laterna_format("%.*s%s%.*s", LATERNA_ARGS(it->name), dot, LATERNA_ARGS(made));
        }
    }
    return made.size ? made : laterna_str_of("the value");
}

// Rejects the event, unless there is nothing because of an earlier fault.
static void wrong(laterna_json json, const char *field, const char *wanted) {
    if (!json.of || json.of->fault != FINE) return;
    laterna_str place = path(json, field);
    laterna_reject(json.of, "%.*s: %s", LATERNA_ARGS(place), wanted);
}

laterna_kind laterna_kind_of(laterna_json json) { return json.of ? node_of(json)->kind : LATERNA_NONE; }
uint32_t laterna_count(laterna_json json) { return json.of ? node_of(json)->count : 0; }
laterna_str laterna_name(laterna_json json) { return json.of ? node_of(json)->name : (laterna_str){ 0 }; }
laterna_str laterna_source(laterna_json json) { return json.of ? node_of(json)->source : (laterna_str){ 0 }; }

laterna_json laterna_first(laterna_json json) {
    return laterna_count(json) ? (laterna_json){ json.of, json.index + 1 } : (laterna_json){ 0 };
}

laterna_json laterna_next(laterna_json json) {
    const node *it = node_of(json);
    if (!it || it->parent == NO_PARENT || json.of->nodes[it->parent].next == it->next) return (laterna_json){ 0 };
    return (laterna_json){ json.of, it->next };
}

laterna_json laterna_get(laterna_json object, const char *name) {
    laterna_json hit = { 0 };
    const node *it = node_of(object);
    if (!it || it->kind != LATERNA_OBJECT) return hit;
    size_t size = strlen(name);
    for (uint32_t i = object.index + 1, end = it->next; i != end; i = object.of->nodes[i].next) {
        laterna_str field = object.of->nodes[i].name;
        if (field.size == size && (size == 0 || (field.at[0] == name[0] && memcmp(field.at, name, size) == 0))) hit = (laterna_json){ object.of, i };
    }
    return hit;
}

bool laterna_has(laterna_json object, const char *name) {
    laterna_kind kind = laterna_kind_of(laterna_get(object, name));
    return kind != LATERNA_NONE && kind != LATERNA_NULL;
}

// A field of this kind, or nothing and a reject.
static laterna_json field(laterna_json object, const char *name, const char *wanted) {
    laterna_json json = laterna_get(object, name);
    if (!json.of) wrong(object, name, laterna_kind_of(object) == LATERNA_OBJECT ? wanted : "an object wanted around it");
    return json;
}

laterna_str laterna_as_text(laterna_json json) {
    if (laterna_kind_of(json) == LATERNA_TEXT) return node_of(json)->text;
    wrong(json, NULL, "a text wanted");
    return (laterna_str){ 0 };
}

bool laterna_as_boolean(laterna_json json) {
    if (laterna_kind_of(json) == LATERNA_BOOLEAN) return node_of(json)->flag;
    wrong(json, NULL, "true or false wanted");
    return false;
}

int64_t laterna_as_integer(laterna_json json) {
    if (laterna_kind_of(json) == LATERNA_NUMBER) {
        laterna_str text = node_of(json)->source;
        bool negative = text.at[0] == '-';
        int64_t number = 0;
        size_t i = negative;
        // Up to 18 digits fit; a product that may not is a slow call.
        for (; i < text.size && i < 18 && text.at[i] >= '0' && text.at[i] <= '9'; i++) number = number * 10 - (text.at[i] - '0');
        for (; i < text.size && text.at[i] >= '0' && text.at[i] <= '9'; i++)
            if (__builtin_mul_overflow(number, (int64_t)10, &number) || __builtin_sub_overflow(number, (int64_t)(text.at[i] - '0'), &number)) break;
        if (i == text.size && (negative || number != INT64_MIN)) return negative ? number : -number;
    }
    wrong(json, NULL, "a whole number of 64 bits wanted");
    return 0;
}

double laterna_as_float(laterna_json json) {
    if (laterna_kind_of(json) == LATERNA_NUMBER) {
        laterna_str text = laterna_format("%.*s", (int)node_of(json)->source.size, node_of(json)->source.at);
        return strtod(text.at, NULL);
    }
    wrong(json, NULL, "a number wanted");
    return 0;
}

decimal laterna_as_decimal(laterna_json json) {
    laterna_kind kind = laterna_kind_of(json);
    decimal number = { 0 };
    const char *why = "a decimal number wanted, as text or number";
    if (kind == LATERNA_TEXT) why = parse_decimal(node_of(json)->text, &number);
    if (kind == LATERNA_NUMBER) why = parse_decimal(node_of(json)->source, &number);
    if (!why) return number;
    wrong(json, NULL, why);
    return (decimal){ 0 };
}

bool laterna_get_boolean(laterna_json object, const char *name) { return laterna_as_boolean(field(object, name, "true or false wanted")); }
int64_t laterna_get_integer(laterna_json object, const char *name) { return laterna_as_integer(field(object, name, "a whole number of 64 bits wanted")); }
double laterna_get_float(laterna_json object, const char *name) { return laterna_as_float(field(object, name, "a number wanted")); }
laterna_str laterna_get_text(laterna_json object, const char *name) { return laterna_as_text(field(object, name, "a text wanted")); }
decimal laterna_get_decimal(laterna_json object, const char *name) { return laterna_as_decimal(field(object, name, "a decimal number wanted, as text or number")); }

static laterna_json of_kind(laterna_json object, const char *name, laterna_kind kind, const char *wanted) {
    laterna_json json = field(object, name, wanted);
    if (!json.of || laterna_kind_of(json) == kind) return json;
    wrong(json, NULL, wanted);
    return (laterna_json){ 0 };
}
laterna_json laterna_get_object(laterna_json object, const char *name) { return of_kind(object, name, LATERNA_OBJECT, "an object wanted"); }
laterna_json laterna_get_list(laterna_json object, const char *name) { return of_kind(object, name, LATERNA_LIST, "a list wanted"); }

laterna_str laterna_get_text_or_null(laterna_json object, const char *name) {
    return laterna_has(object, name) ? laterna_get_text(object, name) : (laterna_str){ 0 };
}
