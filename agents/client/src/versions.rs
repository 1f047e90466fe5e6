//! Which version of each API this client speaks.
//!
//! The newest ones here are those whose behaviour the client implements: topics by name (ids came
//! with Fetch 13), one group per OffsetFetch (8 takes several), one key per FindCoordinator.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tarn_kafka::ApiKey;

/// Of these the client does not speak every version that we serve: oldest and newest. An API that is not
/// listed is spoken as it is served, most of them by tools alone.
const OLDER: [(ApiKey, i16, i16); 23] = [
    (ApiKey::Produce, 3, 12),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 8),
    (ApiKey::Metadata, 1, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 2, 7),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::JoinGroup, 2, 7),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 4),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 4),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::DescribeCluster, 0, 1),
];

/// The versions of an API that this client understands.
fn spoken(api: ApiKey) -> RangeInclusive<i16> {
    let older = OLDER.iter().find(|(known, ..)| *known == api);
    older.map_or(api.versions(), |(_, oldest, newest)| *oldest..=*newest)
}

/// What a server said about itself in its ApiVersions response.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerVersions(BTreeMap<i16, RangeInclusive<i16>>);

impl ServerVersions {
    pub(crate) fn new(
        advertised: impl IntoIterator<Item = (i16, RangeInclusive<i16>)>,
    ) -> ServerVersions {
        ServerVersions(advertised.into_iter().collect())
    }

    /// The newest version that both sides understand.
    pub(crate) fn choose(&self, api: ApiKey) -> Option<i16> {
        let theirs = self.0.get(&api.key())?;
        let ours = spoken(api);
        let newest = *ours.end().min(theirs.end());
        let oldest = *ours.start().max(theirs.start());
        (oldest <= newest).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        let server = ServerVersions::new([(0, 0..=13), (1, 4..=6), (3, 13..=13)]);
        assert_eq!(server.choose(ApiKey::Produce), Some(12));
        assert_eq!(server.choose(ApiKey::Fetch), Some(6));
        assert_eq!(server.choose(ApiKey::Metadata), None);
        assert_eq!(server.choose(ApiKey::Heartbeat), None);
    }

    #[test]
    fn every_version_we_speak_can_be_encoded() {
        for api in ApiKey::ALL {
            let ours = spoken(*api);
            assert!(
                api.accepts(*ours.start()) && api.accepts(*ours.end()),
                "{api}"
            );
        }
    }
}
