//! Projections in Zig 0.17: tables and changes are declared once, at compile time; the row of a change is a struct, so a
//! wrong or missing column, type or operation does not compile. The README is the manual.
//!
//! Hides the contract's ABI (the extern structs below are what the component model's canonical ABI lays out on wasm32),
//! the memory of a batch, exact decimals, and a strict JSON reader.
//!
//! Invariants: an instance has one thread and lives for one batch, so memory is never given back; no number is rounded,
//! wrapped or cut; texts are not copied.

const std = @import("std");
const builtin = @import("builtin");
const Allocator = std.mem.Allocator;
const wasm = builtin.cpu.arch.isWasm();

// ---- Values ----

/// Text and bytes are slices of the event, of its JSON, or of what `Changes.allocator` gave: they are not copied.
pub const Text = []const u8;
/// Bytes of a column of type bytes.
pub const Bytes = struct { data: []const u8 };
/// Microseconds since 1970-01-01T00:00:00Z.
pub const Timestamp = struct {
    micros: i64,

    /// From milliseconds since 1970; an error where that is more than 292,000 years away.
    pub fn fromMillis(millis: i64) error{TooFarOff}!Timestamp {
        return .{ .micros = std.math.mul(i64, millis, 1000) catch return error.TooFarOff };
    }

    /// Reads RFC 3339: "2026-01-31T12:00:00.25+01:00". Digits beyond microseconds are cut off.
    pub fn parse(text: Text) error{NotAnInstant}!Timestamp {
        const wrong = error.NotAnInstant;
        if (text.len < 20 or (text[10] != 'T' and text[10] != 't' and text[10] != ' ')) return wrong;
        if (text[13] != ':' or text[16] != ':') return wrong;
        const day = Date.parse(text[0..10]) catch return wrong;
        const hour = digits(text[11..13]) orelse return wrong;
        const minute = digits(text[14..16]) orelse return wrong;
        const second = digits(text[17..19]) orelse return wrong;
        if (hour > 23 or minute > 59 or second > 59) return wrong;
        var rest = text[19..];
        var fraction: i64 = 0;
        if (rest[0] == '.') {
            var weight: i64 = 100_000;
            var at: usize = 1;
            while (at < rest.len and std.ascii.isDigit(rest[at])) : (at += 1) {
                fraction += weight * (rest[at] - '0');
                weight = @divTrunc(weight, 10);
            }
            if (at == 1) return wrong;
            rest = rest[at..];
        }
        var offset: i64 = 0;
        if (rest.len == 6 and (rest[0] == '+' or rest[0] == '-') and rest[3] == ':') {
            const hours = digits(rest[1..3]) orelse return wrong;
            const minutes = digits(rest[4..6]) orelse return wrong;
            if (hours > 23 or minutes > 59) return wrong;
            offset = hours * 60 + minutes;
            if (rest[0] == '-') offset = -offset;
        } else if (rest.len != 1 or (rest[0] != 'Z' and rest[0] != 'z')) return wrong;
        return .{ .micros = (((@as(i64, day.days) * 24 + hour) * 60 + minute - offset) * 60 + second) * 1_000_000 + fraction };
    }

    /// The day that it falls on, in UTC.
    pub fn date(self: Timestamp) Date {
        return .{ .days = @intCast(@divFloor(self.micros, 86_400_000_000)) };
    }
};
/// Days since 1970-01-01.
pub const Date = struct {
    days: i32,

    /// Reads "2026-01-31".
    pub fn parse(text: Text) error{NotADay}!Date {
        if (text.len != 10 or text[4] != '-' or text[7] != '-') return error.NotADay;
        const year = digits(text[0..4]) orelse return error.NotADay;
        const month = digits(text[5..7]) orelse return error.NotADay;
        const day = digits(text[8..10]) orelse return error.NotADay;
        const leap = @rem(year, 4) == 0 and (@rem(year, 100) != 0 or @rem(year, 400) == 0);
        const length: i64 = switch (month) {
            1, 3, 5, 7, 8, 10, 12 => 31,
            4, 6, 9, 11 => 30,
            2 => if (leap) 29 else 28,
            else => return error.NotADay,
        };
        if (day < 1 or day > length) return error.NotADay;
        // Years from March, so that the leap day is the last one; 400 of them are 146,097 days.
        const from_march = if (month > 2) year else year - 1;
        const era = @divFloor(from_march, 400);
        const of_era = @mod(from_march, 400);
        const of_year = @divTrunc(153 * @mod(month + 9, 12) + 2, 5) + day - 1;
        return .{ .days = @intCast(era * 146_097 + of_era * 365 + @divTrunc(of_era, 4) - @divTrunc(of_era, 100) + of_year - 719_468) };
    }
};
/// 32 hexadecimal digits in groups of 8-4-4-4-12, which the engine checks.
pub const Uuid = struct { text: Text };
/// One JSON document. Read from an event, it is the source text, numbers with all their digits.
pub const Json = struct { text: Text };

