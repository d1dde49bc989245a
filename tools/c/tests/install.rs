//! `make install` into a folder, and programs that are built and run with the installed files.

mod common;

#[allow(dead_code)]
#[path = "../../../tests/helpers/scratch.rs"]
mod scratch;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use common::{NATIVE_LIBRARIES, has, root};
use scratch::Scratch;

/// The version of the interface; the library's SONAME ends with it.
const SOVERSION: &str = "0.1";

#[test]
fn pkg_config_finds_the_installed_libraries_and_they_work() {
    if !has("make") || !has("pkg-config") {
        return;
    }
    let scratch = Scratch::new();
    let destination = scratch.path().join("dest");
    make("all", &destination, "CARGO=cargo");
    // As root would install, without Rust.
    make("install", &destination, "CARGO=false");
    let (usr, lib) = (destination.join("usr"), destination.join("usr/lib"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(names(&usr.join("include")), ["lhttp.h"]);
    let versioned = format!("liblhttp.so.{version}");
    let expected = ["liblhttp.a", "liblhttp.so", &format!("liblhttp.so.{SOVERSION}"), &versioned, "pkgconfig"];
    assert_eq!(names(&lib), expected);
    for link in ["liblhttp.so".to_owned(), format!("liblhttp.so.{SOVERSION}")] {
        assert_eq!(fs::read_link(lib.join(link)).expect("it is a link"), Path::new(&versioned));
    }
    assert_eq!(pkg_config(&destination, &["--modversion"]), [version]);
    exports_what_the_header_declares(&["-D"], &lib.join(&versioned));
    exports_what_the_header_declares(&["-g"], &lib.join("liblhttp.a"));

    // The shared library, found by its SONAME.
    let shared = build(scratch.path(), "shared", pkg_config(&destination, &["--cflags", "--libs"]));
    assert!(output(Command::new("readelf").arg("-d").arg(&shared)).contains(&format!("[liblhttp.so.{SOVERSION}]")));
    assert_eq!(output(Command::new(shared).env("LD_LIBRARY_PATH", &lib)), "done\n");

    // The static library, with the libraries that pkg-config names.
    let mut flags = pkg_config(&destination, &["--cflags", "--libs", "--static"]);
    let at = flags.iter().position(|flag| flag == "-llhttp").expect("the library is among them");
    flags[at] = lib.join("liblhttp.a").to_str().expect("the path is UTF-8").to_owned();
    assert!(NATIVE_LIBRARIES.iter().all(|library| flags.iter().any(|flag| flag == library)), "{flags:?}");
    assert_eq!(output(&mut Command::new(build(scratch.path(), "static", flags))), "done\n");

    goes_with_another_static_library_of_rust(scratch.path(), &destination);

    make("uninstall", &destination, "CARGO=false");
    assert_eq!((names(&lib), names(&usr.join("include"))), (vec!["pkgconfig".to_owned()], vec![]));
}

#[test]
fn the_system_libraries_are_those_that_rustc_names() {
    let scratch = Scratch::new();
    let mut rustc = Command::new("rustc");
    rustc.args(["--crate-type=staticlib", "--crate-name=empty", "--print=native-static-libs", "-"]);
    rustc.arg("-o").arg(scratch.path().join("libempty.a")).stdin(Stdio::null());
    // These are the libraries of Rust's own library. No other crate adds one: the installed library links with these
    // alone.
    let said = String::from_utf8(rustc.output().expect("rustc runs").stderr).expect("UTF-8");
    let named = said.split_once("native-static-libs: ").expect("it names them").1.lines().next().unwrap_or_default();
    assert_eq!(named.split_whitespace().collect::<Vec<_>>(), NATIVE_LIBRARIES);
    let makefile = fs::read_to_string(root().join("tools/c/Makefile")).expect("the Makefile is there");
    assert!(makefile.contains(&format!("private = {}\n", NATIVE_LIBRARIES.join(" "))));
}

#[test]
fn cargo_and_make_use_the_same_folder() {
    if !has("make") {
        return;
    }
    let root = root();
    for (given, meant) in [("some/where", root.join("some/where")), ("/some/where", PathBuf::from("/some/where"))] {
        let library = meant.join("debug/lhttp-c").join(format!("liblhttp.so.{}", env!("CARGO_PKG_VERSION")));
        let commands = make("--dry-run", Path::new(""), &format!("CARGO_TARGET_DIR={given}"));
        assert!(commands.contains(library.to_str().expect("the path is UTF-8")), "{commands}");
    }
}

/// Runs make without the time of a release build. Returns its output.
fn make(target: &str, destination: &Path, variable: &str) -> String {
    let destination = format!("DESTDIR={}", destination.display());
    let mut make = Command::new("make");
    // Cargo tells this test variables of its own package. They would look like a change to build scripts (ring's),
    // which would then run again.
    let of_this_package = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_package)).for_each(|(name, _)| {
        make.env_remove(name);
    });
    make.arg("-C").arg(root().join("tools/c")).args([target, &destination, "PREFIX=/usr", "PROFILE=dev", variable]);
    output(&mut make)
}

