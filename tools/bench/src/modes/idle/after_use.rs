//! What idle connections cost after traffic: buffers that a server does not give back.

use std::time::Instant;

use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role},
    failure::Failure,
    load::Load,
    procfs,
};

/// Bytes of a message's body.
const BODY_BYTES: usize = 16 * 1024;
/// How much is published to a stalled connection of lhttpd: more than the kernel keeps on both sides, and less than
/// `outbox-max`, so that it waits in the server and the connection stays open.
const LHTTP_STALL_BYTES: usize = 768 * 1024;
/// The same for the other servers, whose buffers the kernel lets grow to 4 MiB.
const STALL_BYTES: usize = 8 * 1024 * 1024;
/// Nobody subscribes to it.
const NOWHERE: &str = "nowhere";
const MASK: [u8; 4] = [0x21, 0x43, 0x65, 0x87];

/// The channels of the idle connections, which are the load's first.
pub(super) struct Channels<'a> {
    pub(super) subscribers: usize,
    /// Subscribers of each channel but the last.
    pub(super) size: usize,
    pub(super) name: &'a dyn Fn(usize) -> String,
}

/// How a stall went.
pub(super) struct Stall {
    pub(super) connections: usize,
    /// What the server itself kept for a connection, if the kernel's part is known.
    pub(super) backlog_bytes: Option<f64>,
}

impl Channels<'_> {
    /// Each connection sends one message and receives one.
    pub(super) fn use_all(&self, bench: &Bench, target: &Target, load: &mut Load) -> Result<(), Failure> {
        let body = vec![b'x'; BODY_BYTES];
        let up = target.dialect.publish(NOWHERE, &body, MASK).bytes;
        for index in 0..self.subscribers {
            load.write(index, &up, None)?;
            if index % 1000 == 0 {
                bench.progress.show(&format!("idle: {index} of {} have sent", self.subscribers));
            }
        }
        let publisher = load.open(&[Role::publisher(NOWHERE)], 0, |_| {})?;
        let before = load.deliveries;
        for channel in 0..self.subscribers.div_ceil(self.size) {
            let down = target.dialect.publish(&(self.name)(channel), &body, MASK).bytes;
            load.write(publisher, &down, None)?;
            let due = ((channel + 1) * self.size).min(self.subscribers) as u64;
            await_deliveries(load, before, due)?;
        }
        Ok(())
    }

    /// The first channels, with at least `wanted` subscribers if there are so many, stop reading while messages are
    /// published to them, and then read everything.
    pub(super) fn stall(
        &self,
        bench: &Bench,
        target: &Target,
        load: &mut Load,
        wanted: usize,
    ) -> Result<Stall, Failure> {
        let channels = wanted.div_ceil(self.size).min(self.subscribers.div_ceil(self.size));
        let stalled = (channels * self.size).min(self.subscribers);
        let bytes = if target.dialect == Dialect::Lhttp { LHTTP_STALL_BYTES } else { STALL_BYTES };
        let messages = bytes / BODY_BYTES;
        let publisher = load.connections.len() - 1;
        load.connections[..stalled].iter_mut().for_each(|connection| connection.paused = true);
        let (before, kernel_before) = (load.deliveries, procfs::tcp_memory_bytes());
        for channel in 0..channels {
            bench.progress.show(&format!("idle: a stall of {stalled}, channel {channel} of {channels}"));
            let message = target.dialect.publish(&(self.name)(channel), &vec![b'x'; BODY_BYTES], MASK).bytes;
            for _ in 0..messages {
                load.write(publisher, &message, None)?;
            }
        }
        target.rest();
        let kernel = procfs::tcp_memory_bytes().zip(kernel_before).map(|(after, before)| after.saturating_sub(before));
        for index in 0..stalled {
            load.connections[index].paused = false;
            load.read(index, false, None);
        }
        await_deliveries(load, before, (stalled * messages) as u64)?;
        let waiting = |kernel: u64| ((messages * BODY_BYTES) as f64 - kernel as f64 / stalled as f64).max(0.0);
        Ok(Stall { connections: stalled, backlog_bytes: kernel.map(waiting) })
    }
}

/// Reads until `due` deliveries have come since there were `before`.
fn await_deliveries(load: &mut Load, before: u64, due: u64) -> Result<(), Failure> {
    let mut last = (Instant::now(), load.deliveries);
    while load.deliveries - before < due {
        load.turn(load.patience(), None)?;
        if load.deliveries != last.1 {
            last = (Instant::now(), load.deliveries);
        } else if last.0.elapsed() > load.silence {
            return Err(load.missing(load.deliveries - before, due));
        }
    }
    Ok(())
}
