//! Who may do what: every route of the document with no token and with each role; names, origins, and the default.

use super::*;

/// All routes of the document, with their variables filled in.
fn documented() -> Vec<(Method, String, String)> {
    let document: Value = serde_json::from_str(&openapi::text()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let filled = path
                .replace("{projection}", "order_summary")
                .replace("{id}", "order_summary-g2")
                .replace("{plugin}", "order_summary.wasm");
            routes.push((method.to_ascii_uppercase().parse().unwrap(), path.clone(), filled));
        }
    }
    routes
}

async fn status(desk: &Desk, method: &Method, path: &str, token: Option<&str>) -> (u16, Option<String>) {
    let mut asks = request(method.clone(), path);
    if let Some(token) = token {
        asks = asks.header("authorization", format!("Bearer {token}"));
    }
    let response = routes::router(desk.api.clone()).oneshot(asks.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    // A stream has no end.
    if status == 200 {
        return (status, None);
    }
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let code = serde_json::from_slice::<Value>(&body).ok().and_then(|value| Some(value["code"].as_str()?.to_owned()));
    (status, code)
}

#[tokio::test]
async fn every_route_of_the_document_asks_for_its_role() {
    let (mut open, mut looks, mut changes) = (0, 0, 0);
    for (method, path, filled) in documented() {
        // A new desk each: some of these remove what the next one asks for.
        let desk = Desk::new(with_tokens(), false, true);
        let rule = RULES.iter().find(|rule| rule.method == method && rule.path == path);
        let role = rule.unwrap_or_else(|| panic!("{method} {path} is not in the table")).role;
        let wrong = "wrong-wrong-wrong-wrong-wrong-wrong";
        for token in [None, Some(""), Some(wrong), Some(&VIEWER[1..])] {
            let (status, code) = status(&desk, &method, &filled, token).await;
            match role {
                None => assert!(status == 200, "{method} {path} {status}"),
                Some(_) => assert_eq!((status, code.as_deref()), (401, Some("token_needed")), "{method} {path}"),
            }
        }
        assert!(desk.fake.orders.lock().unwrap().is_empty());
        let (status_of_viewer, code) = status(&desk, &method, &filled, Some(VIEWER)).await;
        match role {
            None => open += 1,
            Some(Role::Viewer) => {
                looks += 1;
                assert!(![401, 403].contains(&status_of_viewer), "{method} {path} {code:?}");
                assert_eq!(method, Method::GET, "{path}: a viewer changes nothing");
            }
            Some(Role::Operator) => {
                changes += 1;
                assert_eq!((status_of_viewer, code.as_deref()), (403, Some("role_insufficient")), "{method} {path}");
                assert!(desk.fake.orders.lock().unwrap().is_empty(), "{method} {path} was done for a viewer");
            }
        }
        let (status_of_operator, code) = status(&desk, &method, &filled, Some(OPERATOR)).await;
        assert!(![401, 403, 404, 405].contains(&status_of_operator), "{method} {path} {code:?}");
    }
    assert!(open >= 4 && looks >= 18 && changes >= 13, "{open} {looks} {changes}");
}

#[tokio::test]
async fn everything_that_changes_needs_an_operator_and_every_rule_has_its_route() {
    let documented: BTreeSet<(String, String)> =
        documented().into_iter().map(|(method, path, _)| (method.to_string(), path)).collect();
    let mut seen = BTreeSet::new();
    for rule in RULES {
        assert!(seen.insert((rule.method.to_string(), rule.path)), "{} {} stands twice", rule.method, rule.path);
        assert_eq!(rule.method != Method::GET, rule.role == Some(Role::Operator), "{} {}", rule.method, rule.path);
        if rule.path.starts_with("/api/") {
            assert!(rule.role.is_some(), "{}: nothing of the API is open", rule.path);
            assert!(
                documented.contains(&(rule.method.to_string(), rule.path.to_owned())),
                "{} has no handler",
                rule.path
            );
        }
    }
}

#[tokio::test]
async fn a_handler_without_a_rule_is_refused() {
    let desk = Desk::local();
    let router = axum::Router::new()
        .route("/api/v1/forgotten", axum::routing::get(|| async { "secret" }))
        .layer(axum::middleware::from_fn_with_state(desk.api.clone(), guard::guard))
        .with_state(desk.api.clone());
    let asks = request(Method::GET, "/api/v1/forgotten").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(asks).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_audit_gets_the_name_of_the_token() {
    let desk = Desk::new(with_tokens(), false, true);
    let asks = request(Method::PUT, "/api/v1/projections/order_summary/pause")
        .header("authorization", format!("bearer {OPERATOR}"))
        .extension(access::Peer("10.1.2.3:4".parse().unwrap()));
    assert_eq!(desk.send(asks.body(Body::empty()).unwrap()).await.status, StatusCode::ACCEPTED);
    let (_, _, asked) = desk.fake.orders.lock().unwrap()[0].clone();
    let actor = asked.actor;
    assert_eq!((actor.name.as_str(), actor.role.as_str(), actor.source.as_str()), ("hand", "operator", "10.1.2.3"));
}

/// The dashboard disables by it what would be refused.
#[tokio::test]
async fn the_status_says_what_the_asker_may_do() {
    let role = |answered: Answered| answered.json()["role"].as_str().map(str::to_owned);
    assert_eq!(role(Desk::local().get("/api/v1/status").await).as_deref(), Some("operator"));
    let open = Desk::new(Settings::default(), false, true);
    assert_eq!(role(open.get("/api/v1/status").await).as_deref(), Some("viewer"), "anybody, from anywhere");
    let desk = Desk::new(with_tokens(), true, true);
    for (token, expected) in [(VIEWER, "viewer"), (OPERATOR, "operator")] {
        let asks = request(Method::GET, "/api/v1/status").header("authorization", format!("Bearer {token}"));
        assert_eq!(role(desk.send(asks.body(Body::empty()).unwrap()).await).as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn tokens_come_in_one_way_only() {
    let desk = Desk::new(with_tokens(), true, true);
    let path = "/api/v1/status";
    for (name, value) in [
        ("authorization", format!("Basic {OPERATOR}")),
        ("authorization", OPERATOR.to_owned()),
        ("authorization", format!("Bearer {OPERATOR}x")),
        ("authorization", format!("Bearer {OPERATOR}, Bearer {OPERATOR}")),
        ("cookie", format!("token={OPERATOR}")),
        ("x-api-key", OPERATOR.to_owned()),
    ] {
        let asks = request(Method::GET, path).header(name, value).body(Body::empty()).unwrap();
        desk.send(asks).await.is_problem(401, "token_needed");
    }
    desk.get(&format!("{path}?token={OPERATOR}")).await.is_problem(401, "token_needed");
    let twice = request(Method::GET, path)
        .header("authorization", format!("Bearer {OPERATOR}"))
        .header("authorization", format!("Bearer {OPERATOR}"));
    desk.send(twice.body(Body::empty()).unwrap()).await.is_problem(401, "token_needed");
    let shown = format!("{:?}", with_tokens());
    assert!(!shown.contains(OPERATOR) && shown.contains("hand"));
}

#[tokio::test]
async fn without_tokens_the_others_only_look() {
    let desk = Desk::new(Settings::default(), false, true);
    assert_eq!(desk.get("/api/v1/projections").await.status, StatusCode::OK);
    for (method, path, filled) in documented() {
        if method != Method::GET {
            let (status, code) = status(&desk, &method, &filled, None).await;
            assert_eq!((status, code.as_deref()), (403, Some("read_only")), "{method} {path}");
        }
    }
}

async fn host(desk: &Desk, host: &str, more: &[(&str, &str)]) -> Answered {
    let mut asks = Request::get("/api/v1/projections").header("host", host);
    for (name, value) in more {
        asks = asks.header(*name, *value);
    }
    desk.send(asks.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn on_loopback_only_its_own_names_are_served() {
    let desk = Desk::local();
    for name in [
        "evil.com",
        "evil.com:8484",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "0.0.0.0",
        "localhost:80@evil",
        "",
        "[::2]",
        "engine",
    ] {
        host(&desk, name, &[]).await.is_problem(421, "host_not_allowed");
    }
    for name in ["localhost", "LOCALHOST:1", "127.0.0.1:8484", "127.8.8.8", "[::1]:8484"] {
        assert_eq!(host(&desk, name, &[]).await.status, StatusCode::OK, "{name}");
    }
    let absolute = Request::get("http://evil.com/livez").header("host", "localhost").body(Body::empty()).unwrap();
    desk.send(absolute).await.is_problem(421, "host_not_allowed");
    desk.send(Request::get("/livez").body(Body::empty()).unwrap()).await.is_problem(421, "host_not_allowed");
    let twice = Request::get("/livez").header("host", "localhost").header("host", "localhost").body(Body::empty());
    desk.send(twice.unwrap()).await.is_problem(421, "host_not_allowed");
    let listed = Settings { allowed_hosts: vec!["laterna.example.com".into()], ..Settings::default() };
    let desk = Desk::new(listed, true, true);
    assert_eq!(host(&desk, "Laterna.example.com:443", &[]).await.status, StatusCode::OK);
    let origin = [("origin", "https://laterna.example.com")];
    assert_eq!(host(&desk, "localhost:8484", &origin).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    for desk in [Desk::local(), Desk::new(Settings::default(), false, true)] {
        for origin in
            ["https://evil.com", "http://localhost:3000", "null", "http://localhost:8484.evil.com", "localhost:8484"]
        {
            host(&desk, "localhost:8484", &[("origin", origin)]).await.is_problem(403, "origin_not_allowed");
        }
        assert_eq!(host(&desk, "localhost:8484", &[("origin", "http://localhost:8484")]).await.status, StatusCode::OK);
        for site in ["cross-site", "same-site"] {
            let more = [("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")];
            host(&desk, "localhost:8484", &more).await.is_problem(403, "origin_not_allowed");
            let link = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate")];
            assert_eq!(host(&desk, "localhost:8484", &link).await.status, StatusCode::OK);
        }
        for site in ["same-origin", "none"] {
            assert_eq!(host(&desk, "localhost:8484", &[("sec-fetch-site", site)]).await.status, StatusCode::OK);
        }
    }
    // A token does not make another site's page welcome.
    let desk = Desk::new(with_tokens(), false, true);
    let bearer = format!("Bearer {OPERATOR}");
    let more = [("origin", "https://evil.com"), ("authorization", bearer.as_str())];
    host(&desk, "laterna.example.com", &more).await.is_problem(403, "origin_not_allowed");
    let more = [("origin", "https://laterna.example.com"), ("authorization", bearer.as_str())];
    assert_eq!(host(&desk, "laterna.example.com", &more).await.status, StatusCode::OK);
}

#[tokio::test]
async fn beyond_this_machine_names_with_dots_must_be_known() {
    let desk = Desk::new(Settings::default(), false, true);
    for name in ["engine:8484", "10.0.0.7:8484", "localhost:8484", "[fd00::1]:8484"] {
        assert_eq!(host(&desk, name, &[]).await.status, StatusCode::OK, "{name}");
    }
    host(&desk, "rebound.evil.com:8484", &[]).await.is_problem(421, "host_not_allowed");
}

#[test]
fn a_method_that_is_not_get_is_never_a_look() {
    for path in RULES.iter().map(|rule| rule.path) {
        assert!(!matches!(rules::entry(&Method::PATCH, path), rules::Entry::Here(_)));
        assert!(!matches!(rules::entry(&Method::CONNECT, path), rules::Entry::Here(_)));
    }
}
