//! Reading the text of the metrics.

use lhttp::Handle;

use crate::helpers::wait_for;

/// The value of a series, as it is named in the text.
pub(super) fn value_in(text: &str, series: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

/// The value of a series now.
#[track_caller]
pub(super) fn value(server: &Handle, series: &str) -> f64 {
    let text = server.metrics().text();
    value_in(&text, series).unwrap_or_else(|| panic!("there is no {series} in\n{text}"))
}

/// Waits until a series has this value: a core puts its numbers down at the end of a turn.
#[track_caller]
pub(super) fn wait_for_value(server: &Handle, series: &str, expected: f64) {
    let mut last = value(server, series);
    wait_for(|| {
        last = value(server, series);
        assert!(last <= expected || series.contains("bytes"), "{series} is {last}, not {expected}");
        last == expected
    });
}

/// The series of connections that ended for a reason.
pub(super) fn ended(reason: &str) -> String {
    format!("lhttp_connections_ended_total{{reason=\"{reason}\"}}")
}
