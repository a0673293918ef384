//! Starting: what is refused and why, keys made once, a second server turned away.

use std::fs;

use crate::process::{Running, output_of, run, selvedge};

fn refusal(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    let line = errors.lines().last().unwrap().to_owned();
    assert!(line.starts_with("selvedge: "), "{errors}");
    line
}

#[test]
fn a_wrong_or_missing_master_key_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let create = ["keys", "--data-dir", path, "create", "--name", "first"];
    let made: serde_json::Value = serde_json::from_str(&output_of(&create)).unwrap();
    assert!(made["id"].as_str().unwrap().starts_with("key_"));
    assert!(made["key"].as_str().unwrap().starts_with("selvedge_"));
    let key_file = folder.path().join("master.key");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key_file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let right = fs::read_to_string(&key_file).unwrap();
    let other = "c2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmU=";
    fs::write(&key_file, other).unwrap();
    assert!(refusal(&create).contains("not the one this database was sealed with"));
    fs::write(&key_file, "short").unwrap();
    assert!(refusal(&create).contains("32 random bytes"));
    fs::remove_file(&key_file).unwrap();
    assert!(refusal(&create).contains("restore the key file"));
    fs::write(&key_file, right).unwrap();
    output_of(&create);
    assert_eq!(output_of(&["keys", "--data-dir", path, "list"]).lines().count(), 2);
}

#[test]
fn a_second_server_on_one_database_is_refused_and_administration_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let server = Running::serve(folder.path(), &[], None);
    let second = ["serve", "--listen", "127.0.0.1:0", "--data-dir", path];
    assert!(refusal(&second).contains("in use by another selvedge process"));
    output_of(&["keys", "--data-dir", path, "create", "--name", "beside"]);
    server.kill();
    let again = Running::serve(folder.path(), &[], None);
    drop(again);
}

#[test]
fn a_database_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let create = ["keys", "--data-dir", path, "create", "--name", "first"];
    output_of(&create);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use sqlx::{Connection, Executor};
        let url = format!("sqlite://{path}/selvedge.db");
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        database
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', 1, x'00', 0)",
            )
            .await
            .unwrap();
        database.close().await.unwrap();
    });
    assert!(refusal(&create).contains("newer version of selvedge"));
}

#[test]
fn wrong_settings_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mysql = ["keys", "--data-dir", path, "--database-url", "mysql://x", "list"];
    assert!(refusal(&mysql).contains("sqlite:PATH"));
    let scope = ["keys", "--data-dir", path, "create", "--name", "x", "--scope", "admin"];
    assert!(refusal(&scope).contains("use read or write"));
    for help in [
        &["--help"][..],
        &["serve", "--help"],
        &["demo", "--help"],
        &["emulator", "--help"],
        &["keys", "--help"],
        &["sync", "--help"],
        &["source", "--help"],
    ] {
        let text = output_of(help);
        assert!(help.len() == 1 || text.contains("Example: selvedge"), "{help:?}");
    }
    assert_eq!(selvedge(&["nonsense"]).output().unwrap().status.code(), Some(2));
}
