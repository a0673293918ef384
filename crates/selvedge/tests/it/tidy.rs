//! House rules that a machine can keep: every file says what it is for, names are no buckets, crates
//! import only what the design allows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::root;

/// What each crate may import of ours (ARCHITECTURE.md).
const MAY_IMPORT: [(&str, &[&str]); 14] = [
    ("trial", &[]),
    ("model", &[]),
    ("classifier", &[]),
    ("enrich", &["classifier", "model"]),
    ("plaid", &["model", "trial"]),
    ("store", &["model", "trial"]),
    ("destinations", &["model"]),
    ("lake", &["destinations", "enrich", "model"]),
    ("brokers", &["destinations", "model"]),
    ("pipeline", &["destinations", "enrich", "model", "plaid", "store", "trial"]),
    ("web", &["enrich", "model", "plaid", "store", "trial"]),
    ("emulator", &[]),
    (
        "selvedge",
        &[
            "brokers",
            "destinations",
            "emulator",
            "enrich",
            "lake",
            "model",
            "pipeline",
            "plaid",
            "store",
            "web",
        ],
    ),
    (
        "testkit",
        &[
            "destinations",
            "emulator",
            "enrich",
            "model",
            "pipeline",
            "plaid",
            "store",
            "trial",
            "web",
        ],
    ),
];

/// Names that say nothing.
const BUCKETS: [&str; 8] =
    ["util", "utils", "common", "helper", "helpers", "types", "misc", "manager"];

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root().join("crates"), "rs", &mut found);
    assert!(found.len() > 80, "{} files", found.len());
    found
}

#[test]
fn tidy_every_file_says_on_its_first_line_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 20, "{}: {first}", path.display());
    }
}

#[test]
fn tidy_no_name_is_a_bucket() {
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().and_then(Path::file_name).unwrap().to_str().unwrap();
        assert!(!BUCKETS.contains(&stem) && !BUCKETS.contains(&folder), "{}", path.display());
    }
}

#[test]
fn tidy_crates_import_only_what_the_design_allows() {
    let ours: Vec<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    let mut seen = BTreeMap::new();
    for (name, allowed) in MAY_IMPORT {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        let names = dependencies.lines().filter_map(|line| line.split_once('.')).map(|(n, _)| n);
        for dependency in names.filter(|dependency| ours.contains(dependency)) {
            assert!(allowed.contains(&dependency), "{name} must not import {dependency}");
        }
        seen.insert(name, ());
    }
    let folders = fs::read_dir(root().join("crates")).unwrap().count();
    assert_eq!(folders, seen.len(), "a new crate needs its place in the design");
}

#[test]
fn tidy_sql_stands_in_the_store_alone() {
    for name in ["model", "plaid", "pipeline", "web", "emulator"] {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"));
        assert!(!manifest.unwrap().contains("sqlx"), "{name} must not speak SQL");
    }
}

#[test]
fn tidy_no_file_is_too_long_to_hold_in_the_head() {
    for path in sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 800, "{}: {lines} lines; split it by meaning", path.display());
    }
}

#[test]
fn tidy_no_leftovers() {
    for path in sources() {
        if path.ends_with("tests/it/tidy.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for leftover in ["todo!(", "unimplemented!(", "#[ignore", "dbg!(", "FIXME", "TODO"] {
            assert!(!text.contains(leftover), "{}: {leftover}", path.display());
        }
    }
}