/// The output of `pkg-config OPTIONS lhttp`, which finds only the files installed there.
fn pkg_config(destination: &Path, options: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_LIBDIR", destination.join("usr/lib/pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", destination);
    let printed = output(command.args(options).arg("lhttp"));
    printed.split_whitespace().map(str::to_owned).collect()
}

fn build(folder: &Path, name: &str, flags: Vec<String>) -> PathBuf {
    let program = folder.join(name);
    let mut cc = Command::new("cc");
    cc.arg("-pthread").arg("-o").arg(&program).arg(root().join("tools/c/tests/c/config.c")).args(flags);
    output(&mut cc);
    program
}

/// Both contain their own copy of Rust's library. Built with LTO, each is one object: the linker cannot leave out the
/// parts that it already has.
fn goes_with_another_static_library_of_rust(folder: &Path, destination: &Path) {
    let (source, other, main) = (folder.join("other.rs"), folder.join("libother.a"), folder.join("main.c"));
    fs::write(&source, OTHER_LIBRARY).expect("the folder can be written to");
    fs::write(&main, USES_BOTH).expect("the folder can be written to");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2021", "--crate-type=staticlib", "-O", "-Clto=fat", "-Cpanic=unwind", "-o"]);
    output(rustc.arg(&other).arg(&source));
    let library = destination.join("usr/lib/liblhttp.a");
    for (name, libraries) in [("ours-first", [&library, &other]), ("ours-last", [&other, &library])] {
        let program = folder.join(name);
        let mut cc = Command::new("cc");
        cc.args(["-pthread", "-I"]).arg(destination.join("usr/include")).arg("-o").arg(&program).arg(&main);
        output(cc.args(libraries).args(NATIVE_LIBRARIES));
        assert_eq!(output(&mut Command::new(&program)), "caught, and served\n", "{name}");
    }
}

/// Catching a panic needs the personality function.
const OTHER_LIBRARY: &str = r#"
#[no_mangle]
pub extern "C" fn catches_a_panic() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    i32::from(std::panic::catch_unwind(|| panic!("{}", std::process::id())).is_err())
}
"#;

const USES_BOTH: &str = r#"
#include <lhttp.h>
#include <stdio.h>

int catches_a_panic(void);

int main(void) {
    lhttp_config config;
    lhttp_server *server;
    if (!catches_a_panic()) return 1;
    if (lhttp_config_init(&config, sizeof config) != LHTTP_OK) return 2;
    if (lhttp_config_set(&config, "listen", "127.0.0.1:0") != LHTTP_OK) return 3;
    if (lhttp_start(&config, &server) != LHTTP_OK) return 4;
    if (lhttp_publish(server, "room", "chat", NULL, "hello", 5) != LHTTP_OK) return 5;
    if (lhttp_stop(server, 5000) != LHTTP_OK) return 6;
    if (lhttp_config_release(&config) != LHTTP_OK) return 7;
    puts("caught, and served");
    return 0;
}
"#;

/// Every function is exported, and nothing else.
fn exports_what_the_header_declares(symbols: &[&str], library: &Path) {
    let symbols = output(Command::new("nm").args(symbols).args(["--defined-only", "--format=posix"]).arg(library));
    // For an archive, nm also prints the names of its members.
    let lines = symbols.lines().filter(|line| !line.ends_with(':'));
    let exported: BTreeSet<_> = lines.filter_map(|line| line.split(' ').next()).collect();
    let header = fs::read_to_string(root().join("include/lhttp.h")).expect("the header is there");
    let code: String = header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let declared: BTreeSet<_> = code
        .match_indices('(')
        .filter_map(|(at, _)| code[..at].rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next())
        .filter(|name| name.starts_with("lhttp_"))
        .collect();
    assert_eq!(exported, declared);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs a command that must succeed. Returns its stdout.
#[track_caller]
fn output(command: &mut Command) -> String {
    let result = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let Output { status, stdout, stderr } = result;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}
