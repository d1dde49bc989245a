//! The thread that writes the file: one transaction for all batches that wait.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Select};
use rusqlite::{Transaction, TransactionBehavior};

use super::database::{self, Database};
use crate::engine::{
    log_limit::LogLimit,
    storing::{Batch, StoreEnd},
};

/// How long the thread waits before it tries again to write.
const RETRY: Duration = Duration::from_secs(1);

/// The state of the thread.
pub(super) struct Keeper {
    pub(super) database: Database,
    pub(super) cores: Vec<StoreEnd>,
    pub(super) is_available: Arc<AtomicBool>,
    /// Closed when the server ends.
    pub(super) stop: Receiver<()>,
}

/// What a transaction has done to a channel.
struct Touched {
    id: i64,
    newest: u64,
    messages: u32,
    age: u32,
}

impl Keeper {
    /// Keeps batches until the server ends, and then what still waits.
    pub(super) fn run(mut self) {
        let mut retry_at = None;
        while self.wait(retry_at) {
            let batches = self.take();
            if !batches.is_empty() {
                self.keep(batches);
            }
            self.retry(&mut retry_at);
        }
        let batches = self.take();
        if !batches.is_empty() {
            self.keep(batches);
        }
        if let Err(error) = self.database.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;")
        {
            log::warn!("history-file: cannot tidy up at the end: {error}");
        }
    }

    /// Waits for a batch, or until this time. Returns false at the end of the server.
    fn wait(&self, until: Option<Instant>) -> bool {
        let mut select = Select::new();
        for core in &self.cores {
            select.recv(&core.batches);
        }
        select.recv(&self.stop);
        let ready = match until {
            Some(until) => select.ready_deadline(until).ok(),
            None => Some(select.ready()),
        };
        ready != Some(self.cores.len())
    }

    /// Takes all batches that wait, each with the number of its core.
    fn take(&self) -> Vec<(usize, Batch)> {
        let of_core = |(number, core): (usize, &StoreEnd)| {
            std::iter::from_fn(|| core.batches.try_recv().ok()).map(move |batch| (number, batch)).collect::<Vec<_>>()
        };
        self.cores.iter().enumerate().flat_map(of_core).collect()
    }

    /// Keeps batches, all or none of them, and hands them back.
    fn keep(&mut self, mut batches: Vec<(usize, Batch)>) {
        match self.write(&batches) {
            Ok(numbers) => {
                self.set_available(true);
                for ((_, batch), numbers) in batches.iter_mut().zip(numbers) {
                    batch.numbers = Some(numbers.into());
                }
            }
            Err(error) => {
                static LIMIT: LogLimit = LogLimit::new();
                LIMIT.say(|more| log::error!("history-file: {error}; publishes that must be kept are refused{more}"));
                self.set_available(false);
            }
        }
        batches.into_iter().for_each(|(core, batch)| self.cores[core].give_back(batch));
    }

    fn set_available(&self, is_available: bool) {
        if is_available && !self.is_available.swap(true, Ordering::Relaxed) {
            log::info!("history-file: it can be written again");
        } else if !is_available {
            self.is_available.store(false, Ordering::Relaxed);
        }
    }

    /// Writes batches in one transaction. Returns the numbers of their messages.
    fn write(&mut self, batches: &[(usize, Batch)]) -> rusqlite::Result<Vec<Vec<u64>>> {
        let now = unix_millis();
        let transaction = self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut touched, mut numbers) = (HashMap::new(), Vec::new());
        for (_, batch) in batches {
            for (name, newest) in &batch.forgotten {
                let name = String::from_utf8_lossy(name);
                // A message that was on its way when its core forgot the channel stays.
                let has_newer = |touched: &Touched| touched.newest > *newest;
                if !touched.get(&name).is_some_and(has_newer) {
                    touched.remove(&name);
                    database::forget(&transaction, &name, *newest)?;
                }
            }
            if !batch.forgotten.is_empty() {
                database::raise_floor(&transaction, batch.floor)?;
            }
            numbers.push(
                (0..batch.len())
                    .map(|index| write_one(&transaction, &mut touched, batch, index, now))
                    .collect::<Result<_, _>>()?,
            );
            for name in &batch.purged {
                database::purge(&transaction, &String::from_utf8_lossy(name))?;
            }
        }
        for Touched { id, newest, messages, age } in touched.into_values() {
            database::finish_channel(&transaction, (id, newest), messages, now - 1000 * i64::from(age))?;
        }
        transaction.commit()?;
        Ok(numbers)
    }

    /// While nothing can be written, tries again from time to time, also if no publish comes: they are refused.
    fn retry(&mut self, retry_at: &mut Option<Instant>) {
        if self.is_available.load(Ordering::Relaxed) {
            *retry_at = None;
            return;
        }
        let now = Instant::now();
        if retry_at.is_some_and(|at| at <= now) {
            let probe = |database: &mut Database| {
                let transaction = database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                // This takes pages, as messages do.
                transaction
                    .execute_batch("CREATE TABLE probe (bytes BLOB); INSERT INTO probe VALUES (zeroblob(65536));")?;
                transaction.execute_batch("DROP TABLE probe;")?;
                transaction.commit()
            };
            let is_written = probe(&mut self.database).is_ok();
            self.set_available(is_written);
        }
        *retry_at = (!self.is_available.load(Ordering::Relaxed)).then(|| now + RETRY);
    }
}

/// Writes one message of a batch. Returns its number.
fn write_one<'b>(
    transaction: &Transaction<'_>,
    touched: &mut HashMap<Cow<'b, str>, Touched>,
    batch: &'b Batch,
    index: usize,
    now: i64,
) -> rusqlite::Result<u64> {
    let (record, channel, message) = batch.get(index);
    let name = String::from_utf8_lossy(channel);
    let channel = match touched.entry(name) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let (id, newest) = database::channel(transaction, entry.key())?;
            entry.insert(Touched { id, newest, messages: 0, age: 0 })
        }
    };
    let number = channel.newest.max(record.after) + 1;
    database::insert(transaction, (channel.id, number, now), record.is_text, message)?;
    *channel =
        Touched { id: channel.id, newest: number, messages: record.retention.messages, age: record.retention.age };
    Ok(number)
}

/// The time, in Unix milliseconds.
pub(super) fn unix_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}
