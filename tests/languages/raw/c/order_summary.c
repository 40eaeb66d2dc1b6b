// order_summary on what wit-bindgen generates, without the SDK: what the SDK is measured against (tests/languages/run). C++ has the
// same bindings, so it stands for that SDK, too.
//
// C has neither JSON nor decimals. Those of the SDK are taken, as the reader is not what is compared: the file is included whole, and
// what it exports is not exported here.
#define export_name(name) unused
#include "../../../../plugins/sdk/c/laterna.c"
#undef export_name
const projection_descriptor_t *laterna_describe(void) { return NULL; }
void laterna_apply(const laterna_event *event, laterna_changes *changes) { (void)event, (void)changes; }

// The types of the contract are embedded by the engine, so nothing has to be linked for them.
void __component_type_object_force_link_projection(void) {}

typedef laterna_projection_types_value_t value;
typedef projection_outcome_t outcome;
#define VALUE(type) LATERNA_PROJECTION_TYPES_VALUE_##type
enum { ORDER, CANCELLED, ORDER_ERASED, ITEM, ITEMS_ERASED };

static projection_string_t copied(laterna_str text) {
    projection_string_t copy;
    projection_string_dup_n(&copy, text.at, text.size);
    return copy;
}
static value text(laterna_str text) { return (value){ .tag = VALUE(TEXT), .val.text = copied(text) }; }
static value integer(int64_t whole) { return (value){ .tag = VALUE(INTEGER), .val.integer = whole }; }
static value money(decimal number) { return (value){ .tag = VALUE(DECIMAL), .val.decimal = copied(laterna_decimal_text(number)) }; }

static void room(outcome *outcome, size_t changes) {
    outcome->tag = LATERNA_PROJECTION_TYPES_OUTCOME_CHANGES;
    outcome->val.changes = (laterna_projection_types_list_change_t){ malloc(changes * sizeof(change)), 0 };
}
static void add(outcome *outcome, uint32_t shape, size_t count, const value *values) {
    change *it = &outcome->val.changes.ptr[outcome->val.changes.len++];
    it->shape = shape;
    it->values.len = count;
    it->values.ptr = malloc(count * sizeof *values);
    memcpy(it->values.ptr, values, count * sizeof *values);
}
#define ADD(outcome, shape, ...) add(outcome, shape, sizeof((value[]){ __VA_ARGS__ }) / sizeof(value), (value[]){ __VA_ARGS__ })

static void stands(const laterna_event *event, laterna_json json, const char *status, laterna_changes *changes, outcome *outcome) {
    laterna_str id = laterna_get_text(json, "order_id"), customer = laterna_get_text_or_null(json, "customer_id");
    int64_t placed_at, item_count = 0;
    if (__builtin_mul_overflow(laterna_get_integer(json, "placed_at_ms"), (int64_t)1000, &placed_at)) laterna_reject(changes, "placed_at_ms: too far off");
    laterna_json items = laterna_get_list(json, "items");
    decimal total = { 0 };
    struct { laterna_str sku; int64_t quantity; decimal price; } *lines = malloc((laterna_count(items) + 1) * sizeof *lines);
    size_t count = 0;
    laterna_each(it, items) {
        lines[count].sku = laterna_get_text(it, "sku");
        int64_t quantity = lines[count].quantity = laterna_get_integer(it, "quantity");
        decimal price = lines[count++].price = laterna_get_decimal(it, "unit_price");
        if (__builtin_add_overflow(item_count, quantity, &item_count)) laterna_reject(changes, "too many items");
        total = laterna_plus(total, laterna_times(price, quantity, changes), changes);
    }
    if (!laterna_failed(changes)) {
        room(outcome, 2 + count);
        ADD(outcome, ORDER, text(id), customer.at ? text(customer) : (value){ .tag = VALUE(NULL) }, text(laterna_str_of(status)), integer(item_count),
            money(total), { .tag = VALUE(TIMESTAMP), .val.timestamp = placed_at }, integer(event->offset));
        ADD(outcome, ITEMS_ERASED, text(id));
        for (size_t i = 0; i < count; i++)
            ADD(outcome, ITEM, text(id), integer((int64_t)i), text(lines[i].sku), integer(lines[i].quantity), money(lines[i].price));
    }
    free(lines);
}

static void apply(const laterna_event *event, laterna_changes *changes, outcome *outcome) {
    if (laterna_is_tombstone(event)) {
        laterna_str id = laterna_key_text(event, changes);
        if (laterna_failed(changes)) return;
        room(outcome, 2);
        ADD(outcome, ORDER_ERASED, text(id));
        ADD(outcome, ITEMS_ERASED, text(id));
        return;
    }
    laterna_json json = laterna_json_of(event, changes);
    laterna_str type = laterna_get_text(json, "type");
    if (laterna_is(type, "order.placed")) return stands(event, json, "placed", changes, outcome);
    if (laterna_is(type, "order.updated")) return stands(event, json, "updated", changes, outcome);
    if (!laterna_is(type, "order.cancelled")) return room(outcome, 0);
    laterna_str id = laterna_get_text(json, "order_id");
    if (laterna_failed(changes)) return;
    room(outcome, 1);
    ADD(outcome, CANCELLED, text(id), text(laterna_str_of("cancelled")), integer(event->offset));
}

