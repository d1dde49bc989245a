//! Carries answers from workers to cores. No worker waits for a core: if a core's inbox is full, answers wait here, bounded
//! and in order, and a thread retries until all are delivered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        inbox::{Letter, Mailbox},
        slot::ConnectionKey,
    },
    error::PublishError,
};

use super::{Tally, lock};

/// An answer that its core has not taken after this time is dropped.
const DELIVERY_TIME: Duration = Duration::from_secs(10);
/// The pause between retries.
const DELIVERY_RETRY: Duration = Duration::from_millis(1);
/// Bytes that wait for one core. Further answers are dropped.
const LATE_BYTES_MAX: usize = 4 << 20;
/// Letters that wait for one core. Further answers are dropped.
const LATE_LETTERS_MAX: usize = 4096;

/// The way from the workers to the cores.
#[derive(Debug)]
pub(super) struct Post {
    mailboxes: Vec<Mailbox>,
    tally: Arc<Tally>,
    late: Mutex<Late>,
}

#[derive(Debug)]
struct Late {
    /// By core.
    letters: Vec<Letters>,
    /// A thread retries.
    is_tried: bool,
    /// The cores have ended.
    is_over: bool,
}

/// The answers that wait for one core, each with its bytes and its deadline.
#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<(Letter, usize, Instant)>,
    bytes: usize,
}

impl Post {
    pub(super) fn new(mailboxes: Vec<Mailbox>, tally: Arc<Tally>) -> Arc<Self> {
        let letters = mailboxes.iter().map(|_| Letters::default()).collect();
        Arc::new(Self { mailboxes, tally, late: Mutex::new(Late { letters, is_tried: false, is_over: false }) })
    }

    /// Sends an answer to a connection, after those that wait for the same core. If too much waits, it is dropped and counted.
    pub(super) fn send(self: &Arc<Self>, core: u32, key: ConnectionKey, payload: Vec<u8>) {
        let bytes = payload.len();
        let mut letter = Letter::Send { key, is_text: true, payload };
        let mut late = lock(&self.late);
        if late.is_over {
            return;
        }
        let letters = &mut late.letters[core as usize];
        if letters.waiting.is_empty() {
            letter = match self.mailboxes[core as usize].try_post(letter) {
                Ok(()) => return,
                Err((PublishError::Full, letter)) => letter,
                Err(_) => return self.count_dropped(1),
            };
        }
        if letters.waiting.len() >= LATE_LETTERS_MAX || letters.bytes + bytes > LATE_BYTES_MAX {
            return self.count_dropped(1);
        }
        letters.bytes += bytes;
        letters.waiting.push_back((letter, bytes, Instant::now() + DELIVERY_TIME));
        if !std::mem::replace(&mut late.is_tried, true) {
            let post = Arc::clone(self);
            let spawned = thread::Builder::new().name("lhttp-up-post".to_owned()).spawn(move || post.try_until_empty());
            late.is_tried = spawned.is_ok(); // if not, the next late answer tries to start it
        }
    }

    /// Drops all answers that wait or still come, because the cores have ended.
    pub(super) fn close(&self) {
        let mut late = lock(&self.late);
        late.is_over = true;
        late.letters.iter_mut().for_each(|letters| *letters = Letters::default());
    }

    fn try_until_empty(&self) {
        while !self.try_again() {
            wait_for_cores();
        }
    }

    /// Retries once. True if nothing waits any more.
    fn try_again(&self) -> bool {
        let mut late = lock(&self.late);
        let now = Instant::now();
        for (letters, mailbox) in late.letters.iter_mut().zip(&self.mailboxes) {
            self.count_dropped(letters.post(mailbox, now));
        }
        let is_over = late.letters.iter().all(|letters| letters.waiting.is_empty());
        late.is_tried = !is_over;
        is_over
    }

    fn count_dropped(&self, count: u64) {
        if count > 0 {
            self.tally.count(|stats| stats.upstream_dropped += count);
        }
    }
}

