//! docs/OPTIONS.md, generated from the table.

use std::{env, fs, path::Path};

use super::{DOCS, Declaration, Preset, Reload, Unit};
use crate::config::Config;

/// The texts before and after the options.
const HEAD: &str = include_str!("page/head.md");
const TAIL: &str = include_str!("page/tail.md");

/// If this variable is set, the test writes a page that differs anew.
const BLESS: &str = "LHTTP_BLESS";

#[test]
fn the_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPTIONS.md");
    let page = page();
    if env::var_os(BLESS).is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (found_lines, lines) = (lines(&found), lines(&page));
    let same = found_lines.iter().zip(&lines).take_while(|(one, other)| one == other).count();
    let shown = |lines: &[String], mark: &str| -> String {
        lines[same.min(lines.len())..].iter().take(5).map(|line| format!("{mark} {line}\n")).collect()
    };
    assert!(
        found == page,
        "docs/OPTIONS.md is not what src/config/options says, from line {} on:\n{}{}\
         `{BLESS}=1 cargo test --lib the_page_is_what_the_table_says` writes it anew",
        same + 1,
        shown(&found_lines, "-"),
        shown(&lines, "+"),
    );
}

fn page() -> String {
    let (mut page, mut section) = (HEAD.to_owned(), "");
    for (option, docs) in Config::OPTIONS.iter().zip(DOCS) {
        if option.section != section {
            section = option.section;
            page.push_str(&format!("\n## `[{section}]`\n"));
        }
        page.push_str(&entry(option, docs));
    }
    page + "\n" + TAIL
}

fn entry(option: &Declaration, docs: &[&str]) -> String {
    let Declaration { name, section, key, value, .. } = option;
    let flag = [&format!("--{name}"), *value].join(" ");
    let default = match option.default {
        Preset::Value(text) => format!("`{text}`"),
        Preset::Words(words) => words.to_owned(),
        Preset::Unset => "not set".to_owned(),
    };
    let (flag, unit, reload) = (flag.trim(), unit(option.unit), reload(option.reload));
    format!(
        "\n### `{name}`\n\n`{flag}`, in `[{section}]`: `{key}`. {unit}. Default: {default}. {reload}.\n\n{}\n",
        text(docs)
    )
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "A number",
        Unit::Size => "Bytes, or a size with a unit: `64KiB`",
        Unit::Time => "Seconds, or a time with a unit: `500ms`, `25s`, `2m`",
        Unit::Micros => "Microseconds, or a time with a unit: `50us`, `1ms`",
        Unit::Switch => "On or off: the flag takes no value, the file `true` or `false`",
        Unit::Text => "A text",
        Unit::Texts => "A text, or several",
        Unit::Secret => "A text that neither the log nor an error shows",
        Unit::File => "The path of a file",
        Unit::SecretFile => "The path of a file with a secret: lhttpd warns if everybody on the machine can read it",
        Unit::Files => "The paths of files",
        Unit::SecretFiles => {
            "The paths of files with secrets: lhttpd warns of those that everybody on the machine can read"
        }
        Unit::Cpus => "Numbers of CPUs",
        Unit::Address => "An address, or several",
        Unit::Prefix => "A prefix of URLs, or several",
    }
}

fn reload(reload: Reload) -> &'static str {
    match reload {
        Reload::AtOnce => "A reload takes it at once",
        Reload::Restart => "A new value needs a restart",
        Reload::FileReadAgain => "A new path needs a restart; a reload reads the file again",
    }
}

/// The documentation as a text that begins with a capital letter, without the links for programs.
fn text(docs: &[&str]) -> String {
    let joined = docs.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let text = without_links(&joined).replace("PROTOCOL.md", "[PROTOCOL.md](../PROTOCOL.md)");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Replaces links to the library's items by the items' names; removes a link that stands alone in parentheses.
fn without_links(text: &str) -> String {
    let Some((before, rest)) = text.split_once("[`") else { return text.to_owned() };
    let (name, rest) = rest.split_once("`]").expect("a link ends");
    let target = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let rest = target.map_or(rest, |(_, behind)| behind);
    match (before.strip_suffix('('), rest.strip_prefix(')')) {
        (Some(before), Some(rest)) => before.trim_end().to_owned() + &without_links(rest),
        _ => format!("{before}`{name}`{}", without_links(rest)),
    }
}

#[test]
fn links_for_programs_are_not_on_the_page() {
    let docs = [" at most 1 ([`A::B`](super::A)), see", " [`C`](super::C) and [`D`].", "", " - `x`"];
    assert_eq!(text(&docs), "At most 1, see\n`C` and `D`.\n\n- `x`");
}