fn digits(text: []const u8) ?i64 {
    var number: i64 = 0;
    for (text) |c| {
        if (!std.ascii.isDigit(c)) return null;
        number = number * 10 + (c - '0');
    }
    return number;
}

/// An exact decimal number: `units / 10^scale`. Arithmetic is exact or an error; nothing is rounded and nothing wraps.
pub const Decimal = struct {
    units: i128 = 0,
    scale: u8 = 0,

    pub const zero: Decimal = .{};
    pub const Error = error{ NotADecimal, TooManyDigits };
    const scale_max = 38;

    pub fn cents(number: i64) Decimal {
        return .{ .units = number, .scale = 2 };
    }

    /// Reads plain and scientific notation, keeping the decimal places that are written.
    pub fn parse(text: Text) Error!Decimal {
        const negative = text.len > 0 and text[0] == '-';
        const signed = negative or (text.len > 0 and text[0] == '+');
        // Negative all the way, because there is one more of those; up to 18 digits fit into 64 bits, which is faster.
        var units: i128 = 0;
        var small: i64 = 0;
        var places: i64 = 0;
        var count: usize = 0;
        var point = false;
        var at: usize = @intFromBool(signed);
        while (at < text.len) : (at += 1) {
            const c = text[at];
            if (c == '.' and !point) {
                point = true;
                continue;
            }
            if (!std.ascii.isDigit(c)) break;
            if (count < 18) {
                small = small * 10 - (c - '0');
                units = small;
            } else {
                units = std.math.mul(i128, units, 10) catch return error.TooManyDigits;
                units = std.math.sub(i128, units, c - '0') catch return error.TooManyDigits;
            }
            count += 1;
            places += @intFromBool(point);
        }
        if (count == 0) return error.NotADecimal;
        if (at < text.len) {
            if (text[at] != 'e' and text[at] != 'E') return error.NotADecimal;
            const exponent = text[at + 1 ..];
            if (std.mem.findScalar(u8, exponent, '_') != null) return error.NotADecimal;
            const number = std.fmt.parseInt(i32, exponent, 10) catch |err| switch (err) {
                error.Overflow => return error.TooManyDigits,
                error.InvalidCharacter => return error.NotADecimal,
            };
            places -= number;
        }
        if (units == 0) places = @max(places, 0);
        while (places < 0) : (places += 1) units = std.math.mul(i128, units, 10) catch return error.TooManyDigits;
        if (places > scale_max) return error.TooManyDigits;
        if (!negative) units = std.math.negate(units) catch return error.TooManyDigits;
        return .{ .units = units, .scale = @intCast(places) };
    }

    fn at_scale(self: Decimal, scale: u8) Error!i128 {
        if (self.units == 0 or self.scale == scale) return self.units;
        var units = self.units;
        for (self.scale..scale) |_| units = std.math.mul(i128, units, 10) catch return error.TooManyDigits;
        return units;
    }

    /// The sum, with the greater of both scales.
    pub fn plus(self: Decimal, other: Decimal) Error!Decimal {
        const scale = @max(self.scale, other.scale);
        const sum = std.math.add(i128, try self.at_scale(scale), try other.at_scale(scale)) catch return error.TooManyDigits;
        return .{ .units = sum, .scale = scale };
    }

    /// The difference, with the greater of both scales.
    pub fn minus(self: Decimal, other: Decimal) Error!Decimal {
        const scale = @max(self.scale, other.scale);
        const difference = std.math.sub(i128, try self.at_scale(scale), try other.at_scale(scale)) catch return error.TooManyDigits;
        return .{ .units = difference, .scale = scale };
    }

    /// The product with a whole number, with the same scale.
    pub fn times(self: Decimal, factor: i64) Error!Decimal {
        return .{ .units = std.math.mul(i128, self.units, factor) catch return error.TooManyDigits, .scale = self.scale };
    }

    /// By number: 1.0 equals 1.00.
    pub fn order(self: Decimal, other: Decimal) std.math.Order {
        const one_a = power(self.scale);
        const one_b = power(other.scale);
        const whole = std.math.order(@divFloor(self.units, one_a), @divFloor(other.units, one_b));
        if (whole != .eq) return whole;
        return std.math.order(@mod(self.units, one_a) * power(scale_max - self.scale), @mod(other.units, one_b) * power(scale_max - other.scale));
    }

    fn power(exponent: u8) i128 {
        var number: i128 = 1;
        for (0..exponent) |_| number *= 10;
        return number;
    }

    /// Its text, with as many decimal places as its scale, at the end of `buffer`.
    pub fn print(self: Decimal, buffer: *[44]u8) Text {
        var at: usize = buffer.len;
        var rest: u128 = @abs(self.units);
        var places = self.scale;
        while (true) {
            var digit: u8 = undefined;
            if (std.math.cast(u64, rest)) |low| { // division of 128 bits is a slow call
                digit = @intCast(low % 10);
                rest = low / 10;
            } else {
                digit = @intCast(rest % 10);
                rest /= 10;
            }
            at -= 1;
            buffer[at] = '0' + digit;
            if (places == 1) {
                at -= 1;
                buffer[at] = '.';
            } else if (places == 0 and rest == 0) break;
            places -|= 1;
        }
        if (self.units < 0) {
            at -= 1;
            buffer[at] = '-';
        }
        return buffer[at..];
    }
};

