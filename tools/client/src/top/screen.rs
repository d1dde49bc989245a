//! The lines of the screen: they fit 80 columns and 24 rows, and use more rows if there are some.

use serde_json::Value;

use super::figures::{Core, Figures, number};
use crate::show::harmless;

/// A line of the screen.
#[derive(Clone, Debug)]
pub(super) struct Line {
    text: String,
    /// It is a heading, or something is wrong.
    pub(super) is_loud: bool,
}

impl Line {
    pub(super) fn plain(text: String) -> Self {
        Self { text, is_loud: false }
    }

    pub(super) fn loud(text: String) -> Self {
        Self { text, is_loud: true }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The part of it that fits this many columns.
    pub(super) fn cut(&self, columns: usize) -> String {
        self.text.chars().take(columns).collect()
    }
}

/// The screen for these figures of a server at `place`.
pub(super) fn lines(figures: &Figures, place: &str, (columns, rows): (usize, usize)) -> Vec<Line> {
    let mut lines = head(figures, place);
    let top = |name: &str| figures.top[name].as_array().map_or(&[][..], Vec::as_slice);
    let (busiest, slowest) = (top("busiest"), top("slowest"));
    // The last row says what the keys do.
    let room = rows.saturating_sub(lines.len() + 1);
    let [cores, channels, readers, reasons] =
        shares(room, [figures.cores.len(), busiest.len(), slowest.len(), figures.reasons.len()]);
    lines.push(Line::loud(format!(
        "{:>4} {:>7} {:>12} {:>13} {:>10} {:>10} {:>8} {:>9}",
        "CORE", "BUSY", "CONNECTIONS", "SUBSCRIPTIONS", "IN/S", "OUT/S", "BACKLOGS", "KEPT"
    )));
    lines.extend(figures.cores.iter().take(cores).map(a_core));
    let name = columns.saturating_sub(20).clamp(20, 200);
    lines.push(Line::loud(format!("{:<name$} {:>10}", "BUSIEST CHANNELS", "MESSAGES/S")));
    lines.extend(busiest.iter().take(channels).map(|channel| {
        Line::plain(format!(
            "{:<name$} {:>10}",
            fitted(&channel["name"], name),
            count(number(channel, &["messages_per_second"]))
        ))
    }));
    lines.push(Line::loud(format!(
        "{:<16} {:<16} {:<24} {:>9} {:>9}",
        "SLOWEST READERS", "USER", "ADDRESS", "BACKLOG", "SINCE"
    )));
    lines.extend(slowest.iter().take(readers).map(|reader| {
        let (bytes_behind, since) = (number(reader, &["backlog_bytes"]), number(reader, &["backlog_seconds"]));
        let (id, user, address) =
            (fitted(&reader["id"], 16), fitted(&reader["user"], 16), fitted(&reader["address"], 24));
        Line::plain(format!("{id:<16} {user:<16} {address:<24} {:>9} {:>9}", bytes(bytes_behind), long(since)))
    }));
    lines.push(Line::loud(format!("{:<26} {:<24} {:>10} {:>12}", "ENDS AND REFUSALS", "REASON", "NOW", "SINCE START")));
    lines.extend(figures.reasons.iter().take(reasons).map(|(what, reason, news, all)| {
        let [what, reason] = [what, reason].map(|text| harmless(text).replace(['_', '\t'], " "));
        Line::plain(format!("{what:<26} {reason:<24} {news:>10} {all:>12}"))
    }));
    lines
}

fn head(figures: &Figures, place: &str) -> Vec<Line> {
    let [p50, p99, p999] = figures.latency.map(|seconds| seconds.map_or_else(|| "–".to_owned(), time));
    let resident = figures.part("memory")["resident_bytes"].as_f64().map_or_else(|| "–".to_owned(), bytes);
    let files = figures.part("process")["open_files"].as_f64().map_or_else(String::new, |files| {
        format!("  files {} of {}", count(files), count(figures.number(&["process", "open_files_max"])))
    });
    let nats = match figures.part("nats")["connected"].as_bool() {
        None => "",
        Some(true) => "   NATS connected",
        Some(false) => "   NATS NOT CONNECTED",
    };
    let version = harmless(figures.part("version").as_str().unwrap_or("?"));
    vec![
        Line::loud(format!("lhttpd {version} at {place}, up {}{nats}", long(figures.number(&["uptime"])))),
        Line::plain(format!(
            "connections {:>9} of {:<9} memory {resident:>10}  kept {} of {}",
            count(figures.number(&["stats", "connections"])),
            count(figures.number(&["connections_max"])),
            bytes(figures.number(&["memory", "kept_bytes"])),
            bytes(figures.number(&["memory", "budget_bytes"])),
        )),
        Line::plain(format!(
            "messages in {:>9} /s{:<10} processor {:>7}{files}",
            count(figures.received),
            "",
            figures.cpu.map_or_else(|| "–".to_owned(), percent),
        )),
        Line::plain(format!(
            "deliveries  {:>9} /s{:<10} bytes {}/s in, {}/s out",
            count(figures.delivered),
            "",
            bytes(figures.read_bytes),
            bytes(figures.written_bytes),
        )),
        Line::plain(format!("delivery in {p50:>9} (50 %), {p99} (99 %), {p999} (99.9 %)")),
    ]
}

fn a_core(core: &Core) -> Line {
    let of = |name| count(number(&core.next, &[name]));
    Line::plain(format!(
        "{:>4} {:>7} {:>12} {:>13} {:>10} {:>10} {:>8} {:>9}",
        of("core"),
        percent(core.busy),
        of("connections"),
        of("subscriptions"),
        count(core.received),
        count(core.delivered),
        of("backlogs"),
        bytes(number(&core.next, &["kept_bytes"])),
    ))
}

/// The rows of each list, when `room` rows are for all of them and their headings: each gets what it wants, or an equal
/// share of what the others leave.
fn shares<const N: usize>(room: usize, wanted: [usize; N]) -> [usize; N] {
    let mut left = room.saturating_sub(N);
    let mut order: Vec<usize> = (0..N).collect();
    order.sort_by_key(|&index| wanted[index]);
    let mut given = [0; N];
    for (nth, index) in order.into_iter().enumerate() {
        given[index] = wanted[index].min(left / (N - nth));
        left -= given[index];
    }
    given
}

/// A text of the server that fits a column; `–` for none.
fn fitted(value: &Value, columns: usize) -> String {
    let text = value.as_str().map_or_else(|| "–".to_owned(), |text| harmless(text).replace('\t', "\\t"));
    if text.chars().count() <= columns {
        return text;
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

/// A number with separators, or a short form of a large one.
fn count(number: f64) -> String {
    if number >= 1e7 {
        return format!("{:.1}M", number / 1e6);
    }
    if number < 10.0 && number.fract() != 0.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut at) = (number, 0);
    while scaled >= 1000.0 && at + 1 < units.len() {
        (scaled, at) = (scaled / 1024.0, at + 1);
    }
    let digits = usize::from(at > 0 && scaled < 99.95);
    format!("{scaled:.digits$} {}", units[at])
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

fn percent(part: f64) -> String {
    let digits = usize::from(part < 9.9995);
    format!("{:.digits$} %", 100.0 * part)
}

/// A long time in its two largest units.
fn long(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_share_the_rows_and_what_one_leaves_is_the_others() {
        assert_eq!(shares(18, [2, 3, 1, 2]), [2, 3, 1, 2]);
        assert_eq!(shares(18, [100, 100, 0, 1]), [6, 7, 0, 1]);
        assert_eq!(shares(18, [100; 4]), [3, 3, 4, 4]);
        assert_eq!(shares(3, [100; 4]), [0; 4]);
    }

    #[test]
    fn the_figures_of_a_large_and_busy_server_fit_80_columns() {
        let answer = |uptime: f64, all: f64| {
            json!({
                "uptime": uptime,
                "started": 1,
                "version": "10.20.30",
                "connections_max": 1_048_576,
                "memory": { "resident_bytes": 999.9 * 1024.0 * 1024.0, "kept_bytes": 1e12, "budget_bytes": 2e12 },
                "process": { "cpu_seconds": 99.9 * uptime, "open_files": 999_999, "open_files_max": 1_048_576 },
                "latency": { "bounds": [0.9999, null], "deliveries": { "counts": [all, all] } },
                "cores": [{
                    "core": 63, "busy_seconds": uptime, "connections": 9_999_999, "subscriptions": 9_999_999,
                    "received": all, "delivered": all, "backlogs": 999_999, "kept_bytes": 1e12,
                }],
                "stats": {
                    "connections": 1_048_575, "received": all, "delivered": all, "read_bytes": all, "written_bytes": all,
                },
            })
        };
        let figures = Figures::between(&answer(1e8, 0.0), &answer(1e8 + 1.0, 9_999_999.0), &json!({})).unwrap();
        for line in lines(&figures, "[2001:db8::1234:5678]:65535", (80, 24)) {
            assert!(line.text().chars().count() <= 80, "{}", line.text());
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 4.25, 1234.0, 9_999_999.0, 12_345_678.0].map(count),
            ["0", "4.2", "1,234", "9,999,999", "12.3M"]
        );
        assert_eq!([0.0, 999.0, 1536.0, 3.2e9].map(bytes), ["0 B", "999 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!([0.0, 61.0, 7200.0, 90_000.0].map(long), ["0 s", "1 min 1 s", "2 h 0 min", "1 d 1 h"]);
        assert_eq!([0.5, 9.9994, 9.9996].map(percent), ["50.0 %", "999.9 %", "1000 %"]);
        assert_eq!([2e-6, 0.0015, 2.0].map(time), ["2 µs", "1.5 ms", "2.0 s"]);
    }
}
