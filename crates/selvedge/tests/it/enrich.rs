//! `selvedge enrich` from outside: every format gives the same answers, and bad rows are named.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::World;

use crate::outside::python;
use crate::process::selvedge;

const ROWS: &str = "\
id,date,amount,currency,description,country,account_type
1,2026-02-11,38.70,GBP,TESCO STORES 5504 LEEDS,GB,depository
2,2026-02-11,-1876.40,GBP,BGC ACME LTD SALARY,GB,depository
3,2026-02-11,34.00,USD,OVERDRAFT ITEM FEE FOR ACTIVITY OF 02-11,US,depository
4,2026-02-11,5.75,USD,SQ *CORNER ROASTERS Oakland CA,US,credit
5,2026-02-11,12.00,USD,\"QUOTED \"\"LINE\"\", with a comma\",US,credit
";

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(scene.path("rows.csv"), ROWS).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs it; what was said, and whether it went well.
    fn enrich(&self, input: &str, output: &str) -> (bool, String) {
        let done = selvedge(&["enrich", "--input", input, "--output", output])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        (done.status.success(), String::from_utf8(done.stderr).unwrap())
    }

    fn csv(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let mut rows = csv::Reader::from_path(self.path(name)).unwrap();
        rows.deserialize().map(|row| row.unwrap()).collect()
    }
}

#[test]
fn a_file_is_judged_row_by_row_with_reasons() {
    let scene = Scene::new();
    let (done, said) = scene.enrich("rows.csv", "out.csv");
    assert!(done && said.starts_with("5 rows in "), "{said}");
    let rows = scene.csv("out.csv");
    assert_eq!(rows.iter().map(|row| &*row["id"]).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    assert_eq!(rows[0]["merchant_name"], "Tesco");
    assert_eq!(rows[0]["merchant_website"], "tesco.com");
    assert_eq!(rows[0]["pfc_primary"], "FOOD_AND_DRINK");
    assert_eq!(rows[1]["pfc_detailed"], "INCOME_SALARY");
    assert_eq!(rows[1]["flags"], "income");
    assert_eq!(rows[2]["lender_class"], "operating_expenses");
    assert_eq!(rows[2]["reason"], "rule fee.overdraft \"OVERDRAFT ITEM FEE\"");
    assert_eq!(rows[3]["pfc_detailed"], "FOOD_AND_DRINK_COFFEE");
    assert!(rows.iter().all(|row| !row["reason"].is_empty()));
    let sure = |row: &BTreeMap<String, String>| row["category_confidence"].parse::<f64>().unwrap();
    assert!(rows.iter().all(|row| (0.0..1.0).contains(&sure(row))));
}

#[test]
fn every_format_gives_the_same_answers() {
    let scene = Scene::new();
    for (input, output) in
        [("rows.csv", "out.csv"), ("rows.csv", "out.jsonl"), ("rows.csv", "out.parquet")]
    {
        let (done, said) = scene.enrich(input, output);
        assert!(done, "{output}: {said}");
    }
    let csv = scene.csv("out.csv");
    let lines = fs::read_to_string(scene.path("out.jsonl")).unwrap();
    for (line, row) in lines.lines().zip(&csv) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["id"], row["id"].as_str());
        assert_eq!(line["reason"], row["reason"].as_str());
        let sure: f64 = row["category_confidence"].parse().unwrap();
        assert_eq!(line["category_confidence"].as_f64().unwrap(), sure);
        assert!(line["flags"].is_array());
    }
    assert_eq!(lines.lines().count(), csv.len());

    // What was written is readable again: an id and a description are enough to be judged.
    let rows: Vec<Value> = scene
        .csv("rows.csv")
        .iter()
        .map(|row| {
            json!({ "id": row["id"], "amount": row["amount"].parse::<f64>().unwrap(),
                "description": row["description"], "country": row["country"],
                "account_type": row["account_type"], "mcc": null, "unknown": [1] })
        })
        .collect();
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(scene.path("rows.jsonl"), text.join("\n")).unwrap();
    let (done, said) = scene.enrich("rows.jsonl", "again.csv");
    assert!(done, "{said}");
    assert_eq!(scene.csv("again.csv"), csv);
}