// ---- Events ----

/// One record of a topic.
pub const Event = struct {
    topic: Text,
    partition: i32 = 0,
    /// Position in the partition, from 0 to 2^53 - 1. Neighbours may be further than 1 apart.
    offset: i64 = 0,
    /// Milliseconds since 1970; -1: none.
    timestamp_ms: i64 = -1,
    /// Null: the record has no key.
    key: ?[]const u8 = null,
    /// Null: a tombstone, what the key names is gone.
    value: ?[]const u8 = null,
    /// Those that the topic asks for, in the record's order.
    headers: []const Header = &.{},
    /// Whether the engine has checked them for being UTF-8.
    key_is_text: bool = false,
    value_is_text: bool = false,

    pub const Header = struct { name: Text, value: ?[]const u8 };

    /// The key as text; an error, and with it a reject, where there is none or it is not UTF-8.
    pub fn keyText(self: *const Event, changes: *Changes) Fault!Text {
        const key = self.key orelse return changes.reject("the event has no key", .{});
        if (!self.key_is_text and !std.unicode.utf8ValidateSlice(key)) return changes.reject("the key is not UTF-8 text ({d} bytes)", .{key.len});
        return key;
    }

    /// The value as text; null for a tombstone.
    pub fn text(self: *const Event, changes: *Changes) Fault!?Text {
        const value = self.value orelse return null;
        if (!self.value_is_text and !std.unicode.utf8ValidateSlice(value)) return changes.reject("the value is not UTF-8 text ({d} bytes)", .{value.len});
        return value;
    }

    /// The value as JSON; null for a tombstone. `T` is a struct, slice, optional, bool, i64, i32, f64, `Text` or a type of
    /// this file. A field that is missing is a reject, unless it is an optional or has a default; other fields are passed
    /// over. A number is never rounded to a whole one, and the place of what is wrong is named.
    pub fn json(self: *const Event, comptime T: type, changes: *Changes) Fault!?T {
        return try parseJson(T, try self.text(changes) orelse return null, changes);
    }

    /// The last header of this name; null where there is none or its value is null.
    pub fn header(self: *const Event, name: Text) ?[]const u8 {
        var at = self.headers.len;
        while (at > 0) {
            at -= 1;
            if (std.mem.eql(u8, self.headers[at].name, name)) return self.headers[at].value;
        }
        return null;
    }
};

/// A CloudEvent with data of type `T`: event.json(laterna.CloudEvent(Paid), changes). Wants format = "cloudevents" for the topic: then the
/// engine hands every one over as one JSON text, however it was written.
pub fn CloudEvent(comptime T: type) type {
    return struct {
        /// What it is: "com.example.order.placed".
        type: Text,
        /// Where it comes from. With `id` it names the event.
        source: Text,
        id: Text,
        /// What it is about, in its source.
        subject: ?Text = null,
        time: ?Timestamp = null,
        data: ?T = null,
        /// Data that is neither JSON nor text.
        data_base64: ?Text = null,
    };
}

/// A change that Debezium saw, of rows of type `T`: event.json(laterna.RowChange(Customer), changes). Wants format = "debezium" for the topic.
pub fn RowChange(comptime T: type) type {
    return struct {
        /// c create, r read in a snapshot, u update, d delete, t truncate, m message.
        op: Text,
        /// The row as it was; null where it is new, or the database does not tell.
        before: ?T = null,
        /// The row as it is; null where it is gone.
        after: ?T = null,
        source: ?ChangeSource = null,
    };
}

/// Where Debezium saw a change.
pub const ChangeSource = struct {
    /// When the database made it, in milliseconds since 1970.
    ts_ms: ?i64 = null,
    db: ?Text = null,
    schema: ?Text = null,
    table: ?Text = null,
};

/// Why an event is not applied. The reason stands in `Changes`. Any other error that `apply` returns is a reject with the
/// error's name.
pub const Fault = error{ Reject, Halt, OutOfMemory };

