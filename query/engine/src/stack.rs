//! Room for recursion over a statement: parsing, planning and taking apart walk trees by calling
//! themselves, and an overflow would end the process.
//!
//! Memory of a stack is taken as it is used; address space alone costs nothing.

use std::future::poll_fn;

/// Enough for the deepest statement that `statement::depth` lets through, in a debug build.
const STACK_BYTES: usize = 256 << 20;

pub(crate) fn on_large_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES, work)
}

/// Awaits a future that recurses between its awaits.
pub(crate) async fn poll_on_large_stack<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    poll_fn(|context| on_large_stack(|| future.as_mut().poll(context))).await
}
