//! The decoder against another implementation's encoder, and against bytes that nobody wrote.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Days, Decimal, Duration as AvroDuration, Millis, Months, Schema as Reference, Uuid};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// Encodes with the reference, decodes with ours.
fn through(schema: &Json, value: Value) -> Result<String, String> {
    Schema::parse(&schema.to_string(), &[])?.decode(&written(schema, value))
}

/// As the reference writes it.
fn written(schema: &Json, value: Value) -> Vec<u8> {
    let schema = Reference::parse_str(&schema.to_string()).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn zigzag(number: i64) -> Vec<u8> {
    let mut rest = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

#[test]
fn every_primitive_and_composite_is_what_json_says() {
    let schema = json!({ "type": "record", "name": "All", "namespace": "shop", "fields": [
        { "name": "nothing", "type": "null" },
        { "name": "yes", "type": "boolean" },
        { "name": "small", "type": "int" },
        { "name": "large", "type": "long" },
        { "name": "single", "type": "float" },
        { "name": "double", "type": "double" },
        { "name": "raw", "type": "bytes" },
        { "name": "words", "type": "string" },
        { "name": "four", "type": { "type": "fixed", "name": "Four", "size": 4 } },
        { "name": "color", "type": { "type": "enum", "name": "Color", "symbols": ["RED", "GREEN"] } },
        { "name": "list", "type": { "type": "array", "items": "long" } },
        { "name": "map", "type": { "type": "map", "values": "string" } },
        { "name": "maybe", "type": ["null", "string"] },
        { "name": "absent", "type": ["null", "string"] },
        { "name": "either", "type": ["string", "long", { "type": "array", "items": "Color" }] },
        { "name": "inner", "type": { "type": "record", "name": "Inner", "fields": [{ "name": "again", "type": "Four" }] } },
        { "name": "empty", "type": { "type": "record", "name": "Empty", "fields": [] } },
    ]});
    let value = record(vec![
        ("nothing", Value::Null),
        ("yes", Value::Boolean(true)),
        ("small", Value::Int(i32::MIN)),
        ("large", Value::Long(i64::MAX)),
        ("single", Value::Float(0.1)),
        ("double", Value::Double(-1.5e300)),
        ("raw", Value::Bytes(vec![0, 255])),
        ("words", Value::String("a \"b\"\n\u{0}ä€🎉".to_owned())),
        ("four", Value::Fixed(4, vec![1, 2, 3, 4])),
        ("color", Value::Enum(1, "GREEN".to_owned())),
        ("list", Value::Array(vec![Value::Long(1), Value::Long(-9_007_199_254_740_993)])),
        ("map", Value::Map([("k".to_owned(), Value::String("v".to_owned()))].into())),
        ("maybe", Value::Union(1, Box::new(Value::String("here".to_owned())))),
        ("absent", Value::Union(0, Box::new(Value::Null))),
        ("either", Value::Union(2, Box::new(Value::Array(vec![Value::Enum(0, "RED".to_owned())])))),
        ("inner", record(vec![("again", Value::Fixed(4, vec![9, 9, 9, 9]))])),
        ("empty", record(vec![])),
    ]);
    let text = through(&schema, value).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"nothing":null,"yes":true,"small":-2147483648,"large":9223372036854775807,"single":0.1,"double":-1.5e+300,"#,
            r#""raw":"AP8=","words":"a \"b\"\n\u0000ä€🎉","four":"AQIDBA==","color":"GREEN","list":[1,-9007199254740993],"#,
            r#""map":{"k":"v"},"maybe":"here","absent":null,"either":["RED"],"inner":{"again":"CQkJCQ=="},"empty":{}}"#
        )
    );
    serde_json::from_str::<Json>(&text).unwrap();
}

