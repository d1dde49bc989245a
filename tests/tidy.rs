//! The style that a machine can check: sizes of files, the direction of `use`, forbidden words.

use std::{env, fs, path::Path, process::Command};

/// The most lines of a file in `src` or of a tool for users. There are no exceptions.
const LINES_MAX: usize = 400;

/// The layers, lowest first. A module uses its own layer and those below it, never one above. Only `benches/`, `fuzz/`
/// and tests use `bench`, `fuzzing` and `simulation`; these may use all layers.
const LAYERS: [&[&str]; 12] = [
    &["error", "listen", "seeds"],
    &["protocol"],
    &["config"],
    &["client"],
    &["engine"],
    &["extension"],
    &["application"],
    &["service"],
    &["nats", "upstream"],
    &["server"],
    &["ffi"],
    &["bench", "fuzzing", "simulation"],
];

/// The order inside `engine/`, in the same way.
const ENGINE: [&[&str]; 6] = [
    &[
        "arena",
        "arrival",
        "clock",
        "index",
        "limits",
        "log_limit",
        "outbox",
        "patterns",
        "relay",
        "session",
        "slot",
        "stats",
        "subscriptions",
        "timers",
        "wake",
    ],
    &["router", "sessions"],
    &["application", "hub"],
    &["inbox", "lanes"],
    &["turn"],
    &["alarm", "bridge_link", "connection", "core", "listener", "pace", "reactor"],
];

/// Its `mod.rs` says the order of its files.
const NATS_BRIDGE: &str = "src/nats";

/// The modules of std that `protocol/` must not use, except for [`ADDRESSES`]: it sees bytes and returns values.
const IMPURE: [&str; 5] = ["net", "time", "thread", "fs", "process"];

/// Addresses are values; sockets are not.
const ADDRESSES: [&str; 4] = ["net::IpAddr", "net::Ipv4Addr", "net::Ipv6Addr", "net::SocketAddr"];

/// Packages that only lhttpd and lhttp-bench need. No program that embeds the library compiles them.
const NOT_FOR_LIBRARIES: [&str; 5] = ["clap", "env_logger", "hdrhistogram", "signal-hook", "toml"];

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

/// The crates of `tests/` beside this one. Each is linked separately, so a test gets its own crate only if it needs its
/// own process. Their helpers are in [`HELPERS`].
const TEST_CRATES: [&str; 2] = ["tests/daemon", "tests/library"];
const HELPERS: &str = "tests/helpers";

/// Helpers that poll for a condition have this prefix, and only they may sleep.
const POLLING_PREFIX: &str = "wait_";

