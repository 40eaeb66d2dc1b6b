//! Ten thousand order events, most of them ordinary and many of them ugly. The same seed gives the same bytes on any machine.
//!
//! What is ugly stands in tables below, one line each: a piece of a plain order and what is written in its place. Every line is
//! drawn in turn, so that all of them occur. Each event says by which [`Law`] the languages are held to it, and by construction
//! all events of an order lie in one partition.

use laterna::event::{Event, Header};
use laterna_tests::random::Random;

/// How many events there are.
pub(crate) const COUNT: usize = 10_000;
/// Partitions that they are spread over.
pub(crate) const PARTITIONS: u64 = 3;
/// Different orders: so few that most events meet an order that is there.
const ORDERS: u64 = 2_500;
/// The last offset that a plugin can be given.
const OFFSET_MAX: i64 = (1 << 53) - 1;

/// What a language must make of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// Exactly what the native code makes of it: the same changes, or a reject as well.
    Same,
    /// The same changes, or a reject: numbers that a language has no type for. Anything else would be a rounded one.
    Exact,
    /// Changes or a reject, never a trap: JSON leaves its meaning to the reader (RFC 8259 says so of names that come twice, half a
    /// surrogate pair, deep nesting, a byte order mark), or a language's numbers and texts end earlier than another's.
    Open,
    /// As [`Law::Open`], and a trap is allowed: so deep that an interpreter's stack ends before its own limit does. Either way the
    /// event is found to be at fault.
    Deep,
    /// Refused by the engine for its size, whatever the language.
    TooMuch,
}

/// An event and what is known of it.
pub(crate) struct Ugly {
    /// The partition of its order.
    pub(crate) partition: i32,
    /// The record.
    pub(crate) event: Event,
    /// What it is, for people.
    pub(crate) kind: &'static str,
    /// What is asked of the languages.
    pub(crate) law: Law,
    /// Whether it must apply, where that is known: so the tables mean what they say.
    pub(crate) applies: Option<bool>,
}

/// The id in [`PLAIN`] and in the tables.
const ID: &str = "o-000000";

/// The order that pieces are replaced in, before [`ID`] becomes the id of the event's order, which is also the key.
const PLAIN: &str = r#"{"type":"order.placed","order_id":"o-000000","customer_id":"c-000017","placed_at_ms":1767225600000,"items":[{"sku":"SKU-0001","quantity":3,"unit_price":"12.50"},{"sku":"SKU-0002","quantity":2,"unit_price":"8.99"}],"channel":"web"}"#;

