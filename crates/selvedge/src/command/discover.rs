//! `selvedge discover`: which streams a source has, and which of them its Items offer.

use std::process::ExitCode;

use clap::Args;
use model::Stream;
use plaid::CheckState;
use serde_json::{Value, json};

use super::sync_config::SyncFlags;

/// List the streams of a source, with their keys, and whether the Items have their products.
#[derive(Args)]
#[command(after_help = "Example: selvedge discover --config sync.toml")]
pub(crate) struct Discover {
    #[command(flatten)]
    flags: SyncFlags,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Discover {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let source = self.flags.source()?;
        let streams: Vec<Stream> = Stream::all().collect();
        let checks = source.all_checks(&streams).await?;
        if let Some(failed) = checks.iter().find(|check| check.is_failure()) {
            anyhow::bail!(super::source_config::words(failed));
        }
        let lacks = |stream: Stream| {
            let begins = format!("{}: ", stream.as_str());
            let of = checks.iter().filter(|check| check.name == "product");
            of.filter(|c| c.detail.starts_with(&begins) && c.state != CheckState::Passed).count()
        };
        if self.json {
            let listed: Vec<Value> =
                streams.iter().map(|stream| row(*stream, lacks(*stream))).collect();
            println!("{:#}", json!({ "streams": listed }));
            return Ok(ExitCode::SUCCESS);
        }
        println!("{:<24}  {:<44}  {:<24}  Items without it", "stream", "key", "product");
        for stream in streams {
            let declaration = stream.declaration();
            let (key, product) = (declaration.key.join(", "), declaration.product.unwrap_or("–"));
            println!("{:<24}  {key:<44}  {product:<24}  {}", declaration.name, lacks(stream));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(stream: Stream, lacking: usize) -> Value {
    let declaration = stream.declaration();
    let fields: Vec<Value> = declaration
        .fields
        .iter()
        .map(|field| json!({ "name": field.name, "kind": field.kind, "meaning": field.meaning }))
        .collect();
    json!({
        "name": declaration.name, "meaning": declaration.meaning, "key": declaration.key,
        "product": declaration.product, "cost": declaration.cost, "items_without_it": lacking,
        "fields": fields,
    })
}
