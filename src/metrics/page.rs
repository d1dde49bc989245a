//! docs/METRICS.md, generated from the metrics.

use std::{env, fs, path::Path};

use super::families::{Family, Type, Values, families};
use crate::engine::stats::DECLARED;

/// The text before the tables.
const HEAD: &str = include_str!("page/head.md");

/// If this variable is set, the test writes a page that differs anew.
const BLESS: &str = "LHTTP_BLESS";

#[test]
fn the_page_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    let page = page();
    if env::var_os(BLESS).is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let same = found.lines().zip(page.lines()).take_while(|(one, other)| one == other).count();
    assert!(
        found == page,
        "docs/METRICS.md is not what src/engine/stats/table.rs and src/metrics say, from line {} on:\n- {}\n+ {}\n\
         `{BLESS}=1 cargo test --lib the_page_lists_every_metric` writes it anew",
        same + 1,
        found.lines().nth(same).unwrap_or_default(),
        page.lines().nth(same).unwrap_or_default(),
    );
}

fn page() -> String {
    let families = families();
    let mut page = format!("{HEAD}\n| name | type | unit | meaning |\n|---|---|---|---|\n");
    families.iter().for_each(|family| page.push_str(&line(family)));
    for family in &families {
        let Values::Declared(series) = &family.values else { continue };
        let Some((label, _)) = DECLARED[series[0]].label else { continue };
        page.push_str(&format!("\n## `{}`\n\n| `{label}` | meaning |\n|---|---|\n", family.shown()));
        for declared in series.iter().map(|&at| &DECLARED[at]) {
            let (_, value) = declared.label.expect("each series has the label");
            page.push_str(&format!("| `{value}` | {} |\n", cell(declared.help())));
        }
    }
    page
}

fn line(family: &Family) -> String {
    let kind = match family.kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
        Type::Info => "info",
    };
    let label = match &family.values {
        Values::Declared(series) => DECLARED[series[0]].label.map(|(name, _)| name),
        Values::OfCore(_) => Some("core"),
        Values::Version => Some("version"),
        Values::Times(_) | Values::OfProcess(_) => None,
    };
    let label = label.map_or_else(String::new, |label| format!("{{{label}}}"));
    let unit = family.unit().0.unwrap_or_default();
    format!("| `{}{label}` | {kind} | {unit} | {} |\n", family.shown(), cell(family.help))
}

/// A text in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
