//! `selvedge resync`: asks for an Item to be read again from the beginning and reconciled. Works on
//! the database of a running server, whose workers do it.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::settings::DataSettings;
use crate::surroundings;

/// Read an Item again from the beginning.
#[derive(Args)]
#[command(after_help = "Example: selvedge resync --item ITEM_ID

What Plaid no longer has goes; ids and notes stay. A running server begins within half a minute.")]
pub(crate) struct Resync {
    /// Plaid's item_id, or our id.
    #[arg(long, value_name = "ID")]
    item: String,

    #[command(flatten)]
    data: DataSettings,
}

impl Resync {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.data.open_existing(surroundings::ambient()).await?;
        let Some(item) = store.item(&self.item).await? else {
            bail!("there is no item {}", self.item);
        };
        if !item.status().is_live() {
            bail!("the item {} is {}; nothing is read of it", self.item, item.status().as_str());
        }
        store.rewalk(&item.key).await?;
        println!("{}", json!({ "item_id": item.item_id, "resync": "asked for" }));
        Ok(ExitCode::SUCCESS)
    }
}
