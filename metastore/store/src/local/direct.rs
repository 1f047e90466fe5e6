//! Writes past the page cache.
//!
//! ```text
//! whole pages of a part that begins on a page bound ─▶ from where they lie
//! everything else ─▶ collected in a buffer that begins on one ─▶ from there, the last page padded
//! ```
//!
//! Who writes a large object keeps it in memory itself, if at all, and waits for the disk anyway. A copy in
//! the kernel's cache then serves nobody, and making it costs many times what the write does.
//!
//! Holds: the file has the payload's bytes and no more. A file system that takes no such writes, or not
//! this one, gets the usual ones.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object_store::PutPayload;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use tarn_model::{PAGE, PageBuffer, begins_a_page};

/// Payloads from this size on: below, a page that is copied costs less than a second page in flight.
pub(super) const FROM_BYTES: usize = 64 << 10;
/// What is collected at most before it is written.
const COLLECTED_MAX: usize = 1 << 20;

/// Writes the payload into a file that is empty.
pub(super) fn write(file: &File, payload: &PutPayload) -> io::Result<()> {
    let length = payload.content_length();
    let mut pages = Pages {
        file,
        direct: set_direct(file, true).is_ok(),
        at: 0,
    };
    let room = length.next_multiple_of(PAGE).min(COLLECTED_MAX);
    let mut collected = PageBuffer::with_capacity(room);
    for part in payload.iter() {
        let mut rest: &[u8] = part;
        if collected.as_slice().is_empty() && begins_a_page(rest) {
            let whole = rest.len() - rest.len() % PAGE;
            let (now, later) = rest.split_at(whole);
            pages.put(now)?;
            rest = later;
        }
        while !rest.is_empty() {
            let free = room - collected.as_slice().len();
            let (now, later) = rest.split_at(rest.len().min(free));
            collected.extend_from_slice(now);
            rest = later;
            if collected.as_slice().len() == room {
                pages.put(collected.as_slice())?;
                collected.clear();
            }
        }
    }
    let left = collected.as_slice().len();
    if left > 0 {
        collected.extend_from_slice(&[0; PAGE][..left.next_multiple_of(PAGE) - left]);
        pages.put(collected.as_slice())?;
        file.set_len(length as u64)?;
    }
    Ok(())
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    fcntl_setfl(
        file,
        if direct {
            flags | OFlags::DIRECT
        } else {
            flags - OFlags::DIRECT
        },
    )?;
    Ok(())
}

/// A file that takes whole pages.
struct Pages<'f> {
    file: &'f File,
    direct: bool,
    at: u64,
}

impl Pages<'_> {
    fn put(&mut self, mut pages: &[u8]) -> io::Result<()> {
        while !pages.is_empty() {
            match self.file.write_at(pages, self.at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.at += written as u64;
                    pages = pages.get(written..).unwrap_or_default();
                    // What is left of it may no longer begin where the kernel wants it.
                    if !pages.is_empty() {
                        self.no_longer_direct()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel's word for a file system that wants larger pages.
                Err(error) if self.direct && error.kind() == io::ErrorKind::InvalidInput => {
                    self.no_longer_direct()?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn no_longer_direct(&mut self) -> io::Result<()> {
        if self.direct {
            self.direct = false;
            set_direct(self.file, false)?;
        }
        Ok(())
    }
}
