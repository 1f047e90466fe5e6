//! Who runs where: `tarn dev` starts every role on one node, in the order in which they stand on each
//! other, and drains them in reverse.
//!
//! Leaves to others: what a role does; here it gets its settings and its listener.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tarn_agent::AgentSettings;
use tarn_commit_log::ObjectLog;
use tarn_compactor::CompactorSettings;
use tarn_engine::{Engine, EngineSettings};
use tarn_hot::{HotSettings, HotTier};
use tarn_model::{ByteSize, Kind};
use tarn_registry::{Registry, RegistrySettings};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::{Listener, Runtime, Scope, http};
use tarn_server::Places;
use tarn_state::Advertised;
use tarn_store::Store;
use tarn_tables::Catalog;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::addresses;
use crate::cli::Failure;
use crate::folder::DataFolder;
use crate::settings::Settings;

/// How long the ports of a process that is being taken down are waited for.
const PORT_WITHIN: Duration = Duration::from_secs(2);
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// A running `tarn dev`.
#[derive(Debug)]
pub(crate) struct Dev {
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

/// Starts every role. When it returns, every address answers.
pub(crate) async fn start(
    settings: &Settings,
    ready_file: Option<&Path>,
    accept_clock: bool,
) -> Result<Dev, Failure> {
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
    let log = ObjectLog::open(&store, tarn_commit_log::Settings::default(), &runtime).await;
    let log = log.map_err(|error| Failure::new(error.kind(), error))?;
    let agent = Advertised {
        host: advertised,
        port: bound.port(),
        zone: None,
    };
    let parts = Parts {
        runtime: runtime.clone(),
        store,
        log: Arc::new(log),
        agent: Some(agent),
    };
    let node = Node::open(node_settings(settings, accept_clock), parts, scope.clone())
        .await
        .map_err(|error| Failure::new(Kind::Unavailable, error))?;

    let places = addresses.places();
    let roles = start_roles(settings, &node, places, kafka, registry, http).await;
    if let Err(failure) = roles {
        scope.drain().await;
        return Err(failure);
    }
    let dev = Dev {
        node,
        scope,
        addresses,
        ready_file: ready_file.map(Path::to_owned),
        folder,
    };
    // From here on clients may have been served: what they were told is kept.
    if let Err(failure) = dev.write_ready_file() {
        dev.scope.drain().await;
        info!("drained");
        return Err(failure);
    }
    Ok(dev)
}

async fn start_roles(
    settings: &Settings,
    node: &Node,
    places: Places,
    kafka: Listener,
    registry: Listener,
    http: Listener,
) -> Result<(), Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(Kind::Internal, error);
    tarn_agent::start(node, agent_settings(settings), kafka).map_err(|error| internal(&error))?;
    let schemas = Registry::new(node, RegistrySettings::default());
    let tables = Catalog::new(node, settings.memory.table_metadata());
    let compactor = compactor_settings();
    let tasks = tarn_compactor::all(node, &tables, &compactor);
    tarn_compactor::start(node, compactor, tasks);
    let hot = HotTier::start(
        node,
        HotSettings {
            bytes: settings.memory.hot_tier(),
        },
    );
    let engine = Engine::start(
        node,
        &tables,
        hot,
        EngineSettings {
            memory_limit: match settings.sql.memory_limit {
                ByteSize(0) => settings.memory.queries(),
                limit => limit,
            },
            ..settings.sql.clone()
        },
    );
    let router = tarn_server::router(node, engine)
        .merge(tarn_server::home(node, places))
        .merge(tarn_registry::v1_schemas(schemas.clone()));
    let listeners = node.scope.child("http");
    let server = http::Server::new(node.runtime.metrics());
    server.serve(&listeners, http, router);
    server.serve(&listeners, registry, tarn_registry::confluent(schemas));
    Ok(())
}

fn node_settings(settings: &Settings, accept_clock: bool) -> NodeSettings {
    NodeSettings {
        cache_bytes: settings.memory.chunk_cache(),
        memory_budget: settings.memory.in_flight(),
        // A process that is alone on its folder closes every earlier session.
        alone: true,
        accept_clock,
        defaults: settings.defaults(),
        ..settings.log.clone()
    }
}

fn compactor_settings() -> CompactorSettings {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    CompactorSettings {
        tables_at_once: (2 * cores).max(4),
        cores,
        ..CompactorSettings::default()
    }
}

fn agent_settings(settings: &Settings) -> AgentSettings {
    AgentSettings {
        topics: settings.topics.clone(),
        replication_factor: settings.replication_factor.clone(),
        writer: settings.writer.clone(),
        small_request_bytes: settings.memory.small_requests(),
        response_bytes: settings.memory.responses(),
        ..AgentSettings::default()
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

impl Dev {
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
             tarn sql --url http://{http} \"SELECT _offset, _value::text FROM events.clicks\"\n\n"
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