/// What one event gives: its changes, or its fault.
pub const Changes = struct {
    /// What it gives lives until the batch is answered.
    allocator: Allocator,
    list: std.ArrayList(abi.Change) = .empty,
    reason: Text = "",

    /// Adds a change: changes.put(Order, .{ .order_id = id, .status = "placed" });
    pub fn put(self: *Changes, comptime Kind: type, row: Kind.Row) Fault!void {
        const names = @typeInfo(Kind.Row).@"struct".field_names;
        const values = try self.allocator.alloc(abi.Value, names.len);
        inline for (names, values) |name, *value| value.* = try lower(self.allocator, @field(row, name));
        if (Kind.number == std.math.maxInt(u32)) @panic("the change of " ++ Kind.table.name ++ " is not among the projection's .changes");
        try self.list.append(self.allocator, .{ .shape = Kind.number, .values = .of(values) });
    }

    /// This event is at fault: return changes.reject("..", .{});
    pub fn reject(self: *Changes, comptime format: []const u8, arguments: anytype) Fault {
        self.reason = try std.fmt.allocPrint(self.allocator, format, arguments);
        return error.Reject;
    }

    /// The projection must not go on: return changes.halt("..", .{});
    pub fn halt(self: *Changes, comptime format: []const u8, arguments: anytype) Fault {
        self.reason = try std.fmt.allocPrint(self.allocator, format, arguments);
        return error.Halt;
    }
};

// ---- Declarations ----

/// How a new value combines with the stored one.
pub const Operation = enum(u8) {
    /// The new value, null included.
    set,
    /// The sum; null counts as 0.
    add,
    /// The greater one; null loses.
    max,
    /// The lesser one; null loses.
    min,
    /// The stored value, or the new one where the stored one is null.
    set_if_null,
    /// A guard for the whole change: it takes effect only where the stored value is null or lesser.
    newer,
};

pub const Partitioning = enum(u8) {
    /// Each row is only ever changed by events of one partition.
    by_partition,
    /// Rows are shared, and changed by add, max and min, or under newer, only.
    commutative,
    /// Anything else: one writer for the whole projection.
    serial,
};

pub const Index = struct { columns: []const Text, full_text: bool = false };

pub const TableOptions = struct {
    /// Names of the columns of the primary key, in its order.
    key: []const Text,
    indexes: []const Index = &.{},
    partitioning: Partitioning = .by_partition,
};

const ColumnType = enum(u8) { boolean, integer, float, decimal, text, bytes, timestamp, date, uuid, json };

fn Bare(comptime T: type) type {
    return switch (@typeInfo(T)) {
        .optional => |optional| optional.child,
        else => T,
    };
}

fn columnType(comptime T: type) ColumnType {
    return switch (Bare(T)) {
        bool => .boolean,
        i64 => .integer,
        f64 => .float,
        Decimal => .decimal,
        []const u8 => .text,
        Bytes => .bytes,
        Timestamp => .timestamp,
        Date => .date,
        Uuid => .uuid,
        Json => .json,
        else => @compileError(@typeName(T) ++ " is not the type of a column: it is bool, i64, f64, Decimal, Text, Bytes, Timestamp, Date, Uuid, Json, or an optional of one of these"),
    };
}

/// A table: its columns are the fields of `Row`.
pub fn Table(comptime table_name: []const u8, comptime RowType: type, comptime table_options: TableOptions) type {
    for (table_options.key) |key| {
        if (!@hasField(RowType, key)) @compileError("table " ++ table_name ++ " has no column " ++ key ++ " for its key");
        if (@typeInfo(@FieldType(RowType, key)) == .optional) @compileError("a key has no null: " ++ table_name ++ "." ++ key);
    }
    for (table_options.indexes) |index| for (index.columns) |column| {
        if (!@hasField(RowType, column)) @compileError("table " ++ table_name ++ " has no column " ++ column ++ " for its index");
    };
    return struct {
        pub const name = table_name;
        pub const options = table_options;
        pub const Row = RowType;

        fn isKey(comptime column: []const u8) bool {
            for (options.key) |key| if (std.mem.eql(u8, key, column)) return true;
            return false;
        }
    };
}

const Action = enum(u8) { upsert, update, insert, delete, delete_prefix };

/// Insert the row, or combine it with the stored one: laterna.Upsert(Orders, .{ .status = .set, .last_offset = .max }).
pub fn Upsert(comptime T: type, comptime assignments: anytype) type {
    return Change(T, .upsert, assignments, T.options.key.len);
}
/// Combine with the stored row; nothing where there is none.
pub fn Update(comptime T: type, comptime assignments: anytype) type {
    return Change(T, .update, assignments, T.options.key.len);
}
/// Insert the row; nothing where there is one. Every column is `.set`.
pub fn Insert(comptime T: type, comptime assignments: anytype) type {
    return Change(T, .insert, assignments, T.options.key.len);
}
/// Delete the row.
pub fn Delete(comptime T: type) type {
    return Change(T, .delete, .{}, T.options.key.len);
}
/// Delete all rows under the first `count` columns of the key.
pub fn DeletePrefix(comptime T: type, comptime count: usize) type {
    if (count < 1 or count > T.options.key.len) @compileError("delete_prefix of " ++ T.name ++ ": 1 to all columns of the key");
    return Change(T, .delete_prefix, .{}, count);
}

