//! The file: an SQLite database that anybody can query. docs/HISTORY.md describes its tables.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

/// The application and the version of the tables, in the file's header.
const APPLICATION: i32 = i32::from_be_bytes(*b"lhtp");
const VERSION: i32 = 1;
/// How long a writer waits for another program that writes.
const PATIENCE: Duration = Duration::from_secs(1);

const TABLES: &str = "
    CREATE TABLE lhttp (epoch TEXT NOT NULL, floor INTEGER NOT NULL);
    CREATE TABLE channels (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        newest INTEGER NOT NULL
    );
    CREATE TABLE messages (
        channel INTEGER NOT NULL REFERENCES channels (id),
        number INTEGER NOT NULL,
        time INTEGER NOT NULL,
        is_text INTEGER NOT NULL,
        message BLOB NOT NULL,
        PRIMARY KEY (channel, number)
    ) WITHOUT ROWID;
    CREATE VIEW history AS
        SELECT name AS channel, number, datetime(time / 1000, 'unixepoch') AS time, CAST(message AS TEXT) AS message
        FROM messages JOIN channels ON channels.id = messages.channel;
";

/// The open file.
pub(super) struct Database {
    pub(super) connection: Connection,
    /// Keeps other servers away from the file.
    _lock: File,
}

/// A message as it is restored.
pub(super) struct Restored {
    /// In Unix milliseconds.
    pub(super) time: i64,
    pub(super) is_text: bool,
    pub(super) message: Vec<u8>,
}

impl Database {
    /// Opens the file, and makes it if it is missing. `epoch` is for a new one.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn open(path: &Path, epoch: &str) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let lock = lock(path)?;
        let connection = Connection::open(path).map_err(|error| said(&error))?;
        let mut database = Self { connection, _lock: lock };
        database.prepare(epoch).map_err(|error| said(&error))?;
        Ok(database)
    }

    /// Checks the file, and changes nothing. A missing file is as good as an empty one.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn check(path: &Path) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        if !path.exists() {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let is_folder = fs::metadata(folder).map_err(|error| said(&error))?.is_dir();
            return if is_folder { Ok(()) } else { Err(said(&"its folder is none")) };
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connection = connection.map_err(|error| said(&error))?;
        match is_new(&connection) {
            Ok(_) => Ok(()),
            Err(error) => Err(said(&error)),
        }
    }

    fn prepare(&mut self, epoch: &str) -> Result<(), String> {
        let said = |error: rusqlite::Error| error.to_string();
        self.connection.busy_timeout(PATIENCE).map_err(said)?;
        let is_new = is_new(&self.connection)?;
        // In WAL mode a commit waits for the disk once, and readers do not disturb the writer.
        let mode: String =
            self.connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(said)?;
        if mode != "wal" {
            return Err(format!("the file system does not allow a write-ahead log (journal mode {mode})"));
        }
        self.connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;").map_err(said)?;
        if is_new {
            let transaction = self.connection.transaction().map_err(said)?;
            transaction.execute_batch(TABLES).map_err(said)?;
            transaction.execute("INSERT INTO lhttp (epoch, floor) VALUES (?1, 0)", [epoch]).map_err(said)?;
            transaction.pragma_update(None, "application_id", APPLICATION).map_err(said)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(said)?;
            transaction.commit().map_err(said)?;
        }
        Ok(())
    }

    /// The epoch, and the highest number of the channels that are forgotten.
    pub(super) fn epoch(&self) -> rusqlite::Result<(String, u64)> {
        self.connection.query_row("SELECT epoch, floor FROM lhttp", [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Calls `each` for each channel that `is_wanted`, with the number of its last message and what is kept of its end.
    pub(super) fn channels(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(&str, u64, Vec<Restored>),
    ) -> rusqlite::Result<()> {
        let mut channels = self.connection.prepare("SELECT id, name, newest FROM channels")?;
        let mut messages = self
            .connection
            .prepare("SELECT number, time, is_text, message FROM messages WHERE channel = ?1 ORDER BY number DESC")?;
        let mut rows = channels.query([])?;
        while let Some(row) = rows.next()? {
            let (id, name, newest): (i64, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !is_wanted(&name) {
                continue;
            }
            let (mut kept, mut expected) = (Vec::new(), newest);
            let mut of_channel = messages.query([id])?;
            while let Some(row) = of_channel.next()? {
                if row.get::<_, u64>(0)? != expected {
                    break; // somebody has deleted messages: what is before them cannot be resumed
                }
                kept.push(Restored { time: row.get(1)?, is_text: row.get(2)?, message: row.get(3)? });
                expected = expected.saturating_sub(1);
            }
            kept.reverse();
            each(&name, newest, kept);
        }
        Ok(())
    }
}

/// Whether the file has no tables yet.
///
/// # Errors
/// One sentence: it is no file of lhttp's, or one of a later version.
fn is_new(connection: &Connection) -> Result<bool, String> {
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let said = |error: rusqlite::Error| error.to_string();
    let (application, version) = (number("application_id").map_err(said)?, number("user_version").map_err(said)?);
    let has_tables = connection.query_row("SELECT 1 FROM sqlite_schema", [], |_| Ok(())).optional().map_err(said)?;
    match (application, version) {
        (0, 0) if has_tables.is_none() => Ok(true),
        (APPLICATION, VERSION) => Ok(false),
        (APPLICATION, other) => Err(format!("its tables are of version {other}, and this lhttpd knows {VERSION}")),
        _ => Err("it is the database of another program".to_owned()),
    }
}

/// Locks the file for this server, by a file beside it.
fn lock(path: &Path) -> Result<File, String> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let path = PathBuf::from(name);
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| said(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(said(&"another server uses this history")),
        Err(TryLockError::Error(error)) => Err(said(&error)),
    }
}

/// The channel of this name, which may be new.
pub(super) fn channel(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<(i64, u64)> {
    let mut find = transaction.prepare_cached("SELECT id, newest FROM channels WHERE name = ?1")?;
    if let Some(found) = find.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
        return Ok(found);
    }
    transaction.prepare_cached("INSERT INTO channels (name, newest) VALUES (?1, 0)")?.execute([name])?;
    Ok((transaction.last_insert_rowid(), 0))
}

/// Adds a message.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    (channel, number, time): (i64, u64, i64),
    is_text: bool,
    message: &[u8],
) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO messages (channel, number, time, is_text, message) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    insert.execute(params![channel, number, time, is_text, message]).map(drop)
}

