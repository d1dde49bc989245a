//! A user of a channel.

/// The memory of a user beside its name and its information: itself, its places in the tables, and the allocator's
/// overhead. In bytes.
const USER_BYTES: usize = 64;
/// [`User::leaves_at`] of a user that does not leave.
pub(super) const NEVER: u64 = u64::MAX;

const _: () = assert!(size_of::<User>() <= USER_BYTES);

#[derive(Debug)]
pub(super) struct User {
    pub(super) name: Box<str>,
    /// JSON.
    pub(super) info: Option<Box<str>>,
    /// On this node, and on the others.
    pub(super) connections: u32,
    pub(super) elsewhere: u32,
    /// When it came, in Unix seconds.
    pub(super) since: u32,
    /// When its information was set, in Unix milliseconds, and later than the information before: all nodes of a cluster
    /// show the newest one.
    pub(super) info_at: u64,
    /// The end of its grace, if its last connection has left, or [`NEVER`].
    pub(super) leaves_at: u64,
    /// Subscribers may know of it: from a message about changes, or from a list.
    pub(super) is_told: bool,
    pub(super) is_changed: bool,
    /// Other nodes were not told of its last change here.
    pub(super) is_unsent: bool,
}

impl User {
    pub(super) fn new(name: &str, since: u32) -> Self {
        Self {
            name: name.into(),
            info: None,
            connections: 0,
            elsewhere: 0,
            since,
            info_at: 0,
            leaves_at: NEVER,
            is_told: false,
            is_changed: false,
            is_unsent: false,
        }
    }

    /// The number of its connections on all nodes.
    pub(super) fn all_connections(&self) -> u32 {
        self.connections.saturating_add(self.elsewhere)
    }

    pub(super) fn is_present(&self) -> bool {
        self.all_connections() > 0 || self.leaves_at != NEVER
    }

    pub(super) fn bytes(&self) -> usize {
        USER_BYTES + 2 * self.name.len() + self.info.as_ref().map_or(0, |info| info.len())
    }

    /// Appends the user as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"user\":");
        write_text(out, &self.name);
        out.extend_from_slice(b",\"connections\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.all_connections()).as_bytes());
        out.extend_from_slice(b",\"since\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.since).as_bytes());
        if let Some(info) = &self.info {
            out.extend_from_slice(b",\"info\":");
            out.extend_from_slice(info.as_bytes());
        }
        out.push(b'}');
    }
}

/// Appends a text as JSON.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is JSON, and a buffer takes it");
}