fn Change(comptime T: type, comptime the_action: Action, comptime assignments: anytype, comptime keys: usize) type {
    @setEvalBranchQuota(100_000);
    const assigned = @typeInfo(@TypeOf(assignments)).@"struct".field_names;
    var names: [keys + assigned.len][]const u8 = undefined;
    var types: [keys + assigned.len]type = undefined;
    var operations: [assigned.len]Operation = undefined;
    for (T.options.key[0..keys], names[0..keys], types[0..keys]) |key, *name, *of| {
        name.* = key;
        of.* = @FieldType(T.Row, key);
    }
    for (assigned, names[keys..], types[keys..], &operations) |column, *name, *of, *operation| {
        if (!@hasField(T.Row, column)) @compileError("table " ++ T.name ++ " has no column " ++ column);
        if (T.isKey(column)) @compileError(T.name ++ "." ++ column ++ " is in the key, which every change has anyway");
        name.* = column;
        of.* = @FieldType(T.Row, column);
        operation.* = @field(assignments, column);
        const kind = columnType(of.*);
        switch (operation.*) {
            .set, .set_if_null => {},
            .add => if (kind != .integer and kind != .float and kind != .decimal) @compileError("add is for i64, f64 and Decimal: " ++ T.name ++ "." ++ column),
            .max, .min, .newer => if (kind == .boolean or kind == .bytes or kind == .json) @compileError("max, min and newer are not for bool, Bytes and Json: " ++ T.name ++ "." ++ column),
        }
        if (the_action == .insert and operation.* != .set) @compileError("in an insert every column is .set: " ++ T.name ++ "." ++ column);
    }
    if (the_action == .upsert or the_action == .insert) {
        const row = @typeInfo(T.Row).@"struct";
        for (row.field_names, row.field_types) |column, of| {
            if (!T.isKey(column) and @typeInfo(of) != .optional and !@hasField(@TypeOf(assignments), column))
                @compileError("a new row of " ++ T.name ++ " needs " ++ column ++ ", which takes no null");
        }
    }
    const final_names = names;
    const final_types = types;
    const final_operations = operations;
    return struct {
        pub const table = T;
        pub const action = the_action;
        pub const key_count = keys;
        pub const columns = assigned;
        pub const assigned_operations = final_operations;
        /// What `Changes.put` takes.
        pub const Row = @Struct(.auto, null, &final_names, &final_types, &@splat(.{}));
        /// Its place among the projection's changes, set before `apply` is called.
        var number: u32 = std.math.maxInt(u32);
    };
}

/// A topic that the projection reads.
pub const Topic = struct {
    name: Text,
    /// Keys, values are binary, like Avro or Protobuf: never checked for being text.
    binary_key: bool = false,
    binary_value: bool = false,
    /// Names of the headers to hand over: others are not, because each costs time.
    headers: []const Text = &.{},
};

/// Declares the projection, once: `comptime { laterna.projection(.{ .. }); }`. Its fields:
/// .name; .revision, raised when the meaning of the rows changes, so that they are rebuilt; .topics, of `Topic`;
/// .tables; .changes: every type that `put` is called with; .apply: fn (*const Event, *Changes) anyerror!void.
pub fn projection(comptime p: anytype) void {
    if (!wasm) return;
    const exports = struct {
        fn describe() callconv(.c) *const abi.Descriptor {
            const made = descriptor(std.heap.wasm_allocator, p) catch @panic("out of memory");
            return made;
        }
        fn apply(topic: [*]const u8, topic_size: usize, partition: i32, events: [*]const abi.Event, count: usize) callconv(.c) *const abi.List(abi.Outcome) {
            return batch(p, topic[0..topic_size], partition, events[0..count]) catch @panic("out of memory");
        }
        fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
            _ = alignment;
            const piece = memory.allocator().alignedAlloc(u8, .@"16", @max(size, 1)) catch @panic("out of memory");
            if (old) |bytes| @memcpy(piece[0..@min(old_size, size)], bytes[0..@min(old_size, size)]);
            return piece.ptr;
        }
    };
    @export(&exports.describe, .{ .name = "describe" });
    @export(&exports.apply, .{ .name = "apply" });
    @export(&exports.realloc, .{ .name = "cabi_realloc" });
}

/// Runs `apply` of a projection on one event, for tests: the changes, or the error with its reason in `changes`.
pub fn applyTo(comptime p: anytype, event: *const Event, changes: *Changes) anyerror!void {
    inline for (p.changes, 0..) |Kind, number| Kind.number = number;
    return p.apply(event, changes);
}

// ---- The contract's ABI ----

