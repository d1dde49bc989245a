//! Network namespaces, in which a test is alone.

use std::{
    env,
    process::{Command, Stdio},
};

/// Set in the process that runs inside a namespace.
const INSIDE: &str = "LHTTP_TEST_NAMESPACE";

/// Runs `test`, the test with this path (as `module_path!()` gives it), in its own network namespace. Prints a line if
/// the machine cannot make one.
pub(crate) fn in_namespace(path: &str, test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return test();
    }
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let can = |way: &&&[&str]| succeeds(Command::new("unshare").args(**way).args(["ip", "link", "set", "lo", "up"]));
    let Some(way) = ways.iter().find(can) else {
        eprintln!("SKIPPED: this machine lets nobody make network namespaces, or has no `ip` (package iproute2)");
        return;
    };
    // A test's name does not include its crate.
    let (_, name) = path.split_once("::").expect("a path with a module in it");
    let mut command = Command::new("unshare");
    command.args(*way).arg(env::current_exe().expect("this program")).args([name, "--exact", "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("unshare runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "inside of the namespace:\n{text}");
}

/// Runs a program that must succeed.
pub(super) fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("it runs");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
