//! `selvedge serve`: webhooks, API, dashboard and workers in one process.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use pipeline::Pipeline;
use plaid::Connector;
use serde_json::json;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use web::{Web, WebSettings};

use super::workers::{WorkerArguments, WorkerOptions};
use crate::settings::DataSettings;
use crate::surroundings;

/// Serve.
#[derive(Args)]
#[command(after_help = "Example: selvedge serve --listen 127.0.0.1:8080")]
pub(crate) struct Serve {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, env = "SELVEDGE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Address that others reach this server at, for webhook and link URLs.
    #[arg(long, env = "SELVEDGE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,

    /// Leave the work to processes of `selvedge work`.
    #[arg(long)]
    no_workers: bool,

    #[command(flatten)]
    workers: WorkerArguments,

    #[command(flatten)]
    data: DataSettings,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.data.open(true, surroundings::ambient()).await?;
        let workers = self.workers.options(&self.data);
        let options = ServerOptions {
            listen: self.listen,
            public_url: self.public_url,
            workers: WorkerOptions { works: !self.no_workers, ..workers },
        };
        let mut server = Server::start(store.clone(), options).await?;
        println!("{}", json!({ "ready": true, "url": server.url }));
        if !store.has_operators().await? {
            let link = server.setup_link(&store).await?;
            eprintln!("Set up the dashboard (link is good for one use within 24 hours): {link}");
        }
        let failed = tokio::select! {
            () = surroundings::asked_to_stop() => false,
            () = server.ended() => true,
        };
        server.stop().await;
        if failed {
            bail!("a part of the server ended by itself; the log says why");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a server is started with.
pub(super) struct ServerOptions {
    pub(super) listen: SocketAddr,
    pub(super) public_url: Option<String>,
    pub(super) workers: WorkerOptions,
}

/// A running server.
pub(super) struct Server {
    pub(super) url: String,
    public_url: String,
    pipeline: Pipeline,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(super) async fn start(store: Store, options: ServerOptions) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let url = format!("http://{}", listener.local_addr()?);
        let public_url = options.public_url.unwrap_or_else(|| url.clone());
        let public_url = public_url.trim_end_matches('/').to_owned();
        let connector = Connector::new(surroundings::http_client()?);
        let settings = WebSettings {
            public_url: public_url.clone(),
            private_addresses: options.workers.private_addresses,
            local_destinations: options.workers.local_destinations.clone(),
        };
        let web = Web::open(store.clone(), connector.clone(), settings).await?;
        let pipeline = options.workers.start(store, connector).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let serve = axum::serve(listener, web::router(web)).into_future();
            // Long polls would hold a graceful end up for a minute; what was answered is durable.
            tokio::select! {
                ended = serve => ended,
                _ = stopped => Ok(()),
            }
        });
        Ok(Self { url, public_url, pipeline, stop, serving })
    }

    /// Returns when a part of it has ended by itself.
    async fn ended(&mut self) {
        tokio::select! {
            () = self.pipeline.ended() => {}
            _ = &mut self.serving => {}
        }
    }

    /// A one-time link to set a password.
    pub(super) async fn setup_link(&self, store: &Store) -> anyhow::Result<String> {
        let token = store.create_setup_link().await?;
        Ok(format!("{}/set-up?token={}", self.public_url, *token))
    }

    /// Ends it: work under way finishes first.
    pub(super) async fn stop(self) {
        let _gone = self.stop.send(());
        if !self.serving.is_finished()
            && let Ok(Err(error)) = self.serving.await
        {
            tracing::error!(%error, "the server ended with an error");
        }
        self.pipeline.stop().await;
    }
}