/// Records of wit/projection.wit.
pub const abi = struct {
    pub fn List(comptime T: type) type {
        return extern struct {
            /// Never that of an empty Zig slice, which may be outside of the memory.
            at: [*]const T,
            size: usize,

            pub fn of(list: []const T) @This() {
                return .{ .at = if (list.len == 0) @ptrFromInt(16) else list.ptr, .size = list.len };
            }
            pub fn slice(self: @This()) []const T {
                return if (self.size == 0) &.{} else self.at[0..self.size];
            }
        };
    }
    pub const String = List(u8);
    pub const Payload = extern struct { some: bool, tag: u8 align(@alignOf(usize)), bytes: String };
    pub const Header = extern struct { name: String, value: Payload };
    pub const Event = extern struct { offset: i64, timestamp_ms: i64, key: Payload, value: Payload, headers: List(Header) };
    pub const Value = extern struct {
        tag: u8 = 0,
        is: extern union { boolean: bool, integer: i64, float: f64, text: String, date: i32 } = .{ .integer = 0 },
    };
    pub const Change = extern struct { shape: u32, values: List(Value) };
    pub const Outcome = extern struct { tag: u8, is: extern union { changes: List(abi.Change), reason: String } };
    pub const Topic = extern struct { name: String, key: u8, value: u8, headers: List(String) };
    pub const Column = extern struct { name: String, column_type: u8, nullable: bool };
    pub const Index = extern struct { columns: List(String), kind: u8 };
    pub const Table = extern struct { name: String, columns: List(Column), key: List(String), indexes: List(abi.Index), partitioning: u8 };
    pub const Assignment = extern struct { column: String, operation: u8 };
    pub const Action = extern struct { tag: u8, is: extern union { assignments: List(Assignment), columns: List(String), keys: u32 } };
    pub const Shape = extern struct { table: String, action: abi.Action };
    pub const Descriptor = extern struct { name: String, revision: u32, topics: List(abi.Topic), tables: List(abi.Table), shapes: List(Shape) };
};

var memory: std.heap.ArenaAllocator = .init(if (wasm) std.heap.wasm_allocator else std.heap.page_allocator);

fn lower(allocator: Allocator, value: anytype) Allocator.Error!abi.Value {
    const T = @TypeOf(value);
    if (@typeInfo(T) == .optional) return if (value) |some| lower(allocator, some) else .{};
    return .{ .tag = @intFromEnum(columnType(T)) + 1, .is = switch (T) {
        bool => .{ .boolean = value },
        i64 => .{ .integer = value },
        f64 => .{ .float = value },
        []const u8 => .{ .text = .of(value) },
        Bytes => .{ .text = .of(value.data) },
        Timestamp => .{ .integer = value.micros },
        Date => .{ .date = value.days },
        Uuid, Json => .{ .text = .of(value.text) },
        Decimal => decimal: {
            var buffer: [44]u8 = undefined;
            break :decimal .{ .text = .of(try allocator.dupe(u8, value.print(&buffer))) };
        },
        else => comptime unreachable,
    } };
}

fn batch(comptime p: anytype, topic: Text, partition: i32, events: []const abi.Event) Allocator.Error!*const abi.List(abi.Outcome) {
    const allocator = memory.allocator();
    const outcomes = try allocator.alloc(abi.Outcome, events.len);
    for (events, outcomes) |*from, *outcome| {
        const headers = try allocator.alloc(Event.Header, from.headers.size);
        for (from.headers.slice(), headers) |header, *to| to.* = .{ .name = header.name.slice(), .value = lift(&header.value) };
        const event: Event = .{
            .topic = topic,
            .partition = partition,
            .offset = from.offset,
            .timestamp_ms = from.timestamp_ms,
            .key = lift(&from.key),
            .value = lift(&from.value),
            .headers = headers,
            .key_is_text = from.key.tag == 0,
            .value_is_text = from.value.tag == 0,
        };
        var changes: Changes = .{ .allocator = allocator };
        outcome.* = if (applyTo(p, &event, &changes))
            .{ .tag = 0, .is = .{ .changes = .of(changes.list.items) } }
        else |err| switch (err) {
            error.Halt => .{ .tag = 2, .is = .{ .reason = .of(changes.reason) } },
            error.OutOfMemory => return error.OutOfMemory,
            else => .{ .tag = 1, .is = .{ .reason = .of(if (err == error.Reject) changes.reason else @errorName(err)) } },
        };
    }
    const result = try allocator.create(abi.List(abi.Outcome));
    result.* = .of(outcomes);
    return result;
}

fn lift(payload: *const abi.Payload) ?[]const u8 {
    return if (payload.some) payload.bytes.slice() else null;
}

fn strings(allocator: Allocator, names: []const Text) Allocator.Error!abi.List(abi.String) {
    const list = try allocator.alloc(abi.String, names.len);
    for (names, list) |name, *to| to.* = .of(name);
    return .of(list);
}

