//! Forged webhooks are not believed, genuine ones have one effect, ages are exact.

use serde_json::{Value, json};
use testkit::{Bank, KeyServer, World, now};

struct Forge {
    world: World,
    keys: KeyServer,
    body: Vec<u8>,
}

impl Forge {
    async fn open() -> Self {
        let keys = KeyServer::start().await;
        let world = World::with(Bank::open(1).await, &keys.url).await;
        let body = json!({
            "webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE",
            "item_id": "anything", "environment": "sandbox",
        });
        let body = format!("{body:#}").into_bytes();
        Self { world, keys, body }
    }

    async fn send(&self, headers: &[&str], body: &[u8]) -> (u16, Value) {
        let mut request = self.world.http.post(self.world.webhook_url()).body(body.to_vec());
        for header in headers {
            request = request.header("plaid-verification", *header);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    fn good(&self) -> String {
        self.keys.token(self.keys.live(), &self.body, now().as_second())
    }
}

/// Headers and claims that no genuine token has, all signed with the genuine key.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn crafted(forge: &Forge) -> Vec<(String, String)> {
    let (iat, hash) = (now().as_second(), KeyServer::hash(&forge.body));
    let live = forge.keys.live();
    let claims = json!({ "iat": iat, "request_body_sha256": hash }).to_string();
    let header = |value: Value| value.to_string();
    let mut tokens = Vec::new();
    let algorithms = [
        "none", "None", "NONE", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
        "ES384", "ES512", "EdDSA", "es256", "ES256K", "", "ES256 ",
    ];
    for alg in algorithms {
        tokens.push((format!("alg {alg:?}"), header(json!({ "alg": alg, "kid": live }))));
    }
    let long = "a".repeat(65);
    let kids = [
        "",
        "../../etc/passwd",
        "a b",
        "\u{0}",
        long.as_str(),
        "kid\n",
        "33333333-3333-4333-8333-333333333333",
        "' OR 1=1",
        forge.keys.expired(),
    ];
    for kid in kids {
        tokens.push((format!("kid {kid:?}"), header(json!({ "alg": "ES256", "kid": kid }))));
    }
    for (what, text) in [
        ("no alg", header(json!({ "kid": live }))),
        ("no kid", header(json!({ "alg": "ES256" }))),
        ("kid null", header(json!({ "alg": "ES256", "kid": null }))),
        ("kid number", header(json!({ "alg": "ES256", "kid": 1 }))),
        ("alg array", header(json!({ "alg": ["ES256"], "kid": live }))),
        ("crit", header(json!({ "alg": "ES256", "kid": live, "crit": ["exp"] }))),
        ("key in header only", header(json!({ "alg": "ES256", "jwk": { "kty": "EC" } }))),
        ("duplicate alg", format!(r#"{{"alg":"none","alg":"ES256","kid":"{live}"}}"#)),
        ("duplicate kid", format!(r#"{{"alg":"ES256","kid":"x","kid":"{live}"}}"#)),
        ("an array", "[]".to_owned()),
        ("a string", "\"ES256\"".to_owned()),
        ("not JSON", "{".to_owned()),
        ("empty", String::new()),
    ] {
        tokens.push((what.to_owned(), text));
    }
    let mut signed: Vec<(String, String)> = tokens
        .into_iter()
        .map(|(what, header)| (format!("header: {what}"), forge.keys.sign(&header, &claims)))
        .collect();
    let good_header = header(json!({ "alg": "ES256", "kid": live, "typ": "JWT" }));
    for (what, claims) in [
        ("no iat", json!({ "request_body_sha256": hash }).to_string()),
        ("no hash", json!({ "iat": iat }).to_string()),
        ("iat text", json!({ "iat": iat.to_string(), "request_body_sha256": hash }).to_string()),
        ("iat fraction", format!(r#"{{"iat":{iat}.5,"request_body_sha256":"{hash}"}}"#)),
        ("iat huge", format!(r#"{{"iat":1e99,"request_body_sha256":"{hash}"}}"#)),
        ("iat old", json!({ "iat": iat - 3_600, "request_body_sha256": hash }).to_string()),
        ("iat future", json!({ "iat": iat + 3_600, "request_body_sha256": hash }).to_string()),
        ("iat smallest", format!(r#"{{"iat":{},"request_body_sha256":"{hash}"}}"#, i64::MIN)),
        (
            "hash of nothing",
            json!({ "iat": iat, "request_body_sha256": KeyServer::hash(b"") }).to_string(),
        ),
        ("hash empty", json!({ "iat": iat, "request_body_sha256": "" }).to_string()),
        (
            "hash upper case",
            json!({ "iat": iat, "request_body_sha256": hash.to_uppercase() }).to_string(),
        ),
        ("hash null", json!({ "iat": iat, "request_body_sha256": null }).to_string()),
        ("duplicate iat", format!(r#"{{"iat":1,"iat":{iat},"request_body_sha256":"{hash}"}}"#)),
        (
            "duplicate hash",
            format!(r#"{{"iat":{iat},"request_body_sha256":"x","request_body_sha256":"{hash}"}}"#),
        ),
        ("an array", "[]".to_owned()),
        ("not JSON", "iat".to_owned()),
    ] {
        signed.push((format!("claims: {what}"), forge.keys.sign(&good_header, &claims)));
    }
    signed
}

/// A genuine token, damaged.
fn damaged(good: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let zeros = "A".repeat(86);
    [
        ("no signature", format!("{header}.{claims}.")),
        ("zero signature", format!("{header}.{claims}.{zeros}")),
        ("short signature", format!("{header}.{claims}.{}", &signature[..40])),
        ("long signature", format!("{header}.{claims}.{signature}{signature}")),
        ("padding", format!("{header}.{claims}.{signature}==")),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.{signature}")),
        ("swapped parts", format!("{claims}.{header}.{signature}")),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("a word", "Bearer".to_owned()),
        ("very long", format!("{}.{claims}.{signature}", "A".repeat(5_000))),
    ]
    .map(|(what, token)| (format!("damaged: {what}"), token))
    .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_webhooks_are_never_believed() {
    let forge = Forge::open().await;
    let mut cases = crafted(&forge);
    cases.extend(damaged(&forge.good()));
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for (what, token) in &cases {
        let (status, answer) = forge.send(&[token], &forge.body).await;
        let refused = status == 401 || (status == 503 && what.contains("kid"));
        assert!(refused, "{what}: {status} {answer}");
    }
    let good = forge.good();
    let other = String::from_utf8(forge.body.clone()).unwrap().replace("anything", "else");
    let compact = serde_json::from_slice::<Value>(&forge.body).unwrap().to_string();
    let spaced = [&forge.body[..], b"\n"].concat();
    for (what, headers, body) in [
        ("no header", &[][..], &forge.body[..]),
        ("two headers", &[good.as_str(), good.as_str()][..], &forge.body[..]),
        ("another body", &[good.as_str()][..], other.as_bytes()),
        ("re-serialised body", &[good.as_str()][..], compact.as_bytes()),
        ("a byte more", &[good.as_str()][..], &spaced),
        ("no body", &[good.as_str()][..], b""),
    ] {
        let (status, answer) = forge.send(headers, body).await;
        assert_eq!((status, &answer["code"]), (401, &json!("webhook_refused")), "{what}");
    }
    assert_eq!(forge.send(&[&good], &forge.body).await.0, 200, "the genuine one still is");
    assert!(forge.keys.look_ups() <= 10, "{} look-ups", forge.keys.look_ups());
    forge.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_invented_keys_does_not_reach_plaid() {
    let forge = Forge::open().await;
    assert_eq!(forge.send(&[&forge.good()], &forge.body).await.0, 200);
    let flood = std::env::var("SELVEDGE_FLOOD").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    for number in 0..flood {
        let token = forge.keys.token(&format!("flood-{number}"), &forge.body, now().as_second());
        let (status, _) = forge.send(&[&token], &forge.body).await;
        assert!(status == 401 || status == 503, "{status}");
    }
    assert!(forge.keys.look_ups() <= 10, "{} look-ups", forge.keys.look_ups());
    assert_eq!(forge.send(&[&forge.good()], &forge.body).await.0, 200, "good ones pass");
    forge.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_unknown_integrations_are_refused() {
    let forge = Forge::open().await;
    let huge = vec![b' '; 257 * 1024];
    let token = forge.keys.token(forge.keys.live(), &huge, now().as_second());
    assert_eq!(forge.send(&[&token], &huge).await.0, 413);
    let url = format!("{}/webhooks/plaid/itg_00000000000000000000000000000000", forge.world.url);
    let request = forge.world.http.post(url).header("plaid-verification", forge.good());
    assert_eq!(request.body(forge.body.clone()).send().await.unwrap().status(), 404);
    forge.world.stop().await;
}

#[test]
fn the_age_table_is_exact() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let keys = KeyServer::start().await;
        let body = br#"{"webhook_type":"ITEM"}"#;
        let now = now();
        let http = testkit::http_client();
        let answer = http
            .post(format!("{}/webhook_verification_key/get", keys.url))
            .json(&json!({ "key_id": keys.live() }))
            .send();
        let answer: Value = answer.await.unwrap().json().await.unwrap();
        let jwk: plaid::wire::Jwk = serde_json::from_value(answer["key"].clone()).unwrap();
        for (offset, believed) in [
            (-600, false),
            (-301, false),
            (-300, true),
            (-299, true),
            (0, true),
            (60, true),
            (61, false),
            (600, false),
        ] {
            let text = keys.token(keys.live(), body, now.as_second() + offset);
            let token = plaid::Token::parse(&[&text]).unwrap();
            let verdict = token.verify(&jwk, body, now);
            assert_eq!(verdict.is_ok(), believed, "{offset} s: {verdict:?}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_recorded_once_and_unknown_items_and_codes_are_accepted() {
    let forge = Forge::open().await;
    let unknown = json!({ "webhook_type": "NEWS", "webhook_code": "NEVER_SEEN", "x": [1] });
    let unknown = unknown.to_string().into_bytes();
    let token = forge.keys.token(forge.keys.live(), &unknown, now().as_second());
    for _ in 0..50 {
        assert_eq!(forge.send(&[&token], &unknown).await.0, 200, "an unknown code, many times");
    }
    let later = forge.keys.token(forge.keys.live(), &unknown, now().as_second() + 1);
    assert_eq!(forge.send(&[&later], &unknown).await.0, 200, "an equal body later is legitimate");
    let old = testkit::now().saturating_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    assert_eq!(forge.world.store.forget_webhooks(old).await.unwrap(), 0);
    let soon = testkit::now().saturating_add(jiff::SignedDuration::from_hours(1)).unwrap();
    assert_eq!(forge.world.store.forget_webhooks(soon).await.unwrap(), 2, "two events in all");
    forge.world.stop().await;
}
