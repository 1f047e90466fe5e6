//! One Tarn process on a simulated machine: the same wiring as the binary's, with small numbers, and
//! beside it the checkers that watch it from within.

use std::time::Duration;

use tarn_agent::AgentSettings;
use tarn_compactor::CompactorSettings;
use tarn_hot::{HotSettings, HotTier};
use tarn_model::{ByteSize, PartitionId, SchemaFormat, caps};
use tarn_replica::{Node, NodeSettings, Parts, ProposeError};
use tarn_runtime::Runtime;
use tarn_schema::{columns, parse};
use tarn_state::commands::RegisterSchema;
use tarn_state::topic_configs::Defaults;
use tarn_state::{Advertised, Command, FeatureLevel, Outcome};
use tarn_store::{Store, paths};
use tarn_tables::Catalog;
use tarn_topics::{Writer, WriterSettings};
use tokio::time::Instant;
use tracing::info;

use crate::ages;
use crate::claims;
use crate::cluster::{Cluster, KAFKA_PORT, ORDERS};
use crate::cut_check;
use crate::history::Told;
use crate::joint;

/// What records of [`ORDERS`] look like.
const ORDER_SCHEMA: &str =
    r#"{"type": "record", "name": "Order", "fields": [{"name": "v", "type": "string"}]}"#;

/// Longer than a process goes on that the log does not hear.
const SERVE_ON: Duration = Duration::from_secs(12);