#[test]
fn no_source_file_is_too_long_to_hold_in_the_head() {
    let long = |file: &File| {
        let lines = file.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines, at most {LINES_MAX}", file.path))
    };
    assert_none(rust_files(&["src", "tools/c", "tools/client"]).iter().filter_map(long).collect());
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not contain them.
    let words = [concat!("todo", "!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("XX", "X:")];
    assert_none(lines_with(&all_files(), &words));
}

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

#[test]
fn no_unsafe_code_stands_outside_the_c_interface() {
    let files: Vec<File> =
        rust_files(&["src", "tests", "examples", "benches", "tools/bench", "tools/c", "tools/client"]);
    let outside = files.iter().filter(|file| file.path != "src/ffi.rs" && !file.path.starts_with("src/ffi/"));
    let found = outside.flat_map(|file| {
        let is_unsafe = |line: &str| words(line).any(|word| word == concat!("un", "safe"));
        code_lines(&file.text)
            .filter(move |(_, line)| is_unsafe(line))
            .map(|(number, _)| format!("{}:{number}", file.path))
    });
    assert_none(found.collect());
}

#[test]
fn tests_wait_for_conditions_and_the_server_never_sleeps() {
    let mut found = Vec::new();
    for file in rust_files(&["src", "tests", "examples", "tools/bench/tests", "tools/c", "tools/client"]) {
        let mut function = String::new();
        for (number, line) in code_lines(&file.text) {
            let mut before = words(line).zip(words(line).skip(1));
            if let Some((_, name)) = before.find(|(keyword, _)| *keyword == "fn") {
                function = name.to_owned();
            }
            if line.contains(concat!("sle", "ep(")) && !function.starts_with(POLLING_PREFIX) {
                found.push(format!(
                    "{}:{number}: sleeps in fn {function}, not in a {POLLING_PREFIX}… helper",
                    file.path
                ));
            }
        }
    }
    assert_none(found);
}

#[test]
fn tests_are_few_crates_and_each_file_is_a_module_of_one() {
    let files = rust_files(&["tests"]);
    let mains = TEST_CRATES.map(|folder| format!("{folder}/main.rs"));
    let of_crates = files.iter().filter(|file| mains.contains(&file.path));
    let modules: Vec<String> = of_crates.flat_map(modules).collect();
    let known = |path: &String| path == "tests/tidy.rs" || mains.contains(path) || modules.contains(path);
    let lost = files.iter().filter(|file| !known(&file.path));
    assert_none(lost.map(|file| format!("{}: is no module of {TEST_CRATES:?}", file.path)).collect());
}

#[test]
fn a_layer_uses_only_those_below_it() {
    let rank = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut found = Vec::new();
    for file in rust_files(&["src"]) {
        let inside = file.path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = inside.split('/').next().unwrap_or_default();
        if ["lib", "bin", "simulation"].contains(&module) {
            continue;
        }
        let Some(own) = rank(module) else {
            found.push(format!("{}: {module} is in no layer of tests/tidy.rs", file.path));
            continue;
        };
        for path in paths(&code(&file.text), "crate") {
            let target = path.split("::").next().unwrap_or_default();
            match rank(target) {
                Some(layer) if layer <= own => {}
                Some(_) => found.push(format!("{}: uses crate::{path}, which is above it", file.path)),
                None => found.push(format!("{}: uses crate::{path}; name it by its module", file.path)),
            }
        }
    }
    assert_none(found);
}

#[test]
fn inside_the_engine_no_module_uses_one_above_it() {
    let order: Vec<Vec<String>> =
        ENGINE.iter().map(|group| group.iter().map(|name| (*name).to_owned()).collect()).collect();
    assert_none(out_of_order("src/engine", &order, Peers::Allowed));
}

#[test]
fn inside_the_nats_bridge_no_file_uses_one_above_it_or_beside_it() {
    let file = rust_files(&[NATS_BRIDGE]).into_iter().find(|file| file.path.ends_with("/mod.rs")).expect("it is there");
    let lines = file.text.lines().filter_map(|line| line.strip_prefix("//!"));
    let text: String = lines.skip_while(|line| !line.contains("to its left")).collect();
    let order = text.split("```text").nth(1).and_then(|text| text.split("```").next()).expect("its order stands there");
    let names = |group: &str| group.split(',').map(|name| name.trim().to_owned()).collect();
    let order: Vec<Vec<String>> = order.split('←').map(names).collect();
    for name in order.iter().flatten() {
        assert!(!rust_files(&[&format!("{NATS_BRIDGE}/{name}.rs")]).is_empty(), "there is no file {name}");
    }
    assert_none(out_of_order(NATS_BRIDGE, &order, Peers::Refused));
}

/// Whether a module may use another one of its own group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peers {
    Allowed,
    Refused,
}

/// Uses of modules in this folder that are against the order of its groups, lowest first.
fn out_of_order(folder: &str, order: &[Vec<String>], peers: Peers) -> Vec<String> {
    let rank = |module: &str| order.iter().position(|modules| modules.iter().any(|name| name == module));
    let root = folder["src/".len()..].replace('/', "::") + "::";
    let mut found = Vec::new();
    for file in rust_files(&[folder]).iter().filter(|file| file.path != format!("{folder}/mod.rs")) {
        let inside = &file.path[folder.len() + 1..];
        if inside == "tests.rs" || inside.starts_with("tests/") {
            continue;
        }
        let own_name = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(own) = rank(&own_name) else {
            found.push(format!("{}: not in the order of {folder}", file.path));
            continue;
        };
        let code = code(&file.text);
        let mut used: Vec<String> =
            paths(&code, "crate").iter().filter_map(|path| Some(path.strip_prefix(&root)?.to_owned())).collect();
        if !inside.contains('/') {
            used.extend(paths(&code, "super").into_iter().filter(|path| path != "*"));
        }
        let is_test = inside.contains("/tests");
        for path in used {
            let target = path.split("::").next().unwrap_or_default();
            let is_below = rank(target)
                .is_some_and(|layer| layer < own || (layer == own && (peers == Peers::Allowed || target == own_name)));
            // A test may look at more than its subject.
            if !is_test && !is_below {
                found.push(format!("{}: uses {path}, which is not below it", file.path));
            }
        }
    }
    found
}

#[test]
fn the_protocol_sees_bytes_and_no_sockets_clocks_or_threads() {
    let mut found = Vec::new();
    for file in rust_files(&["src/protocol", "src/protocol.rs"]) {
        for path in paths(&code(&file.text), "std") {
            let module = path.split("::").next().unwrap_or_default();
            if IMPURE.contains(&module) && !ADDRESSES.iter().any(|allowed| path.starts_with(allowed)) {
                found.push(format!("{}: uses std::{path}", file.path));
            }
        }
    }
    assert_none(found);
}

#[test]
fn no_file_reveals_the_machine_it_was_written_on() {
    let home = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let mirrors = [concat!("index", "-url"), concat!("replace", "-with"), concat!("_auth", "Token")];
    let mut found = lines_with(&all_files(), &home);
    found.extend(lines_with(&all_files(), &mirrors));
    for file in all_files() {
        // Lock files name the source of each package. It must be the public registry, or a fresh clone cannot build.
        let public = match file.path.rsplit('/').next() {
            Some("Cargo.lock") => ("source = ", "\"registry+https://github.com/rust-lang/crates.io-index\""),
            Some("package-lock.json") => ("\"resolved\": ", "\"https://registry.npmjs.org/"),
            _ => continue,
        };
        for (number, line) in file.text.lines().enumerate() {
            let value = line.trim().strip_prefix(public.0);
            if value.is_some_and(|value| !value.starts_with(public.1)) {
                found.push(format!("{}:{}: {line}", file.path, number + 1));
            }
        }
    }
    assert_none(found);
}

#[test]
fn a_library_does_not_bring_a_daemons_dependencies() {
    let library = ["--package", "lhttp", "--no-default-features", "--features"];
    let unwanted = |packages: &[String]| -> Vec<String> {
        packages.iter().filter(|name| NOT_FOR_LIBRARIES.contains(&name.as_str())).cloned().collect()
    };
    for features in ["", "nats,tls,upstream"] {
        let packages = dependencies(&[&library[..], &[features]].concat());
        assert!(packages.contains(&"mio".to_owned()), "these are not lhttp's: {packages:?}");
        assert_none(unwanted(&packages));
    }
    assert_none(unwanted(&dependencies(&["--package", "lhttp-c"])));
    assert_eq!(
        unwanted(&dependencies(&[&library[..], &["daemon"]].concat())),
        ["clap", "env_logger", "signal-hook", "toml"]
    );
}

/// The packages that `cargo tree` lists, sorted.
fn dependencies(arguments: &[&str]) -> Vec<String> {
    let mut tree = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tree.args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let output = tree.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let mut names: Vec<String> = lines.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_use_tree_is_read_to_its_end() {
    let code = "use crate::{error::{Fault, Reason as R}, config::Config,\n  protocol};\nlet x = crate::engine::hub::Hub::new();\nfn f() -> mycrate::X;";
    let expected = ["error::Fault", "error::Reason as R", "config::Config", "protocol", "engine::hub::Hub::new"];
    assert_eq!(paths(code, "crate"), expected);
    assert_eq!(paths("use std::net::*;", "std"), ["net::*"]);
}

/// The files of the modules that a test crate's main file names.
fn modules(main: &File) -> Vec<String> {
    let (crate_folder, _) = main.path.rsplit_once('/').expect("it lies in a folder");
    let (mut folders, mut found) = (vec![crate_folder.to_owned()], Vec::new());
    for (_, line) in code_lines(&main.text) {
        let folder = folders.last().expect("as many braces are closed as opened");
        let name = line.trim_start().trim_start_matches("pub(crate) ").strip_prefix("mod ");
        if let Some(name) = name.and_then(|name| name.strip_suffix(';')) {
            found.push(format!("{folder}/{name}.rs"));
        } else if let Some(name) = name.and_then(|name| name.strip_suffix(" {")) {
            folders.push(if name == "helpers" { HELPERS.to_owned() } else { format!("{folder}/{name}") });
        } else if line.trim() == "}" {
            folders.pop();
        }
    }
    found
}

/// A file of the repository, its path from the root with `/`.
struct File {
    path: String,
    text: String,
}

/// All our text files: not built, downloaded or hidden ones (except for the CI's folder).
fn all_files() -> Vec<File> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the repository was not found");
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && name != ".ci";
        if hidden || ["target", "node_modules"].contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}

fn rust_files(places: &[&str]) -> Vec<File> {
    let inside = |path: &str| {
        places.iter().any(|place| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    all_files().into_iter().filter(|file| file.path.ends_with(".rs") && inside(&file.path)).collect()
}

fn lines_with(files: &[File], parts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if parts.iter().any(|part| line.contains(part)) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    found
}

/// The lines that are not comments, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn code(text: &str) -> String {
    code_lines(text).map(|(_, line)| line).collect::<Vec<_>>().join("\n")
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

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Every path below `root::` in `code`, with braces resolved.
fn paths(code: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    let start = format!("{root}::");
    for (at, _) in code.match_indices(&start) {
        let joined = code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
        if !joined {
            expand("", &code[at + start.len()..], &mut found);
        }
    }
    found
}

/// Reads one use tree from the start of `rest`, adds its paths, and returns the text behind it.
fn expand<'a>(prefix: &str, rest: &'a str, found: &mut Vec<String>) -> &'a str {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:* \n".contains(c))).unwrap_or(rest.len());
    let path = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(mut rest) = rest[end..].strip_prefix('{') else {
        if !path.is_empty() {
            found.push(format!("{prefix}{path}"));
        }
        return &rest[end..];
    };
    let prefix = format!("{prefix}{path}");
    loop {
        rest = expand(&prefix, rest, found);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.trim_start_matches(|c| c != '}').strip_prefix('}').unwrap_or_default(),
        }
    }
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
