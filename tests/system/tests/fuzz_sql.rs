//! The same random rows and queries to Tarn hot, Tarn cold and DuckDB; `make fuzz-sql` asks more of them.

use anyhow::Result;
use tarn_system_tests::{Tarn, run};

#[test]
fn random_queries_give_what_they_give_in_duckdb() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let queries = std::env::var("TARN_FUZZ_QUERIES").unwrap_or_else(|_| "400".to_owned());
    let seconds = std::env::var("TARN_FUZZ_SECONDS").unwrap_or_else(|_| "60".to_owned());
    let mut fuzz = tarn.client(
        "tests/clients/fuzz_sql.py",
        &["--queries", &queries, "--seconds", &seconds],
    )?;
    run(&mut fuzz)?;
    Ok(())
}
