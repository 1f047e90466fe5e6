//! One process from its start to its end: the worlds that it opens, the node on them, its roles on the
//! node, and the way back in reverse.
//!
//! ```text
//! folder ─▶ ports ─▶ store, log ─▶ node ─▶ roles ─▶ ready ─▶ run ─▶ drain
//! ```
//!
//! Holds: what a user can get wrong is said before anything is touched; a process that is ready answers at
//! every address, and one that was ready drains before it ends, whatever ended it.
//! Leaves to others: which roles there are (`roles`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tarn_model::Kind;
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::{Listener, Runtime, Scope};
use tarn_server::Places;
use tarn_state::Advertised;
use tarn_store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::addresses;
use crate::cli::Failure;
use crate::folder::DataFolder;
use crate::roles::{self, Doors};
use crate::settings::Settings;

/// The log of a process that has nothing but its folder.
const IN_THE_STORE: &str = "store:";
/// How long the ports of a process that is being taken down are waited for.
const PORT_WITHIN: Duration = Duration::from_secs(2);
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    node: Node,
    scope: Scope,
    addresses: Addresses,
    ready_file: Option<PathBuf>,
    /// Let go of when everything has drained, and removed if it is ephemeral.
    folder: DataFolder,
}

/// As clients write them.
#[derive(Debug)]
struct Addresses {
    kafka: String,
    registry: String,
    http: String,
}

impl Addresses {
    fn places(&self) -> Places {
        Places {
            kafka: self.kafka.clone(),
            registry: format!("http://{}", self.registry),
            http: format!("http://{}", self.http),
        }
    }
}

/// Starts a process that is alone on a folder, and its roles. When it returns, every address answers.
pub(crate) async fn start(
    settings: &Settings,
    ready_file: Option<&Path>,
    accept_clock: bool,
) -> Result<Process, Failure> {
    let runtime = Runtime::real();
    let scope = runtime.root_scope("tarn");
    // Names and folders first: what is wrong with them is said before anything is touched.
    let folder = match settings.process.ephemeral {
        true => DataFolder::ephemeral().await,
        false => DataFolder::open(&settings.process.data_dir).await,
    };
    let folder = folder.map_err(Failure::invalid)?;
    // Who held the folder a moment ago may hold the ports for another.
    let patience = match folder.was_held {
        true => PORT_WITHIN,
        false => Duration::ZERO,
    };
    let host = &settings.process.host;
    let listen = async |port, flag| listen(&runtime, host, port, flag, patience).await;
    let kafka = listen(settings.kafka.port, "--kafka-port").await?;
    let registry = listen(settings.registry.port, "--registry-port").await?;
    let http = listen(settings.http.port, "--http-port").await?;
    let local = |listener: &Listener| {
        listener
            .local_address()
            .map_err(|error| Failure::new(Kind::Internal, error))
    };
    let bound = local(&kafka)?;
    let chosen = &settings.kafka.advertised_host;
    let machine = match chosen.is_empty() && bound.ip().to_canonical().is_unspecified() {
        true => runtime.net().machine_name().await,
        false => None,
    };
    let advertised = addresses::advertised(
        chosen,
        &settings.process.host,
        bound.ip(),
        machine.as_deref(),
    )
    .map_err(Failure::invalid)?;
    let addresses = Addresses {
        kafka: addresses::host_port(&advertised, bound.port()),
        registry: addresses::printed(local(&registry)?, &advertised),
        http: addresses::printed(local(&http)?, &advertised),
    };

    let url = format!("file://{}", folder.path.display());
    let store = Store::open(&url, folder.store_options(), &runtime).map_err(Failure::invalid)?;
    let log = tarn_commit_log::open(IN_THE_STORE, &store, &runtime).await;
    let log = log.map_err(|error| Failure::new(error.kind(), error))?;
    let agent = Advertised {
        host: advertised,
        port: bound.port(),
        zone: None,
    };
    let parts = Parts {
        runtime: runtime.clone(),
        store,
        log,
        name: name_of(settings, &addresses),
    };
    let node = Node::open(node_settings(settings, accept_clock), parts, scope.clone())
        .await
        .map_err(|error| Failure::new(Kind::Unavailable, error))?;

    let doors = Doors {
        kafka,
        agent,
        registry,
        http,
    };
    let roles = roles::start(settings, &node, addresses.places(), doors).await;
    if let Err(failure) = roles {
        scope.drain().await;
        return Err(failure);
    }
    let process = Process {
        node,
        scope,
        addresses,
        ready_file: ready_file.map(Path::to_owned),
        folder,
    };
    // From here on clients may have been served: what they were told is kept.
    if let Err(failure) = process.write_ready_file() {
        process.scope.drain().await;
        info!("drained");
        return Err(failure);
    }
    Ok(process)
}

