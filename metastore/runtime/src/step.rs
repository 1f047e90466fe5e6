//! Crash steps: the numbered places where a simulated process can be made to die.

/// Names a place where a crash would be interesting: `step!(runtime, "produce.uploaded")`.
///
/// The walk of a record in `docs/ARCHITECTURE.md` lists the same names; a tidy test compares.
#[macro_export]
macro_rules! step {
    ($runtime:expr, $name:literal) => {
        $runtime.pass_step($name).await
    };
}
