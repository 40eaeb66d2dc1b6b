//! Laws of loading: layers, unknown keys, secrets.

use super::*;
use crate::config::{SourceKind, TokenRole, schema, show};

const CANARY: &str = "hunter2-canary";

fn inputs(dir: &tempfile::TempDir, toml: &str, env: &[(&str, &str)], overrides: &[&str]) -> Inputs {
    let file = dir.path().join("laterna.toml");
    std::fs::write(&file, toml).unwrap();
    Inputs {
        file: ConfigFile::Named(file),
        environment: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        overrides: overrides.iter().map(|text| text.to_string()).collect(),
    }
}

fn load(toml: &str, env: &[(&str, &str)], overrides: &[&str]) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    Config::load(&inputs(&dir, toml, env, overrides))
}

fn problems(toml: &str, env: &[(&str, &str)], overrides: &[&str]) -> String {
    load(toml, env, overrides).expect_err("there must be problems").to_string()
}

#[test]
fn every_default_is_valid() {
    let config = load("", &[], &[]).unwrap().config;
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8484");
    assert_eq!(config.database.url.expose(), "sqlite://laterna.db");
    assert_eq!(config.kafka.buffer_bytes_max, 8 << 20);
    assert_eq!(config.defaults.batch_events_max, 20_000);
    assert_eq!(config.defaults.call_time_max.as_millis(), 1000);
    assert_eq!(config.source, SourceKind::Kafka);
}

#[test]
fn the_whole_file_is_understood() {
    let toml = r#"
        plugins_dir = "p"
        source = "file"
        [http]
        listen = "0.0.0.0:1"
        allow_remote = true
        [database]
        url = "postgres://a@b/c"
        writers = 3
        connect_timeout = "200ms"
        [kafka]
        buffer = "1MiB"
        [kafka.properties]
        "security.protocol" = "SASL_SSL"
        socket.keepalive.enable = true
        "socket.timeout.ms" = 5000
        [file]
        dir = "e"
        [defaults]
        on_error = "halt"
        batch = { max_events = 7 }
        limits = { memory = "2MiB", log_lines = 0 }
        [projections.order_summary]
        slo = { lag_seconds = 5 }
        [projections.order_summary.limits]
        call_time = "10ms"
        [projections.empty]
    "#;
    let config = load(toml, &[], &[]).unwrap().config;
    assert_eq!(config.kafka.properties["socket.keepalive.enable"].expose(), "true");
    assert_eq!(config.kafka.properties["socket.timeout.ms"].expose(), "5000");
    assert_eq!(config.database.connect_timeout.as_millis(), 200);
    let projection = &config.projections["order_summary"];
    assert_eq!((projection.batch_events_max, projection.memory_bytes_max, projection.slo_lag_seconds), (7, 2 << 20, 5));
    assert_eq!(config.projections["empty"], config.defaults);
}

#[test]
fn later_layers_win() {
    let toml = "[database]\nurl = \"sqlite://file.db\"\n";
    let well_known = [("DATABASE_URL", "sqlite://well-known.db")];
    assert_eq!(load("", &well_known, &[]).unwrap().config.database.url.expose(), "sqlite://well-known.db");
    assert_eq!(load(toml, &well_known, &[]).unwrap().config.database.url.expose(), "sqlite://file.db");
    let both = [well_known[0], ("LATERNA__DATABASE__URL", "sqlite://variable.db")];
    assert_eq!(load(toml, &both, &[]).unwrap().config.database.url.expose(), "sqlite://variable.db");
    let loaded = load(toml, &both, &["database.url=sqlite://argument.db"]).unwrap();
    assert_eq!(loaded.config.database.url.expose(), "sqlite://argument.db");
    assert_eq!(loaded.shown.iter().find(|shown| shown.path == "database.url").unwrap().origin, "--set");
}