/// A process that is alone on its folder closes every earlier session.
const ALONE: bool = true;

fn name_of(settings: &Settings, addresses: &Addresses) -> String {
    match settings.identity.name.as_str() {
        "" => addresses::node_name(ALONE, Some(&addresses.kafka), &addresses.http),
        name => name.to_owned(),
    }
}

fn node_settings(settings: &Settings, accept_clock: bool) -> NodeSettings {
    NodeSettings {
        cache_bytes: settings.memory.chunk_cache(),
        memory_budget: settings.memory.in_flight(),
        alone: ALONE,
        accept_clock,
        defaults: settings.defaults(),
        ..settings.log.clone()
    }
}

async fn listen(
    runtime: &Runtime,
    host: &str,
    port: u16,
    flag: &str,
    patience: Duration,
) -> Result<Listener, Failure> {
    let address = addresses::host_port(host, port);
    let deadline = Instant::now() + patience;
    loop {
        let error = match runtime.net().listen(&address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
        if is_taken && Instant::now() < deadline {
            sleep(PORT_PAUSE).await;
            continue;
        }
        let hint = match is_taken {
            true => format!("choose another port with {flag}, or 0 for a free one"),
            false => format!("check --host and {flag}"),
        };
        let message = format!("cannot listen on {address}: {error}; {hint}");
        return Err(Failure::new(Kind::Unavailable, message));
    }
}

impl Process {
    /// What runs where, and lines to copy.
    pub(crate) fn banner(&self) -> String {
        let Addresses {
            kafka,
            registry,
            http,
        } = &self.addresses;
        let mut text = String::new();
        let mut line = |what: &str, address: String| {
            writeln!(text, "  {what:<10} {address}").expect("writing to a String cannot fail");
        };
        line("Kafka", kafka.clone());
        line("home page", format!("http://{http}"));
        line("registry", format!("http://{registry}"));
        line("SQL", format!("http://{http}/v1/sql"));
        line("Iceberg", format!("http://{http}/catalog"));
        line("metrics", format!("http://{http}/metrics"));
        let data = self.folder.path.display();
        line(
            "data",
            match self.folder.is_ephemeral() {
                true => format!("{data}, removed at the end"),
                false => data.to_string(),
            },
        );
        format!(
            "Tarn is ready.\n\n{text}\nTry:\n  echo '{{\"page\": \"/\"}}' | tarn produce clicks --bootstrap {kafka}\n  \
             tarn sql --url http://{http} \"SELECT _offset, _value::text FROM events.clicks\"\n"
        )
    }

    fn write_ready_file(&self) -> Result<(), Failure> {
        let Some(path) = &self.ready_file else {
            return Ok(());
        };
        let Addresses {
            kafka,
            registry,
            http,
        } = &self.addresses;
        let ready = json!({
            "kafka": kafka,
            "registry": format!("http://{registry}"),
            "http": format!("http://{http}"),
            "catalog": format!("http://{http}/catalog"),
            "pid": std::process::id(),
        });
        // Renamed into place, so that nobody reads half of it.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{ready:#}\n"))
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(|error| Failure::invalid(format!("--ready-file {}: {error}", path.display())))
    }

    /// Runs until somebody stops it or it has to stop, then drains.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|error| Failure::new(Kind::Internal, error))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|error| Failure::new(Kind::Internal, error))?;
        let failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            reason = self.node.metastore.stopped() => Some(reason),
            task = self.scope.panicked() => Some(format!("task {task} panicked; this is a defect of Tarn")),
        };
        if let Some(path) = &self.ready_file {
            // Gone already if somebody tidied up.
            let _ = std::fs::remove_file(path);
        }
        match &failure {
            Some(reason) => error!(reason, "stopping"),
            None => info!("draining"),
        }
        tokio::select! {
            () = self.scope.drain() => info!("drained"),
            _ = terminate.recv() => error!("stopped before everything was drained"),
            _ = interrupt.recv() => error!("stopped before everything was drained"),
        }
        failure.map_or(Ok(()), |reason| Err(Failure::new(Kind::Internal, reason)))
    }
}
