//! A hub without sockets for callgrind, which counts the same instructions in each run. `tools/perf/instructions` runs
//! it.
//!
//! `instructions SCENARIO TURNS` runs this many turns of 100 messages each, and prints the number of deliveries.

use std::process::ExitCode;

use lhttp::bench::FanOut;

const MESSAGES: usize = 100;
const SCENARIOS: [&str; 17] = [
    "repeated-head",
    "other-head",
    "two-channels",
    "ten-channels",
    "to-20",
    "to-100",
    "to-1000",
    "rooms-of-20",
    "post",
    "nobody",
    "acknowledged",
    "kept",
    "kept-other-head",
    "watched",
    "watched-other-head",
    "kept-nobody",
    "kept-acknowledged",
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let scenario = args.next();
    let turns = args.next().map(|turns| turns.parse::<usize>());
    let (Some(Some(mut hub)), Some(Ok(turns))) = (scenario.as_deref().map(hub), turns) else {
        println!("{}", SCENARIOS.join("\n")); // as `cargo bench` asks
        return ExitCode::SUCCESS;
    };
    let delivered: u64 = (0..turns).map(|_| hub.turn().messages).sum();
    println!("{delivered}");
    ExitCode::SUCCESS
}

fn hub(scenario: &str) -> Option<FanOut> {
    let numbered = |count: usize| (0..count).map(|number| format!("c{number}")).collect::<Vec<_>>();
    // The number of channels, the subscribers of each channel, and the channels of each message.
    let (channels, subscribers, publish): (_, _, fn(usize) -> String) = match scenario {
        "repeated-head" | "post" | "watched" => (numbered(1), 1, |_| "c0".to_owned()),
        "other-head" | "watched-other-head" => (numbered(MESSAGES), 1, |number| format!("c{number}")),
        "nobody" | "acknowledged" => (numbered(1), 0, |_| "c0".to_owned()),
        "kept" => (vec!["kept.c".to_owned()], 1, |_| "kept.c".to_owned()),
        "kept-nobody" | "kept-acknowledged" => (vec!["kept.c".to_owned()], 0, |_| "kept.c".to_owned()),
        "kept-other-head" => {
            let channels = (0..MESSAGES).map(|number| format!("kept.c{number}")).collect();
            (channels, 1, |number| format!("kept.c{number}"))
        }
        "two-channels" => (numbered(2), 1, |_| "c0 c1".to_owned()),
        "ten-channels" => (numbered(10), 1, |_| "c0 c1 c2 c3 c4 c5 c6 c7 c8 c9".to_owned()),
        "to-20" => (numbered(1), 20, |_| "c0".to_owned()),
        "to-100" => (numbered(1), 100, |_| "c0".to_owned()),
        "to-1000" => (numbered(1), 1000, |_| "c0".to_owned()),
        "rooms-of-20" => (numbered(50), 20, |number| format!("c{}", number % 50)),
        _ => return None,
    };
    let (ack, body) = (if scenario.ends_with("acknowledged") { "ack:1\r\n" } else { "" }, "x".repeat(64));
    let message = |number| format!("LHTTP/1.0 chat\r\npublish:{}\r\n{ack}\r\n{body}", publish(number)).into_bytes();
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    let channels: Vec<_> = channels.iter().map(|name| (&name[..], subscribers)).collect();
    let build = match scenario {
        "post" => FanOut::posted,
        "watched" | "watched-other-head" => FanOut::watched,
        _ => FanOut::mixed,
    };
    Some(build(&channels, &messages.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}
