//! `tarn dev`: everything in one process on a local folder.

use std::path::PathBuf;

use clap::Args;

use super::ConfigFile;
use super::failure::Failure;
use super::output::tell;
use crate::process;
use crate::settings::{self, Flags, Profile};

#[derive(Debug, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    file: ConfigFile,
    /// Folder for everything that is kept [default: ./tarn-data].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Keep everything in a temporary folder that is removed at the end.
    #[arg(long)]
    ephemeral: bool,
    /// Address to listen on; 0.0.0.0 or :: for every one that the machine has [default: 127.0.0.1].
    #[arg(long)]
    host: Option<String>,
    /// Host that Kafka clients are told to connect to [default: --host, or the machine's name if that means
    /// every address].
    #[arg(long, value_name = "HOST")]
    advertised_host: Option<String>,
    /// Kafka protocol; 0 takes a free port [default: 9092].
    #[arg(long, value_name = "PORT")]
    kafka_port: Option<u16>,
    /// Schema registry [default: 8081].
    #[arg(long, value_name = "PORT")]
    registry_port: Option<u16>,
    /// SQL, catalog, metrics and health [default: 8080].
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// PostgreSQL protocol: accepted and not served yet [default: 5432].
    #[arg(long, value_name = "PORT")]
    pg_port: Option<u16>,
    /// Bytes the process may hold, for instance 1GiB [default: half of the machine's memory].
    #[arg(long, value_name = "SIZE")]
    memory_budget: Option<String>,
    /// How often waiting records become table files, for instance 10s.
    #[arg(long, value_name = "DURATION")]
    table_interval: Option<String>,
    /// Write where everything listens to this file, as JSON, once it answers.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The machine's clock is right although it is more than a day off what the folder knows: let time
    /// go on from it.
    #[arg(long)]
    accept_clock: bool,
    /// human or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// As in RUST_LOG: info, tarn_agent=debug.
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

impl Dev {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut flags = Flags::default();
        flags.set("--data-dir", "data_dir", self.data_dir);
        flags.set("--ephemeral", "ephemeral", self.ephemeral.then_some(true));
        flags.set("--host", "host", self.host);
        flags.set(
            "--advertised-host",
            "kafka.advertised_host",
            self.advertised_host,
        );
        flags.set("--kafka-port", "kafka.port", self.kafka_port);
        flags.set("--registry-port", "registry.port", self.registry_port);
        flags.set("--http-port", "http.port", self.http_port);
        flags.set("--pg-port", "postgres.port", self.pg_port);
        flags.set("--memory-budget", "memory.budget", self.memory_budget);
        flags.set("--table-interval", "table.interval", self.table_interval);
        flags.set("--log-format", "logging.format", self.log_format);
        flags.set("--log-level", "logging.level", self.log_level);
        let loaded = settings::load(Profile::Dev, self.file.config.as_deref(), &flags)
            .map_err(Failure::invalid)?;
        crate::logging::start(&loaded.settings.logging)
            .map_err(|why| Failure::invalid(loaded.refused("logging.level", why)))?;
        super::kafka::block_on(async move {
            let process = process::start(
                &loaded.settings,
                self.ready_file.as_deref(),
                self.accept_clock,
            )
            .await?;
            tell(process.banner());
            process.run().await
        })
    }
}
