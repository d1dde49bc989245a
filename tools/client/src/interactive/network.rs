//! The thread that owns the connection: it carries out commands and shows messages.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use lhttp::{
    Message,
    client::{Client, Event, Payload},
};

use super::{Screen, command::ChatCommand};
use crate::{
    INBOX_MESSAGES_MAX,
    failure::Failure,
    input::read_file,
    presence::{Change, change_lines, more_line, table},
    show::{self, harmless},
};

/// How long a command may wait while the thread polls the connection.
const COMMAND_LATENCY: Duration = Duration::from_millis(30);

pub(super) struct Network<S> {
    client: Client,
    screen: S,
    open: Arc<AtomicBool>,
}

impl<S: Screen> Network<S> {
    pub(super) fn new(client: Client, screen: S, open: Arc<AtomicBool>) -> Self {
        Self { client, screen, open }
    }

    /// Runs until the commands end. Shows a remark for each command that fails, and returns the first of these
    /// failures.
    pub(super) fn run(mut self, commands: &Receiver<Result<ChatCommand, Failure>>) -> Result<(), Failure> {
        let mut outcome = Ok(());
        loop {
            match commands.try_recv() {
                Ok(command) => {
                    if let Err(failure) = command.and_then(|command| self.carry_out(command)) {
                        if matches!(failure, Failure::Output) {
                            return Err(failure);
                        }
                        self.screen.remark(failure.sentence())?;
                        // The sentence has been shown.
                        outcome = outcome.and(Err(failure));
                    }
                    self.show_what_came()?;
                }
                Err(TryRecvError::Empty) => self.show_for(COMMAND_LATENCY)?,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        self.show_what_came()?;
        let closed = self.client.close().map_err(Failure::from);
        outcome.map_err(Failure::said).and(closed)
    }

    fn carry_out(&mut self, command: ChatCommand) -> Result<(), Failure> {
        match command {
            ChatCommand::Subscribe(rooms) => {
                self.client.subscribe(&rooms)?;
                self.screen.remark(&format!("subscribed to {}", harmless(&rooms)))?;
            }
            ChatCommand::Unsubscribe(rooms) => {
                self.client.unsubscribe(&rooms)?;
                self.screen.remark(&format!("unsubscribed from {}", harmless(&rooms)))?;
            }
            ChatCommand::Who(room) => {
                let presence = self.client.presence(&room)?;
                table(&presence.members).lines().try_for_each(|line| self.screen.message(line))?;
                if presence.more > 0 {
                    self.screen.remark(&more_line(presence.more))?;
                }
            }
            ChatCommand::Publish { room, text } => {
                self.client.publish(&room, Message::new("chat")?.body(text))?;
            }
            ChatCommand::Upload { room, files } => {
                self.client.publish(&room, upload(&files)?)?;
                let files = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
                self.screen.remark(&format!("{files} published to {}", harmless(&room)))?;
            }
            ChatCommand::Upstream(request) => {
                let message =
                    Message::new("upstream")?.header("upstream", request)?.header("upstream-reply", "true")?;
                self.client.send(&message)?;
            }
            ChatCommand::Raw(bytes) => self.client.send_payload(Payload::from(bytes))?,
            ChatCommand::Wait(time) => self.show_for(time)?,
        }
        Ok(())
    }

    /// Shows the messages that come within this time.
    fn show_for(&mut self, time: Duration) -> Result<(), Failure> {
        let start = Instant::now();
        while let Some(event) = self.client.poll(time.saturating_sub(start.elapsed()))? {
            self.show(event)?;
            // In a busy channel there is always one more message, so the loop also checks the time.
            if start.elapsed() >= time {
                break;
            }
        }
        Ok(())
    }

    /// Shows the messages that have come, and at most as many as the client may have kept.
    fn show_what_came(&mut self) -> Result<(), Failure> {
        for _ in 0..INBOX_MESSAGES_MAX {
            let Some(event) = self.client.poll(Duration::ZERO)? else { break };
            self.show(event)?;
        }
        Ok(())
    }

    fn show(&mut self, event: Event) -> Result<(), Failure> {
        self.open.store(self.client.is_open(), Ordering::Relaxed);
        if let Some(change) = Change::of(&event) {
            change_lines(&change).lines().try_for_each(|line| self.screen.message(line))?;
        }
        match event {
            Event::Message(message) => self.screen.message(&show::line(&message))?,
            Event::Raw(payload) => self.screen.message(&show::raw_line(&payload))?,
            Event::Refused(refusal) => self.screen.remark(&format!("refused: {}", harmless(&refusal.to_string())))?,
            Event::SubscriptionLost { channel, refusal } => {
                let refusal = harmless(&refusal.to_string());
                self.screen.remark(&format!("the server took {} no more: {refusal}", harmless(&channel)))?;
            }
            Event::MessagesLost { channel } => self.screen.remark(&show::lost_line(&channel))?,
            Event::State(state) => self.screen.remark(&show::state_line(&state))?,
            Event::TokenEnding => self.screen.remark(show::TOKEN_ENDING)?,
            Event::TokenNotRenewed(refusal) => self.screen.remark(&show::not_renewed_line(&refusal))?,
            _ => {}
        }
        Ok(())
    }
}

/// One message with a part for each file.
fn upload(files: &[PathBuf]) -> Result<Message, Failure> {
    let mut message = Message::new("upload")?;
    for file in files {
        let body = read_file(file)?;
        let kind = mime_guess::from_path(file).first_raw().unwrap_or("application/octet-stream");
        message.add_part(&[("filename", &file_name(file)), ("content-type", kind)], &body)?;
    }
    Ok(message)
}

/// The name without its folders, fit for a header.
fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().replace(|c: char| c.is_control(), "-")
}
