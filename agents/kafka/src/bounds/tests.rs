//! The layouts are held against the decoder: bytes generated from a layout must decode, to the last
//! byte, and encode to the same bytes; damaged bytes that the walk accepts must decode too; what
//! follows a request changes nothing.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::*;
use crate::ApiKey;
use crate::apis::for_each_api;

/// A small generator, so that a layout can be walked with chance at every step.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Writes a random message of a layout.
struct Writer {
    dice: Dice,
    shape: Shape,
    out: BytesMut,
    unknown_tags: bool,
}

impl Writer {
    fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    fn length(&mut self, length: Option<usize>, plain_bytes: usize) {
        match (self.shape.flexible, plain_bytes) {
            (true, _) => self.unsigned_varint(length.map_or(0, |length| length as u32 + 1)),
            (false, 2) => self.out.put_i16(length.map_or(-1, |length| length as i16)),
            (false, _) => self.out.put_i32(length.map_or(-1, |length| length as i32)),
        }
    }

    fn layout(&mut self, layout: &Layout) {
        for field in layout.fields {
            if field.versions.contain(self.shape.version) {
                self.kind(&field.kind);
            }
        }
        if !self.shape.flexible {
            return;
        }
        let mut tags = Vec::new();
        for known in layout.tagged {
            if known.versions.contain(self.shape.version) && self.dice.roll(2) == 0 {
                let before = std::mem::take(&mut self.out);
                match &known.kind {
                    // Null is the default, and defaults are not encoded.
                    Kind::String { .. } => self.string(Some(3)),
                    kind => self.kind(kind),
                }
                tags.push((known.tag, std::mem::replace(&mut self.out, before)));
            }
        }
        if self.unknown_tags && self.dice.roll(4) == 0 {
            for tag in [100, 20_000] {
                let length = self.dice.roll(5) as usize;
                tags.push((tag, BytesMut::from(&vec![7u8; length][..])));
            }
        }
        self.unsigned_varint(tags.len() as u32);
        for (tag, value) in tags {
            self.unsigned_varint(tag);
            self.unsigned_varint(value.len() as u32);
            self.out.put_slice(&value);
        }
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Bool => {
                let value = self.dice.roll(2) as u8;
                self.out.put_u8(value);
            }
            Kind::Fixed(bytes) => self.fixed(*bytes),
            Kind::String { nullable } => {
                let length = self.maybe(*nullable, 20);
                self.string(length);
            }
            Kind::Bytes { nullable } => {
                let length = self.maybe(*nullable, 300);
                self.length(length, 4);
                for _ in 0..length.unwrap_or(0) {
                    let value = self.dice.roll(256) as u8;
                    self.out.put_u8(value);
                }
            }
            Kind::Array { nullable, of } => {
                let count = self.maybe(*nullable, 4);
                self.length(count, 4);
                for _ in 0..count.unwrap_or(0) {
                    match of {
                        Element::Fixed(bytes) => self.fixed(*bytes),
                        Element::String => {
                            let length = self.maybe(false, 20);
                            self.string(length);
                        }
                        Element::Struct(layout) => self.layout(layout),
                    }
                }
            }
            Kind::Struct(layout) => self.layout(layout),
            Kind::NullableStruct(layout) => {
                if self.dice.roll(2) == 0 {
                    self.out.put_i8(-1);
                } else {
                    self.out.put_i8(1);
                    self.layout(layout);
                }
            }
        }
    }

    fn fixed(&mut self, bytes: usize) {
        for _ in 0..bytes {
            let value = self.dice.roll(255) as u8 + 1;
            self.out.put_u8(value);
        }
    }

    fn maybe(&mut self, nullable: bool, sides: u64) -> Option<usize> {
        if nullable && self.dice.roll(4) == 0 {
            return None;
        }
        Some(self.dice.roll(sides) as usize)
    }

    fn string(&mut self, length: Option<usize>) {
        self.length(length, 2);
        for _ in 0..length.unwrap_or(0) {
            let letter = b'a' + self.dice.roll(26) as u8;
            self.out.put_u8(letter);
        }
    }
}

fn random_body(api: ApiKey, version: i16, seed: u64, unknown_tags: bool) -> Bytes {
    let shape = Shape {
        version,
        flexible: api.is_flexible(version),
    };
    let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut writer = Writer {
        dice,
        shape,
        out: BytesMut::new(),
        unknown_tags,
    };
    writer.layout(layout_of(api));
    writer.out.freeze()
}

/// Decodes without the walk and says whether every byte was used, and what it encodes to.
fn decode_unchecked<M: Decodable + Encodable>(
    version: i16,
    body: &Bytes,
) -> Result<BytesMut, String> {
    let mut rest = body.clone();
    let message = M::decode(&mut rest, version).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes left", rest.len()));
    }
    let mut encoded = BytesMut::new();
    message
        .encode(&mut encoded, version)
        .map_err(|error| error.to_string())?;
    Ok(encoded)
}

