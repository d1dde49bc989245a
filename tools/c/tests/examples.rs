//! The examples in C and Python do what they promise.

mod common;

use std::{fs, process::Command};

use common::{Client, Linkage, Process, compile, compile_text, has, libraries, root};

#[test]
fn embed_c_answers_and_tells_the_time() {
    for linkage in [Linkage::Shared, Linkage::Static] {
        serves(Command::new(compile("examples/embed.c", linkage)));
    }
}

#[test]
fn embed_py_answers_and_tells_the_time() {
    if has("python3") {
        let mut python = Command::new("python3");
        python.arg(root().join("examples/embed.py")).env("LHTTP_LIBRARY", libraries().join("liblhttp.so"));
        serves(python);
    }
}

fn serves(mut command: Command) {
    command.arg("127.0.0.1:0");
    let mut program = Process::start(command);
    let mut client = Client::connect(([127, 0, 0, 1], port(&program.line())).into());
    client.say("LHTTP/1.0 hello\r\nname:mike\r\n\r\n");
    client.expect("LHTTP/1.0 hello\r\nname:mike\r\n\r\nhello, mike");
    client.say("LHTTP/1.0 hello\r\n\r\n");
    client.expect_error(400, "no-name", None);
    client.say("LHTTP/1.0 c\r\nsubscribe:clock\r\n\r\n");
    let time = client.recv().into_text().expect("the time is text");
    let head = "LHTTP/1.0 time\r\npublish:clock\r\ncontent-type:text/plain\r\n\r\n";
    assert!(time.strip_prefix(head).is_some_and(|time| time.parse::<u64>().is_ok()), "{time}");
    program.signal("TERM");
    client.wait_for_end();
    assert_eq!(program.line(), "stopped");
    program.finish();
}

#[test]
fn the_program_in_the_readme_echoes() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README is there");
    let source =
        readme.split_once("```c\n").and_then(|(_, rest)| rest.split_once("```")).expect("it has a C program").0;
    let source = source.replace("127.0.0.1:8081", "127.0.0.1:0");
    let mut program = Process::start(Command::new(compile_text("readme", &source, Linkage::Shared)));
    let mut client = Client::connect(([127, 0, 0, 1], port(&program.line())).into());
    client.say("LHTTP/1.0 echo\r\n\r\nhello");
    client.expect("LHTTP/1.0 echo\r\n\r\nhello");
    program.say("");
    client.expect_close(1001);
    program.finish();
}

#[test]
fn the_header_is_c99_and_cpp() {
    let header = root().join("include/lhttp.h");
    for (compiler, language, standard) in [("cc", "c", "c99"), ("c++", "c++", "c++11")] {
        if has(compiler) {
            let mut command = Command::new(compiler);
            command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language]);
            let output = command.arg(format!("-std={standard}")).arg(&header).output().expect("the compiler runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn port(line: &str) -> u16 {
    line.strip_prefix("listening on port ").and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
}

#[test]
fn embed_py_declares_the_same_structs_as_the_header() {
    let python = fs::read_to_string(root().join("examples/embed.py")).expect("the example is there");
    let header = fs::read_to_string(root().join("include/lhttp.h")).expect("the header is there");
    for (name, fields) in [("Config", "lhttp_config"), ("Processor", "lhttp_processor"), ("Header", "lhttp_header")] {
        let class = python.split_once(&format!("class {name}(Structure):")).expect("the class is there").1;
        let class = class.split_once("]\n").expect("its fields end").0;
        let of_python: Vec<_> = class.split("(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
        let of_c = header.split_once(&format!("typedef struct {fields} {{\n")).expect("the struct is there").1;
        let of_c = of_c.split_once("\n}").expect("the struct ends").0;
        let of_c: Vec<_> = of_c.lines().filter_map(|line| line.split_once(';')?.0.rsplit([' ', '*']).next()).collect();
        assert_eq!(of_python, of_c, "{name}");
    }
}