#[test]
fn what_cannot_be_judged_is_named_and_no_half_file_is_left() {
    let scene = Scene::new();
    fs::write(scene.path("no_amount.csv"), "id,description\n1,TESCO\n").unwrap();
    fs::write(scene.path("bad.csv"), "id,amount,description\n7,\"1,50\",TESCO\n").unwrap();
    fs::write(scene.path("bad.jsonl"), "{\"id\":\"1\",\"amount\":1,\"description\":\"A\"}\n[]\n")
        .unwrap();
    let open = format!("id,amount,description\n1,1.00,\"{}\n", "2,1.00,TESCO\n".repeat(1_000));
    fs::write(scene.path("open.csv"), open).unwrap();
    fs::write(scene.path("latin.csv"), b"id,amount,description\n1,1.00,CAF\xc9\n").unwrap();
    fs::write(scene.path("empty.csv"), "id,amount,description\n").unwrap();
    let cases = [
        ("no_amount.csv", "out.csv", "the rows have no amount"),
        ("bad.csv", "out.csv", "the row with id \"7\": amount is \"1,50\"; write a decimal"),
        ("bad.jsonl", "out.csv", "line 2 is no JSON object"),
        ("rows.csv", "rows.csv", "are the same file"),
        ("rows.csv", "./rows.csv", "are the same file"),
        ("open.csv", "out.csv", "look for a quote that is not closed"),
        ("latin.csv", "out.csv", "no CSV in UTF-8"),
        ("rows.csv", "out.xlsx", "name a file that ends in .csv, .jsonl or .parquet"),
        ("absent.csv", "out.csv", "cannot read absent.csv"),
        ("rows.csv", "absent/out.csv", "cannot write absent/out.csv"),
    ];
    for (input, output, expected) in cases {
        let (done, said) = scene.enrich(input, output);
        assert!(!done && said.contains(expected), "{input} {output}: {said}");
        assert!(!scene.path("out.csv").exists(), "{input}");
        assert!(!scene.path("out.csv.unfinished").exists(), "{input}");
    }
    let (done, said) = scene.enrich("empty.csv", "out.csv");
    assert!(done && said.starts_with("0 rows"), "{said}");
    assert_eq!(scene.csv("out.csv").len(), 0);
}

