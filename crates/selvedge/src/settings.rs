//! Settings as given by environment and flags, and what they open: folder, master key, database.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use model::Ambient;
use store::{Database, MasterKey, Store};

/// Where data lives. Every command that needs the database takes these.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DataSettings {
    /// Folder for the database and the master key.
    #[arg(
        long,
        global = true,
        env = "SELVEDGE_DATA_DIR",
        default_value = "selvedge-data",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// The database, as sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE. A file in the data folder if
    /// absent.
    #[arg(
        long,
        global = true,
        env = "SELVEDGE_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) database_url: Option<String>,

    /// File with the master key: 32 random bytes in base64. Made on first start if absent.
    #[arg(long, global = true, env = "SELVEDGE_MASTER_KEY_FILE", value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

impl DataSettings {
    /// Opens a database that is there; a mistyped folder is no new installation.
    pub(crate) async fn open_existing(&self, ambient: Ambient) -> anyhow::Result<Store> {
        if let Database::Sqlite { path, .. } = self.named(false)?
            && !path.exists()
        {
            bail!("there is no database {}; name its folder with --data-dir", path.display());
        }
        self.open(false, ambient).await
    }

    /// Opens the store, and makes what is missing. `exclusive` for the one process that serves.
    pub(crate) async fn open(&self, exclusive: bool, ambient: Ambient) -> anyhow::Result<Store> {
        let database = self.database(exclusive)?;
        let key = self.master_key(&database, &ambient)?;
        let store = Store::open(&database, key, ambient).await?;
        for worry in store.worries() {
            tracing::warn!("{}; {}", worry.why, worry.fix);
        }
        Ok(store)
    }

    /// The database that is named, and its folder made if it is missing.
    pub(crate) fn database(&self, exclusive: bool) -> anyhow::Result<Database> {
        let mut folder = fs::DirBuilder::new();
        folder
            .recursive(true)
            .mode(0o700)
            .create(&self.data_dir)
            .with_context(|| format!("cannot make the data folder {}", self.data_dir.display()))?;
        self.named(exclusive)
    }

    fn named(&self, exclusive: bool) -> anyhow::Result<Database> {
        Ok(match &self.database_url {
            Some(url) => Database::parse(url, exclusive)?,
            None => Database::Sqlite { path: self.data_dir.join("selvedge.db"), exclusive },
        })
    }

    /// The key from the environment, from its file, or a new one for a new database.
    pub(crate) fn master_key(
        &self,
        database: &Database,
        ambient: &Ambient,
    ) -> anyhow::Result<MasterKey> {
        if let Ok(text) = std::env::var("SELVEDGE_MASTER_KEY") {
            return MasterKey::parse(&text).context("SELVEDGE_MASTER_KEY");
        }
        let path = self.master_key_file.clone().unwrap_or_else(|| self.data_dir.join("master.key"));
        match fs::read_to_string(&path) {
            Ok(text) => MasterKey::parse(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Database::Sqlite { path: database, .. } = database
                    && database.exists()
                {
                    bail!(
                        "the master key {} is missing, and the database {} was sealed with one; \
                         restore the key file or set SELVEDGE_MASTER_KEY",
                        path.display(),
                        database.display()
                    );
                }
                if let Database::Postgres(_) = database {
                    bail!(
                        "the master key {} is missing; every process of an installation has the same \
                         one. Make it once with `head -c 32 /dev/urandom | base64`, keep it apart from \
                         the database, and set SELVEDGE_MASTER_KEY or name its file",
                        path.display()
                    );
                }
                make_master_key(&path, ambient)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

fn make_master_key(path: &Path, ambient: &Ambient) -> anyhow::Result<MasterKey> {
    let text = MasterKey::generate(ambient);
    let failed = || format!("cannot write the master key {}", path.display());
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    tracing::warn!(
        "made the master key {}; back it up apart from the database: without it no token can be \
         read again",
        path.display()
    );
    Ok(MasterKey::parse(&text)?)
}
