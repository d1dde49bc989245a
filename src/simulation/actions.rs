//! What clients do, besides talking.

use rand::{RngExt, seq::IndexedRandom};
use tungstenite::protocol::frame::coding::Control;

use super::{
    client::{End, SimulatedClient},
    world::World,
};

impl World {
    pub(super) fn connect(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        let socket = self.nodes[node].connect();
        let is_http = self.rng.random_bool(if self.crowd.is_limited() { 0.4 } else { 0.15 });
        let mut client = SimulatedClient::new(self.clients.len(), node, socket, is_http);
        client.is_expendable = self.is_tight;
        client.is_limited = self.crowd.is_limited();
        self.clients.push(client);
        let index = self.clients.len() - 1;
        self.clients[index].bearer = self.first_token(index);
        self.remember(index);
        let dawdles = !is_http && self.rng.random_bool(0.1);
        let client = &mut self.clients[index];
        if dawdles {
            client.dawdle(self.rng.random_range(0..100));
        } else if !is_http {
            client.upgrade();
        }
    }

    /// A client takes one step.
    pub(super) fn act(&mut self) {
        let Some(index) = (0..self.clients.len()).collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        if !self.clients[index].is_alive() || self.clients[index].is_dawdling {
            return;
        }
        if self.clients[index].is_http {
            return if self.rng.random_bool(0.8) { self.post(index) } else { self.ask_health(index) };
        }
        match self.rng.random_range(0..100) {
            0..6 if self.attendance.is_some() => self.ask_who_is_somewhere(index),
            0..70 => self.send_message(index),
            70..76 => {
                for _ in 0..self.rng.random_range(1..25) {
                    self.send_message(index);
                }
            }
            76..82 => self.send_unsound(index),
            82..90 => self.clients[index].send_ping(&mut self.rng),
            90..95 if self.clients[index].is_stalled => self.resume(index),
            90..95 => self.stall(index),
            95..97 => {
                let end = *[End::Close, End::Finish, End::Reset, End::Fault].choose(&mut self.rng).expect("some");
                self.end(index, end);
            }
            _ => {}
        }
    }

    fn stall(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.is_stalled = true;
        self.nodes[client.node].socket(client.socket).room = self.rng.random_range(0..3000);
    }

    pub(super) fn resume(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.is_stalled = false;
        self.nodes[client.node].socket(client.socket).room = usize::MAX;
    }

    pub(super) fn end(&mut self, index: usize, end: End) {
        if !self.clients[index].is_alive() {
            return;
        }
        let client = &mut self.clients[index];
        let end = if (client.is_http || client.is_dawdling) && end == End::Close { End::Finish } else { end };
        match end {
            End::Close => client.send_control(&mut self.rng, Control::Close, &1000u16.to_be_bytes()),
            End::Fault => client.to_send.extend([0xf1, 0x80, 0, 0, 0, 0]), // reserved bits
            End::Finish | End::Reset => {}
        }
        self.clients[index].ended = Some(end);
        self.resume(index);
    }
}
