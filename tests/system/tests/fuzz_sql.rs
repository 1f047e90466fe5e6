//! The same random rows and queries to Tarn hot, Tarn cold and DuckDB; `make fuzz-sql` asks more of them.

use anyhow::Result;
use tarn_system_tests::{Tarn, run};

#[test]
fn random_queries_give_what_they_give_in_duckdb() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let mut fuzz = tarn.client(
        "tests/clients/fuzz_sql.py",
        &["--queries", "400", "--seconds", "60"],
    )?;
    run(&mut fuzz)?;
    Ok(())
}