#[test]
fn every_logical_type_is_the_text_that_people_write() {
    let logical = |kind: &str, name: &str| json!({ "type": kind, "logicalType": name });
    let decimal = json!({ "type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 4 });
    let fixed =
        json!({ "type": "fixed", "name": "D", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 2 });
    let bytes = |number: i64| Value::Decimal(Decimal::from(number.to_be_bytes().to_vec()));
    let duration = AvroDuration::new(Months::new(1), Days::new(u32::MAX), Millis::new(3));
    for (schema, value, wanted) in [
        (decimal.clone(), bytes(123_456), r#""12.3456""#),
        (decimal.clone(), bytes(-5), r#""-0.0005""#),
        (decimal.clone(), bytes(0), r#""0.0000""#),
        (decimal, bytes(i64::MIN), r#""-922337203685477.5808""#),
        (fixed, bytes(-12_345), r#""-123.45""#),
        (logical("int", "date"), Value::Date(19_782), r#""2024-02-29""#),
        (logical("int", "time-millis"), Value::TimeMillis(3_723_004), r#""01:02:03.004""#),
        (logical("long", "time-micros"), Value::TimeMicros(3_723_000_004), r#""01:02:03.000004""#),
        (logical("long", "timestamp-millis"), Value::TimestampMillis(-1), r#""1969-12-31T23:59:59.999Z""#),
        (logical("long", "timestamp-micros"), Value::TimestampMicros(1), r#""1970-01-01T00:00:00.000001Z""#),
        (logical("long", "timestamp-nanos"), Value::TimestampNanos(1), r#""1970-01-01T00:00:00.000000001Z""#),
        (logical("long", "local-timestamp-millis"), Value::LocalTimestampMillis(0), r#""1970-01-01T00:00:00.000""#),
        (logical("long", "local-timestamp-micros"), Value::LocalTimestampMicros(0), r#""1970-01-01T00:00:00.000000""#),
        (logical("long", "local-timestamp-nanos"), Value::LocalTimestampNanos(0), r#""1970-01-01T00:00:00.000000000""#),
        (
            logical("string", "uuid"),
            Value::Uuid(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
            r#""01234567-89ab-cdef-0123-456789abcdef""#,
        ),
        (
            json!({ "type": "fixed", "name": "Du", "size": 12, "logicalType": "duration" }),
            Value::Duration(duration),
            r#"{"months":1,"days":4294967295,"millis":3}"#,
        ),
    ] {
        assert_eq!(through(&schema, value).unwrap(), wanted, "{schema}");
    }
    // In a fixed, a UUID is its bytes.
    let schema = json!({ "type": "fixed", "name": "U", "size": 16, "logicalType": "uuid" }).to_string();
    let text = Schema::parse(&schema, &[]).unwrap().decode(&[0xab; 16]).unwrap();
    assert_eq!(text, "\"abababab-abab-abab-abab-abababababab\"");
    // What no specification knows, or what does not fit, is its type.
    for (schema, bytes, wanted) in [
        (json!({ "type": "long", "logicalType": "io.debezium.time.Thing" }), zigzag(7), "7"),
        (json!({ "type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3 }), vec![2, 5], "\"BQ==\""),
    ] {
        assert_eq!(Schema::parse(&schema.to_string(), &[]).unwrap().decode(&bytes).unwrap(), wanted);
    }
    // An exact number with a scale of its own: the bytes of 12345, and the scale 2 or -2.
    let big = Schema::parse(r#"{"type":"bytes","logicalType":"big-decimal"}"#, &[]).unwrap();
    assert_eq!(big.decode(&[8, 4, 0x30, 0x39, 4]).unwrap(), "\"123.45\"");
    assert_eq!(big.decode(&[8, 4, 0x30, 0x39, 3]).unwrap(), "\"1234500\"");
}

#[test]
fn numbers_that_are_none_stand_as_text() {
    for (number, text) in [(f64::NAN, "\"NaN\""), (f64::INFINITY, "\"Infinity\""), (f64::NEG_INFINITY, "\"-Infinity\"")]
    {
        assert_eq!(through(&json!("double"), Value::Double(number)).unwrap(), text);
        assert_eq!(through(&json!("float"), Value::Float(number as f32)).unwrap(), text);
    }
}

#[test]
fn a_schema_that_holds_itself_is_read_and_its_depth_is_bounded() {
    let schema = r#"{"type":"record","name":"Node","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","Node"]}]}"#;
    let schema = Schema::parse(schema, &[]).unwrap();
    assert_eq!(schema.decode(&[2, 2, 4, 0]).unwrap(), r#"{"v":1,"next":{"v":2,"next":null}}"#);
    let deep = [2_u8, 2].repeat(500_000);
    assert!(schema.decode(&deep).unwrap_err().contains("100 deep"));
    // Without a byte for each level.
    let endless = r#"{"type":"record","name":"E","fields":[{"name":"e","type":"E"}]}"#;
    assert!(Schema::parse(endless, &[]).unwrap().decode(&[]).unwrap_err().contains("100 deep"));
}

#[test]
fn referenced_schemas_are_found_by_their_names() {
    let money = r#"{"type":"record","name":"Money","namespace":"shop.base","fields":[{"name":"cents","type":"long"}]}"#;
    let line =
        r#"{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"price","type":"shop.base.Money"}]}"#;
    let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"lines","type":{"type":"array","items":"Line"}}]}"#;
    let schema = Schema::parse(order, &[money.to_owned(), line.to_owned()]).unwrap();
    assert_eq!(schema.decode(&[4, 2, 4, 0]).unwrap(), r#"{"lines":[{"price":{"cents":1}},{"price":{"cents":2}}]}"#);
    assert!(Schema::parse(order, &[]).unwrap_err().contains("\"Line\""));
}

#[test]
fn wrong_bytes_are_refused_with_the_place() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"record","name":"I","fields":[
        {"name":"b","type":"string"},{"name":"e","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"i","type":"int"},
        {"name":"u","type":["null"]},{"name":"f","type":"boolean"}]}}]}"#;
    let schema = Schema::parse(schema, &[]).unwrap();
    assert_eq!(schema.decode(&[0, 0, 0, 0, 1]).unwrap(), r#"{"a":{"b":"","e":"X","i":0,"u":null,"f":true}}"#);
    for (bytes, words) in [
        (&[][..], "field a.b: it ends early"),
        (&[3][..], "field a.b: a length is -2"),
        (&[8, 1][..], "field a.b: it ends early: 4 bytes are wanted and 1 are left"),
        (&[2, 0xff][..], "field a.b: a string is not UTF-8"),
        (&[0, 2][..], "field a.e: symbol 1 of an enum that has 1"),
        (&[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..], "field a.i: -34359738368 is no int"),
        (&[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], "more than 64 bits"),
        (&[0, 0, 0, 2][..], "field a.u: branch 1 of a union that has 1"),
        (&[0, 0, 0, 0, 2][..], "field a.f: a boolean is [2]"),
        (&[0, 0, 0, 0, 1, 7][..], "1 bytes are left behind the value"),
    ] {
        let error = schema.decode(bytes).unwrap_err();
        assert!(error.contains(words), "{bytes:?}: {error}");
    }
}

#[test]
fn few_bytes_cannot_ask_for_endless_text() {
    let nulls = Schema::parse(r#"{"type":"array","items":"null"}"#, &[]).unwrap();
    let name = "n".repeat(1000);
    let schema = format!(
        r#"{{"type":"array","items":{{"type":"record","name":"R","fields":[{{"name":"{name}","type":"null"}}]}}}}"#
    );
    let mut bytes = zigzag(i64::MAX);
    bytes.push(0);
    assert!(Schema::parse(&schema, &[]).unwrap().decode(&bytes).unwrap_err().contains("64 MiB"));
    let negative = [zigzag(i64::MIN), zigzag(0)].concat();
    assert!(nulls.decode(&negative).unwrap_err().contains("impossible count"));
    // A block with its size, as other writers have it.
    assert_eq!(nulls.decode(&[3, 0, 0]).unwrap(), "[null,null]");
    let decimal = Schema::parse(r#"{"type":"bytes","logicalType":"decimal","precision":9}"#, &[]).unwrap();
    let huge = [zigzag(20_000), vec![1; 20_000]].concat();
    assert!(decimal.decode(&huge).unwrap_err().contains("16384 at most"));
}

#[test]
fn schemas_that_are_none_are_refused() {
    for (schema, words) in [
        ("", "no JSON"),
        ("1", "where a type is wanted"),
        ("{}", "without \"type\""),
        (r#""Nowhere""#, "\"Nowhere\", which nothing defines"),
        (r#"{"type":"record","name":"R"}"#, "without fields"),
        (r#"{"type":"record","fields":[]}"#, "without a name"),
        (r#"{"type":"fixed","name":"F"}"#, "without a size"),
        (r#"{"type":"array"}"#, "without items"),
        (r#"[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}]"#, "twice"),
    ] {
        let error = Schema::parse(schema, &[]).unwrap_err();
        assert!(error.contains(words), "{schema}: {error}");
    }
}

/// A schema, a value of it for the reference, and the JSON that it must become.
fn any_typed(depth: u32) -> BoxedStrategy<(Json, Value, Json)> {
    let leaf = prop_oneof![
        Just((json!("null"), Value::Null, Json::Null)),
        any::<bool>().prop_map(|v| (json!("boolean"), Value::Boolean(v), json!(v))),
        any::<i32>().prop_map(|v| (json!("int"), Value::Int(v), json!(v))),
        any::<i64>().prop_map(|v| (json!("long"), Value::Long(v), json!(v))),
        // Exact in few digits: how serde_json reads the last digit of others back is not what is tested.
        any::<i32>().prop_map(|v| f64::from(v) / 8.0).prop_map(|v| (json!("double"), Value::Double(v), json!(v))),
        any::<String>().prop_map(|v| (json!("string"), Value::String(v.clone()), json!(v))),
        any::<Vec<u8>>().prop_map(|v| {
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &v);
            (json!("bytes"), Value::Bytes(v), json!(text))
        }),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![
        leaf,
        (any_typed(depth - 1), 0..4_usize).prop_map(|((schema, value, json), count)| {
            let schema = json!({ "type": "array", "items": schema });
            (schema, Value::Array(vec![value; count]), Json::Array(vec![json; count]))
        }),
        (any_typed(depth - 1), any::<String>()).prop_map(|((schema, value, json), key)| {
            let schema = json!({ "type": "map", "values": schema });
            (schema, Value::Map([(key.clone(), value)].into()), json!({ key: json }))
        }),
        (any_typed(0), any::<bool>())
            .prop_filter("a union in a union", |((schema, ..), _)| schema.is_string() && schema != "null")
            .prop_map(|((schema, value, json), is_there)| {
                let union = json!(["null", schema]);
                if is_there {
                    (union, Value::Union(1, Box::new(value)), json)
                } else {
                    (union, Value::Union(0, Box::new(Value::Null)), Json::Null)
                }
            }),
        proptest::collection::vec(any_typed(depth - 1), 0..5).prop_map(|fields| {
            // A name of its own for each record, so that no two are the same.
            static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
            let name = format!("R{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            let (mut kinds, mut values, mut json) = (Vec::new(), Vec::new(), serde_json::Map::new());
            for (index, (schema, value, expected)) in fields.into_iter().enumerate() {
                let field = format!("f{index}");
                kinds.push(json!({ "name": field, "type": schema }));
                values.push((field.clone(), value));
                json.insert(field, expected);
            }
            (json!({ "type": "record", "name": name, "fields": kinds }), Value::Record(values), Json::Object(json))
        }),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn what_another_implementation_writes_is_read_as_it_was_meant((schema, value, json) in any_typed(3)) {
        let text = through(&schema, value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), json);
    }

    #[test]
    fn no_bytes_and_no_cut_make_it_panic(bytes: Vec<u8>, (schema, value, _) in any_typed(2), cut: proptest::sample::Index) {
        let ours = Schema::parse(&schema.to_string(), &[]).unwrap();
        ours.decode(&bytes).ok();
        let whole = written(&schema, value);
        let at = cut.index(whole.len() + 1);
        if at < whole.len() {
            prop_assert!(ours.decode(&whole[..at]).is_err());
        }
        if let Ok(text) = ours.decode(&bytes) {
            serde_json::from_str::<Json>(&text).unwrap();
        }
    }

    #[test]
    fn decimals_are_exact(unscaled: i128, scale in 0..30_i64) {
        let text = decimal_text(&unscaled.to_be_bytes(), scale).unwrap();
        let read: bigdecimal::BigDecimal = text.parse().unwrap();
        prop_assert_eq!(read, bigdecimal::BigDecimal::new(unscaled.into(), scale));
        prop_assert_eq!(text.split_once('.').map_or(0, |(_, behind)| behind.len()) as i64, scale);
    }
}