#[test]
fn variables_reach_every_kind_of_key() {
    let env = [
        ("KAFKA_BROKERS", "b:1"),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("LATERNA__KAFKA__PROPERTIES__SASL_USERNAME", "me"),
        ("LATERNA__PROJECTIONS__MY__ORDERS__LIMITS__MEMORY", "3MiB"),
        ("LATERNA__DEFAULTS__BATCH__MAX_EVENTS", "12"),
        ("LATERNA_TOKEN", "not a key"),
    ];
    let config = load("", &env, &["projections.a.slo.lag_seconds=9", "kafka.properties.client.id=x"]).unwrap().config;
    assert_eq!(config.kafka.bootstrap_servers, "b:1");
    assert_eq!(config.kafka.properties["sasl.mechanism"].expose(), "PLAIN");
    assert_eq!(config.kafka.properties["sasl.username"].expose(), "me");
    assert_eq!(config.kafka.properties["client.id"].expose(), "x");
    assert_eq!(config.projections["my__orders"].memory_bytes_max, 3 << 20);
    assert_eq!((config.projections["a"].slo_lag_seconds, config.projections["a"].batch_events_max), (9, 12));
}

#[test]
fn unknown_keys_are_errors_with_their_line_and_a_suggestion() {
    let text =
        problems("plugin_dir = \"x\"\n[htp]\nlisten = \"127.0.0.1:1\"\n[kafka]\nbootstrap_server = \"a\"\n", &[], &[]);
    assert!(text.contains("laterna.toml:1: plugin_dir: unknown key; did you mean `plugins_dir`?"), "{text}");
    assert!(text.contains("laterna.toml:2: htp: unknown key; did you mean `http`?"), "{text}");
    assert!(
        text.contains("laterna.toml:5: kafka.bootstrap_server: unknown key; did you mean `kafka.bootstrap_servers`?"),
        "{text}"
    );
    assert!(text.starts_with("the configuration has 3 problems"), "{text}");
    let text = problems("[projections.a.limits]\nmemori = \"1MiB\"\n", &[], &[]);
    assert!(text.contains("projections.a.limits.memory"), "{text}");
    let text = problems("", &[("LATERNA__HTTP__LISTN", "x")], &["zzzzz=1", "nothing"]);
    assert!(text.contains("LATERNA__HTTP__LISTN: http.listn: unknown key; did you mean `http.listen`?"), "{text}");
    assert!(text.contains("--set: zzzzz: unknown key; `laterna config show`") && text.contains("KEY=VALUE"), "{text}");
}

#[test]
fn wrong_values_say_what_is_right() {
    for (toml, expected) in [
        ("source = \"redis\"", "write \"kafka\" or \"file\""),
        ("source = 3", "takes a text in quotes"),
        ("[database]\nwriters = \"2\"", "whole number, without quotes"),
        ("[database]\nwriters = 9", "9 is out of bounds: 1 to 8"),
        ("[database]\nurl = \"mysql://x\"", "the scheme `mysql` is not supported"),
        ("[database]\nurl = \"postgres://${PW}@x\"", "write { env = \"PW\" }"),
        ("[database]\nurl = { env = \"ABSENT\" }", "the environment variable ABSENT is not set"),
        ("[database]\nurl = { vault = \"x\" }", "a reference is { env"),
        ("[kafka]\nbuffer = 64", "64 has no unit"),
        ("[kafka]\nbuffer = \"64MB\"", "write it as \"64MiB\""),
        ("[kafka]\nbuffer = [1]", "takes no array"),
        ("[defaults]\non_error = \"park\"", "comes with a later release"),
        ("[defaults]\nlimits = { call_time = \"1ms\" }", "1ms is out of bounds: 10ms to 1m"),
        ("[http]\nlisten = \"0.0.0.0:80\"", "openssl rand -hex 32"),
        ("[http]\nlisten = \"0.0.0.0:80\"", "http.allow_remote = true"),
        ("[http]\nlisten = \"0.0.0.0:80\"\nallow_remote = true\ntokens = []", "no token guards it"),
        ("[http]\nallowed_hosts = [3]", "takes a list of texts"),
        ("[http]\nallowed_hosts = [\"https://x.example\"]", "without scheme and port"),
        ("[metrics]\ngranularity = \"topic\"", "\"partition\" or \"projection\""),
        ("[http]\nlisten = \"here\"", "is not an address with a port"),
        ("[projections.\"Bad-Name\"]\nslo = { lag_seconds = 3 }", "no name of a projection"),
        ("http = 3", "is a section"),
        ("a = = 3", "not TOML"),
    ] {
        let text = problems(toml, &[], &[]);
        assert!(text.contains(expected), "{toml}\n{text}");
        assert!(text.contains("laterna.toml:"), "{text}");
    }
}

