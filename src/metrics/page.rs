//! docs/METRICS.md, generated from the metrics.

use std::{env, fs, path::Path};

use super::families::{Family, Type, Values, families};
use crate::engine::stats::{Declared, declared};

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
    let (families, numbers): (_, Vec<Declared>) = (families(), declared().collect());
    let mut page = format!("{HEAD}\n| name | type | unit | meaning |\n|---|---|---|---|\n");
    families.iter().for_each(|family| page.push_str(&line(family)));
    for family in &families {
        let Values::Declared(series) = &family.values else { continue };
        let (_, Some((label, _))) = series[0] else { continue };
        page.push_str(&format!("\n## `{}`\n\n| `{label}` | meaning |\n|---|---|\n", family.shown()));
        for &(at, label) in series {
            let (_, value) = label.expect("each series has the label");
            page.push_str(&format!("| `{value}` | {} |\n", cell(numbers[at].help)));
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
        Values::Declared(series) => series[0].1.map(|(name, _)| name),
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