fn descriptor(allocator: Allocator, comptime p: anytype) Allocator.Error!*const abi.Descriptor {
    const topics = try allocator.alloc(abi.Topic, p.topics.len);
    inline for (p.topics, topics) |topic, *to| {
        const t: Topic = topic;
        to.* = .{ .name = .of(t.name), .key = @intFromBool(t.binary_key), .value = @intFromBool(t.binary_value), .headers = try strings(allocator, t.headers) };
    }
    const tables = try allocator.alloc(abi.Table, p.tables.len);
    inline for (p.tables, tables) |T, *to| {
        const row = @typeInfo(T.Row).@"struct";
        const columns = try allocator.alloc(abi.Column, row.field_names.len);
        inline for (row.field_names, row.field_types, columns) |name, of, *column| {
            column.* = .{ .name = .of(name), .column_type = @intFromEnum(columnType(of)), .nullable = @typeInfo(of) == .optional };
        }
        const indexes = try allocator.alloc(abi.Index, T.options.indexes.len);
        for (T.options.indexes, indexes) |index, *i| i.* = .{ .columns = try strings(allocator, index.columns), .kind = @intFromBool(index.full_text) };
        to.* = .{ .name = .of(T.name), .columns = .of(columns), .key = try strings(allocator, T.options.key), .indexes = .of(indexes), .partitioning = @intFromEnum(T.options.partitioning) };
    }
    const shapes = try allocator.alloc(abi.Shape, p.changes.len);
    inline for (p.changes, shapes) |C, *to| {
        const assignments = try allocator.alloc(abi.Assignment, C.columns.len);
        inline for (C.columns, C.assigned_operations, assignments) |name, operation, *a| a.* = .{ .column = .of(name), .operation = @intFromEnum(operation) };
        const names = try allocator.alloc(Text, C.columns.len);
        inline for (C.columns, names) |name, *n| n.* = name;
        to.* = .{ .table = .of(C.table.name), .action = .{ .tag = @intFromEnum(C.action), .is = switch (C.action) {
            .upsert, .update => .{ .assignments = .of(assignments) },
            .insert => .{ .columns = try strings(allocator, names) },
            .delete => .{ .keys = 0 },
            .delete_prefix => .{ .keys = C.key_count },
        } } };
    }
    const made = try allocator.create(abi.Descriptor);
    made.* = .{ .name = .of(p.name), .revision = p.revision, .topics = .of(topics), .tables = .of(tables), .shapes = .of(shapes) };
    return made;
}

// ---- Log and panic ----

const log_import = if (wasm) struct {
    extern "laterna:projection/log@0.1.0" fn write(level: i32, at: [*]const u8, size: usize) void;
} else struct {
    fn write(_: i32, at: [*]const u8, size: usize) void {
        std.debug.print("{s}\n", .{at[0..size]});
    }
};

pub const Level = enum(u8) { trace, debug, info, warn, @"error" };

/// One line in the projection's log; at most 1,000 bytes of it.
pub fn log(level: Level, comptime format: []const u8, arguments: anytype) void {
    var buffer: [1000]u8 = undefined;
    const line = std.fmt.bufPrint(&buffer, format, arguments) catch &buffer;
    log_import.write(@intFromEnum(level), line.ptr, line.len);
}

/// So that a panic reaches the log with its text: `pub const panic = laterna.panic;` in the root file. The engine names
/// the function and, in a build with debug information, the line.
pub const panic = std.debug.FullPanic(struct {
    fn logged(message: []const u8, _: ?usize) noreturn {
        log_import.write(@intFromEnum(Level.@"error"), message.ptr, message.len);
        @trap();
    }
}.logged);

// ---- JSON ----

/// Reads one JSON document, checked whole, as `Event.json` does.
pub fn parseJson(comptime T: type, text: Text, changes: *Changes) Fault!T {
    var scanner: std.json.Scanner = .initCompleteInput(changes.allocator, text);
    var reader: Reader = .{ .scanner = &scanner, .text = text, .allocator = changes.allocator };
    const result = reader.read(T) catch |err| return reader.fault(err, changes);
    const end = scanner.next() catch |err| return reader.fault(err, changes);
    if (end != .end_of_document) return reader.fault(error.SyntaxError, changes);
    return result;
}

