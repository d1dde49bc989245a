//! What a disk can do: how often it can be waited for, and how much it takes.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use crate::failure::Failure;

/// Bytes of a write that is waited for: a page.
pub(super) const SYNCED_BYTES: usize = 4096;
/// How long the disk is waited for again and again.
const SYNCING: Duration = Duration::from_secs(2);
/// The waits go over a file of this size again and again, as over a write-ahead log.
const LOG_BYTES: usize = 4 << 20;
/// What is written in one go.
const STREAM_BYTES: usize = 256 << 20;
const BLOCK_BYTES: usize = 1 << 20;

/// A disk's limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) syncs_per_s: f64,
    pub(super) mb_per_s: f64,
}

impl Disk {
    /// Measures the disk of this folder with a file that is removed afterwards.
    pub(super) fn probe(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(format!("lhttp-bench-disk-{}", process::id()));
        let failed = Failure::io(format!("cannot measure the disk of {}", folder.display()));
        let file = File::options().write(true).create_new(true).open(&path);
        let _remove = Remove(path);
        file.and_then(|mut file| Ok(Self { syncs_per_s: syncs_per_s(&mut file)?, mb_per_s: mb_per_s(&mut file)? }))
            .map_err(failed)
    }
}

/// Removes the file even if the measurement fails.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn syncs_per_s(file: &mut File) -> io::Result<f64> {
    let page = [0x5a; SYNCED_BYTES];
    (0..LOG_BYTES / SYNCED_BYTES).try_for_each(|_| file.write_all(&page))?;
    file.sync_all()?;
    let (start, mut syncs) = (Instant::now(), 0);
    while start.elapsed() < SYNCING {
        if syncs % (LOG_BYTES / SYNCED_BYTES) == 0 {
            file.seek(SeekFrom::Start(0))?;
        }
        file.write_all(&page)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(syncs as f64 / start.elapsed().as_secs_f64())
}

fn mb_per_s(file: &mut File) -> io::Result<f64> {
    let block = vec![0xa5; BLOCK_BYTES];
    file.seek(SeekFrom::Start(0))?;
    let start = Instant::now();
    (0..STREAM_BYTES / BLOCK_BYTES).try_for_each(|_| file.write_all(&block))?;
    file.sync_data()?;
    Ok(STREAM_BYTES as f64 / 1e6 / start.elapsed().as_secs_f64())
}