macro_rules! define_reference {
    ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
        fn reference(api: ApiKey, version: i16, body: &Bytes) -> Result<BytesMut, String> {
            match api {
                $(ApiKey::$name => decode_unchecked::<$request>(version, body),)*
            }
        }

        /// The default request of every API, encoded by `kafka-protocol` itself.
        fn default_body(api: ApiKey, version: i16) -> Bytes {
            let mut out = BytesMut::new();
            match api {
                $(ApiKey::$name => $request::default().encode(&mut out, version).expect("defaults encode"),)*
            }
            out.freeze()
        }
    };
}
for_each_api!(define_reference);

#[test]
fn layouts_agree_with_the_decoder_in_every_version() {
    for api in ApiKey::ALL {
        for version in api.versions() {
            let body = default_body(*api, version);
            assert_eq!(
                check(*api, version, &body),
                Ok(body.len()),
                "{api} {version}"
            );
            for seed in 0..60 {
                let body = random_body(*api, version, seed, true);
                assert_eq!(
                    check(*api, version, &body),
                    Ok(body.len()),
                    "{api} {version} {seed} {body:?}"
                );
                let encoded = reference(*api, version, &body)
                    .unwrap_or_else(|error| panic!("{api} {version} {seed}: {error}"));
                assert_eq!(encoded, body, "{api} {version} {seed}");
            }
        }
    }
}

#[test]
fn every_cut_is_refused_and_every_tail_is_ignored() {
    for api in ApiKey::ALL {
        for version in api.versions() {
            for seed in 0..4 {
                let body = random_body(*api, version, seed, false);
                for cut in 0..body.len() {
                    assert!(
                        check(*api, version, &body[..cut]).is_err(),
                        "{api} {version} {seed} {cut}"
                    );
                }
                for tail in [&[0][..], &[0xff; 3], &[0x7f; 300]] {
                    let longer = [&body[..], tail].concat();
                    assert_eq!(
                        check(*api, version, &longer),
                        Ok(body.len()),
                        "{api} {version} {seed}"
                    );
                }
            }
        }
    }
}

#[test]
fn elements_always_take_bytes() {
    for api in ApiKey::ALL {
        for version in api.versions() {
            let shape = Shape {
                version,
                flexible: api.is_flexible(version),
            };
            assert_elements(layout_of(*api), shape);
        }
    }

    fn assert_elements(layout: &Layout, shape: Shape) {
        for field in layout
            .fields
            .iter()
            .filter(|field| field.versions.contain(shape.version))
        {
            if let Kind::Array { of, .. } = &field.kind {
                assert!(shape.least_of_element(of) > 0);
                if let Element::Struct(inner) = of {
                    assert_elements(inner, shape);
                }
            }
        }
    }
}

#[test]
fn counts_are_compared_with_the_bytes_left() {
    // Metadata 4: two billion topics, then nothing.
    let body = [0x7f, 0xff, 0xff, 0xff, 1];
    assert_eq!(
        check(ApiKey::Metadata, 4, &body),
        Err(BoundsError::Count {
            count: 0x7fff_ffff,
            least: 2,
            left: 1
        })
    );
    // Metadata 12: four billion topics.
    let body = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 1];
    assert!(matches!(
        check(ApiKey::Metadata, 12, &body),
        Err(BoundsError::Count { .. })
    ));
    // ApiVersions 3: two empty texts, then two billion tagged fields.
    let body = [1, 1, 0xff, 0xff, 0xff, 0xff, 0x07];
    assert!(matches!(
        check(ApiKey::ApiVersions, 3, &body),
        Err(BoundsError::Count { .. })
    ));
    // Metadata 4: -2 topics.
    assert_eq!(
        check(ApiKey::Metadata, 4, &[0xff, 0xff, 0xff, 0xfe, 1]),
        Err(BoundsError::NegativeLength(-2))
    );
}

#[test]
fn requests_that_would_take_much_more_memory_than_bytes_are_refused() {
    // DeleteGroups 2: a million empty names of one byte would take 32 MB.
    let mut body = BytesMut::new();
    let count = 1_000_000;
    let mut writer = Writer {
        dice: Dice(1),
        shape: Shape {
            version: 2,
            flexible: true,
        },
        out: std::mem::take(&mut body),
        unknown_tags: false,
    };
    writer.unsigned_varint(count + 1);
    writer.out.put_bytes(1, count as usize);
    writer.out.put_u8(0);
    assert_eq!(
        check(ApiKey::DeleteGroups, 2, &writer.out),
        Err(BoundsError::Memory {
            bytes: writer.out.len()
        })
    );
}

