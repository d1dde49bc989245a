//! The style that a machine can check: sizes of files, the direction of `use`, forbidden words.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/numbers.rs"]
mod numbers;
#[path = "tidy/plain.rs"]
mod plain;

use std::{env, fs, path::Path, process::Command};

/// The most lines of a file in `src` or of a tool for users. There are no exceptions.
const LINES_MAX: usize = 400;

/// Packages that only lhttpd and lhttp-bench need. No program that embeds the library compiles them.
const NOT_FOR_LIBRARIES: [&str; 4] = ["clap", "hdrhistogram", "signal-hook", "toml"];

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
    let known = |path: &String| path.starts_with("tests/tidy") || mains.contains(path) || modules.contains(path);
    let lost = files.iter().filter(|file| !known(&file.path));
    assert_none(lost.map(|file| format!("{}: is no module of {TEST_CRATES:?}", file.path)).collect());
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
    assert_eq!(unwanted(&dependencies(&[&library[..], &["daemon"]].concat())), ["clap", "signal-hook", "toml"]);
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

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
