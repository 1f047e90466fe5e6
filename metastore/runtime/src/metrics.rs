//! The metrics of one process, in Prometheus' text form.
//!
//! Each crate has its own in its `metrics.rs`, as [`metrics!`](crate::metrics!) lists them: one entry for one
//! metric. Holds: there is no global registry.

use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;

/// The registry of one process.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics(Arc::new(Mutex::new(Registry::with_prefix("tarn"))))
    }
}

impl Metrics {
    /// Registers a crate's metrics.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().expect("registering does not panic"))
    }

    /// What `/metrics` answers.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().expect("registering does not panic");
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a String cannot fail");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// A number of anything as a gauge takes it.
pub fn gauge(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// A struct of metrics and its `register`. An entry is one metric: its comment is the help text, and what it
/// begins as stands behind the name where that is no default.
///
/// ```
/// # use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
/// tarn_runtime::metrics! {
///     /// Metrics of the door.
///     pub struct DoorMetrics {
///         /// Batches that came too early
///         pub early: Counter = "door_early";
///         /// Time that they waited
///         pub waited: Histogram = "door_wait" in Seconds, Histogram::new([0.1, 1.0]);
///     }
/// }
///
/// let metrics = tarn_runtime::Metrics::default();
/// let door = metrics.register(DoorMetrics::register);
/// door.early.inc();
/// assert!(metrics.encode().contains("tarn_door_early_total 1"));
/// assert!(metrics.encode().contains("# HELP tarn_door_wait_seconds Time that they waited.\n"));
/// ```
#[macro_export]
macro_rules! metrics {
    (@new) => { ::core::default::Default::default() };
    (@new $new:expr) => { $new };
    (@unit) => { ::core::option::Option::<::prometheus_client::registry::Unit>::None };
    (@unit $unit:ident) => {
        ::core::option::Option::Some(::prometheus_client::registry::Unit::$unit)
    };
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field_vis:vis $field:ident: $kind:ty = $metric:literal $(in $unit:ident)? $(, $new:expr)?;
            )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $help])+ $field_vis $field: $kind,)*
        }

        impl $name {
            $vis fn register(registry: &mut ::prometheus_client::registry::Registry) -> $name {
                let all = $name {
                    $($field: $crate::metrics!(@new $($new)?),)*
                };
                $(
                    let help = concat!($($help),+).trim();
                    match $crate::metrics!(@unit $($unit)?) {
                        Some(unit) => registry.register_with_unit($metric, help, unit, all.$field.clone()),
                        None => registry.register($metric, help, all.$field.clone()),
                    }
                )*
                all
            }
        }
    };
}