/// Ends what a batch has done to a channel: its newest number, and the end of messages that are over the number or age.
pub(super) fn finish_channel(
    transaction: &Transaction<'_>,
    (channel, newest): (i64, u64),
    messages: u32,
    oldest: i64,
) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE channels SET newest = ?2 WHERE id = ?1")?.execute(params![channel, newest])?;
    let over = newest.saturating_sub(u64::from(messages));
    transaction
        .prepare_cached("DELETE FROM messages WHERE channel = ?1 AND number <= ?2")?
        .execute(params![channel, over])?;
    // Messages are in the order of time, so this ends at the first one that stays.
    let mut find =
        transaction.prepare_cached("SELECT number, time FROM messages WHERE channel = ?1 ORDER BY number")?;
    let mut rows = find.query([channel])?;
    let mut last_old = None;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? > oldest {
            break;
        }
        last_old = Some(row.get::<_, u64>(0)?);
    }
    drop(rows);
    if let Some(last_old) = last_old {
        transaction
            .prepare_cached("DELETE FROM messages WHERE channel = ?1 AND number <= ?2")?
            .execute(params![channel, last_old])?;
    }
    Ok(())
}

/// Forgets a channel, unless it has messages after number `newest`.
pub(super) fn forget(transaction: &Transaction<'_>, name: &str, newest: u64) -> rusqlite::Result<()> {
    let mut find = transaction.prepare_cached("SELECT id FROM channels WHERE name = ?1 AND newest <= ?2")?;
    if let Some(id) = find.query_row(params![name, newest], |row| row.get::<_, i64>(0)).optional()? {
        transaction.prepare_cached("DELETE FROM messages WHERE channel = ?1")?.execute([id])?;
        transaction.prepare_cached("DELETE FROM channels WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// Deletes the messages of a channel. The number of its last one stays.
pub(super) fn purge(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM messages WHERE channel = (SELECT id FROM channels WHERE name = ?1)")?
        .execute([name])
        .map(drop)
}

/// Raises the number above which new channels begin.
pub(super) fn raise_floor(transaction: &Transaction<'_>, floor: u64) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE lhttp SET floor = max(floor, ?1)")?.execute([floor]).map(drop)
}