/// Runs a process until it is killed. A process that could not start is started again by its
/// supervisor after a second; none may stop by itself, for no log here ever goes back, unless a newer
/// version left something that it cannot read.
pub(crate) async fn run(cluster: Cluster, node: usize) -> turmoil::Result {
    loop {
        let machine = &cluster.machines[node];
        let runtime = Runtime::simulated(&machine.host);
        let scope = runtime.root_scope("tarn");
        match start(&cluster, node, &runtime, scope.clone()).await {
            Ok(running) => {
                cluster.presence.came(node);
                let (invariant, stopped) = tokio::select! {
                    biased;
                    () = cluster.presence.told_to_stop(node) => {
                        tokio::select! {
                            biased;
                            task = scope.panicked() => {
                                let detail = format!("task {task} panicked while node {node} drained");
                                cluster.history.violated("no panic", detail);
                            }
                            () = scope.drain() => {}
                        }
                        cluster.presence.went(node);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                    task = scope.panicked() => ("no panic", format!("task {task} panicked")),
                    reason = running.metastore.stopped() => ("I11", reason),
                };
                if invariant == "I11" && cluster.dead_end.stopped(node, &stopped) {
                    cluster.dead_end.read_through(&cluster, &running).await;
                } else {
                    cluster
                        .history
                        .violated(invariant, format!("node {node} stopped: {stopped}"));
                }
            }
            Err(reason) => {
                info!(node, reason, "process could not start");
                cluster.dead_end.refused(node, &reason);
            }
        }
        cluster.presence.went(node);
        scope.drain().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Has somebody made the cluster? A store that does not say is asked again.
async fn store_has_cluster(store: &Store) -> bool {
    store.get(&paths::cluster()).await.is_ok()
}

async fn start(
    cluster: &Cluster,
    node: usize,
    runtime: &Runtime,
    scope: tarn_runtime::Scope,
) -> Result<Node, String> {
    let store = cluster.store(node, runtime);
    if cluster.ages.waits_for_cluster(&cluster.plan, node) && !store_has_cluster(&store).await {
        return Err("the older process makes the cluster".to_owned());
    }
    let log = cluster.log(node, &store, runtime).await?;
    let advertised = Advertised {
        host: Cluster::host_name(node),
        port: KAFKA_PORT,
        zone: None,
    };
    let settings = NodeSettings {
        snapshot_entries: cluster.plan.snapshot_entries,
        snapshot_bytes: ByteSize::mib(1),
        cache_bytes: ByteSize::mib(1),
        memory_budget: ByteSize::mib(64),
        alone: false,
        accept_clock: false,
        tick: caps::TICK_INTERVAL,
        defaults: Defaults::tables_every(cluster.plan.table_interval),
    };
    let parts = Parts {
        runtime: runtime.clone(),
        store,
        log,
        name: Cluster::host_name(node),
    };
    // A clock that is set right in the meantime is not wrong; one that is wrong by less may pass.
    let wrong = caps::CLOCK_SKEW_MAX + Duration::from_secs(40);
    let skew = cluster.skew(runtime);
    let level_max = cluster.ages.level_of(&cluster.plan, node);
    let opened = Node::open_up_to(level_max, settings, parts, scope).await;
    let was_wrong = skew > wrong && cluster.skew(runtime) > wrong;
    let opened = match opened {
        Ok(_) if was_wrong => {
            cluster.history.violated(
                "clock",
                format!("node {node} opened a session with a clock {skew:?} off"),
            );
            return Err("its clock is wrong".to_owned());
        }
        Ok(opened) => opened,
        Err(error) => {
            let text = error.to_string();
            if was_wrong && text.contains("clock") {
                cluster.history.refused_clock();
            }
            return Err(text);
        }
    };
    let listener = runtime
        .net()
        .listen(&format!("0.0.0.0:{KAFKA_PORT}"))
        .await
        .map_err(|error| format!("no listener: {error}"))?;
    let writer = WriterSettings {
        linger: Duration::from_millis(20),
        ..WriterSettings::remote()
    };
    let agent = AgentSettings {
        writer: writer.clone(),
        serve_on: SERVE_ON,
        ..AgentSettings::default()
    };
    tarn_agent::start(&opened, agent, listener, advertised).map_err(|error| error.to_string())?;
    // Little room, so that manifests are read again.
    let tables = Catalog::new(&opened, ByteSize::kib(64));
    let compactor = CompactorSettings::default();
    let tasks = tarn_compactor::all(&opened, &tables, &compactor);
    tarn_compactor::start(&opened, compactor, tasks);
    let writer = Writer::start(&opened, writer);
    watch(
        &opened,
        "joint",
        joint::run(cluster.clone(), opened.clone(), tables, writer),
    );
    watch(
        &opened,
        "claims",
        claims::run(cluster.clone(), opened.clone()),
    );
    if level_max > FeatureLevel::NEWEST {
        watch(&opened, "ages", ages::run(cluster.clone(), opened.clone()));
    }
    // Little room, so that rows are evicted and read again.
    let hot = HotTier::start(
        &opened,
        HotSettings {
            bytes: ByteSize::kib(64),
        },
    );
    watch(
        &opened,
        "watch",
        watch_views(cluster.clone(), node, opened.clone()),
    );
    watch(
        &opened,
        "barriers",
        ask_for_barriers(cluster.clone(), opened.clone()),
    );
    watch(&opened, "schema", register(cluster.clone(), opened.clone()));
    watch(
        &opened,
        "probes",
        probe(cluster.clone(), node, opened.clone()),
    );
    watch(
        &opened,
        "cuts",
        cut_check::run(cluster.clone(), node, opened.clone(), hot),
    );
    Ok(opened)
}

/// Runs a checker for as long as the process lives.
fn watch(node: &Node, name: &'static str, checker: impl Future<Output = ()> + Send + 'static) {
    let scope = node.scope.child(name);
    let stopped = scope.stopped();
    drop(scope.spawn(name, async move {
        tokio::select! {
            biased;
            () = stopped => {}
            () = checker => {}
        }
    }));
}

async fn watch_views(cluster: Cluster, number: usize, node: Node) {
    let mut views = node.metastore.watch();
    loop {
        let view = std::sync::Arc::clone(&views.borrow_and_update());
        cluster.history.observed(number, &view);
        let checks = cluster
            .joint
            .check(&view)
            .and_then(|()| cluster.claims.check(&view));
        if let Err((invariant, detail)) =
            checks.and_then(|()| cluster.presence.observed(number, &view))
        {
            cluster.history.violated(invariant, detail);
        }
        if let Err(detail) = cluster.dead_end.passed(view.n) {
            cluster
                .history
                .violated("I12", format!("node {number} {detail}"));
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Asks for barriers at odd moments, several at a time, and compares each with what was acknowledged
/// before it was asked for.
async fn ask_for_barriers(cluster: Cluster, node: Node) {
    let random = node.runtime.random();
    let ask = async |pause: Duration| {
        loop {
            tokio::time::sleep(Duration::from_millis(5) + random.jitter(pause)).await;
            let before = cluster.history.ends();
            let deadline = Instant::now() + Duration::from_secs(5);
            // A log that does not answer gives no view; the next time it may.
            let Ok(view) = node.metastore.barrier(deadline).await else {
                continue;
            };
            cluster.history.barrier(&before, |topic, partition| {
                let topic = view.topic_named(topic)?.id;
                Some(
                    view.partition(topic, PartitionId(partition))?
                        .high_watermark
                        .0,
                )
            });
        }
    };
    tokio::join!(
        ask(Duration::from_millis(700)),
        ask(Duration::from_millis(400)),
        ask(Duration::from_millis(150))
    );
}

/// Proposes subjects, each name once, and notes what it is told of each: whoever hears that nothing
/// was done may throw away what the proposal speaks of.
async fn probe(cluster: Cluster, number: usize, node: Node) {
    loop {
        tokio::time::sleep(node.runtime.random().jitter(Duration::from_millis(900))).await;
        let subject = format!("probe-{number}-{:x}", node.runtime.random().u64());
        let command = RegisterSchema {
            subject: subject.clone(),
            ..order_schema()
        };
        let deadline = Instant::now() + Duration::from_secs(1 + node.runtime.random().below(20));
        let told = match node
            .metastore
            .propose(vec![Command::RegisterSchema(command)], deadline)
            .await
        {
            Ok(_) => Told::Applied,
            Err(ProposeError::NotDone { .. } | ProposeError::Refused { .. }) => Told::NotDone,
            Err(ProposeError::Unknown { .. } | ProposeError::Stopped { .. }) => continue,
        };
        cluster.history.told(subject, told);
    }
}

/// Registers the schema of [`ORDERS`] once the topic is there, as the registry does.
async fn register(cluster: Cluster, node: Node) {
    let command = Command::RegisterSchema(order_schema());
    while cluster.schema().is_none() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if node.metastore.view().topic_named(ORDERS).is_none() {
            continue;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let Ok(committed) = node
            .metastore
            .propose(vec![command.clone()], deadline)
            .await
        else {
            continue;
        };
        if let Some(Outcome::SchemaRegistered { id, .. }) = committed.outcomes.first() {
            cluster.set_schema(*id);
        }
    }
}

fn order_schema() -> RegisterSchema {
    let schema = parse(ORDER_SCHEMA, &[]).expect("it is a schema");
    RegisterSchema {
        subject: format!("{ORDERS}-value"),
        guid: schema.guid(),
        format: SchemaFormat::Avro,
        text: schema.canonical().to_owned(),
        columns: columns(&schema).expect("a record of strings has columns"),
        references: Vec::new(),
    }
}
