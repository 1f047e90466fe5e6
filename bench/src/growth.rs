//! Growth: what one operation costs as something else grows.
//!
//! Nothing may cost more because of history or of everybody else's size. Each line of the table
//! performs one operation at several sizes of what grows around it, on the real binary, and prints
//! the cost at each size beside its bar in words: flat, or linear in what the operation itself asks
//! for. Costs are the server's CPU time, which a busy machine blurs less than a clock, or bytes.
//! A line is one file's business and a value in its `LINES`; `--tarn` names an older binary to
//! measure before and after.

#![expect(clippy::print_stdout, reason = "a measurement prints what it found")]

mod agents;
mod metastore;
mod queries;
mod sessions;
mod stores;
mod tables;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use futures::future::LocalBoxFuture;
use tokio::time::Instant;

use crate::server::Server;
use crate::stats::Samples;
use crate::{Common, print_head};

/// Rounds of one cell; the table shows their median.
const ROUNDS: usize = 3;
/// A round lasts until the server has taken this much CPU: the kernel counts in steps of 10 ms.
const ROUND_CPU: Duration = Duration::from_millis(300);
/// Or this long, if the operation is so cheap.
const ROUND_WALL: Duration = Duration::from_secs(5);
/// What grows by more than this from the smallest size to the largest is not flat.
const FLAT: f64 = 2.0;

#[derive(Debug, Args)]
pub(crate) struct Growth {
    /// Only lines whose name begins with one of these.
    lines: Vec<String>,
    /// Leaves out sizes above this one.
    #[arg(long)]
    size_max: Option<u64>,
}

/// One operation, and what grows around it.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// The operation whose cost is measured.
    pub(crate) what: &'static str,
    /// What there are more and more of.
    pub(crate) grows: &'static str,
    pub(crate) sizes: &'static [u64],
    pub(crate) bar: Bar,
    pub(crate) measure: for<'a> fn(u64, &'a Common) -> LocalBoxFuture<'a, Result<Cost>>,
}

/// What a line's cost has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// The same at every size.
    Flat,
    /// With the size's logarithm: a look-up in what grows, and nothing else.
    Logarithmic,
    /// In proportion to the size, because the operation asks for that much.
    Linear,
    /// At no size more than this.
    AtMost(f64),
}

/// What one operation took.
#[derive(Debug, Clone)]
pub(crate) enum Cost {
    /// The server's CPU time, or time in this process, in microseconds.
    Micros(Samples),
    Bytes(u64),
}

impl Cost {
    fn value(&self) -> f64 {
        match self {
            Cost::Micros(samples) => samples.median(),
            Cost::Bytes(bytes) => *bytes as f64,
        }
    }

    /// Of one among so many.
    pub(crate) fn divided_by(self, count: f64) -> Cost {
        match self {
            Cost::Micros(samples) => {
                Cost::Micros(samples.iter().map(|micros| micros / count).collect())
            }
            Cost::Bytes(bytes) => Cost::Bytes(bytes),
        }
    }

    fn shown(&self) -> String {
        match self {
            Cost::Micros(samples) if samples.median() >= 10_000.0 => {
                format!("{:.0} ms", samples.median() / 1000.0)
            }
            Cost::Micros(samples) => format!("{:.0} µs", samples.median()),
            Cost::Bytes(bytes) if *bytes >= 10 << 10 => format!("{} KiB", bytes >> 10),
            Cost::Bytes(bytes) => format!("{bytes} B"),
        }
    }
}

impl Growth {
    pub(crate) async fn run(&self, common: &Common) -> Result<()> {
        let lines: Vec<&Line> = agents::LINES
            .iter()
            .chain(sessions::LINES)
            .chain(stores::LINES)
            .chain(metastore::LINES)
            .chain(tables::LINES)
            .chain(queries::LINES)
            .filter(|line| self.wants(line.name))
            .collect();
        ensure!(!lines.is_empty(), "no line has such a name");
        print_head(
            &format!("growth: cost of one operation, median of {ROUNDS} rounds"),
            common,
        );
        for line in lines {
            println!("{}: {}", line.name, line.what);
            let mut costs = Vec::new();
            let wanted = |size: &&u64| self.size_max.is_none_or(|max| **size <= max);
            for size in line.sizes.iter().filter(wanted) {
                let cost = (line.measure)(*size, common).await?;
                println!("  {size:>9} {}: {}", line.grows, cost.shown());
                costs.push((*size as f64, cost.value()));
            }
            println!("  {}", line.bar.verdict(&costs));
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.lines.is_empty()
            || self
                .lines
                .iter()
                .any(|wanted| name.starts_with(wanted.as_str()))
    }
}

impl Bar {
    /// How the costs stand to the bar, in words.
    fn verdict(self, costs: &[(f64, f64)]) -> String {
        let (Some(first), Some(last)) = (costs.first(), costs.last()) else {
            return "nothing was measured".to_owned();
        };
        let (sizes, cost) = (last.0 / first.0, last.1 / first.1);
        let grew = format!("{sizes:.0}x the size costs {cost:.1}x");
        let word = |kept: bool| if kept { "kept" } else { "MISSED" };
        match self {
            Bar::Flat => format!("{grew}; bar: flat, {}", word(cost <= FLAT)),
            Bar::Logarithmic => {
                let logarithm = last.0.ln() / first.0.max(2.0).ln();
                let kept = cost <= logarithm * FLAT;
                format!("{grew}; bar: its logarithm, {}", word(kept))
            }
            Bar::Linear => format!("{grew}; bar: linear, {}", word(cost <= sizes * FLAT)),
            Bar::AtMost(most) => {
                let worst = costs.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
                format!("{grew}; bar: at most {most:.0}, {}", word(worst <= most))
            }
        }
    }
}

/// The server's CPU time for one operation, from rounds that are long enough to count.
pub(crate) async fn server_cpu(
    server: &Server,
    mut operation: impl AsyncFnMut() -> Result<()>,
) -> Result<Cost> {
    operation().await?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (started, before) = (Instant::now(), server.usage()?.cpu);
        let mut done = 0u32;
        let took = loop {
            operation().await?;
            done += 1;
            let took = server.usage()?.cpu.saturating_sub(before);
            if took >= ROUND_CPU || started.elapsed() >= ROUND_WALL {
                break took;
            }
        };
        rounds.push(took.as_secs_f64() * 1e6 / f64::from(done));
    }
    Ok(Cost::Micros(rounds.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_missed_by_what_grows_and_kept_by_what_does_not() {
        let flat = [(1.0, 10.0), (1000.0, 15.0)];
        let grown = [(1.0, 10.0), (1000.0, 9000.0)];
        assert!(Bar::Flat.verdict(&flat).ends_with("kept"));
        assert!(Bar::Flat.verdict(&grown).ends_with("MISSED"));
        assert!(Bar::Linear.verdict(&grown).ends_with("kept"));
        let doubled = [(1_000.0, 10.0), (100_000.0, 25.0)];
        assert!(Bar::Flat.verdict(&doubled).ends_with("MISSED"));
        assert!(Bar::Logarithmic.verdict(&doubled).ends_with("kept"));
        assert!(Bar::Logarithmic.verdict(&grown).ends_with("MISSED"));
        assert!(
            Bar::Linear
                .verdict(&[(1.0, 1.0), (10.0, 100.0)])
                .ends_with("MISSED")
        );
        assert!(Bar::AtMost(9000.0).verdict(&grown).ends_with("kept"));
        assert!(Bar::AtMost(8999.0).verdict(&grown).ends_with("MISSED"));
    }
}