impl Letters {
    /// Posts letters until the core's inbox is full. Gives the number of dropped ones: too late, or the core has ended.
    fn post(&mut self, mailbox: &Mailbox, now: Instant) -> u64 {
        let mut dropped = 0;
        while let Some((letter, bytes, until)) = self.waiting.pop_front() {
            match mailbox.try_post(letter) {
                Ok(()) => {}
                Err((PublishError::Full, letter)) if now < until => {
                    self.waiting.push_front((letter, bytes, until));
                    break;
                }
                Err(_) => dropped += 1,
            }
            self.bytes -= bytes;
        }
        dropped
    }
}

fn wait_for_cores() {
    thread::sleep(DELIVERY_RETRY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        inbox::{Inbox, inbox},
        wake::waker,
    };

    const KEY: ConnectionKey = ConnectionKey { slot: 0, generation: 0 };

    /// A post to this many cores. The polls keep the wakers alive.
    fn post(cores: usize) -> (Arc<Post>, Vec<Inbox>, Vec<mio::Poll>) {
        let polls: Vec<_> = (0..cores).map(|_| mio::Poll::new().unwrap()).collect();
        let ends = polls.iter().map(|poll| inbox(waker(poll.registry(), mio::Token(0)).unwrap()));
        let (mailboxes, inboxes) = ends.unzip();
        (Post::new(mailboxes, Arc::default()), inboxes, polls)
    }

    fn wait_for(inbox: &Inbox) -> Vec<u8> {
        let deadline = Instant::now() + DELIVERY_TIME;
        while Instant::now() < deadline {
            if let Some(Letter::Send { payload, .. }) = inbox.take() {
                return payload;
            }
            thread::sleep(DELIVERY_RETRY);
        }
        panic!("no letter comes");
    }

    fn dropped(post: &Post) -> u64 {
        lock(&post.tally.counts).upstream_dropped
    }

    #[test]
    fn a_core_that_takes_nothing_keeps_no_worker_from_the_others_and_gets_its_letters_in_order() {
        let (post, inboxes, _polls) = post(2);
        let large = |number: u8| vec![number; 1 << 20];
        // 8 MiB are in the inbox, 4 wait for it, and one is too much.
        (0..13).for_each(|number| post.send(0, KEY, large(number)));
        assert_eq!(dropped(&post), 1);
        post.send(1, KEY, b"quick".to_vec());
        assert!(matches!(inboxes[1].take(), Some(Letter::Send { payload, .. }) if payload == b"quick"));
        let came: Vec<u8> = (0..12).map(|_| wait_for(&inboxes[0])[0]).collect();
        assert_eq!(came, (0..12).collect::<Vec<_>>());
        post.send(0, KEY, b"again".to_vec());
        assert_eq!(wait_for(&inboxes[0]), b"again");
        assert_eq!(dropped(&post), 1);
    }

    #[test]
    fn what_waits_for_a_core_that_has_ended_or_for_too_long_is_dropped_and_counted() {
        let (post, mut inboxes, _polls) = post(1);
        (0..10).for_each(|_| post.send(0, KEY, vec![0; 1 << 20]));
        let late = Instant::now() + DELIVERY_TIME;
        let taken = std::mem::take(&mut lock(&post.late).letters[0]);
        assert_eq!(taken.waiting.len(), 2);
        let mut letters = taken;
        assert_eq!((letters.post(&post.mailboxes[0], late - DELIVERY_TIME), letters.waiting.len()), (0, 2));
        assert_eq!((letters.post(&post.mailboxes[0], late), letters.waiting.len(), letters.bytes), (2, 0, 0));
        while inboxes[0].take().is_some() {}
        inboxes.clear();
        post.send(0, KEY, b"nobody".to_vec());
        assert_eq!(dropped(&post), 1);
        post.close();
        post.send(0, KEY, b"nobody".to_vec());
        assert_eq!(dropped(&post), 1, "a server that has stopped owes no answers");
    }
}
