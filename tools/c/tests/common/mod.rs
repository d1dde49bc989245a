//! Compiles C programs against the libraries, shared and static, and runs them.

// Each test file is its own crate and uses a part of this module.
#![allow(dead_code, unused_imports)]

mod lhttpd;
mod process;
#[path = "../../../../tests/helpers/websocket.rs"]
mod websocket;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

pub(crate) use self::{lhttpd::Lhttpd, process::Process, websocket::Client};

/// How long a client waits for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which of the two libraries a program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Linkage {
    Shared,
    Static,
}

/// The output of `rustc --print native-static-libs` for these libraries: the system libraries that the static one
/// needs.
pub(crate) const NATIVE_LIBRARIES: [&str; 7] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// A folder with `liblhttp.so` and `liblhttp.a`, as cargo has built them for this test.
pub(crate) fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = env::current_exe().expect("the path of this test");
        let built = test.parent().expect("it lies in target/PROFILE/deps");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
        fs::create_dir_all(&folder).expect("the folder can be made");
        // Also by the SONAME, which a library that `make` has built here has.
        for (end, name) in [("so", "liblhttp.so"), ("so", "liblhttp.so.0.1"), ("a", "liblhttp.a")] {
            let (library, link) = (built.join(format!("liblhttp_c.{end}")), folder.join(name));
            assert!(library.is_file(), "cargo has not built {}", library.display());
            // Other tests do the same at the same time. The last rename wins, and all links are equal.
            let part = folder.join(format!("{name}.{}", std::process::id()));
            std::os::unix::fs::symlink(&library, &part).expect("a link can be made");
            fs::rename(&part, &link).expect("a link can be renamed");
        }
        folder
    })
}

/// Compiles a C file of the repository without a single warning, once in this process, and returns the program's path.
#[track_caller]
pub(crate) fn compile(source: &str, linkage: Linkage) -> PathBuf {
    static PROGRAMS: Mutex<BTreeMap<(String, Linkage), PathBuf>> = Mutex::new(BTreeMap::new());
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    programs.entry((source.to_owned(), linkage)).or_insert_with(|| compile_now(source, linkage)).clone()
}

/// The same for a program in a string; `name` is unique in this process.
#[track_caller]
pub(crate) fn compile_text(name: &str, text: &str, linkage: Linkage) -> PathBuf {
    let source = libraries().join(format!("{name}.{}.c", std::process::id()));
    fs::write(&source, text).expect("the folder can be written to");
    let program = compile_now(source.to_str().expect("the path is UTF-8"), linkage);
    let _ = fs::remove_file(source);
    program
}

fn compile_now(source: &str, linkage: Linkage) -> PathBuf {
    let (root, libraries) = (root(), libraries());
    // Files in different folders may have the same name.
    let stem = source.trim_end_matches(".c").trim_matches('/').replace('/', "-");
    let folder = libraries.join(format!("{linkage:?}").to_lowercase());
    fs::create_dir_all(&folder).expect("the folder can be made");
    let (part, program) = (folder.join(format!("{stem}.{}", std::process::id())), folder.join(&stem));
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread"]);
    cc.arg("-o").arg(&part).arg(root.join(source)).arg("-I").arg(root.join("include"));
    match linkage {
        Linkage::Shared => {
            cc.arg("-L").arg(libraries).arg("-llhttp").arg(format!("-Wl,-rpath,{}", libraries.display()))
        }
        Linkage::Static => cc.arg(libraries.join("liblhttp.a")).args(NATIVE_LIBRARIES),
    };
    let output = cc.output().expect("there is a C compiler");
    assert!(output.status.success(), "{source} does not compile:\n{}", text(&output.stderr));
    fs::rename(&part, &program).expect("the program can be renamed");
    program
}

/// Compiles and runs a program that ends by itself. Fails the test unless it exits with 0. Returns its output.
#[track_caller]
pub(crate) fn run(source: &str, linkage: Linkage) -> String {
    finished(Command::new(compile(source, linkage)))
}

/// The same under valgrind: no invalid access, nothing uninitialised, no leak.
#[track_caller]
pub(crate) fn run_in_valgrind(source: &str, linkage: Linkage) -> Option<String> {
    let program = compile(source, linkage);
    Some(finished(valgrind(&program)?))
}

/// Whether a tool is installed. Prints a line if not; with `LHTTP_REQUIRE_C_TOOLS` a missing tool fails the test.
pub(crate) fn has(tool: &str) -> bool {
    let run = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = run.is_ok() || env::var_os("LHTTP_REQUIRE_C_TOOLS").is_some();
    if !is_there {
        eprintln!("SKIPPED: what needs {tool}, which is missing");
    }
    is_there
}

/// The command that runs a program under valgrind, if valgrind is installed.
pub(crate) fn valgrind(program: &Path) -> Option<Command> {
    if !has("valgrind") {
        return None;
    }
    let mut command = Command::new("valgrind");
    command.args([
        "--quiet",
        "--error-exitcode=99",
        "--leak-check=full",
        "--show-leak-kinds=definite,indirect,possible",
    ]);
    command.args(["--errors-for-leak-kinds=definite,indirect,possible", "--fair-sched=yes", "--num-callers=40"]);
    command.arg(program);
    Some(command)
}

#[track_caller]
fn finished(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let (stdout, stderr) = (text(&stdout), text(&stderr));
    assert!(status.success(), "{command:?}: {status}\nstdout:\n{stdout}\nstderr:\n{stderr}");
    stdout
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