void exports_projection_apply(projection_batch_t *batch, projection_list_outcome_t *outcomes) {
    laterna_changes changes = { 0 };
    outcomes->len = batch->events.len;
    outcomes->ptr = malloc(outcomes->len * sizeof *outcomes->ptr);
    for (size_t i = 0; i < batch->events.len; i++) {
        // One document at a time; the reader's memory serves the next one.
        changes.node_count = 0;
        changes.fault = FINE;
        outcome *outcome = &outcomes->ptr[i];
        apply(&batch->events.ptr[i], &changes, outcome);
        if (laterna_failed(&changes)) {
            outcome->tag = LATERNA_PROJECTION_TYPES_OUTCOME_REJECT;
            outcome->val.reject = copied(changes.reason);
        }
    }
    free(changes.nodes);
    projection_batch_free(batch);
}

// ---- The descriptor ----

static projection_string_t named(const char *text) {
    projection_string_t copy;
    projection_string_dup(&copy, text);
    return copy;
}
static void *kept(const void *items, size_t size) { return memcpy(malloc(size), items, size); }
#define LIST(type, ...) { kept((type[]){ __VA_ARGS__ }, sizeof((type[]){ __VA_ARGS__ })), sizeof((type[]){ __VA_ARGS__ }) / sizeof(type) }
#define TYPE(name) LATERNA_PROJECTION_TYPES_COLUMN_TYPE_##name
#define SET(name) { named(name), LATERNA_PROJECTION_TYPES_OPERATION_SET }
#define MAX(name) { named(name), LATERNA_PROJECTION_TYPES_OPERATION_MAX }

void exports_projection_describe(projection_descriptor_t *it) {
    typedef laterna_projection_types_column_t column;
    typedef laterna_projection_types_assignment_t assignment;
    *it = (projection_descriptor_t){
        .name = named("order_summary"),
        .revision = 1,
        .topics = LIST(laterna_projection_types_topic_t, { .name = named("orders"), LATERNA_PROJECTION_TYPES_ENCODING_TEXT, LATERNA_PROJECTION_TYPES_ENCODING_TEXT }),
        .tables = LIST(laterna_projection_types_table_t,
            { .name = named("orders"),
              .columns = LIST(column, { named("order_id"), TYPE(TEXT), false }, { named("customer_id"), TYPE(TEXT), true },
                  { named("status"), TYPE(TEXT), false }, { named("item_count"), TYPE(INTEGER), false }, { named("total"), TYPE(DECIMAL), false },
                  { named("placed_at"), TYPE(TIMESTAMP), false }, { named("last_offset"), TYPE(INTEGER), false }),
              .primary_key = LIST(projection_string_t, named("order_id")),
              .indexes = LIST(laterna_projection_types_index_t,
                  { LIST(projection_string_t, named("customer_id"), named("placed_at")), LATERNA_PROJECTION_TYPES_INDEX_KIND_ORDERED }) },
            { .name = named("order_items"),
              .columns = LIST(column, { named("order_id"), TYPE(TEXT), false }, { named("line"), TYPE(INTEGER), false },
                  { named("sku"), TYPE(TEXT), false }, { named("quantity"), TYPE(INTEGER), false }, { named("unit_price"), TYPE(DECIMAL), false }),
              .primary_key = LIST(projection_string_t, named("order_id"), named("line")) }),
        .shapes = LIST(laterna_projection_types_shape_t,
            { named("orders"), { LATERNA_PROJECTION_TYPES_ACTION_UPSERT, .val.upsert = LIST(assignment, SET("customer_id"), SET("status"),
                SET("item_count"), SET("total"), SET("placed_at"), MAX("last_offset")) } },
            { named("orders"), { LATERNA_PROJECTION_TYPES_ACTION_UPDATE, .val.update = LIST(assignment, SET("status"), MAX("last_offset")) } },
            { named("orders"), { LATERNA_PROJECTION_TYPES_ACTION_DELETE } },
            { named("order_items"), { LATERNA_PROJECTION_TYPES_ACTION_UPSERT, .val.upsert = LIST(assignment, SET("sku"), SET("quantity"), SET("unit_price")) } },
            { named("order_items"), { LATERNA_PROJECTION_TYPES_ACTION_DELETE_PREFIX, .val.delete_prefix = 1 } }),
    };
}
