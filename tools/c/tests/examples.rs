//! The examples in C and Python do what they promise.

mod common;

use std::{path::Path, process::Command};

use common::{Linkage, Process, compile, libraries, root, support::Client};

#[test]
fn embed_c_answers_and_tells_the_time() {
    for linkage in [Linkage::Shared, Linkage::Static] {
        serves(Command::new(compile("examples/embed.c", linkage)));
    }
}

#[test]
fn embed_py_answers_and_tells_the_time() {
    serves(python(&libraries().join("liblhttp.so")));
}

fn python(library: &Path) -> Command {
    let mut python = Command::new("python3");
    python.arg(root().join("examples/embed.py")).env("LHTTP_LIBRARY", library);
    python
}

fn serves(mut command: Command) {
    command.arg("127.0.0.1:0");
    let mut program = Process::start(command);
    let line = program.line();
    let port: u16 = line.strip_prefix("listening on port ").and_then(|port| port.parse().ok()).expect(&line);
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
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
fn what_embed_py_declares_is_what_the_header_says() {
    let python = std::fs::read_to_string(root().join("examples/embed.py")).expect("the example is there");
    let header = std::fs::read_to_string(root().join("include/lhttp.h")).expect("the header is there");
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