const Reader = struct {
    scanner: *std.json.Scanner,
    text: Text,
    allocator: Allocator,
    /// What was wanted, and where, from the inside out.
    wanted: Text = "",
    path: Text = "",

    const Error = error{ Wrong, SyntaxError, UnexpectedEndOfInput, ValueTooLong, BufferUnderrun, OutOfMemory };

    fn fault(self: *Reader, err: Error, changes: *Changes) Fault {
        return switch (err) {
            error.OutOfMemory => error.OutOfMemory,
            error.Wrong => {
                // Words after a wrong value may not be JSON at all, which is the greater fault.
                var whole: std.json.Scanner = .initCompleteInput(self.allocator, self.text);
                while (true) if ((whole.next() catch |e| return syntax(e, whole.cursor, changes)) == .end_of_document) break;
                const colon = if (self.path.len == 0) "" else ": ";
                return changes.reject("the value is not the JSON that is read here: {s}{s}{s}", .{ self.path, colon, self.wanted });
            },
            else => |e| syntax(e, self.scanner.cursor, changes),
        };
    }

    fn syntax(err: anyerror, at: usize, changes: *Changes) Fault {
        return changes.reject("the value is not JSON: {s} at byte {d}", .{ if (err == error.UnexpectedEndOfInput) "the text ends too early" else "something else expected", at });
    }

    fn wrong(self: *Reader, wanted: Text) Error {
        if (self.wanted.len == 0) self.wanted = wanted;
        return error.Wrong;
    }

    fn under(self: *Reader, step: Text, err: Error) Error {
        if (err == error.Wrong) {
            const dot = if (self.path.len == 0 or self.path[0] == '[') "" else ".";
            self.path = try std.fmt.allocPrint(self.allocator, "{s}{s}{s}", .{ step, dot, self.path });
        }
        return err;
    }

    fn token(self: *Reader) Error!std.json.Token {
        return self.scanner.nextAlloc(self.allocator, .alloc_if_needed);
    }

    fn textToken(self: *Reader, wanted: Text) Error!Text {
        return switch (try self.token()) {
            .string, .allocated_string => |text| text,
            else => self.wrong(wanted),
        };
    }

    fn numberToken(self: *Reader, wanted: Text) Error!Text {
        return switch (try self.token()) {
            .number, .allocated_number => |text| text,
            else => self.wrong(wanted),
        };
    }

    fn read(self: *Reader, comptime T: type) Error!T {
        switch (T) {
            bool => return switch (try self.token()) {
                .true => true,
                .false => false,
                else => self.wrong("true or false wanted"),
            },
            i64, i32 => {
                const wanted = "a whole number of " ++ (if (T == i64) "64" else "32") ++ " bits wanted";
                return std.fmt.parseInt(T, try self.numberToken(wanted), 10) catch self.wrong(wanted);
            },
            f64 => return std.fmt.parseFloat(f64, try self.numberToken("a number wanted")) catch self.wrong("a number wanted"),
            []const u8 => return self.textToken("a text wanted"),
            Uuid => return .{ .text = try self.textToken("a UUID wanted, as text") },
            Timestamp => return Timestamp.parse(try self.textToken("an instant wanted, like \"2026-01-31T12:00:00Z\"")) catch self.wrong("an instant wanted, like \"2026-01-31T12:00:00Z\""),
            Date => return Date.parse(try self.textToken("a day wanted, like \"2026-01-31\"")) catch self.wrong("a day wanted, like \"2026-01-31\""),
            Decimal => return switch (try self.token()) {
                .string, .allocated_string, .number, .allocated_number => |text| Decimal.parse(text) catch |err| self.wrong(switch (err) {
                    error.NotADecimal => "a decimal number wanted, like 12.50",
                    error.TooManyDigits => "a decimal number of at most 38 digits wanted",
                }),
                else => self.wrong("a decimal number wanted, as text or number"),
            },
            Json => {
                _ = try self.scanner.peekNextTokenType(); // passes over space and separators
                const first = self.scanner.cursor;
                try self.scanner.skipValue();
                return .{ .text = self.text[first..self.scanner.cursor] };
            },
            else => {},
        }
        switch (@typeInfo(T)) {
            .optional => |optional| {
                if (try self.scanner.peekNextTokenType() != .null) return try self.read(optional.child);
                _ = try self.scanner.next();
                return null;
            },
            .pointer => |pointer| {
                if (pointer.size != .slice) @compileError("JSON is not read into " ++ @typeName(T));
                if (try self.token() != .array_begin) return self.wrong("a list wanted");
                var list: std.ArrayList(pointer.child) = .empty;
                while (try self.scanner.peekNextTokenType() != .array_end) {
                    const item = self.read(pointer.child) catch |err| {
                        var buffer: [24]u8 = undefined;
                        const step = std.fmt.bufPrint(&buffer, "[{d}]", .{list.items.len}) catch "[]";
                        return self.under(step, err);
                    };
                    try list.append(self.allocator, item);
                }
                _ = try self.scanner.next();
                return list.items;
            },
            .@"struct" => |info| {
                if (try self.token() != .object_begin) return self.wrong("an object wanted");
                var result: T = undefined;
                var seen: [info.field_names.len]bool = @splat(false);
                while (true) {
                    const name = switch (try self.token()) {
                        .string, .allocated_string => |text| text,
                        .object_end => break,
                        else => return error.SyntaxError,
                    };
                    inline for (info.field_names, info.field_types, 0..) |field, Type, i| {
                        if (std.mem.eql(u8, field, name)) {
                            @field(result, field) = self.read(Type) catch |err| return self.under(field, err);
                            seen[i] = true;
                            break;
                        }
                    } else try self.scanner.skipValue();
                }
                inline for (info.field_names, info.field_types, info.field_attrs, seen) |field, Type, attributes, found| {
                    if (!found) {
                        if (attributes.defaultValue(Type)) |default| {
                            @field(result, field) = default;
                        } else if (@typeInfo(Type) == .optional) {
                            @field(result, field) = null;
                        } else {
                            self.wanted = "missing";
                            return self.under(field, error.Wrong);
                        }
                    }
                }
                return result;
            },
            else => @compileError("JSON is not read into " ++ @typeName(T)),
        }
    }
};
