//! Requests whose answer comes later, because the application asks others first.

#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]

use crate::{
    engine::{
        application::{Answer, Application},
        hub::Hub,
        session::{Incoming, Phase, Unanswered},
        slot::{ConnectionKey, Slot},
    },
    protocol::http::Persistence,
};

impl Hub {
    /// Does not read a connection until its request has its answer.
    pub(super) fn await_answer(&mut self, slot: Slot, unanswered: Unanswered) {
        self.request(slot).unanswered = Some(Box::new(unanswered));
        self.sessions.pause_for_rest(slot);
    }

    /// Answers a request whose route was [`Route::Later`](crate::engine::application::Route::Later). It has no effect if the connection is gone.
    pub(crate) fn answer(&mut self, app: &mut dyn Application, key: ConnectionKey, answer: Answer<'_>) {
        if !self.sessions.is_current(key) || self.sessions[key.slot].phase() != Phase::Http {
            return;
        }
        let Some(Incoming::Http(request)) = self.sessions[key.slot].incoming.as_deref_mut() else { return };
        let Some(unanswered) = request.unanswered.take() else { return };
        let Unanswered { persistence, is_head, reader } = *unanswered;
        let persistence = if answer.closes || self.is_closing() { Persistence::Close } else { persistence };
        let status = answer.status;
        self.push_answer(key.slot, answer, reader.as_deref(), persistence, is_head);
        self.answered(app, key.slot, status, persistence);
        self.sessions.unpause(key);
    }
}