/// `(kind, piece of PLAIN, what stands in its place)`. All give rows, and all languages the same ones.
const VALID: &[(&str, &str, &str)] = &[
    // Instants: before 1970, year 1, year 0, 1 BC, PostgreSQL's first, beyond year 9999, beyond 2^53 microseconds.
    ("date", "1767225600000", "0"),
    ("date", "1767225600000", "-1"),
    ("date", "1767225600000", "-999"),
    ("date", "1767225600000", "-86400000"),
    ("date", "1767225600000", "-86400001"),
    ("date", "1767225600000", "-62135596800000"),
    ("date", "1767225600000", "-62135596800001"),
    ("date", "1767225600000", "-62167219200000"),
    ("date", "1767225600000", "-62167219200001"),
    ("date", "1767225600000", "-210866803200000"),
    ("date", "1767225600000", "253402300799999"),
    ("date", "1767225600000", "253402300800000"),
    ("date", "1767225600000", "9007199254740"),
    ("date", "1767225600000", "9007199254741"),
    ("date", "1767225600000", "9007199254740991"),
    ("date", "1767225600000", "951782400000"),
    // Decimals in every notation, with their places kept.
    ("money", r#""12.50""#, r#""0.00""#),
    ("money", r#""12.50""#, r#""-0.05""#),
    ("money", r#""12.50""#, r#""-0.00""#),
    ("money", r#""12.50""#, r#""90071992547.93""#),
    ("money", r#""12.50""#, r#""99999999999.99""#),
    ("money", r#""12.50""#, r#""9007199254740993.01""#),
    ("money", r#""12.50""#, r#""0.333""#),
    ("money", r#""12.50""#, r#""0.1""#),
    ("money", r#""12.50""#, r#""7""#),
    ("money", r#""12.50""#, r#""1e2""#),
    ("money", r#""12.50""#, r#""-1.2e3""#),
    ("money", r#""12.50""#, r#""1.25E-2""#),
    ("money", r#""12.50""#, r#""1E+5""#),
    ("money", r#""12.50""#, r#""+1.5""#),
    ("money", r#""12.50""#, r#"".5""#),
    ("money", r#""12.50""#, r#""5.""#),
    ("money", r#""12.50""#, r#""007.10""#),
    ("money", r#""12.50""#, r#""0.000000000000000001""#),
    ("money", r#""12.50""#, r#""1234567890123456789012345.01""#),
    ("money", r#""12.50""#, r#""0.00000000000000000000000000000000001""#),
    ("money as a whole number", r#""12.50""#, "12"),
    ("money as a whole number", r#""12.50""#, "-3"),
    ("money as a whole number", r#""12.50""#, "0"),
    ("money as a whole number", r#""12.50""#, "9007199254740991"),
    // Quantities.
    ("quantity", r#":3,"#, ":0,"),
    ("quantity", r#":3,"#, ":-3,"),
    ("quantity", r#":3,"#, ":9999,"),
    ("quantity", r#":3,"#, ":2147483648,"),
    ("quantity", r#":3,"#, ":4294967296,"),
    ("quantity", r#":3,"#, ":-4294967297,"),
    ("quantity", r#":3,"#, ":9007199254740980,"),
    // Beyond what JavaScript's numbers hold: as exact as all else.
    ("integer beyond 2^53", ":3,", ":9007199254740993,"),
    ("integer beyond 2^53", ":3,", ":-9007199254740995,"),
    ("integer beyond 2^53", ":3,", ":4611686018427387905,"),
    ("integer beyond 2^53", ":3,", ":9223372036854775805,"),
    ("integer beyond 2^53", ":3,", ":-9223372036854775808,"),
    ("sum beyond 2^53", ":3,", ":9007199254740991,"),
    // Texts: none, empty, other scripts, quotes, controls, escapes in every form.
    ("no customer", r#""c-000017""#, "null"),
    ("no customer", r#""customer_id":"c-000017","#, ""),
    ("text", "c-000017", ""),
    ("text", "c-000017", " c "),
    ("text", "c-000017", "Łódź ☃ 鍵"),
    ("text", "c-000017", "𝄞 clef 👩‍🚀"),
    ("text", "c-000017", "e\u{301} is not \u{e9}"),
    ("text", "c-000017", "\u{7f}\u{80}\u{85}\u{2028}\u{2029}\u{feff}\u{fffd}\u{ffff}\u{10ffff}"),
    ("text", "c-000017", "</script>'; DROP TABLE orders; --"),
    ("text", "c-000017", r#"a\nb\t\"q\"\\\/\b\f\r"#),
    ("text", "c-000017", r"\u00e9\u0141\u2603\u007f\u0001\u001F"),
    ("text", "c-000017", r"\ud834\udd1e \uD83D\uDE00 \uFFFF"),
    ("text", "c-000017", r"\\u0000 \\ud800"),
    ("text", "SKU-0001", ""),
    ("text", "SKU-0001", r"\ud834\udd1e"),
    ("text", "SKU-0001", "null"),
    ("text", "SKU-0001", "%s{}$1\\u0024"),
    // An order's names may be escaped too.
    ("escaped names", r#""order_id""#, r#""\u006frder_\u0069d""#),
    ("escaped names", r#""order.placed""#, r#""\u006frder.pl\u0061ced""#),
    ("escaped names", r#""sku":"SKU-0002""#, r#""\u0073ku":"SKU-0002""#),
    // Items.
    ("other state", "order.placed", "order.updated"),
    (
        "no items",
        r#"{"sku":"SKU-0001","quantity":3,"unit_price":"12.50"},{"sku":"SKU-0002","quantity":2,"unit_price":"8.99"}"#,
        "",
    ),
    ("the same item twice", "SKU-0002", "SKU-0001"),
    // Fields that nobody reads, whatever they hold.
    ("unread field", r#""channel":"web""#, r#""channel":null,"":0,"a":{},"b":[],"c":[{}],"d":true,"e":false"#),
    (
        "unread field",
        r#""channel":"web""#,
        r#""n":[0,-0,0.5,-1.25,1e5,1E-5,1.5e+10,1e308,5e-324,123456789012345678901234567890]"#,
    ),
    ("unread field", r#""channel":"web""#, r#""items2":5,"quantity":"two","unit_price":{},"sku":[]"#),
    (
        "unread field",
        r#""channel":"web""#,
        r#""__proto__":{"order_id":7},"constructor":1,"toString":2,"hasOwnProperty":3,"length":4"#,
    ),
    ("unread field", r#""channel":"web""#, r#""s":"\ud834\udd1e \u0000 \\ \" /","☃":"☃","\u0000":1"#),
    ("unread field", r#""channel":"web""#, r#""deep":[[[[[[[[[[{"a":{"b":{"c":[{"d":[]}]}}}]]]]]]]]]]"#),
    ("unread field", r#""unit_price":"8.99"}"#, r#""unit_price":"8.99","discount":{"percent":1.5},"x":[null]}"#),
    // JSON's names are told apart by case.
    (
        "other case",
        r#""channel":"web""#,
        r#""Order_Id":"other","ORDER_ID":"other","Type":"order.cancelled","Items":[],"Customer_ID":"x""#,
    ),
    ("other case", r#""unit_price":"8.99"}"#, r#""unit_price":"8.99","SKU":"other","Quantity":77,"Unit_Price":"9"}"#),
    ("other case", r#""channel":"web""#, r#""PLACED_AT_MS":"x","ITEMS":7,"TYPE":8"#),
    // White space.
    ("white space", r#","items":["#, " ,\r\n\t\"items\" : [ "),
    ("white space", r#"{"type""#, " \n\t\r {\"type\""),
    ("white space", r#""channel":"web"}"#, "\"channel\":\"web\"} \n\t\r "),
    // The order of names is free.
    (
        "type comes last",
        PLAIN,
        r#"{"items":[{"unit_price":"2","quantity":2,"sku":"s"}],"placed_at_ms":5,"order_id":"o-000000","type":"order.placed"}"#,
    ),
];

/// As [`VALID`]: every language rejects them. What stands in no field's place is wrong as JSON.
const REJECTED: &[(&str, &str, &str)] = &[
    ("wrong type", r#""order_id":"o-000000""#, r#""order_id":17"#),
    ("wrong type", r#""order_id":"o-000000""#, r#""order_id":null"#),
    ("wrong type", r#""order_id":"o-000000""#, r#""order_id":true"#),
    ("wrong type", r#""order_id":"o-000000""#, r#""order_id":{}"#),
    ("missing", r#""order_id":"o-000000","#, ""),
    ("missing", r#""type":"order.placed","#, ""),
    ("wrong type", r#""order.placed""#, "null"),
    ("wrong type", r#""order.placed""#, "5"),
    ("wrong type", r#""order.placed""#, r#"["order.placed"]"#),
    ("wrong type", r#""c-000017""#, "5"),
    ("wrong type", r#""c-000017""#, "false"),
    ("wrong type", r#""c-000017""#, r#"["c-000017"]"#),
    ("wrong type", r#""c-000017""#, r#"{"id":1}"#),
    ("missing", r#""placed_at_ms":1767225600000,"#, ""),
    ("wrong type", "1767225600000", r#""2026-01-01""#),
    ("wrong type", "1767225600000", r#""1767225600000""#),
    ("wrong type", "1767225600000", "null"),
    ("wrong type", "1767225600000", "1767225600000.5"),
    ("wrong type", "1767225600000", "true"),
    ("too far", "1767225600000", "9223372036854776"),
    ("too far", "1767225600000", "-9223372036854776"),
    ("too far", "1767225600000", "9223372036854775807"),
    ("too far", "1767225600000", "92233720368547758080"),
    ("wrong type", r#""items":["#, r#""items":null,"x":["#),
    ("wrong type", r#""items":["#, r#""items":"","x":["#),
    ("wrong type", r#""items":["#, r#""items":7,"x":["#),
    ("wrong type", r#""items":["#, r#""items":{},"x":["#),
    ("wrong type", r#""items":["#, r#""items":{"length":0},"x":["#),
    ("missing", r#""items":["#, r#""x":["#),
    ("wrong type", r#""items":[{"#, r#""items":[null,{"#),
    ("wrong type", r#""items":[{"#, r#""items":[5,{"#),
    ("wrong type", r#""items":[{"#, r#""items":["x",{"#),
    ("wrong type", r#""items":[{"#, r#""items":[{},{"#),
    ("wrong type", r#""SKU-0002""#, "2"),
    ("wrong type", r#""SKU-0002""#, "null"),
    ("missing", r#""sku":"SKU-0002","#, ""),
    ("wrong type", ":2,", r#":"2","#),
    ("wrong type", ":2,", r#":"two","#),
    ("wrong type", ":2,", ":1.5,"),
    ("wrong type", ":2,", ":-0.1,"),
    ("wrong type", ":2,", ":null,"),
    ("wrong type", ":2,", ":true,"),
    ("wrong type", ":2,", ":[2],"),
    ("missing", r#""quantity":2,"#, ""),
    ("beyond 64 bits", ":2,", ":9223372036854775808,"),
    ("beyond 64 bits", ":2,", ":-9223372036854775809,"),
    ("beyond 64 bits", ":2,", ":123456789012345678901234567890,"),
    ("beyond 64 bits", ":3,", ":9223372036854775807,"),
    ("no decimal", r#""8.99""#, "null"),
    ("no decimal", r#""8.99""#, "true"),
    ("no decimal", r#""8.99""#, "[]"),
    ("no decimal", r#","unit_price":"8.99""#, ""),
    ("no decimal", r#""8.99""#, r#""""#),
    ("no decimal", r#""8.99""#, r#""x""#),
    ("no decimal", r#""8.99""#, r#""8,99""#),
    ("no decimal", r#""8.99""#, r#"" 8.99""#),
    ("no decimal", r#""8.99""#, r#""8.99 ""#),
    ("no decimal", r#""8.99""#, r#""8.99\n""#),
    ("no decimal", r#""8.99""#, r#""--1""#),
    ("no decimal", r#""8.99""#, r#""1.2.3""#),
    ("no decimal", r#""8.99""#, r#""NaN""#),
    ("no decimal", r#""8.99""#, r#""-Infinity""#),
    ("no decimal", r#""8.99""#, r#""inf""#),
    ("no decimal", r#""8.99""#, r#""0x10""#),
    ("no decimal", r#""8.99""#, r#""1_000""#),
    ("no decimal", r#""8.99""#, r#""1e""#),
    ("no decimal", r#""8.99""#, r#""e5""#),
    ("no decimal", r#""8.99""#, r#""1e1.5""#),
    ("no decimal", r#""8.99""#, r#"".""#),
    ("no decimal", r#""8.99""#, r#""-""#),
    ("no decimal", r#""8.99""#, r#""٣""#),
    ("no decimal", r#""8.99""#, r#""１""#),
    ("no decimal", r#""8.99""#, r#""1\u0000""#),
    ("no decimal", r#""8.99""#, r#""1e2147483648""#),
    ("no decimal", r#""8.99""#, r#""1e-99999999999""#),
    // What is no JSON is rejected also where nobody reads it.
    ("no JSON", r#""web""#, "NaN"),
    ("no JSON", r#""web""#, "-Infinity"),
    ("no JSON", r#""web""#, "undefined"),
    ("no JSON", r#""web""#, "'web'"),
    ("no JSON", r#""web""#, "web"),
    ("no JSON", r#""web""#, "tru"),
    ("no JSON", r#""web""#, "True"),
    ("no JSON", r#""web""#, "007"),
    ("no JSON", r#""web""#, "-01"),
    ("no JSON", r#""web""#, "+1"),
    ("no JSON", r#""web""#, "-"),
    ("no JSON", r#""web""#, ".5"),
    ("no JSON", r#""web""#, "1."),
    ("no JSON", r#""web""#, "1.e5"),
    ("no JSON", r#""web""#, "1e"),
    ("no JSON", r#""web""#, "1e+"),
    ("no JSON", r#""web""#, "0x10"),
    ("no JSON", r#""web""#, "1_000"),
    ("no JSON", r#""web""#, ""),
    ("no JSON", r#""web""#, "[1,]"),
    ("no JSON", r#""web""#, "[,1]"),
    ("no JSON", r#""web""#, "[1 2]"),
    ("no JSON", r#""web""#, "[1}"),
    ("no JSON", r#""web""#, r#"{"a"}"#),
    ("no JSON", r#""web""#, r#"{"a":}"#),
    ("no JSON", r#""web""#, r#"{"a":1,}"#),
    ("no JSON", r#""web""#, "{a:1}"),
    ("no JSON", r#""web""#, "{1:1}"),
    ("no JSON", r#""web"}"#, r#""web",}"#),
    ("no JSON", r#""web"}"#, r#""web""#),
    ("no JSON", r#""web"}"#, r#""web"}}"#),
    ("no JSON", r#""web"}"#, r#""web"} x"#),
    ("no JSON", r#""web"}"#, r#""web"}{}"#),
    ("no JSON", r#""web"}"#, "\"web\"}\u{0}"),
    ("no JSON", r#""web"}"#, "\"web\"}\u{a0}"),
    ("no JSON", r#""web""#, r#""web" /* shop */"#),
    ("no JSON", r#""web"}"#, "\"web\"} // shop"),
    ("no JSON", r#"{"type""#, "\u{c}{\"type\""),
    ("no JSON", r#","channel""#, r#","channel"#),
    ("no JSON", r#","channel":"#, r#","channel" "#),
    ("no JSON", r#","channel":"#, r#" "channel":"#),
    ("no JSON", r#""web""#, r#""web"#),
    ("no JSON", r#""web""#, r#""we\b\x41""#),
    ("no JSON", r#""web""#, r#""\u12g4""#),
    ("no JSON", r#""web""#, r#""\u12""#),
    ("no JSON", r#""web""#, r#""\""#),
    ("no JSON", r#""web""#, r#""\'""#),
    ("no JSON", r#""web""#, "\"a\nb\""),
    ("no JSON", r#""web""#, "\"a\u{0}b\""),
    ("no JSON", r#""web""#, "\"a\u{1f}b\""),
    ("no JSON", r#""web""#, "\"a\tb\""),
];

/// As [`VALID`]: the plugin may let them pass, the engine's check of its changes does not.
const REFUSED: &[(&str, &str, &str)] = &[
    ("U+0000", "c-000017", r"c\u0000d"),
    ("U+0000", "SKU-0001", r"\u0000"),
    ("before the first instant", "1767225600000", "-210866803200001"),
];

/// As [`VALID`], under [`Law::Exact`].
const EXACT: &[(&str, &str, &str)] = &[
    ("money as a number beyond 2^53", r#""12.50""#, "9007199254740993"),
    ("money as a number beyond 2^53", r#""12.50""#, "18446744073709551615"),
    ("date beyond 2^53 milliseconds", "1767225600000", "9007199254740993"),
    ("date beyond 2^53 milliseconds", "1767225600000", "9223372036854775"),
];

/// As [`VALID`], under [`Law::Open`].
const OPEN: &[(&str, &str, &str)] = &[
    ("name twice", r#""channel":"web""#, r#""order_id":"o-000000""#),
    ("name twice", r#""channel":"web""#, r#""type":"order.updated""#),
    ("name twice", r#""quantity":3"#, r#""quantity":1,"quantity":3"#),
    ("half a surrogate pair", "c-000017", r"\ud834"),
    ("half a surrogate pair", "c-000017", r"\udd1e\ud834"),
    ("half a surrogate pair", r#""web""#, r#""\udead""#),
    ("whole number with a fraction", ":3,", ":3.0,"),
    ("whole number with an exponent", ":3,", ":3e0,"),
    ("whole number with an exponent", "1767225600000", "17672256e5"),
    ("minus zero", ":3,", ":-0,"),
    ("number beyond 64-bit floats", r#""web""#, "1e999"),
    ("decimal as a number with a fraction", r#""12.50""#, "12.0"),
    ("decimal as a number with a fraction", r#""12.50""#, "12.5"),
    ("byte order mark", r#"{"type""#, "\u{feff}{\"type\""),
    ("list for an object", r#"{"sku":"SKU-0001","quantity":3,"unit_price":"12.50"}"#, r#"["SKU-0001",3,"12.50"]"#),
    ("decimal of 39 digits", r#""12.50""#, r#""100000000000000000000000000000000000000""#),
    ("decimal of 39 digits", r#""12.50""#, r#""170141183460469231731687303715884105728""#),
    ("decimal of 39 digits", r#""12.50""#, r#""0.000000000000000000000000000000000000001""#),
    ("product of 39 digits", r#""12.50""#, r#""99999999999999999999999999999999999999""#),
    ("decimal with a wide exponent", r#""12.50""#, r#""1e39""#),
    ("decimal with a wide exponent", r#""12.50""#, r#""0e99""#),
    ("decimal with a wide exponent", r#""12.50""#, r#""1e-39""#),
];

/// Values that are no object at all. Rejected.
const OTHER_VALUES: &[&[u8]] = &[
    b"",
    b" ",
    b"\0",
    b"null",
    b"true",
    b"17",
    b"-1.5e3",
    b"\"order.placed\"",
    b"[]",
    b"[1,2]",
    b"[{\"type\":\"order.placed\"}]",
    b"{}",
    b"{]",
    b"{",
    b"}",
    b"\"",
    b"order.placed",
    b"<order/>",
    b"{\"type\"",
    b"{\"type\":",
    b"{\"order_id\":\"o\"}",
    // No UTF-8: bytes that never occur, a half character, an overlong one, half a surrogate pair, beyond U+10FFFF.
    b"\xff\xfe{}",
    b"\x80",
    b"{\"type\":\"order.viewed\",\"x\":\"\xc3\x28\"}",
    b"{\"type\":\"order.viewed\",\"x\":\"\xc3",
    b"{\"type\":\"order.viewed\",\"x\":\"\xc0\x80\"}",
    b"{\"type\":\"order.viewed\",\"x\":\"\xed\xa0\x80\"}",
    b"{\"type\":\"order.viewed\",\"x\":\"\xf4\x90\x80\x80\"}",
    b"\x00\x00\x00\x00\x07protobuf?",
    b"\x1f\x8b\x08\x00",
];

/// Events that say nothing to the projection, and so change nothing, however they look.
const IGNORED: &[&str] = &[
    r#"{"type":"payment.settled","order_id":"o-000000"}"#,
    r#"{"type":""}"#,
    r#"{"type":"order.viewed","order_id":17,"items":5,"placed_at_ms":"x"}"#,
    r#"{"type":"Order.Placed","order_id":"o-000000","customer_id":null,"placed_at_ms":1,"items":[]}"#,
    r#"{"type":"order.placed ","order_id":"o-000000","customer_id":null,"placed_at_ms":1,"items":[]}"#,
    r#"{"type":"order.placed\u0000","order_id":"o-000000"}"#,
    r#"{"order_id":"o-000000","type":"заказ.создан"}"#,
    r#"{"type":"__proto__"}"#,
    r#"{"type":"constructor"}"#,
];

/// Draws the lines of a table in turn.
#[derive(Default)]
struct Turn(usize);

impl Turn {
    fn of<'a, T>(&mut self, table: &'a [T]) -> &'a T {
        self.0 += 1;
        &table[(self.0 - 1) % table.len()]
    }
}

/// The partition of an order.
fn partition_of(order_id: &str) -> i32 {
    let sum = order_id.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    (sum % PARTITIONS) as i32
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An ordinary order with as many items, filled up to a length as events of shops are.
fn ordinary(id: &str, kind: &str, items: u64, length: usize, random: &mut Random) -> String {
    let items: Vec<String> = (0..items)
        .map(|_| {
            let price = ["12.50", "8.99", "0.05", "199.00", "1049.90", "3"][random.below(6) as usize];
            let (sku, quantity) = (random.below(500), 1 + random.below(8));
            format!(r#"{{"sku":"SKU-{sku:04}","quantity":{quantity},"unit_price":"{price}"}}"#)
        })
        .collect();
    let customer = random.below(1_000_000);
    let at = 1_767_225_600_000 + random.below(10_000_000_000);
    let mut json = format!(
        r#"{{"type":"{kind}","order_id":{},"customer_id":"c-{customer:06}","placed_at_ms":{at},"currency":"EUR","items":[{}],"channel":"web","note":""#,
        json_text(id),
        items.join(",")
    );
    let note = r#"leave at the \"back\" door, please; "#;
    while json.len() + note.len() + 2 <= length {
        json.push_str(note);
    }
    json.push_str("\"}");
    json
}

/// Draws everything that an event has beside its value.
fn surroundings(random: &mut Random, event: &mut Event) {
    event.timestamp_ms =
        [1_767_225_600_000, 1_767_225_600_001, -1, 0, 1, 253_402_300_799_999][random.below(6) as usize];
    let header = |name: &str, value: Option<&[u8]>| Header { name: name.to_owned(), value: value.map(<[u8]>::to_vec) };
    event.headers = match random.below(10) {
        0 => vec![header("trace-id", Some(b"4bf9"))],
        1 => vec![header("trace-id", Some(b"")), header("trace-id", None), header("trace-id", Some(b"again"))],
        2 => vec![header("", Some(b"\xff\x00")), header("träce", Some("☃".as_bytes()))],
        _ => Vec::new(),
    };
}

/// An event without surroundings: the order that it belongs to, its key and its value.
struct Draft {
    kind: &'static str,
    law: Law,
    applies: Option<bool>,
    order_id: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Draft {
    fn new(kind: &'static str, law: Law, order_id: &str, value: impl Into<Vec<u8>>) -> Self {
        let key = Some(order_id.as_bytes().to_vec());
        let applies = (!matches!(law, Law::Open | Law::Deep)).then_some(law != Law::TooMuch);
        Draft { kind, law, applies, order_id: order_id.to_owned(), key, value: Some(value.into()) }
    }

    /// The same, for an event that must not apply.
    fn wrong(mut self) -> Self {
        self.applies = Some(false);
        self
    }

    /// A plain order with one piece replaced.
    fn edited(&(kind, piece, by): &(&'static str, &str, &str), law: Law, order_id: &str) -> Self {
        assert!(PLAIN.contains(piece), "{kind}: there is no {piece}");
        Draft::new(kind, law, order_id, PLAIN.replacen(piece, by, 1).replace(ID, order_id))
    }
}

/// Large ones, and those for which the engine or a reader may have a limit.
fn large(turn: &mut Turn, id: &str, random: &mut Random) -> Draft {
    let nested = |depth: usize| {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        PLAIN.replace(ID, id).replace(r#""web""#, &deep)
    };
    let with_items = |count: usize| {
        let items = vec![r#"{"sku":"S","quantity":1,"unit_price":"0.01"}"#; count].join(",");
        format!(r#"{{"type":"order.placed","order_id":"{id}","placed_at_ms":1,"items":[{items}]}}"#)
    };
    let edit = |piece: &str, by: &str| PLAIN.replace(ID, id).replacen(piece, by, 1);
    match *turn.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]) {
        0 => Draft::new(
            "300 KB of text that nobody reads",
            Law::Same,
            id,
            ordinary(id, "order.placed", 3, 300_000, random),
        ),
        1 => Draft::new("3,000 items", Law::Same, id, with_items(3_000)),
        2 => Draft::new("a text of 400 KB", Law::Same, id, edit("SKU-0001", &"é☃".repeat(80_000))),
        3 => Draft::new(
            "500 KB of white space",
            Law::Same,
            id,
            edit(r#","items""#, &format!(",{}\"items\"", " \n\t".repeat(170_000))),
        ),
        4 => Draft::new("200 KB of escapes", Law::Same, id, edit("web", &r"\u2603\n".repeat(25_000))),
        5 => Draft::new("10,000 names", Law::Same, id, {
            let names: Vec<String> = (0..10_000).map(|number| format!("\"f{number}\":{number}")).collect();
            edit(r#""channel":"web""#, &names.join(","))
        }),
        6 => Draft::new(
            "a list of 100,000 numbers",
            Law::Same,
            id,
            edit(r#""web""#, &format!("[{}0]", "0,".repeat(100_000))),
        ),
        7 => Draft::new("600 KB that are no JSON at their end", Law::Same, id, {
            let mut text = ordinary(id, "order.placed", 3, 600_000, random);
            text.pop();
            text
        })
        .wrong(),
        8 => Draft::new("100 levels", Law::Same, id, nested(100)),
        9 => Draft::new("1,000 levels", Law::Open, id, nested(1_000)),
        10 => Draft::new("20,000 levels", Law::Deep, id, nested(20_000)),
        11 => Draft::new("200,000 levels", Law::Deep, id, nested(200_000)),
        12 => Draft::new("10,001 items", Law::TooMuch, id, with_items(10_001)),
        _ => Draft::new("a key of 100 KB", Law::Same, id, PLAIN.replace(ID, &"k".repeat(100_000))).wrong(),
    }
}

fn tombstone(kind: &'static str, key: Option<&[u8]>, order_id: &str) -> Draft {
    let key = key.map(<[u8]>::to_vec);
    // Its key is all that it says.
    let applies = Some(key.as_deref().is_some_and(|key| std::str::from_utf8(key).is_ok()));
    Draft { kind, law: Law::Same, applies, order_id: order_id.to_owned(), key, value: None }
}

/// All events, in offset order within each partition.
pub(crate) fn draw(seed: u64) -> Vec<Ugly> {
    let mut random = Random::new(seed);
    let [mut valid, mut rejected, mut refused, mut exact, mut open] = std::array::from_fn(|_| Turn::default());
    let [mut other, mut ignored, mut huge, mut gone, mut cancelled] = std::array::from_fn(|_| Turn::default());
    // In a partition offsets leave holes, and end where they may end.
    let mut offsets = [OFFSET_MAX - 5 * COUNT as i64; PARTITIONS as usize];
    let mut events = Vec::with_capacity(COUNT);
    while events.len() < COUNT {
        let random = &mut random;
        let id = format!("o-{:06}", random.below(ORDERS));
        let draft = match random.below(1_000) {
            0..200 => Draft::new("ordinary", Law::Same, &id, ordinary(&id, "order.placed", 2, 290, random)),
            200..260 => Draft::new("ordinary", Law::Same, &id, ordinary(&id, "order.placed", 8, 1_700, random)),
            260..380 => {
                let items = random.below(5);
                Draft::new("ordinary", Law::Same, &id, ordinary(&id, "order.updated", items, 200, random))
            }
            380..470 => {
                let rest = cancelled.of(&[
                    "",
                    r#","reason":"changed my mind""#,
                    r#","items":5,"placed_at_ms":"x","customer_id":[]"#,
                ]);
                Draft::new(
                    "cancelled",
                    Law::Same,
                    &id,
                    format!(r#"{{"type":"order.cancelled","order_id":"{id}"{rest}}}"#),
                )
            }
            470..540 => tombstone("tombstone", Some(id.as_bytes()), &id),
            540..560 => match *gone.of(&[0, 1, 2, 3]) {
                0 => tombstone("tombstone without a key", None, &id),
                1 => tombstone("tombstone with a key that is no text", Some(b"\xff\x00key"), &id),
                2 => tombstone("tombstone with an empty key", Some(b""), ""),
                _ => tombstone("tombstone of an order that is not", Some("鍵 'q\" \\".as_bytes()), "鍵 'q\" \\"),
            },
            560..780 => {
                // What the value says counts, not the key.
                let mut draft = Draft::edited(valid.of(VALID), Law::Same, &id);
                match random.below(20) {
                    0 => draft.key = None,
                    1 => draft.key = Some(b"\xff\xfe".to_vec()),
                    2 => draft.key = Some(Vec::new()),
                    _ => {}
                }
                draft
            }
            780..785 => Draft::edited(&("empty id", r#""o-000000""#, r#""""#), Law::Same, ""),
            785..790 => {
                let long = format!("{id}{}", "k".repeat(1_984));
                Draft::new("a key of 1,992 bytes", Law::Same, &long, PLAIN.replace(ID, &long))
            }
            790..920 => Draft::edited(rejected.of(REJECTED), Law::Same, &id).wrong(),
            920..926 => Draft::edited(refused.of(REFUSED), Law::Same, &id).wrong(),
            926..930 => Draft::edited(exact.of(EXACT), Law::Exact, &id),
            930..945 => Draft::edited(open.of(OPEN), Law::Open, &id),
            945..970 => Draft::new("no object", Law::Same, &id, *other.of(OTHER_VALUES)).wrong(),
            970..993 => Draft::new("not ours", Law::Same, &id, ignored.of(IGNORED).replace(ID, &id)),
            _ => large(&mut huge, &id, random),
        };
        let partition = partition_of(&draft.order_id);
        let offset = &mut offsets[partition as usize];
        *offset += [1, 1, 1, 2, 7][random.below(5) as usize];
        let Draft { kind, law, applies, key, value, .. } = draft;
        let mut event = Event { offset: *offset, timestamp_ms: -1, key, value, headers: Vec::new() };
        surroundings(random, &mut event);
        events.push(Ugly { partition, event, kind, law, applies });
    }
    // The last one of each partition stands at the last offset that there is.
    for partition in 0..PARTITIONS as i32 {
        if let Some(last) = events.iter_mut().rev().find(|ugly| ugly.partition == partition) {
            last.event.offset = OFFSET_MAX;
        }
    }
    events
}
