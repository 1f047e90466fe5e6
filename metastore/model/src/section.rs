//! A struct of settings, said once: name, type, default, allowed values and manual of each.
//!
//! A crate declares what it lets people set with [`settings!`](crate::settings) and uses the struct as it is.
//! The binary nests the structs as sections of its file, and has names, values and manuals from them.

use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use crate::{ByteSize, format_duration};

/// What the binary asks of a struct of settings.
pub trait Section {
    /// Each field with the lines of its doc comment, which is the manual.
    const MANUAL: &'static [(&'static str, &'static [&'static str])];

    /// The field that cannot be what it is, and why.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// A value as people write it.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        format_duration(*self)
    }
}

macro_rules! shown {
    ($($kind:ty)*) => {$(
        impl Shown for $kind {
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

shown! { ByteSize u16 i32 u64 usize }

/// Refuses a value of a field that lies outside.
pub fn within<T: Shown + PartialOrd>(
    field: &'static str,
    value: &T,
    range: impl RangeBounds<T>,
) -> Result<(), (&'static str, String)> {
    if range.contains(value) {
        return Ok(());
    }
    let value = value.shown();
    let why = match (range.start_bound(), range.end_bound()) {
        (Bound::Included(min), Bound::Included(max)) => {
            format!(
                "{value} does not lie between {} and {}",
                min.shown(),
                max.shown()
            )
        }
        (Bound::Included(min), _) => format!("{value} is less than {}", min.shown()),
        (_, Bound::Included(max)) => format!("{value} is more than {}", max.shown()),
        _ => format!("{value} is not allowed"),
    };
    Err((field, why))
}

/// Declares a struct of settings with its defaults.
///
/// `#[serde(skip)]` marks what is not for people to set: what a process works out for itself, and what
/// only tests change.
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)*)])?
                $fvis:vis $field:ident: $kind:ty = $default:expr $(, within $range:expr)?;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)*)])?
                $fvis $field: $kind,
            )*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default),* }
            }
        }

        impl $crate::Section for $name {
            const MANUAL: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($field), &[$($doc),+])),*];

            fn check(&self) -> Result<(), (&'static str, String)> {
                $($($crate::within(stringify!($field), &self.$field, $range)?;)?)*
                Ok(())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// How a thing behaves.
        struct ThingSettings {
            /// How long it waits.
            /// Longer is better.
            #[serde(with = "crate::duration_text")]
            wait: Duration = Duration::from_millis(5), within Duration::from_millis(1)..=Duration::from_secs(1);
            /// How much it takes.
            room: ByteSize = ByteSize::mib(1), within ByteSize::kib(64)..;
            /// What the process works out.
            #[serde(skip)]
            cores: usize = 3;
        }
    }

    #[test]
    fn a_field_has_its_manual_and_its_bounds() {
        let mut settings = ThingSettings::default();
        assert_eq!((settings.cores, settings.check()), (3, Ok(())));
        assert_eq!(
            ThingSettings::MANUAL[0],
            ("wait", &[" How long it waits.", " Longer is better."][..])
        );
        settings.room = ByteSize::kib(1);
        assert_eq!(
            settings.check(),
            Err(("room", "1KiB is less than 64KiB".to_owned()))
        );
        settings.wait = Duration::from_secs(2);
        assert_eq!(
            settings.check(),
            Err(("wait", "2s does not lie between 1ms and 1s".to_owned()))
        );
    }
}
