//! Documents that must say what the program does: OpenAPI, error codes, README.

use std::fs;

use web::CODES;

use crate::process::root;

#[test]
fn the_openapi_document_in_the_repository_is_the_programs_own() {
    let path = root().join("docs/reference/openapi.json");
    let kept = fs::read_to_string(&path).unwrap();
    let own = serde_json::to_string_pretty(&web::openapi()).unwrap();
    assert!(kept.trim_end() == own, "run `make openapi` and read the difference");
}

#[test]
fn the_openapi_document_is_whole() {
    let document = serde_json::to_value(web::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/integrations",
        "/v1/integrations/{id}",
        "/v1/integrations/{id}/check",
        "/v1/integrations/{id}/links",
        "/v1/items/{item_id}",
        "/v1/items/{item_id}/sync",
        "/v1/end_users",
        "/v1/end_users/{id}/accounts",
        "/v1/end_users/{id}/balances",
        "/v1/end_users/{id}/transactions",
        "/v1/transactions",
        "/v1/changes",
        "/webhooks/plaid/{integration}",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
}

#[test]
fn every_error_code_has_its_paragraph() {
    let page = fs::read_to_string(root().join("docs/reference/errors.md")).unwrap();
    let listed: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## `"))
        .map(|line| line.trim_end_matches('`').to_owned())
        .collect();
    let codes: Vec<&str> = CODES.iter().map(|code| code.code).collect();
    assert_eq!(listed, codes, "docs/reference/errors.md lists every code in order");
    for code in CODES {
        assert!(page.contains(code.meaning), "{}: the page has another meaning", code.code);
        assert!(page.contains(&format!("HTTP {}", code.status)));
    }
}

#[test]
fn the_picture_of_the_streams_is_drawn_from_their_declarations() {
    let kept = fs::read_to_string(root().join("docs/reference/streams.svg")).unwrap();
    let own = crate::process::output_of(&["streams", "--svg"]);
    assert!(kept == own, "run `make erd` and look at the picture");
}

/// The pages of the destinations: each has its settings, its types and its guarantee, and its settings
/// are taken as printed.
#[test]
fn every_destination_has_a_page_whose_settings_are_taken() {
    let kinds = [
        "postgres", "sqlite", "duckdb", "parquet", "csv", "jsonl", "delta", "nats", "kafka",
        "http", "process",
    ];
    for kind in kinds {
        let page = fs::read_to_string(root().join(format!("docs/destinations/{kind}.md"))).unwrap();
        for part in ["## Guarantee", "## Good to know"] {
            assert!(page.contains(part), "{kind}: {part}");
        }
        assert!(page.contains("## Types") || page.contains("## Messages"), "{kind}");
        let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync.toml");
        let source = "[source]\nclient_id = \"a\"\napi_key = \"b\"\nplaid_env = \"sandbox\"\n\
                      access_token = \"access-sandbox-1\"\nbase_url = \"http://127.0.0.1:1\"\n\n";
        fs::write(&path, format!("{source}{block}")).unwrap();
        let output = crate::process::run(&["sync", "--config", path.to_str().unwrap()]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // Everything is understood, and nothing answers at that address.
        assert!(errors.contains("Base URL"), "{kind}: {errors}");
    }
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() < 150);
}