#[test]
fn a_named_file_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = Inputs { file: ConfigFile::Named(dir.path().join("absent.toml")), ..Inputs::default() };
    assert!(Config::load(&inputs).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn references_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("password");
    std::fs::write(&secret, format!("{CANARY}\n")).unwrap();
    let toml = format!(
        "[database]\nurl = {{ env = \"U\" }}\n[kafka.properties]\n\"sasl.password\" = {{ file = {:?} }}\nsasl.username = {{ env = \"N\" }}\n",
        secret.display().to_string()
    );
    let config = Config::load(&inputs(&dir, &toml, &[("U", "postgres://x/y"), ("N", "me")], &[])).unwrap().config;
    assert_eq!(config.database.url.expose(), "postgres://x/y");
    assert_eq!(config.kafka.properties["sasl.password"].expose(), CANARY);
    assert_eq!(config.kafka.properties["sasl.username"].expose(), "me");
    let by_variable = [("KAFKA_SASL_PASSWORD_FILE", secret.to_str().unwrap())];
    assert_eq!(load("", &by_variable, &[]).unwrap().config.kafka.properties["sasl.password"].expose(), CANARY);
}

#[test]
fn nothing_shows_a_secret() {
    let bad = [
        format!("[database]\nurl = \"oracle-{CANARY}\""),
        format!("[database]\nurl = \"{CANARY}"),
        format!("[database]\nurl = [\"{CANARY}\"]"),
        format!("[database]\nurl = \"postgres://${{A}}{CANARY}\""),
        format!("[kafka.properties]\n\"sasl.password\" = [\"{CANARY}\"]"),
    ];
    for toml in bad {
        let text = problems(&toml, &[], &[]);
        assert!(!text.contains(CANARY), "{text}");
    }
    let text = problems("[kafka]\nbootstrap_servers = \"a\"\n[http]\nlisten = { env = \"X\" }", &[("X", CANARY)], &[]);
    assert!(!text.contains(CANARY), "{text}");
    let toml = format!(
        "[database]\nurl = \"postgres://u:{CANARY}@h/d\"\n[kafka.properties]\n\"sasl.password\" = \"{CANARY}\"\n\"client.rack\" = {{ env = \"R\" }}\n"
    );
    let loaded = load(&toml, &[("R", CANARY)], &[]).unwrap();
    let text = format!("{}{:?}", show(&loaded), loaded);
    assert!(!text.contains(CANARY), "{text}");
    assert!(text.contains("postgres://u:***@h/d"), "{text}");
}

#[test]
fn what_is_shown_reads_back() {
    let toml = "[defaults]\nbatch = { max_events = 7 }\n[projections.a]\nlimits = { memory = \"2MiB\" }\n[kafka.properties]\n\"client.id\" = \"x\"\n";
    let first = load(toml, &[], &[]).unwrap();
    let second = load(&show(&first), &[], &[]).unwrap();
    assert_eq!(show(&first).lines().count(), show(&second).lines().count());
    assert_eq!(first.config.defaults, second.config.defaults);
    assert_eq!(first.config.projections, second.config.projections);
    assert_eq!(first.config.http.listen, second.config.http.listen);
}

#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    for key in KEYS {
        let pointer = format!("/properties/{}", key.path.replace('.', "/properties/"));
        assert!(schema.pointer(&pointer).and_then(|leaf| leaf.get("description")).is_some(), "{}", key.path);
    }
    for key in PROJECTION_KEYS {
        for parent in ["/properties/defaults", "/properties/projections/additionalProperties"] {
            let pointer = format!("{parent}/properties/{}", key.path.replace('.', "/properties/"));
            assert!(schema.pointer(&pointer).and_then(|leaf| leaf.get("default")).is_some(), "{pointer}");
        }
    }
}

/// 40 characters.
const TOKEN: &str = "hunter2-canary-hunter2-canary-hunter2-ca";

