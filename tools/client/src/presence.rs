//! `presence`: prints who is in a channel. Also the form in which `sub --presence` prints who comes and goes.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use lhttp::client::{Builder, Event, Member};
use serde_json::json;

use crate::{
    args::Presence,
    failure::{Failure, notice},
    show::{harmless, harmless_json},
};

/// The widest column, in characters: one long name does not make every line long.
const COLUMN_MAX: usize = 32;
/// The last second of the year 9999, in Unix time. A date has no more digits.
const DATE_MAX: u64 = 253_402_300_799;

pub(crate) fn run(args: &Presence, client: Builder) -> Result<(), Failure> {
    let mut client = client.timeout(args.timeout).connect()?;
    let presence = client.presence(&args.channel)?;
    let text = if args.json {
        let (channel, members, more) = (json!(args.channel), list(&presence.members), presence.more);
        object(&format!("{{\"channel\":{channel},\"members\":{members},\"more\":{more}}}"))
    } else {
        table(&presence.members)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    if presence.more > 0 && !args.json {
        notice(&more_line(presence.more));
    }
    // The server may be gone, but the work is done.
    let _ = client.close();
    Ok(())
}

/// That a list is cut.
pub(crate) fn more_line(more: u64) -> String {
    format!("the list is too long for one message: {more} more users are there")
}

/// A line for each user, below a heading.
pub(crate) fn table(members: &[Member]) -> String {
    let rows = members.iter().map(|member| {
        [
            cell(&member.user),
            member.connections.to_string(),
            date(member.since),
            cell(&info(member).unwrap_or_default()),
        ]
    });
    let heading = ["USER", "CONNECTIONS", "SINCE", "INFO"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(COLUMN_MAX);
    let (user, connections, since) = (width(0), width(1), width(2));
    let mut table = String::new();
    for row in &rows {
        let line = format!("{:<user$}  {:>connections$}  {:<since$}  {}", row[0], row[1], row[2], row[3]);
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// A text that stays in its column.
fn cell(text: &str) -> String {
    harmless(text).replace('\t', "\\t")
}

/// The time in UTC, or the number if there is no such date.
fn date(seconds: u64) -> String {
    if seconds > DATE_MAX {
        return seconds.to_string();
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// What a user shows: a text as it is, anything else as JSON.
fn info(member: &Member) -> Option<String> {
    member.info_text().or_else(|| member.info.as_deref().map(compact))
}

/// Who has come to a channel and who has gone, the number of users who are there, and that of changes without a name.
pub(crate) struct Change<'e> {
    pub(crate) channel: &'e str,
    pub(crate) joined: &'e [Member],
    pub(crate) left: &'e [String],
    pub(crate) users: u64,
    pub(crate) more: u64,
}

impl<'e> Change<'e> {
    pub(crate) fn of(event: &'e Event) -> Option<Self> {
        let Event::PresenceChange { channel, joined, left, users, more } = event else { return None };
        Some(Self { channel, joined, left, users: *users, more: *more })
    }
}

/// A line for each user who has come or gone.
pub(crate) fn change_lines(&Change { channel, joined, left, users, more }: &Change<'_>) -> String {
    let (channel, mut lines) = (cell(channel), String::new());
    for member in joined {
        let _ = write!(lines, "(joined) [{channel}] {}", cell(&member.user));
        if let Some(info) = info(member) {
            let _ = write!(lines, ": {}", cell(&info));
        }
        lines.push('\n');
    }
    for user in left {
        let _ = writeln!(lines, "(left) [{channel}] {}", cell(user));
    }
    if more > 0 {
        let _ = writeln!(lines, "(more) [{channel}] {more} have come or gone; {users} are there");
    }
    lines
}

/// The same as one JSON object.
pub(crate) fn change_json(&Change { channel, joined, left, users, more }: &Change<'_>) -> String {
    let left: Vec<_> = left.iter().map(|user| json!({ "user": user })).collect();
    let (channel, joined, left) = (json!(channel), list(joined), json!(left));
    object(&format!("{{\"channel\":{channel},\"joined\":{joined},\"left\":{left},\"users\":{users},\"more\":{more}}}"))
}

/// JSON as one line.
fn object(json: &str) -> String {
    harmless_json(json) + "\n"
}

/// The users as a JSON array, in the form of PROTOCOL.md §11.
fn list(members: &[Member]) -> String {
    let members = members.iter().map(|member| {
        let info = member.info.as_deref().map(|info| format!(",\"info\":{}", compact(info))).unwrap_or_default();
        let (user, connections, since) = (json!(member.user), member.connections, member.since);
        format!("{{\"user\":{user},\"connections\":{connections},\"since\":{since}{info}}}")
    });
    format!("[{}]", members.collect::<Vec<_>>().join(","))
}

/// JSON without blanks and line ends between its tokens. Numbers keep all of their digits.
fn compact(json: &str) -> String {
    let (mut is_in_text, mut is_escaped) = (false, false);
    let stays = |c: &char| {
        let is_end = *c == '"' && !is_escaped;
        is_escaped = is_in_text && *c == '\\' && !is_escaped;
        is_in_text ^= is_end;
        is_in_text || !c.is_ascii_whitespace()
    };
    json.chars().filter(stays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_everything_but_the_blanks_between_its_tokens() {
        for (json, expected) in [
            (" { \"a b\" :\t[1e999,\r\n12345678901234567890123 ] }\n", r#"{"a b":[1e999,12345678901234567890123]}"#),
            (r#" "a \" b" "#, r#""a \" b""#),
            (r#" [ "a \\" , " \\\" , " ] "#, r#"["a \\"," \\\" , "]"#),
            ("null", "null"),
        ] {
            assert_eq!(compact(json), expected);
        }
        let deep = format!("{}1 {}", "[ ".repeat(100_000), "]".repeat(100_000));
        assert_eq!(compact(&deep).len(), 200_001);
    }

    #[test]
    fn a_time_without_a_date_is_a_number() {
        assert_eq!([date(0), date(1_796_047_200)], ["1970-01-01T00:00:00Z", "2026-11-30T14:00:00Z"]);
        assert_eq!(date(DATE_MAX), "9999-12-31T23:59:59Z");
        assert_eq!([date(DATE_MAX + 1), date(u64::MAX)], ["253402300800", "18446744073709551615"]);
    }
}
