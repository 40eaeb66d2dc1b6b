//! The JSON mapping against bytes written by hand and against the library's own, on descriptors made here.

use proptest::prelude::*;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{EnumDescriptorProto, EnumValueDescriptorProto, MessageOptions, OneofDescriptorProto};
use serde_json::Value as Json;

use super::*;

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

fn of(name: &str, number: i32, kind: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(type_name.to_owned()), ..field(name, number, kind) }
}

fn many(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field, ..DescriptorProto::default() }
}

fn file(file: &str, imports: &[&str], message_type: Vec<DescriptorProto>) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(file.to_owned()),
        package: Some("shop".to_owned()),
        dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
        message_type,
        enum_type: vec![EnumDescriptorProto {
            name: Some(format!("State_{}", file.replace(['.', '/'], "_"))),
            value: [("NEW", 0), ("PAID", 1)]
                .map(|(value, number)| EnumValueDescriptorProto {
                    // Names of values are those of the package around.
                    name: Some(if file == "order.proto" {
                        value.to_owned()
                    } else {
                        format!("{value}_{file}").replace(['.', '/'], "_")
                    }),
                    number: Some(number),
                    options: None,
                })
                .into(),
            ..EnumDescriptorProto::default()
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

/// One field of each kind, a map, a oneof, presence, and the messages that everybody knows.
fn order() -> FileDescriptorProto {
    let entry = DescriptorProto {
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..message("StockEntry", vec![field("key", 1, Type::String), field("value", 2, Type::Int64)])
    };
    let in_oneof = |field: FieldDescriptorProto, index| FieldDescriptorProto { oneof_index: Some(index), ..field };
    let order = DescriptorProto {
        nested_type: vec![
            entry,
            message("Line", vec![field("sku", 1, Type::String), of("inner", 2, Type::Message, ".shop.Order.Line")]),
        ],
        oneof_decl: ["paid_by", "_note"]
            .map(|name| OneofDescriptorProto { name: Some(name.to_owned()), options: None })
            .into(),
        ..message(
            "Order",
            vec![
                field("order_id", 1, Type::Int64),
                field("small", 2, Type::Sint32),
                field("flag", 3, Type::Bool),
                field("single", 4, Type::Float),
                field("double", 5, Type::Double),
                field("words", 6, Type::String),
                field("raw", 7, Type::Bytes),
                of("state", 8, Type::Enum, ".shop.State_order_proto"),
                many(of("lines", 9, Type::Message, ".shop.Order.Line")),
                many(of("stock", 10, Type::Message, ".shop.Order.StockEntry")),
                in_oneof(field("card", 11, Type::String), 0),
                in_oneof(field("points", 12, Type::Uint64), 0),
                FieldDescriptorProto { proto3_optional: Some(true), ..in_oneof(field("note", 13, Type::String), 1) },
                of("at", 14, Type::Message, ".google.protobuf.Timestamp"),
                of("took", 15, Type::Message, ".google.protobuf.Duration"),
                of("more", 16, Type::Message, ".google.protobuf.Struct"),
                of("maybe", 17, Type::Message, ".google.protobuf.Int64Value"),
                of("ratio", 18, Type::Message, ".google.protobuf.FloatValue"),
                many(field("numbers", 19, Type::Uint32)),
            ],
        )
    };
    let imports = ["timestamp", "duration", "struct", "wrappers"].map(|name| format!("google/protobuf/{name}.proto"));
    let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
    file("order.proto", &imports, vec![order, message("Other", vec![field("x", 1, Type::Int32)])])
}

fn schema() -> Schema {
    Schema::parse(&order().encode_to_vec(), &[]).unwrap()
}

#[test]
fn what_is_not_set_is_its_default_or_is_not_there() {
    assert_eq!(
        schema().decode(None, &[0]).unwrap(),
        r#"{"order_id":"0","small":0,"flag":false,"single":0.0,"double":0.0,"words":"","raw":"","state":"NEW","lines":[],"stock":{},"numbers":[]}"#
    );
}

#[test]
fn every_kind_is_what_proto3_json_says() {
    let mut bytes = vec![0_u8];
    bytes.extend([8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]); // order_id = 2^63 - 1
    bytes.extend([16, 3]); // small = -2
    bytes.extend([24, 1]);
    bytes.push(37);
    bytes.extend(0.1_f32.to_le_bytes());
    bytes.push(41);
    bytes.extend(f64::NAN.to_le_bytes());
    bytes.extend([50, 2, b'"', b'a']);
    bytes.extend([58, 2, 0, 255]);
    bytes.extend([64, 9]); // a state that the schema does not know
    bytes.extend([74, 7, 10, 1, b's', 18, 2, 10, 0]); // a line in a line
    bytes.extend([82, 5, 10, 1, b'b', 16, 2, 82, 5, 10, 1, b'a', 16, 1]); // stock, not in its order
    bytes.extend([96, 5]); // points
    bytes.extend([106, 0]); // a note that is set, and empty
    bytes.extend([114, 6, 8, 1, 16, 0xc0, 0x84, 0x3d]); // at: 1 s and 1,000,000 ns
    bytes.extend([122, 2, 8, 90]); // took
    bytes.extend([130, 1, 14, 10, 12, 10, 1, b'k', 18, 7, 26, 5, b'w', b'o', b'r', b'd', b's']); // more: {"k": "words"}
    bytes.extend([138, 1, 2, 8, 7]); // maybe = 7
    bytes.extend([146, 1, 5, 13]);
    bytes.extend(0.1_f32.to_le_bytes());
    bytes.extend([154, 1, 2, 1, 2]); // packed
    let text = schema().decode(None, &bytes).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"order_id":"9223372036854775807","small":-2,"flag":true,"single":0.1,"double":"NaN","words":"\"a","raw":"AP8=","state":9,"#,
            r#""lines":[{"sku":"s","inner":{"sku":""}}],"stock":{"a":"1","b":"2"},"points":"5","note":"","#,
            r#""at":"1970-01-01T00:00:01.001Z","took":"90s","more":{"k":"words"},"maybe":"7","ratio":0.1,"numbers":[1,2]}"#
        )
    );
}