#[test]
fn tokens_are_hashed_and_open_the_address() {
    use sha2::{Digest, Sha256};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("viewer.token");
    std::fs::write(&file, format!("{TOKEN}-viewer\n")).unwrap();
    let toml = format!(
        "[http]\nlisten = \"0.0.0.0:80\"\nallowed_hosts = [\"a.example\", \"b\"]\n[[http.tokens]]\nname = \"ci\"\nrole = \"operator\"\ntoken = {{ env = \"CI\" }}\n[[http.tokens]]\nname = \"grafana\"\nrole = \"viewer\"\ntoken = {{ file = {:?} }}\n",
        file.display().to_string()
    );
    let loaded = Config::load(&inputs(&dir, &toml, &[("CI", TOKEN)], &[])).unwrap();
    let tokens = &loaded.config.http.tokens;
    let digest = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
    assert_eq!((tokens[0].name.as_str(), tokens[0].role, tokens[0].digest), ("ci", TokenRole::Operator, digest(TOKEN)));
    assert_eq!((tokens[1].role, tokens[1].digest), (TokenRole::Viewer, digest(&format!("{TOKEN}-viewer"))));
    assert_eq!(loaded.config.http.allowed_hosts, ["a.example", "b"]);
    let text = format!("{}{loaded:?}", show(&loaded));
    assert!(!text.contains(CANARY), "{text}");
    assert!(text.contains("tokens = [{ name = \"ci\", role = \"operator\", token = \"(secret)\" }"), "{text}");
    assert!(text.matches("[http]").count() == 1, "{text}");
    let by_variable = [("LATERNA_OPERATOR_TOKEN", TOKEN), ("LATERNA__HTTP__ALLOWED_HOSTS", "a.example, b")];
    let config = load("", &by_variable, &["http.listen=0.0.0.0:80"]).unwrap().config;
    assert_eq!((config.http.tokens[0].name.as_str(), config.http.tokens[0].role), ("operator", TokenRole::Operator));
    assert_eq!(config.http.allowed_hosts, ["a.example", "b"]);
    assert!(load("", &[("LATERNA_OPERATOR_TOKEN", "")], &[]).unwrap().config.http.tokens.is_empty());
}

#[test]
fn bad_tokens_say_what_is_right_and_show_nothing() {
    for (tokens, expected) in [
        (
            "[{ name = \"a\", role = \"operator\", token = \"hunter2-canary-hunter2-canary-hunter2\" }]",
            "never written into this file",
        ),
        ("[{ name = \"a\", role = \"operator\", token = { vault = \"hunter2-canary\" } }]", "{ file = \"PATH\" }"),
        ("[{ name = \"a\", role = \"root\", token = { env = \"T\" } }]", "role = \"viewer\" or \"operator\""),
        ("[{ role = \"viewer\", token = { env = \"T\" } }]", "has no name"),
        ("[{ name = \"local\", role = \"viewer\", token = { env = \"T\" } }]", "used by the audit"),
        ("[{ name = \"a b\", role = \"viewer\", token = { env = \"T\" } }]", "letters, digits"),
        ("[{ name = \"a\", role = \"viewer\", token = { env = \"T\" }, expires = 1 }]", "unknown key `expires`"),
        ("[{ name = \"a\", role = \"viewer\", token = { env = \"SHORT\" } }]", "has 22 characters; 32 to 512"),
        ("[{ name = \"a\", role = \"viewer\", token = { env = \"SPACED\" } }]", "without spaces"),
        ("[{ name = \"a\", role = \"viewer\", token = { env = \"ABSENT\" } }]", "ABSENT is not set"),
        ("[{ name = \"a\", role = \"viewer\", token = { file = \"/absent\" } }]", "/absent cannot be read"),
        (
            "[{ name = \"a\", role = \"viewer\", token = { env = \"T\" } }, { name = \"a\", role = \"operator\", token = { env = \"U\" } }]",
            "two tokens named",
        ),
        (
            "[{ name = \"a\", role = \"viewer\", token = { env = \"T\" } }, { name = \"b\", role = \"operator\", token = { env = \"T\" } }]",
            "the same as another one",
        ),
        ("[3]", "takes tables"),
        ("\"hunter2-canary\"", "stands in the file only"),
    ] {
        let other = TOKEN.to_uppercase();
        let spaced = format!("{TOKEN} {TOKEN}");
        let env = [("T", TOKEN), ("U", other.as_str()), ("SHORT", &TOKEN[..22]), ("SPACED", spaced.as_str())];
        let text = problems(&format!("[http]\nlisten = \"0.0.0.0:80\"\ntokens = {tokens}\n"), &env, &[]);
        assert!(text.contains(expected) && text.contains("laterna.toml:3"), "{tokens}\n{text}");
        assert!(!text.contains(CANARY), "{text}");
    }
    let text = problems("", &[("LATERNA__HTTP__TOKENS", TOKEN)], &["http.tokens=x"]);
    assert!(text.matches("stands in the file only").count() == 2 && !text.contains(CANARY), "{text}");
}

