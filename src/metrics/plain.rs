//! The older text format of Prometheus (version 0.0.4), for readers that do not ask for OpenMetrics.

use std::collections::HashMap;

/// The same metrics in the older format: a counter and an info are declared with the name of their series, and there are no
/// units and no end.
pub(super) fn plain(text: &str) -> String {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let suffix = |name| match types.get(name) {
        Some(&"counter") => "_total",
        Some(&"info") => "_info",
        _ => "",
    };
    let mut plain = String::with_capacity(text.len() + text.len() / 16);
    for line in text.lines() {
        let Some((word, rest)) = line.strip_prefix("# ").map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) else {
            plain.push_str(line);
            plain.push('\n');
            continue;
        };
        let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
        let said = if said == "info" { "gauge" } else { said };
        if matches!(word, "HELP" | "TYPE") {
            ["# ", word, " ", name, suffix(name), " ", said, "\n"].into_iter().for_each(|part| plain.push_str(part));
        }
    }
    plain
}
