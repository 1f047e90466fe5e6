//! A state as bytes: canonical, verified, refused when torn, truncated or foreign.
//!
//! ```text
//! magic "tarnstat" | format 2 | level 2 | cluster 16 | generation 4 | n 8      big endian
//! the sections of the level, by number: see `snapshot/section.rs`
//! SHA-256 of everything before
//! ```
//!
//! What follows from something else is not written. Equal states have equal bytes, so the hash of a state
//! is the SHA-256 at the end.

pub(crate) mod section;

use imbl::Vector;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use tarn_model::{ClusterId, ClusterTime, Generation, Hash, LivenessTime};

use crate::level::FeatureLevel;
use crate::{State, groups, schemas, sessions, tables, tasks, topics};
use section::{Frames, Reader, Section, SnapshotError};

const MAGIC: [u8; 8] = *b"tarnstat";
const FORMAT: u16 = 1;
const HASH_BYTES: usize = 32;

/// All sections, by number: the log's own are below 10, then come the areas'.
const SECTIONS: &[&[Section]] = &[
    LOG_SECTIONS,
    sessions::SECTIONS,
    topics::SECTIONS,
    groups::SECTIONS,
    schemas::SECTIONS,
    tables::SECTIONS,
    tasks::SECTIONS,
];

const LOG_SECTIONS: &[Section] = &[
    Section {
        number: 1,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            frames.put(&Place {
                log_hash: state.log_hash,
                outcome_hash: state.outcome_hash,
                cluster_time: state.cluster_time,
                liveness_time: state.liveness_time,
            });
        },
        read: |state, reader| {
            let place: Place = reader.frame()?;
            state.log_hash = place.log_hash;
            state.outcome_hash = place.outcome_hash;
            state.cluster_time = place.cluster_time;
            state.liveness_time = place.liveness_time;
            Ok(())
        },
    },
    Section {
        number: 2,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            for hashes in &state.recent_hashes {
                frames.put(hashes);
            }
        },
        read: |state, reader| {
            state.recent_hashes = Vector::new();
            while let Some(hashes) = reader.value()? {
                state.recent_hashes.push_back(hashes);
            }
            Ok(())
        },
    },
];

/// Where the fold stands, beside its Lsn.
#[derive(Debug, Encode, Decode)]
struct Place {
    #[n(0)]
    log_hash: Hash,
    #[n(1)]
    outcome_hash: Hash,
    #[n(2)]
    cluster_time: ClusterTime,
    #[n(3)]
    liveness_time: LivenessTime,
}

/// The sections of a snapshot of this level.
fn sections_of(
    all: &'static [&'static [Section]],
    level: FeatureLevel,
) -> impl Iterator<Item = &'static Section> {
    all.iter()
        .copied()
        .flatten()
        .filter(move |section| section.since <= level)
}

impl State {
    /// The canonical bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        self.to_snapshot_with(SECTIONS)
    }

    fn to_snapshot_with(&self, sections: &'static [&'static [Section]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(sections, &mut |part| bytes.extend_from_slice(part));
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// Reads a snapshot of this cluster; refuses anything that [`State::to_snapshot`] would not have
    /// written.
    pub fn from_snapshot(bytes: &[u8], cluster: ClusterId) -> Result<State, SnapshotError> {
        State::from_snapshot_up_to(FeatureLevel::NEWEST, bytes, cluster)
    }

    /// The same by a binary that applies up to this level: tests have older and newer ones than this.
    pub fn from_snapshot_up_to(
        level_max: FeatureLevel,
        bytes: &[u8],
        cluster: ClusterId,
    ) -> Result<State, SnapshotError> {
        let (content, hash) = bytes
            .len()
            .checked_sub(HASH_BYTES)
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or(SnapshotError::Torn("it is shorter than its hash"))?;
        if Sha256::digest(content).as_slice() != hash {
            return Err(SnapshotError::Torn("it does not have the hash it names"));
        }
        let mut reader = Reader::new(content);
        if reader.array()? != MAGIC {
            return Err(SnapshotError::Torn("it does not begin as a snapshot"));
        }
        let format = u16::from_be_bytes(reader.array()?);
        let level = u16::from_be_bytes(reader.array()?);
        if format != FORMAT {
            return Err(SnapshotError::Format {
                found: format,
                reads: FORMAT,
            });
        }
        if level > level_max.0 {
            return Err(SnapshotError::Level {
                needs: level,
                newest: level_max.0,
            });
        }
        let found = ClusterId(reader.array()?);
        if found != cluster {
            return Err(SnapshotError::Foreign { found });
        }
        let mut state = State::at_level(cluster, FeatureLevel(level));
        state.generation = Generation(u32::from_be_bytes(reader.array()?));
        state.n = u64::from_be_bytes(reader.array()?);
        state.read(level_max, &mut reader)?;
        state.derive()?;
        Ok(state)
    }

    /// The hash of the state is the hash of its snapshot.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        self.write(SECTIONS, &mut |part| hasher.update(part));
        Hash(hasher.finalize().into())
    }

    fn write(&self, sections: &'static [&'static [Section]], out: &mut dyn FnMut(&[u8])) {
        out(&MAGIC);
        out(&FORMAT.to_be_bytes());
        out(&self.level.0.to_be_bytes());
        out(&self.cluster.0);
        out(&self.generation.0.to_be_bytes());
        out(&self.n.to_be_bytes());
        let mut frames = Frames::new(out);
        for section in sections_of(sections, self.level) {
            frames.section(section.number, section.since.0, |frames| {
                (section.write)(self, frames);
            });
        }
    }

    /// Reads the sections of the state's level, which are all there, and no others.
    fn read(
        &mut self,
        level_max: FeatureLevel,
        reader: &mut Reader<'_>,
    ) -> Result<(), SnapshotError> {
        let mut expected = sections_of(SECTIONS, self.level);
        while !reader.is_empty() {
            let (number, since) = reader.section()?;
            match expected.next() {
                Some(section) if section.number == number && section.since.0 == since => {
                    (section.read)(self, reader)?;
                    reader.end_section()?;
                }
                _ if SECTIONS
                    .iter()
                    .copied()
                    .flatten()
                    .any(|section| section.number == number && section.since <= level_max) =>
                {
                    return Err(SnapshotError::Torn(
                        "its sections are not those of its level",
                    ));
                }
                _ => {
                    return Err(SnapshotError::Section {
                        number,
                        since,
                        newest: level_max.0,
                    });
                }
            }
        }
        match expected.next() {
            Some(_) => Err(SnapshotError::Torn("a section of its level is missing")),
            None => Ok(()),
        }
    }

    /// Fills in what is not written because it follows from the rest.
    fn derive(&mut self) -> Result<(), SnapshotError> {
        self.derive_topics()?;
        self.derive_groups();
        self.derive_tables();
        self.derive_schemas()
    }
}

#[cfg(test)]
mod tests;