#[test]
fn formats_are_words_or_tables_of_topics_laid_over_the_defaults() {
    use crate::format::Format;
    let toml = r#"
        [schema_registry]
        url = "https://registry:8081/base"
        username = "me"
        password = { env = "SR_PASSWORD" }
        ca = "ca.pem"
        [defaults]
        format = "json"
        [defaults.key_format]
        orders = "avro"
        [projections.p]
        format = { orders = "avro", "shop.refunds" = "debezium" }
        [projections.q]
        key_format = "bytes"
    "#;
    let config = load(toml, &[("SR_PASSWORD", "hunter2")], &[]).unwrap().config;
    assert_eq!(config.schema_registry.url.as_deref(), Some("https://registry:8081/base"));
    assert_eq!(config.schema_registry.password.as_ref().map(Secret::expose), Some("hunter2"));
    let (p, q) = (&config.projections["p"], &config.projections["q"]);
    let of = |topic| (p.format.of(topic), p.key_format.of(topic), q.format.of(topic), q.key_format.of(topic));
    assert_eq!(of("orders"), (Format::Avro, Format::Avro, Format::Json, Format::Bytes));
    assert_eq!(of("shop.refunds"), (Format::Debezium, Format::Auto, Format::Json, Format::Bytes));
    assert_eq!(of("other"), (Format::Json, Format::Auto, Format::Json, Format::Bytes));
    let env = [("SCHEMA_REGISTRY_URL", "http://r:1"), ("LATERNA__PROJECTIONS__P__FORMAT", "orders=protobuf, x=bytes")];
    let config = load("", &env, &["defaults.format=auto"]).unwrap().config;
    assert_eq!(config.schema_registry.url.as_deref(), Some("http://r:1"));
    let format = &config.projections["p"].format;
    assert_eq!((format.of("orders"), format.of("x"), format.of("y")), (Format::Protobuf, Format::Bytes, Format::Auto));
    assert_eq!(load("", &[], &[]).unwrap().config.schema_registry.url, None);
}

#[test]
fn formats_that_cannot_be_say_what_is_right() {
    for (toml, words) in [
        ("[defaults]\nformat = \"avor\"", "did you mean \"avro\"?"),
        ("[defaults]\nformat = \"xml\"", "write one of auto, json, bytes, cloudevents, debezium, avro, protobuf"),
        ("[defaults]\nkey_format = \"cloudevents\"", "a key is no CloudEvent"),
        ("[defaults]\nformat = { a = 1 }", "a table of topics"),
        ("[defaults]\nformat = { a.b = \"json\" }", "stands in quotes"),
        ("[defaults]\nformat = 1", "text in quotes"),
        ("[defaults]\nformat = \"avro\"", "set schema_registry.url, or SCHEMA_REGISTRY_URL"),
        (
            "[projections.p]\nkey_format = { a = \"protobuf\" }",
            "projections.p.key_format: \"protobuf\" is read with the schemas",
        ),
        ("[schema_registry]\nurl = \"registry:8081\"", "write it as \"http://HOST:8081\""),
        ("[schema_registry]\nurl = \"http://u:hunter2@r\"", "schema_registry.username"),
        ("[schema_registry]\nurk = \"http://r\"", "schema_registry.url"),
        ("[defaults]\nformats = \"json\"", "defaults.format"),
    ] {
        let problems = problems(toml, &[], &[]);
        assert!(problems.contains(words), "{toml}: {problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn what_the_page_on_formats_shows_is_read() {
    let page = include_str!("../../../docs/plugins/formats.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 1);
    let config = load(blocks[0], &[], &[]).unwrap().config;
    assert_eq!(config.projections["orders"].format.of("shop.customers").name(), "debezium");
    let env = [
        ("SCHEMA_REGISTRY_URL", "http://r"),
        ("LATERNA__PROJECTIONS__ORDERS__FORMAT", "orders=avro,payments=cloudevents"),
    ];
    assert!(page.contains(&format!("{}={}", env[1].0, env[1].1)));
    assert_eq!(load("", &env, &[]).unwrap().config.projections["orders"].format.of("payments").name(), "cloudevents");
    for format in crate::format::Format::ALL {
        assert!(page.contains(&format!("`{}`", format.name())), "{format:?}");
    }
}