#[test]
fn large_honest_requests_are_accepted() {
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::offset_commit_request::{
        OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use kafka_protocol::protocol::StrBytes;

    let topics = (0..20_000)
        .map(|topic| {
            let name = TopicName(StrBytes::from_string(format!("t{topic}")));
            MetadataRequestTopic::default().with_name(Some(name))
        })
        .collect();
    let request = MetadataRequest::default().with_topics(Some(topics));
    for version in [1, 8, 9, 12] {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).expect("encodes");
        assert_eq!(
            check(ApiKey::Metadata, version, &body),
            Ok(body.len()),
            "Metadata {version}"
        );
    }

    let topics = (0..10_000)
        .map(|topic| {
            let name = TopicName(StrBytes::from_string(format!("t{topic}")));
            let partition = OffsetCommitRequestPartition::default().with_committed_metadata(None);
            OffsetCommitRequestTopic::default()
                .with_name(name)
                .with_partitions(vec![partition; 3])
        })
        .collect();
    let request = OffsetCommitRequest::default().with_topics(topics);
    for version in [7, 8, 9] {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).expect("encodes");
        assert_eq!(
            check(ApiKey::OffsetCommit, version, &body),
            Ok(body.len()),
            "OffsetCommit {version}"
        );
    }
}

#[test]
fn tagged_fields_that_lie_about_their_size_are_refused() {
    // Fetch 12 with nothing in it, and the tagged field 0, the cluster id.
    let mut body = BytesMut::new();
    FetchRequest::default()
        .encode(&mut body, 12)
        .expect("encodes");
    assert_eq!(body.last(), Some(&0), "no tagged fields");
    body.truncate(body.len() - 1);
    let honest = [&body[..], &[1, 0, 3, 3, b'a', b'b']].concat();
    assert_eq!(check(ApiKey::Fetch, 12, &honest), Ok(honest.len()));
    let short = [&body[..], &[1, 0, 2, 3, b'a', b'b']].concat();
    assert_eq!(
        check(ApiKey::Fetch, 12, &short),
        Err(BoundsError::TaggedFieldSize { stated: 2, used: 3 })
    );
    let early = [&body[..], &[1, 1, 1, 0]].concat();
    assert_eq!(
        check(ApiKey::Fetch, 12, &early),
        Err(BoundsError::TaggedFieldVersion { tag: 1 })
    );
}

#[test]
fn versions_that_are_not_served_are_refused() {
    assert!(matches!(
        check(ApiKey::Produce, 2, &[]),
        Err(BoundsError::UnsupportedVersion { .. })
    ));
    assert!(matches!(
        check(ApiKey::Produce, 14, &[]),
        Err(BoundsError::UnsupportedVersion { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn damaged_requests_decode_whenever_the_walk_accepts_them(
        api in 0..ApiKey::ALL.len(),
        version in 0i16..20,
        seed in any::<u64>(),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
        cuts in any::<bool>(),
    ) {
        let api = ApiKey::ALL[api];
        let versions = api.versions();
        let version = versions.start() + version % (versions.end() - versions.start() + 1);
        let mut body = random_body(api, version, seed, true).to_vec();
        for (at, value) in damage {
            if !body.is_empty() {
                let at = at % body.len();
                body[at] = value;
            }
        }
        if cuts {
            let length = cut % (body.len() + 1);
            body.truncate(length);
        }
        let body = Bytes::from(body);
        if let Ok(used) = check(api, version, &body) {
            let decoded = reference(api, version, &body.slice(..used));
            prop_assert!(decoded.is_ok(), "{} {}: {:?}", api, version, decoded);
        }
    }

    #[test]
    fn a_tail_changes_nothing_in_any_request(
        api in 0..ApiKey::ALL.len(),
        version in 0i16..20,
        seed in any::<u64>(),
        tail in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let api = ApiKey::ALL[api];
        let versions = api.versions();
        let version = versions.start() + version % (versions.end() - versions.start() + 1);
        let body = random_body(api, version, seed, true);
        let longer = Bytes::from([&body[..], &tail].concat());
        let alone = crate::decode_request(api, version, body);
        prop_assert!(alone.is_ok(), "{} {}: {:?}", api, version, alone);
        // As text, since a number that is none does not equal itself.
        let longer = crate::decode_request(api, version, longer);
        prop_assert_eq!(format!("{longer:?}"), format!("{alone:?}"));
    }

    #[test]
    fn random_bytes_never_panic(
        api in 0..ApiKey::ALL.len(),
        version in 0i16..20,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let api = ApiKey::ALL[api];
        let body = Bytes::from(body);
        if let Ok(used) = check(api, version, &body) {
            prop_assert!(reference(api, version, &body.slice(..used)).is_ok());
        }
    }
}
