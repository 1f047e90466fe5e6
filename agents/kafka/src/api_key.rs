//! The key of an API that we serve, and what follows from it: versions, headers, name.
//!
//! Keys and versions stand in the table of `apis.rs`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::apis::for_each_api;

macro_rules! define_api_key {
    ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
        /// An API of the Kafka protocol that we serve.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every API we serve, in the order of their keys.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            /// The API a key stands for; `None` if we do not serve it.
            pub const fn from_key(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The versions whose requests we accept.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $first..=$last,)*
                }
            }

            /// The first version with compact lengths and tagged fields.
            pub const fn first_flexible(self) -> i16 {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }

            /// Its name, as in Kafka's documentation.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }
        }
    };
}
for_each_api!(define_api_key);

impl ApiKey {
    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// The versions that ApiVersions lists.
    ///
    /// SUBTLE: Produce starts at 0 although we accept it from 3 on, as in Kafka 4: librdkafka
    /// reads the minimum to decide which compression types it may use (KAFKA-18659).
    pub fn advertised_versions(self) -> RangeInclusive<i16> {
        match self {
            ApiKey::Produce => 0..=*self.versions().end(),
            _ => self.versions(),
        }
    }

    /// Whether we accept requests of this version.
    pub fn accepts(self, version: i16) -> bool {
        self.versions().contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    /// The version of the request header: 2 has tagged fields, 1 has not.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header: 1 has tagged fields, 0 has not.
    ///
    /// SUBTLE: always 0 for ApiVersions, because the client does not know our versions before it
    /// has read that response (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            ApiKey::ApiVersions => 0,
            _ => {
                if self.is_flexible(version) {
                    1
                } else {
                    0
                }
            }
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::ApiKey as Reference;

    #[test]
    fn every_line_agrees_with_the_decoder() {
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_key(api.key()), Some(*api));
            let reference = Reference::try_from(api.key()).expect("the decoder knows the key");
            assert_eq!(format!("{reference:?}"), api.name());
            for version in api.versions() {
                assert_eq!(
                    reference.request_header_version(version),
                    api.request_header_version(version),
                    "{api} {version}"
                );
                assert_eq!(
                    reference.response_header_version(version),
                    api.response_header_version(version),
                    "{api} {version}"
                );
            }
        }
    }

    #[test]
    fn every_line_ends_where_the_decoder_ends() {
        use kafka_protocol::messages::*;
        use kafka_protocol::protocol::Message;

        macro_rules! compare {
            ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
                $(
                    assert!($request::VERSIONS.min <= $first, stringify!($name));
                    assert_eq!($request::VERSIONS.max, $last, stringify!($name));
                    assert!($response::VERSIONS.min <= $first, stringify!($name));
                    assert!($response::VERSIONS.max >= $last, stringify!($name));
                )*
            };
        }
        for_each_api!(compare);
    }

    #[test]
    fn produce_is_advertised_from_0_and_accepted_from_3() {
        assert_eq!(ApiKey::Produce.advertised_versions(), 0..=13);
        assert!(!ApiKey::Produce.accepts(2));
        assert!(ApiKey::Produce.accepts(3));
    }

    #[test]
    fn keys_we_do_not_serve_are_unknown() {
        assert_eq!(ApiKey::from_key(4), None);
        assert_eq!(ApiKey::from_key(-1), None);
        assert_eq!(ApiKey::from_key(i16::MAX), None);
    }
}