#[test]
fn a_stream_of_arrow_goes_through_and_comes_out_whole() {
    let scene = Scene::new();
    // Parquet of our own writing is Arrow's columns; the stream is made of it by PyArrow.
    let to_stream = "import sys, pyarrow as pa, pyarrow.csv as c\n\
        t = c.read_csv('rows.csv', convert_options=c.ConvertOptions(column_types={'id': pa.string()}))\n\
        w = pa.ipc.new_stream(sys.stdout.buffer, t.schema)\n\
        w.write_table(t, max_chunksize=2)\n\
        w.close()\n";
    let made = python().args(["-c", to_stream]).current_dir(scene.folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut filter = selvedge(&["enrich", "--input", "-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    filter.stdin.take().unwrap().write_all(&made.stdout).unwrap();
    let answer = filter.wait_with_output().unwrap();
    assert!(answer.status.success());
    fs::write(scene.path("answer.arrows"), &answer.stdout).unwrap();
    let to_json = "import pyarrow as pa, json\n\
        for row in pa.ipc.open_stream('answer.arrows').read_all().to_pylist(): print(json.dumps(row))\n";
    let read = python().args(["-c", to_json]).current_dir(scene.folder.path()).output().unwrap();
    let rows: Vec<Value> = String::from_utf8(read.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(scene.enrich("rows.csv", "out.csv").0);
    for (row, expected) in rows.iter().zip(scene.csv("out.csv")) {
        for (name, value) in &expected {
            match &row[name] {
                Value::Null => assert_eq!(value, "", "{name}"),
                Value::Number(number) => {
                    assert_eq!(number.as_f64().unwrap(), value.parse::<f64>().unwrap());
                }
                text => assert_eq!(text.as_str().unwrap(), value, "{name}"),
            }
        }
    }
    assert_eq!(rows.len(), 5);
}

/// Households and businesses of the emulator's own.
const PEOPLE: [&str; 6] = [
    "user_household",
    "user_business",
    "user_restaurant",
    "user_gig_worker",
    "user_retiree",
    "user_good",
];

/// Shares of rows, in hundredths, whose primary category is the one the bank's ledger means: with what
/// Plaid says of them, and without.
const LEAST_RIGHT_PERCENT: [usize; 2] = [97, 95];

#[tokio::test(flavor = "multi_thread")]
async fn records_say_what_they_mean_and_the_endpoint_says_the_same() {
    let world = World::start(61).await;
    for (number, user) in PEOPLE.iter().enumerate() {
        world.customer(&format!("customer-{number}"), user).await;
    }
    world.agree().await;
    let stored = all_transactions(&world).await;
    let accounts = types_of_accounts(&world).await;
    let truth = world.bank.truth().await;
    let row = |row: &Value, with_plaid: bool| {
        let plaid = |value: &Value| match (with_plaid, value.as_str()) {
            (true, Some(text)) => text.to_owned(),
            _ => String::new(),
        };
        let (account_type, holder_type) = &accounts[row["account_id"].as_str().unwrap()];
        let line = row["original_description"].as_str().or(row["name"].as_str()).unwrap();
        json!({
            "id": row["id"], "amount": row["amount"], "description": line,
            "currency": row["currency"], "account_type": account_type, "holder_type": holder_type,
            "merchant_name": plaid(&row["merchant_name"]),
            "merchant_entity_id": plaid(&row["merchant_entity_id"]),
            "website": plaid(&row["website"]),
            "counterparties": if with_plaid { row["counterparties"].as_array() } else { None }
                .cloned().unwrap_or_default(),
            "pfc_primary": plaid(&row["category"]["primary"]),
            "pfc_detailed": plaid(&row["category"]["detailed"]),
            "pfc_confidence": plaid(&row["category"]["confidence"]),
        })
    };
    assert!(stored.len() > 5_000, "{} rows", stored.len());
    for (with_plaid, least) in [true, false].into_iter().zip(LEAST_RIGHT_PERCENT) {
        let rows: Vec<Value> = stored.iter().map(|it| row(it, with_plaid)).collect();
        let body = Some(json!({ "transactions": rows }));
        let (status, answer) = world.call("POST", "/v1/enrich", body).await;
        assert_eq!(status, 200, "{}", answer["detail"]);
        let (mut wrong, mut same) = (BTreeMap::new(), 0);
        for (row, judged) in stored.iter().zip(answer["data"].as_array().unwrap()) {
            if with_plaid {
                let (stored, judged) = (by_itself(row), by_itself(judged));
                let category = stored["category"]["source"].as_str().unwrap();
                if !["transfer", "refund"].contains(&category) {
                    assert_eq!(stored, judged, "{}", row["name"]);
                    same += 1;
                }
            }
            let category = &judged["enrichment"]["category"];
            assert!(!category["reason"].as_str().unwrap().is_empty(), "{}", row["name"]);
            let truth =
                truth[row["transaction_id"].as_str().unwrap()]["category"].as_str().unwrap();
            let said = category["primary"].as_str().unwrap_or("nothing");
            if !truth.starts_with(said) {
                let words = row["name"].as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "");
                *wrong.entry((words, truth, said)).or_insert(0) += 1;
            }
        }
        assert!(!with_plaid || same * 10 > stored.len() * 9, "{same} are judged by themselves");
        let count: usize = wrong.values().sum();
        let right = stored.len() - count;
        assert!(right * 100 >= stored.len() * least, "{right} of {}: {wrong:#?}", stored.len());
    }
    world.stop().await;
}

/// Every transaction, page by page.
async fn all_transactions(world: &World) -> Vec<Value> {
    let query = "/v1/transactions?limit=5000";
    let mut stored = Vec::new();
    let mut path = query.to_owned();
    loop {
        let (_, mut page) = world.call("GET", &path, None).await;
        stored.append(page["data"].as_array_mut().unwrap());
        if page["has_more"] == false {
            break;
        }
        path =
            format!("{query}&after={}", page["next_cursor"].as_str().unwrap().replace(' ', "%20"));
    }
    stored
}

/// What a row means by itself: without what ties it to others.
fn by_itself(row: &Value) -> Value {
    let mut enrichment = row["enrichment"].clone();
    let fields = enrichment.as_object_mut().unwrap();
    for tie in ["transfer", "refund", "duplicate", "recurring"] {
        fields.remove(tie);
    }
    let Some(Value::Array(flags)) = fields.get_mut("flags") else { return enrichment };
    let ties = ["transfer", "refund", "possible_duplicate", "recurring"];
    flags.retain(|flag| !ties.contains(&flag.as_str().unwrap()));
    if flags.is_empty() {
        fields.remove("flags");
    }
    enrichment
}

/// Type and holder of every account.
async fn types_of_accounts(world: &World) -> BTreeMap<String, (String, String)> {
    let mut types = BTreeMap::new();
    for number in 0..PEOPLE.len() {
        let path = format!("/v1/end_users/customer-{number}/accounts");
        let (_, accounts) = world.call("GET", &path, None).await;
        for account in accounts["data"].as_array().unwrap() {
            let text = |name: &str| account[name].as_str().unwrap_or_default().to_owned();
            types.insert(text("account_id"), (text("type"), text("holder_category")));
        }
    }
    types
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_names_every_bad_row_and_takes_twenty_thousand() {
    let world = World::start(62).await;
    let row = |amount: &str| json!({ "id": "1", "amount": amount, "description": "TESCO" });
    let call = async |rows: Vec<Value>| {
        world.call("POST", "/v1/enrich", Some(json!({ "transactions": rows }))).await
    };
    let (status, answer) = call(vec![row("1"), row("1,5"), row("-3"), row("")]).await;
    assert_eq!((status, answer["code"].as_str().unwrap()), (422, "invalid_fields"));
    let pointers: Vec<&str> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/transactions/1/amount", "/transactions/3/amount"]);
    assert_eq!(call(vec![]).await.0, 422);
    assert_eq!(call(vec![row("1"); 20_001]).await.0, 422);
    let (status, answer) = call(vec![row("1"); 20_000]).await;
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 20_000));
    let unknown =
        json!({ "transactions": [{ "id": "1", "amount": "1", "description": "A", "x": 1 }] });
    assert_eq!(world.call("POST", "/v1/enrich", Some(unknown)).await.0, 400);
    world.stop().await;
}
