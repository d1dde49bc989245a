//! The lhttp daemon: flags, a file and the environment become a [`Config`], signals become a graceful stop; the rest is
//! the library.

mod access;
mod activation;
mod args;
mod demo;
mod file;
mod health;
mod logger;
mod notify;
mod secrets;
mod signals;
mod summary;

use std::{
    env,
    fmt::Display,
    io::{self, Write},
    net::SocketAddr,
    os::fd::OwnedFd,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytesize::ByteSize;
use clap::Parser;
use lhttp::{
    Server, StartError,
    config::{ChannelRule, Config, Listen, Plan, Secret, raise_fd_limit},
    server::Builder,
};
use log::{Level, LevelFilter, info, warn};

use self::{args::Args, logger::say, summary::Summary};

/// The environment variables that set `publish-key` and `admin-key` without showing them in the list of processes.
const PUBLISH_KEY: &str = "LHTTP_PUBLISH_KEY";
const ADMIN_KEY: &str = "LHTTP_ADMIN_KEY";

fn main() -> ExitCode {
    let args = Args::parse();
    logger::set_format(args.log_format.unwrap_or_default());
    let code = match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            say(Level::Error, &sentence);
            ExitCode::FAILURE
        }
    };
    logger::flush();
    code
}

/// Runs the server until a signal stops it.
///
/// # Errors
/// One sentence for people.
fn run(args: Args) -> Result<(), String> {
    if let Some(url) = &args.health {
        return health::check(url);
    }
    let handed = activation::handed_over()?;
    let Setting { config, log, log_format, demo, exposed } = configure(args.clone())?;
    logger::set_format(log_format);
    logger::start(log)?;
    if let Err(error) = raise_fd_limit() {
        warn!("cannot raise the limit of open files: {error}");
    }
    if args.check {
        let plan = Server::builder().config(config.clone()).check().map_err(|error| error.to_string())?;
        // A closed stdout does not make a valid configuration invalid.
        let _ = writeln!(io::stdout(), "configuration is valid: {}{}", limits(&config, &plan), rules(&config));
        exposed.iter().for_each(|sentence| warn!("{sentence}"));
        return Ok(());
    }
    let plan = config.resolve().map_err(|error| error.to_string())?;
    serve(Setting { config, log, log_format, demo, exposed }, &plan, args, handed)
}

/// The daemon's options, read and checked.
struct Setting {
    config: Config,
    log: LevelFilter,
    log_format: logger::Format,
    demo: Option<SocketAddr>,
    /// Warnings of secrets that others on this machine can read, a sentence each.
    exposed: Vec<String>,
}

/// The file, then the environment, then the flags, each over the one before.
fn configure(args: Args) -> Result<Setting, String> {
    let file = args.config.as_deref().map_or_else(|| Ok(file::File::default()), file::read)?;
    let log = args.log.or(file.log).unwrap_or(LevelFilter::Info);
    let log_format = args.log_format.or(file.log_format).unwrap_or_default();
    let demo = args.demo.or(file.demo);
    let mut exposed =
        args.config.as_deref().and_then(|path| secrets::in_file(path, &file.config)).into_iter().collect();
    let mut config = file.config;
    config.publish_key = key_of(PUBLISH_KEY)?.or(config.publish_key);
    config.admin_key = key_of(ADMIN_KEY)?.or(config.admin_key);
    args.options.lay_over(&mut config)?;
    secrets::in_named_files(&config, &mut exposed);
    if demo.is_some() {
        demo::keep_messages(&mut config);
    }
    Ok(Setting { config, log, log_format, demo, exposed })
}

/// The key in an environment variable, if it is set.
fn key_of(variable: &str) -> Result<Option<Secret>, String> {
    match env::var(variable) {
        Ok(key) => Ok(Some(Secret::from(key))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{variable} is not UTF-8")),
    }
}

/// Starts the server, says where it listens, and waits for its end.
fn serve(setting: Setting, plan: &Plan, args: Args, handed: Vec<OwnedFd>) -> Result<(), String> {
    let Setting { config, demo, exposed, .. } = setting;
    // Catch signals before the server starts: a signal during the start then waits here, instead of killing a
    // half-started server.
    let signals = signals::catch()?;
    let mut server = handed.into_iter().fold(Server::builder().config(config.clone()), Builder::take_over);
    if let Some(address) = demo {
        server = demo::add_to(server, &config, address)?;
    }
    let handle = server.start().map_err(|error| start_error(&error, &config, demo))?;
    let (places, access) = (listed(handle.listening()), access::sentence(&config, handle.listening()));
    say(Level::Info, &format!("listening on {places}: {access}; {}", limits(&config, plan)));
    exposed.iter().for_each(|sentence| warn!("{sentence}"));
    if !handle.admin().is_empty() {
        let key = if config.admin_key.is_some() { "with the admin key" } else { "without a key" };
        say(Level::Info, &format!("admin: {}, {key}", listed(handle.admin())));
    }
    if let Some(&page) = handle.pages_addrs().first() {
        say(Level::Info, &format!("demo: open {}", demo::url(page)));
    }

    let asked = Arc::new(AtomicBool::new(false));
    let asked_by_signal = Arc::clone(&asked);
    let (stopper, reloader) = (handle.stopper(), handle.reloader());
    let times = Mutex::new(signals::Times::from(&config));
    signals::Watch { stopper, reloader, args, demo, times, asked: asked_by_signal }.start(signals)?;
    notify::ready();
    let mut summary = Summary::new();
    while !handle.wait(summary::EVERY) {
        summary.say(&handle.stats());
    }
    let stats = handle.join();
    summary.say(&stats);
    if !asked.load(Ordering::Acquire) {
        return Err("all cores have ended without a request to stop".to_owned());
    }
    info!("stopped");
    Ok(())
}

/// Says why the server cannot start, and names the demo if its address is the reason.
fn start_error(error: &StartError, config: &Config, demo: Option<SocketAddr>) -> String {
    match (error, demo.map(Listen::Tcp)) {
        (StartError::Listen { at, .. }, Some(demo)) if *at == demo && !config.listen.contains(&demo) => {
            format!("demo: {error}")
        }
        _ => error.to_string(),
    }
}

/// The meaning of the options on this machine, in one line.
fn limits(config: &Config, plan: &Plan) -> String {
    let cores = plan.cpus.len();
    let pinned: Vec<usize> = plan.cpus.iter().copied().flatten().collect();
    let pins = if pinned.is_empty() { String::new() } else { format!(" on CPU {}", listed(&pinned)) };
    format!(
        "{cores} {}{pins}, {} connections, messages of {}, outboxes of {}, memory budget {}, publish key {}",
        if cores == 1 { "core" } else { "cores" },
        plan.connections_max,
        ByteSize(config.message_bytes_max as u64),
        ByteSize(config.outbox_bytes_max as u64),
        ByteSize(plan.memory_budget_bytes),
        if config.publish_key.is_some() { "set" } else { "not set" },
    ) + &upstream(config)
        + &format!("; {}", plan.worst_case)
}

/// The rules for channels, in the order in which they are tried, a line each.
fn rules(config: &Config) -> String {
    let line = |(number, rule): (usize, &ChannelRule)| format!("\nchannel rule {number}: {rule}");
    (1..).zip(&config.channels).map(line).collect()
}

fn upstream(config: &Config) -> String {
    match (&config.upstream_allow[..], config.upstream_workers) {
        ([], _) => String::new(),
        (prefixes, workers) => format!(", upstream to {} with {workers} workers", listed(prefixes)),
    }
}

fn listed<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