#[test]
fn indexes_name_the_message_in_front_of_it_or_in_a_header() {
    let schema = schema();
    // Second message: [1], as one zigzag varint of the count and one of the index.
    assert_eq!(schema.decode(None, &[2, 2, 8, 5]).unwrap(), r#"{"x":5}"#);
    assert_eq!(schema.decode(Some(&[2, 2]), &[8, 5]).unwrap(), r#"{"x":5}"#);
    // Nested: [0, 1] is Order.Line.
    assert_eq!(schema.decode(None, &[4, 0, 2, 10, 1, b's']).unwrap(), r#"{"sku":"s"}"#);
    assert!(schema.decode(Some(&[]), &[]).unwrap().starts_with("{\"order_id\""));
    for (bytes, words) in [
        (&[][..], "ends within the message indexes"),
        (&[2][..], "ends within the message indexes"),
        (&[2, 8][..], "no such message"),
        (&[1, 0][..], "no whole numbers"),
        (&[0xff, 0xff, 0x7f][..], "no whole numbers"),
        (&[0xfe, 0xff, 0x0f][..], "64 at most"),
        (&[0, 10][..], "message shop.Order"),
        (&[0, 50, 1, 0xff][..], "message shop.Order"),
    ] {
        let error = schema.decode(None, bytes).unwrap_err();
        assert!(error.contains(words), "{bytes:?}: {error}");
    }
}

#[test]
fn imports_are_taken_from_references_and_what_is_missing_is_named() {
    let money = file("money.proto", &[], vec![message("Money", vec![field("cents", 1, Type::Int32)])]);
    let bill = file(
        "bill.proto",
        &["base/money.proto", "confluent/meta.proto", "confluent/type/decimal.proto"],
        vec![message(
            "Bill",
            vec![of("total", 1, Type::Message, ".shop.Money"), of("tax", 2, Type::Message, ".confluent.type.Decimal")],
        )],
    );
    let references = [("base/money.proto".to_owned(), money.encode_to_vec())];
    let schema = Schema::parse(&bill.encode_to_vec(), &references).unwrap();
    let text = schema.decode(None, &[0, 10, 2, 8, 5, 18, 5, 10, 1, 7, 24, 2]).unwrap();
    assert_eq!(text, r#"{"total":{"cents":5},"tax":{"value":"Bw==","precision":0,"scale":2}}"#);
    let error = Schema::parse(&bill.encode_to_vec(), &[]).unwrap_err();
    assert!(error.contains("base/money.proto") && error.contains("shop.Money"), "{error}");
    assert!(Schema::parse(&[0xff], &[]).unwrap_err().contains("descriptor"));
}

#[test]
fn messages_inside_messages_are_bounded() {
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        let mut outer = vec![18];
        prost_reflect::prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend(&bytes);
        bytes = outer;
    }
    let framed: Vec<u8> = [4, 0, 2].into_iter().chain(bytes).collect();
    assert!(schema().decode(None, &framed).unwrap_err().contains("recursion"));
}

fn any_order() -> impl Strategy<Value = DynamicMessage> {
    let scalars =
        (any::<i64>(), any::<i32>(), any::<bool>(), any::<i16>(), any::<String>(), any::<Vec<u8>>(), 0..3_i32);
    let rest = (
        proptest::collection::hash_map(any::<String>(), any::<i64>(), 0..8),
        proptest::option::of(any::<u64>()),
        proptest::collection::vec(any::<String>(), 0..4),
        proptest::option::of((-62_135_596_800..253_402_300_799_i64, 0..1_000_000_000_i32)),
    );
    (scalars, rest).prop_map(|((id, small, flag, number, words, raw, state), (stock, points, lines, at))| {
        let schema = schema();
        let mut order = DynamicMessage::new(schema.message(&[0]).unwrap());
        order.set_field_by_name("order_id", Value::I64(id));
        order.set_field_by_name("small", Value::I32(small));
        order.set_field_by_name("flag", Value::Bool(flag));
        order.set_field_by_name("double", Value::F64(f64::from(number) / 4.0));
        order.set_field_by_name("words", Value::String(words));
        order.set_field_by_name("raw", Value::Bytes(raw.into()));
        order.set_field_by_name("state", Value::EnumNumber(state));
        let stock = stock.into_iter().map(|(key, value)| (MapKey::String(key), Value::I64(value)));
        order.set_field_by_name("stock", Value::Map(stock.collect()));
        if let Some(points) = points {
            order.set_field_by_name("points", Value::U64(points));
        }
        let line = |sku: String| {
            let mut line = DynamicMessage::new(schema.message(&[0, 1]).unwrap());
            line.set_field_by_name("sku", Value::String(sku));
            Value::Message(line)
        };
        order.set_field_by_name("lines", Value::List(lines.into_iter().map(line).collect()));
        if let Some((seconds, nanos)) = at {
            let descriptor = schema.pool.get_message_by_name("google.protobuf.Timestamp").unwrap();
            let mut at = DynamicMessage::new(descriptor);
            at.set_field_by_name("seconds", Value::I64(seconds));
            at.set_field_by_name("nanos", Value::I32(nanos));
            order.set_field_by_name("at", Value::Message(at));
        }
        order
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_library_says_and_always_as_the_same_bytes(order in any_order()) {
        let bytes: Vec<u8> = std::iter::once(0).chain(order.encode_to_vec()).collect();
        let text = schema().decode(None, &bytes).unwrap();
        prop_assert_eq!(&schema().decode(None, &bytes).unwrap(), &text);
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        let wanted = order.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
        prop_assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), wanted);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, header: Option<Vec<u8>>) {
        if let Ok(text) = schema().decode(header.as_deref(), &bytes) {
            serde_json::from_str::<Json>(&text).unwrap();
        }
    }

    #[test]
    fn no_descriptor_makes_it_panic(bytes: Vec<u8>) {
        Schema::parse(&bytes, &[]).ok();
    }
}
