//! PostgreSQL as a database that many processes share: what it must be before it is used, who sees what,
//! how its schema comes about, and how an installation moves there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use model::{Environment, IntegrationId, Stream};
use secrecy::SecretString;
use serde_json::{Value, json};
use store::{Database, ItemFilter, MasterKey, NewIntegration, NewLink, Store, move_installation};
use testkit::{Bank, CLIENT_ID, MASTER_KEY, Postgres, SECRET, World, ambient, master_key};
use trial::{CRASH_AT, MOVE_CRASH_POINTS};

use crate::process::{Running, selvedge};

/// Requests that run into each other; `SELVEDGE_INTERLEAVED` asks for more.
const INTERLEAVED: usize = 4_000;
/// Integrations that they are about.
const TENANTS: usize = 50;

fn sized(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn open(url: &str) -> Store {
    let database = Database::parse(url, false).unwrap();
    Store::open(&database, master_key(), ambient()).await.unwrap()
}

async fn refusal(url: &str) -> String {
    let database = Database::parse(url, false).unwrap();
    match Store::open(&database, master_key(), ambient()).await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// An empty database with the schema, and a role that serves from it without owning it.
async fn with_schema(server: &Postgres) -> (String, String, String) {
    let owner = server.create_database();
    let name = owner.split(['/', '?']).nth(3).unwrap().to_owned();
    let database = Database::parse(&owner, false).unwrap();
    database.migrate().await.unwrap();
    let role = format!("{name}_app");
    server.sql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    database.grant_to(&role).await.unwrap();
    (name.clone(), server.url_of(&name, &role), role)
}

fn integration(name: &str, base_url: &str) -> NewIntegration {
    NewIntegration {
        name: name.to_owned(),
        environment: Environment::Sandbox,
        base_url: base_url.parse().unwrap(),
        client_id: CLIENT_ID.to_owned(),
        secret: SecretString::from(SECRET),
        streams: Stream::USUAL.to_vec(),
        is_source: false,
        start_date: None,
    }
}

#[tokio::test]
async fn a_server_that_cannot_keep_a_promise_is_refused_with_the_fix() {
    let server = Postgres::start();
    let (name, url, role) = with_schema(&server).await;
    assert_eq!(refusal(&url).await, "");
    server.sql(&name, &format!("ALTER ROLE {role} SET synchronous_commit = off"));
    let said = refusal(&url).await;
    assert!(said.contains("Set synchronous_commit = on"), "{said}");
    server.sql(&name, &format!("ALTER ROLE {role} RESET synchronous_commit"));

    server.sql(&name, &format!("REVOKE UPDATE ON work FROM {role}"));
    let said = refusal(&url).await;
    assert!(said.contains("the table work") && said.contains("--grant-to"), "{said}");
    server.sql(&name, &format!("GRANT UPDATE ON work TO {role}"));

    server.sql(&name, "DELETE FROM _sqlx_migrations WHERE version = 4");
    let said = refusal(&url).await;
    assert!(said.contains("lacks 1 migrations; run `selvedge migrate`"), "{said}");
    server.sql(&name, "INSERT INTO _sqlx_migrations VALUES (99, 'x', now(), true, '', 0)");
    let said = refusal(&url).await;
    assert!(said.contains("upgrade this program"), "{said}");

    server.sql("postgres", "ALTER SYSTEM SET fsync = off");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let off = async || {
        while server.sql("postgres", "SHOW fsync") != "off" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    off().await;
    let said = refusal(&url).await;
    assert!(said.contains("fsync is off") && said.contains("postgresql.conf"), "{said}");
    drop(server);
    let said = refusal(&url).await;
    assert!(said.contains("cannot be reached"), "{said}");
}

#[tokio::test]
async fn whoever_is_bound_by_nothing_is_told() {
    let server = Postgres::start();
    let database = Database::parse(&server.url(), false).unwrap();
    database.migrate().await.unwrap();
    let store = open(&server.url()).await;
    let worries: Vec<&str> = store.worries().iter().map(|worry| worry.why.as_str()).collect();
    assert_eq!(worries, ["the role postgres is bound by no row-level security"]);
    let (_, bound, _) = with_schema(&server).await;
    assert!(open(&bound).await.worries().is_empty());
}

#[tokio::test]
async fn every_table_is_walled_and_shows_nothing_to_who_says_nothing() {
    let server = Postgres::start();
    let (name, url, role) = with_schema(&server).await;
    let open_tables = "SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' \
         AND c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_sqlx%' \
         AND NOT (c.relrowsecurity AND c.relforcerowsecurity \
            AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid))";
    assert_eq!(server.sql(&name, open_tables), "", "tables without a wall");

    // Something in every kind of table: two integrations, each with a bank, an end user, a subscription.
    let store = open(&url).await;
    let bank = Bank::open(71).await;
    let (own, other) = (linked(&store, &bank).await, linked(&store, &bank).await);
    arrive(&url, &store, &bank).await;
    let tables = server.sql(
        &name,
        "SELECT relname FROM pg_class WHERE relkind = 'r' \
         AND relnamespace = 'public'::regnamespace AND relname NOT LIKE '\\_sqlx%'",
    );
    let mut with_rows = 0;
    for table in tables.lines() {
        let whole: i64 =
            server.sql(&name, &format!("SELECT COUNT(*) FROM {table}")).parse().unwrap();
        with_rows += i64::from(whole > 0);
        let as_role = |whose: &str| {
            let seen = format!(
                "SET ROLE {role}; {whose} SELECT COUNT(*) FROM {table}; RESET selvedge.integration"
            );
            server.sql(&name, &seen).lines().last().unwrap().parse::<i64>().unwrap()
        };
        assert_eq!(as_role(""), 0, "{table} shows rows to who says nothing");
        assert_eq!(as_role("SET selvedge.integration = '*';"), whole, "{table}");
        let seen = |itg: &IntegrationId| as_role(&format!("SET selvedge.integration = '{itg}';"));
        let global = ["installation", "feed_head", "webhook_keys"].contains(&table);
        let secret =
            ["api_keys", "operators", "sessions", "setup_links", "processes", "relocations"];
        match (global, secret.contains(&table)) {
            (true, _) => assert_eq!(seen(&own), whole, "{table}"),
            (_, true) => assert_eq!(seen(&own), 0, "{table}"),
            _ => {
                // What one process does for all belongs to nobody.
                let of_all = if table == "work" { 2 } else { 0 };
                assert_eq!(seen(&own) + seen(&other) + of_all, whole, "{table} is divided");
            }
        }
    }
    assert!(with_rows > 10, "{with_rows} tables with rows");
    // The owner of the tables is bound, too.
    let as_owner = "SET ROLE selvedge; SELECT COUNT(*) FROM integrations";
    assert_eq!(server.sql(&name, as_owner), "0");
    bank.close().await;
}

/// Lets a server work on a database until it has what the bank has.
async fn arrive(url: &str, store: &Store, bank: &Bank) {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(url, folder.path());
    let agree = async {
        while World::stored(store).await != bank.ledger().await
            || store.unprocessed_end_users(None).await.unwrap() > 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let agreed = tokio::time::timeout(std::time::Duration::from_secs(60), agree).await;
    assert!(agreed.is_ok(), "{}", std::fs::read_to_string(folder.path().join("log")).unwrap());
    served.kill();
}

fn serve(url: &str, folder: &Path) -> Running {
    std::fs::write(folder.join("master.key"), MASTER_KEY).unwrap();
    let mut command = selvedge(&["serve", "--listen", "127.0.0.1:0", "--poll-seconds", "1"]);
    command.arg("--data-dir").arg(folder).env("SELVEDGE_DATABASE_URL", url);
    Running::start(command, Some(&folder.join("log")))
}

/// An integration with an Item that is on its way, and something of everything else.
async fn linked(store: &Store, bank: &Bank) -> IntegrationId {
    let made = store.create_integration(integration("Bank", &bank.url())).await.unwrap();
    let item = bank.link("user_good", None).await;
    let token = SecretString::from(item.access_token.as_str());
    let mut link = NewLink::new(made.id.clone(), &item.item_id, token, "customer");
    link.institution_id = Some("ins_109508".to_owned());
    store.link(link).await.unwrap();
    let secret = SecretString::from("whsec_c2VsdmVkZ2Ugc2VsdmVkZ2U=");
    let events = [store::Notice::TransactionsChanged];
    store.subscribe(&made.id, "https://example.com/hook", &events, &secret).await.unwrap();
    store.add_usage(made.id.as_str(), "/transactions/sync", 1, 0).await.unwrap();
    made.id
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_requests_over_four_pooled_connections_never_cross() {
    let server = Postgres::start();
    let (_, url, _) = with_schema(&server).await;
    let pooler = Pooler::start(&server, &url);
    let store = open(&url).await;
    let mut tenants = Vec::new();
    for number in 0..TENANTS {
        let made = store.create_integration(integration("T", "http://127.0.0.1:9")).await.unwrap();
        let token = SecretString::from("access-sandbox-x");
        let link = NewLink::new(made.id.clone(), &format!("item-{number}"), token, "customer");
        store.link(link).await.unwrap();
        tenants.push((made.id, format!("item-{number}")));
    }
    // Sixteen callers over four connections of the pooler, which hands them on after each transaction.
    let pooled = Arc::new(open(&pooler.url).await);
    let count = sized("SELVEDGE_INTERLEAVED", INTERLEAVED);
    let tenants = Arc::new(tenants);
    let callers = 16;
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (pooled, tenants) = (Arc::clone(&pooled), Arc::clone(&tenants));
        tasks.spawn(async move {
            let mut crossed = 0;
            for number in (caller..count).step_by(callers) {
                let (own, item_id) = &tenants[(number * 7 + caller * 3) % tenants.len()];
                let store = pooled.within(own);
                // The statements ask for everything; only the wall narrows them.
                let items = store.items(&ItemFilter::default(), None, 1_000).await.unwrap();
                let alone = items.len() == 1 && items[0].item_id == *item_id;
                let (foreign, _) = &tenants[(number * 7 + caller * 3 + 1) % tenants.len()];
                let hidden = store.integration(foreign).await.unwrap().is_none();
                crossed += usize::from(!alone || !hidden);
                if number % 10 == 0 {
                    store.add_usage(own.as_str(), "/item/get", 1, 0).await.unwrap();
                    let stolen = store.add_usage(foreign.as_str(), "/item/get", 1, 0).await;
                    crossed += usize::from(stolen.is_ok());
                }
            }
            crossed
        });
    }
    let crossed: usize = tasks.join_all().await.into_iter().sum();
    println!("{count} interleaved requests of {TENANTS} integrations: {crossed} crossed");
    assert_eq!(crossed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_arrives_through_a_pooler_in_transaction_mode() {
    let server = Postgres::start();
    let (_, url, _) = with_schema(&server).await;
    let pooler = Pooler::start(&server, &url);
    let bank = Bank::open(72).await;
    let store = open(&url).await;
    linked(&store, &bank).await;
    arrive(&pooler.url, &store, &bank).await;
    bank.close().await;
}

#[tokio::test]
async fn a_pooler_is_refused_where_a_session_is_needed() {
    let url = "postgres://owner@127.0.0.1:1/bank?pgbouncer=true";
    let error = Database::parse(url, false).unwrap().migrate().await.unwrap_err().to_string();
    assert!(error.contains("at the server's own address"), "{error}");
}

#[tokio::test]
async fn the_database_is_reached_by_tls_where_the_url_asks_for_it() {
    testkit::choose_cryptography();
    let server = Postgres::start();
    let (name, _, role) = with_schema(&server).await;
    let port = server.listen_with_tls();
    let url = |mode: &str| format!("postgres://{role}@127.0.0.1:{port}/{name}?sslmode={mode}");
    open(&url("require")).await;
    let encrypted = format!(
        "SELECT COUNT(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
         WHERE a.usename = '{role}' AND s.ssl"
    );
    let store = open(&url("require")).await;
    assert_ne!(server.sql(&name, &encrypted), "0");
    drop(store);
    let said = refusal(&url("disable")).await;
    assert!(said.contains("cannot be reached"), "{said}");
    let root = server.certificate();
    let verified = format!("{}&sslrootcert={}", url("verify-full"), root.display());
    assert_eq!(refusal(&verified).await, "");
    let said = refusal(&url("verify-ca")).await;
    assert!(said.contains("cannot be reached"), "an unknown certificate is refused: {said}");
}

/// Runs `selvedge migrate` on a database.
fn migrate(url: &str, arguments: &[&str], crash_at: Option<&str>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = selvedge(&["migrate", "--data-dir"]);
    command.arg(folder.path()).args(arguments).env("SELVEDGE_DATABASE_URL", url);
    if let Some(point) = crash_at {
        command.env(CRASH_AT, point);
    }
    command.output().unwrap()
}

#[tokio::test]
async fn a_migration_is_shown_checked_made_and_survives_a_kill_at_any_moment() {
    let server = Postgres::start();
    let url = server.create_database();
    let told = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let shown = migrate(&url, &["--dry-run"], None);
    assert!(shown.status.success());
    assert_eq!(told(&shown)["missing"][0]["version"], 1);
    assert_eq!(migrate(&url, &["--check"], None).status.code(), Some(3));
    // Killed after a growing while, until one lives long enough.
    let mut kills = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let mut command = selvedge(&["migrate", "--data-dir"]);
        command.arg(folder.path()).env("SELVEDGE_DATABASE_URL", &url).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(10 + 7 * kills)).await;
        child.kill().unwrap();
        let done = child.wait().unwrap().success();
        let looked = migrate(&url, &["--check"], None);
        assert!(looked.status.success() || looked.status.code() == Some(3), "{looked:?}");
        if done || looked.status.success() {
            break;
        }
        kills += 1;
        assert!(kills < 200, "never done");
    }
    println!("killed {kills} times on the way");
    let crashed = migrate(&server.create_database(), &[], Some("migration.done"));
    assert!(!crashed.status.success());
    assert!(migrate(&url, &[], None).status.success(), "nothing is left to do, which is no fault");
    open(&url).await;
    // Several processes that start at once.
    let fresh = server.create_database();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = Database::parse(&fresh, false).unwrap();
        all.spawn(async move { database.migrate().await });
    }
    for made in all.join_all().await {
        made.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_moves_whole_however_often_the_move_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let old = format!("sqlite:{}", folder.path().join("selvedge.db").display());
    let bank = Bank::open(73).await;
    let (rows, feed) = {
        let store = open(&old).await;
        linked(&store, &bank).await;
        arrive(&old, &store, &bank).await;
        while store.number_changes().await.unwrap() > 0 {}
        (World::stored(&store).await, World::replay(&store).await)
    };
    let server = Postgres::start();
    let new = server.create_database();
    for point in MOVE_CRASH_POINTS {
        let killed = move_command(&old, &new).env(CRASH_AT, point).output().unwrap();
        assert!(!killed.status.success(), "{point} is reached");
    }
    let said = refusal(&new).await;
    assert!(said.contains("run `selvedge move` again"), "{said}");
    let moved = move_command(&old, &new).output().unwrap();
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    let told: Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_eq!(told["rows"]["transactions"], json!(rows.len()));
    let said = refusal(&old).await;
    assert!(said.contains("was moved to"), "{said}");
    let again = move_command(&old, &new).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("was moved to"), "{said}");

    let store = open(&new).await;
    assert_eq!(World::stored(&store).await, rows);
    assert_eq!(World::replay(&store).await, feed);
    // Its secrets can be opened, and it goes on where it stood.
    let item = &store.items(&ItemFilter::default(), None, 10).await.unwrap()[0];
    assert!(store.access_token(&item.key).await.unwrap().is_some());
    bank.advance(40).await;
    arrive(&new, &store, &bank).await;
    bank.close().await;
}

fn move_command(old: &str, new: &str) -> Command {
    selvedge(&["move", "--from", old, "--to", new])
}

#[tokio::test]
async fn a_move_names_what_is_in_its_way() {
    let server = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let old = format!("sqlite:{}", folder.path().join("selvedge.db").display());
    drop(open(&old).await);
    let (_, used, _) = with_schema(&server).await;
    drop(open(&used).await);
    let database = |url: &str| Database::parse(url, true).unwrap();
    let quiet = |_: &str, _: i64, _: i64| {};
    let owned = server.create_database();
    let taken = database(&owned);
    taken.migrate().await.unwrap();
    let other = Store::open(&taken, MasterKey::parse(MASTER_KEY).unwrap(), ambient()).await;
    other.unwrap().create_api_key("somebody", &[store::Scope::Read]).await.unwrap();
    let error = move_installation(&database(&old), &taken, quiet).await.unwrap_err().to_string();
    assert!(error.contains("name an empty one"), "{error}");
    let error = move_installation(&taken, &database(&old), quiet).await.unwrap_err().to_string();
    assert!(error.contains("sqlite:PATH to postgres"), "{error}");
    let serving = Store::open(&database(&old), master_key(), ambient()).await.unwrap();
    let empty = database(&server.create_database());
    let error = move_installation(&database(&old), &empty, quiet).await.unwrap_err().to_string();
    assert!(error.contains("in use by another selvedge process"), "{error}");
    drop(serving);
}

/// PgBouncer in transaction mode with four connections to the server.
struct Pooler {
    child: std::process::Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(server: &Postgres, url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let parts: Vec<&str> = url.split(['/', '?', '=', '&']).collect();
        let (name, role) = (parts[3], parts[5]);
        let settings = format!(
            "[databases]\n* = host={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\nauth_file =\npool_mode = transaction\n\
             default_pool_size = 4\nmax_client_conn = 200\nlogfile = {}\n\
             ignore_startup_parameters = extra_float_digits\n",
            server.socket_folder().display(),
            folder.path().join("log").display(),
        );
        // With any user allowed, each database says as whom it is reached.
        let settings = settings.replace("* = host", &format!("{name} = user={role} host"));
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        open_to_all(folder.path());
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "pgbouncer", "-q"]).arg(&file);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("run `make test`, which installs pgbouncer");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let url = format!("postgres://{role}@127.0.0.1:{port}/{name}?pgbouncer=true");
        Self { child, url, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _gone = Command::new("kill").arg(self.child.id().to_string()).status();
        let _reaped = self.child.wait();
    }
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Every statement is one that distributed engines with PostgreSQL's wire take.
#[test]
fn statements_stay_inside_what_distributed_engines_take() {
    let mut faults = Vec::new();
    let scans = BTreeMap::from([(("work", "CLAIM"), "the one scan for work that is due")]);
    let mut met = 0;
    for (file, name, sql) in store::statements_for_postgres() {
        let upper = sql.to_uppercase();
        for word in [
            "ADVISORY",
            "LISTEN ",
            "NOTIFY ",
            "HSTORE",
            "TRIGGER",
            "NEXTVAL",
            "SERIAL",
            "CTID",
            "NOW(",
            "CURRENT_TIMESTAMP",
            "TABLESPACE",
            "TEMP ",
            "LOCK TABLE",
            "::",
        ] {
            if upper.contains(word) {
                faults.push(format!("{file}::{name} says {word}"));
            }
        }
        if let Some((before, _)) = upper.split_once("FOR UPDATE") {
            let by_key = before.contains("WHERE ID = $1")
                || before.contains("WHERE I.ID = $1")
                || before.contains("WHERE ID = 1");
            if scans.contains_key(&(file, name)) {
                met += 1;
            } else if !by_key || upper.contains("SKIP LOCKED") {
                faults.push(format!("{file}::{name} holds rows without a full key"));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(met, scans.len(), "scans that are no more");
    for file in ["0001_first", "0002_connections", "0003_enrichment", "0004_many_processes"] {
        let path = crate::process::root().join(format!("crates/store/migrations/{file}.sql"));
        let schema = std::fs::read_to_string(path).unwrap().to_uppercase();
        let lines = schema.lines().filter(|line| !line.starts_with("--"));
        let schema = lines.collect::<Vec<_>>().join("\n");
        for word in ["SERIAL", "AUTOINCREMENT", "TRIGGER", "EXTENSION", "REFERENCES", "SEQUENCE"] {
            assert!(!schema.contains(word), "{file} says {word}");
        }
    }
}
