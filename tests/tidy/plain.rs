//! Words that make a sentence hard to read.

use super::{File, all_files, assert_none};

/// Words that make a sentence hard to read: they leave the reader to search for a noun, or are passive without need, or give
/// examples ("such as") of nothing. They are put together here, so that this file does not contain them.
const HARD_WORDS: [&str; 22] = [
    concat!("who", "ever"),
    concat!("whoso", "ever"),
    concat!("mean", "while"),
    concat!("is to", " be"),
    concat!("are to", " be"),
    concat!("was to", " be"),
    concat!("were to", " be"),
    concat!("in", " vain"),
    concat!("in", " silence"),
    concat!("become", " of"),
    concat!("becomes", " of"),
    concat!("became", " of"),
    concat!("be", " had"),
    concat!("or", " such as"),
    concat!("and", " such as"),
    concat!("is", " such as"),
    concat!("are", " such as"),
    concat!("be", " such as"),
    concat!(".", " such as"),
    concat!(":", " such as"),
    concat!(";", " such as"),
    concat!("|", " such as"),
];

#[test]
fn no_sentence_has_words_that_make_it_hard_to_read() {
    let mut found = Vec::new();
    for file in all_files().iter().filter(|file| has_sentences(file)) {
        let lines: Vec<String> = file.text.lines().map(bare).collect();
        for (at, line) in lines.iter().enumerate() {
            let next = lines.get(at + 1).map_or("", String::as_str);
            if let Some(words) = hard_words(line, next) {
                found.push(format!("{}:{}: {words:?} in: {line}", file.path, at + 1));
            }
        }
    }
    assert_none(found);
}

#[test]
fn hard_words_are_found_across_lines_and_only_as_whole_words() {
    assert_eq!(hard_words("Times are seconds or", "such as 500ms."), Some(concat!("or", " such as")));
    assert_eq!(hard_words("such as 500ms.", ""), None);
    assert_eq!(hard_words("Such as 500ms.", ""), Some("Such as"));
    assert_eq!(hard_words("a unit, such as ms, or a word such as this", ""), None);
    assert_eq!(hard_words(&bare(concat!("    /// Mean", "while it waits")), ""), Some(HARD_WORDS[2]));
    assert_eq!(hard_words(&bare(concat!("fn who", "ever_asks() {")), ""), Some(HARD_WORDS[0]));
    assert_eq!(hard_words("this to be", "become official"), None);
}

/// Whether people read the file: Rust, JavaScript, C, shell or Markdown.
fn has_sentences(file: &File) -> bool {
    let extension = file.path.rsplit('/').next().unwrap_or_default().rsplit_once('.').map(|(_, extension)| extension);
    match extension {
        Some(extension) => ["rs", "js", "mjs", "cjs", "ts", "cts", "c", "h", "sh", "md"].contains(&extension),
        None => file.text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("sh")),
    }
}

/// A line without its indent and comment mark. The underscores of a test's name are spaces of its sentence.
fn bare(line: &str) -> String {
    line.trim_start().trim_start_matches(['/', '!', '*', '#']).trim().replace('_', " ")
}

/// The first of the hard words that begins in `line`; it may end in `next`, the line after it.
fn hard_words(line: &str, next: &str) -> Option<&'static str> {
    let text = format!("{line} {next}").to_ascii_lowercase();
    let is_found = |words: &&str| {
        text.match_indices(*words).any(|(at, _)| {
            let joins = |c: char| c.is_ascii_alphanumeric();
            let is_whole = !words.starts_with(joins) || !text[..at].ends_with(joins);
            at < line.len() && is_whole && !text[at + words.len()..].starts_with(joins)
        })
    };
    HARD_WORDS.into_iter().find(is_found).or_else(|| line.starts_with("Such as").then_some("Such as"))
}
