//! Processors and filters for tests.

use std::sync::{Arc, Mutex};

use lhttp::{Context, Filter, Processor, Refusal};

use super::wait_for;

/// Lines that a server's cores write and a test reads. Clones share one log.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, line: impl Into<String>) {
        self.0.lock().expect("the lock is not poisoned").push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("the lock is not poisoned").clone()
    }

    /// Waits until there are this many lines, and fails the test if they differ.
    #[track_caller]
    pub(crate) fn wait_for(&self, lines: &[&str]) {
        wait_for(|| self.lines().len() >= lines.len());
        assert_eq!(self.lines(), lines);
    }
}

/// A processor and a filter that records its calls.
pub(crate) struct Recorder {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
}

impl Recorder {
    pub(crate) fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: log.clone() }
    }

    fn record(&self, hook: &str, context: &Context<'_>) {
        let body = String::from_utf8_lossy(context.body());
        self.log.push([self.name, hook, context.command(), &body].join(" ").trim_end().to_owned());
    }
}

impl Processor for Recorder {
    fn on_open(&self, context: &mut Context<'_>) {
        self.record("open", context);
    }

    fn on_message(&self, context: &mut Context<'_>) {
        self.record("message", context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        self.record("close", context);
    }
}

impl Filter for Recorder {
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        self.record("open", context);
        Ok(())
    }

    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        self.record("before", context);
        Ok(())
    }

    fn after_request(&self, context: &mut Context<'_>) {
        self.record("after", context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        self.record("close", context);
    }
}

/// A processor made of one function.
pub(crate) fn on_message(call: impl Fn(&mut Context<'_>) + Send + Sync + 'static) -> impl Processor + 'static {
    OnMessage(call)
}

struct OnMessage<F>(F);

impl<F: Fn(&mut Context<'_>) + Send + Sync> Processor for OnMessage<F> {
    fn on_message(&self, context: &mut Context<'_>) {
        (self.0)(context);
    }
}
