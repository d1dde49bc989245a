//! Every number of a server has a test that makes it move.

use super::{File, assert_none, rust_files, words};

const TABLE: &str = "src/engine/stats/table.rs";

/// The tests that read the text of the metrics: they name a number by its metric, or by the value of its label.
const METRICS: &str = "tests/library/metrics/";

#[test]
fn every_number_is_named_in_a_test_that_looks_at_it() {
    let files = rust_files(&["src", "tests", "tools/bench/tests"]);
    let table = files.iter().find(|file| file.path == TABLE).expect("the table is there");
    let tests: Vec<(&File, &str)> = files.iter().map(|file| (file, tested(file))).collect();
    let mut found = Vec::new();
    let lines = table.text.lines().filter_map(|line| line.trim().split_once(": "));
    for (field, declared) in lines.filter(|(field, _)| !field.contains(['/', ' '])) {
        let quoted: Vec<&str> = declared.split('"').skip(1).step_by(2).collect();
        let [metric, label @ ..] = &quoted[..] else { continue };
        let is_shown_in = |text: &str| match label {
            [_, value] => text.contains(&format!("\"{value}\"")) || text.contains(&format!("=\\\"{value}\\\"")),
            _ => text.contains(&format!("lhttp_{metric}")),
        };
        let is_named = tests.iter().any(|(file, text)| {
            words(text).any(|word| word == field) || (file.path.starts_with(METRICS) && is_shown_in(text))
        });
        if !is_named {
            found.push(format!("{TABLE}: no test looks at {field}"));
        }
    }
    assert_none(found);
}

/// The part of a file that is a test.
fn tested(file: &File) -> &str {
    let path = &file.path;
    if path == "tests/tidy/numbers.rs" || path.ends_with("summary.rs") {
        return "";
    }
    let is_test = !path.starts_with("src/") || path.contains("/tests") || path.starts_with("src/simulation");
    if is_test { &file.text } else { file.text.split_once("#[cfg(test)]\nmod tests {").map_or("", |(_, tests)| tests) }
}
