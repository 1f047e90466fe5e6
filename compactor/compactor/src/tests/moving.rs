//! The log start moves while a round runs.

use tarn_store::{FaultyStore, Options, StoreFaults};

use super::*;

/// Whatever the moment at which records are deleted: what lies at or above the new log start becomes a
/// row once, and of what lies below it a round has all or nothing, as its view had it.
#[test]
fn a_log_start_that_moves_under_a_round_loses_and_doubles_no_row() {
    const ROWS: usize = 20;
    const KEPT: usize = 13;
    let mut simulation = turmoil::Builder::new()
        .rng_seed(9)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(Duration::from_secs(3600))
        .build();
    simulation.client("compactor", async move {
        let runtime = Runtime::simulated(&SimulatedHost::new(9));
        let slow = FaultyStore::new(Store::memory(&runtime).object_store(), 9, &runtime);
        let store = Store::new(Arc::new(slow.clone()), Options::default(), &runtime);
        let log = FaultyLog::new(Arc::new(MemoryLog::new()), 9, &runtime);
        let node = open(&runtime, &store, Arc::new(log.clone())).await;
        let fixture = Fixture::on(node, CompactorSettings::default()).await;
        let latency = Duration::from_millis(10);
        slow.set_faults(StoreFaults {
            latency_min: latency,
            latency_max: latency,
            ..StoreFaults::default()
        });
        log.set_faults(LogFaults {
            latency_min: latency,
            latency_max: latency,
            ..LogFaults::default()
        });
        let mut expected = Vec::new();
        let (mut end, mut deleted) = (0, 0);
        let (mut whole, mut cut) = (0, 0);
        for delay in (0..200).step_by(5) {
            // Two batches, and the new log start lies in the second.
            let part = values(&format!("{delay:03}"), ROWS);
            let (first, second) = part.split_at(ROWS / 2);
            fixture.produce(0, first).await;
            fixture.produce(0, second).await;
            end += ROWS as u64;
            let start = end - KEPT as u64;
            let materialized = async {
                sleep(Duration::from_millis(40)).await;
                fixture.materialize().await;
            };
            let deleted_below = async {
                sleep(Duration::from_millis(delay)).await;
                fixture.delete_below(Some(start)).await;
            };
            tokio::join!(materialized, deleted_below);
            fixture.materialize().await;
            assert_eq!(fixture.materialized(0), Offset(end), "after {delay} ms");
            let rows = fixture.rows().await;
            match rows.len() - expected.len() {
                ROWS => {
                    whole += 1;
                    expected.extend(part);
                }
                KEPT => {
                    cut += 1;
                    deleted += (ROWS - KEPT) as u64;
                    expected.extend(part.into_iter().skip(ROWS - KEPT));
                }
                other => panic!("{other} rows after {delay} ms"),
            }
            expected.sort();
            assert_eq!(rows, expected, "after {delay} ms");
            assert_eq!(
                fixture.counters(0),
                (expected.len() as u64, 0, deleted),
                "after {delay} ms"
            );
        }
        assert!(whole > 2 && cut > 2, "{whole} rounds whole, {cut} cut");
        fixture.node.drain().await;
        Ok(())
    });
    simulation.run().expect("the simulation ends");
}
