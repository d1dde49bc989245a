//! A person at a terminal: line editing, history, and messages above the line that is being typed.

use std::{
    env, fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, TrySendError},
    },
    thread,
};

use lhttp::client::Client;
use rustyline::{Config, Editor, ExternalPrinter, Prompt, error::ReadlineError, history::FileHistory};

use super::{
    COMMANDS_MAX, Screen,
    command::{HELP, LineReader, ParsedLine},
    is_open,
    network::Network,
    run_script,
};
use crate::failure::{Failure, notice};

/// The most lines of the history.
const HISTORY_LINES_MAX: usize = 1000;

type LineEditor = Editor<(), FileHistory>;

/// Above the line that is being typed.
struct AboveTheLine<P>(P);

impl<P: ExternalPrinter + Send> Screen for AboveTheLine<P> {
    fn message(&mut self, line: &str) -> io::Result<()> {
        self.0.print(format!("{line}\n")).map_err(io::Error::other)
    }

    fn remark(&mut self, line: &str) -> io::Result<()> {
        self.message(&format!("* {line}"))
    }
}

pub(super) fn run(url: &str, client: Client) -> Result<(), Failure> {
    let unusable = |error: ReadlineError| Failure::Usage(format!("the terminal cannot be used: {error}"));
    let config =
        Config::builder().auto_add_history(true).max_history_size(HISTORY_LINES_MAX).map_err(unusable)?.build();
    let mut editor = LineEditor::with_config(config).map_err(unusable)?;
    // A terminal that cannot move its cursor (TERM=dumb).
    let Ok(printer) = editor.create_external_printer() else { return run_script(client) };
    let history = history_file();
    if let Some(file) = &history {
        // There is no history before the first time.
        let _ = editor.load_history(file);
    }
    println!("* connected to {url}; /help lists the commands, /quit ends");
    let open = Arc::new(AtomicBool::new(true));
    let (commands, received) = mpsc::sync_channel(COMMANDS_MAX);
    let network = Network::new(client, AboveTheLine(printer), Arc::clone(&open));
    let network = thread::spawn(move || network.run(&received));
    let read = read_lines(&mut editor, &open, |command| {
        // Never wait here: while nobody reads the terminal, the other thread may be waiting to print.
        match commands.try_send(Ok(command)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                println!("* too many lines wait for the server; this one was not taken");
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    });
    if let Some(file) = &history
        && let Err(error) = editor.append_history(file)
    {
        notice(&format!("the history cannot be written to {}: {error}", file.display()));
    }
    // Dropping the editor ends the wait of a blocked print.
    drop(editor);
    drop(commands);
    let outcome = network.join().unwrap_or(Err(Failure::Output));
    match (read, outcome) {
        (Err(failure), _) => Err(failure),
        // A person has read the remarks; only the last event matters.
        (Ok(()), Err(failure @ Failure::Connection(_))) => Err(failure),
        (Ok(()), _) => Ok(()),
    }
}

/// Reads lines until the user ends the chat, or until `take` accepts no more.
fn read_lines(
    editor: &mut LineEditor,
    open: &AtomicBool,
    mut take: impl FnMut(super::ChatCommand) -> bool,
) -> Result<(), Failure> {
    let mut reader = LineReader::default();
    loop {
        match editor.readline(&RoomPrompt::new(reader.room().unwrap_or_default(), open)) {
            Ok(line) => match reader.read(&line) {
                Ok(ParsedLine::Command(command)) => {
                    if !take(command) {
                        return Ok(());
                    }
                }
                Ok(ParsedLine::Quit) => return Ok(()),
                Ok(ParsedLine::Help) => print!("{HELP}"),
                Ok(ParsedLine::Nothing) => {}
                Err(why) => println!("* {why}"),
            },
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(Failure::Usage(format!("the terminal cannot be read: {error}"))),
        }
    }
}

/// The current room, and `>` while there is a connection, `!` while there is none. It is read each time the line is
/// drawn, so a remark about the connection changes it. The editor has measured the prompt once, so both have the same
/// width.
struct RoomPrompt<'a> {
    connected: String,
    away: String,
    open: &'a AtomicBool,
}

impl<'a> RoomPrompt<'a> {
    fn new(room: &str, open: &'a AtomicBool) -> Self {
        Self { connected: format!("{room}> "), away: format!("{room}! "), open }
    }
}

impl Prompt for RoomPrompt<'_> {
    fn raw(&self) -> &str {
        if is_open(self.open) { &self.connected } else { &self.away }
    }
}

/// `$XDG_STATE_HOME/lhttp/client_history`, by default below `~/.local/state`, readable by its owner alone. None if
/// there is no home.
fn history_file() -> Option<PathBuf> {
    // The specification says that a relative path is ignored.
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let folder = state.join("lhttp");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("client_history"))
}
