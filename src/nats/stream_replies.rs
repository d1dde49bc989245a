//! The answers of the cluster's stream, and its live messages.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{
    engine::{
        history::Retention,
        log_limit::LogLimit,
        relay::{ClusterItem, StreamMessage, Way},
    },
    protocol::message::is_lhttp,
};

use super::{
    commands::Commands,
    loads::{Active, Job},
    stream::{Phase, Stream},
    stream_api::{
        Kept, LivePlace, NAME_IN_USE, NO_MESSAGE, NO_PEERS, NOT_CLUSTERED, NOT_ENABLED, NOT_ENABLED_FOR_ACCOUNT,
        NOT_FOUND, Reply, UNAVAILABLE, number as stored,
    },
    stream_info::{StreamInfo, Truth},
    to_cores::ToCores,
};

/// The pause before the stream is asked for again.
const RETRY: Duration = Duration::from_millis(500);
/// The pause before publishes are sent again that nobody has taken.
const NOBODY_PAUSE: Duration = Duration::from_millis(250);
/// Without JetStream for so long at the start, the server cannot do what its rules say.
const HOPELESS_AFTER: Duration = Duration::from_secs(5);
/// How long a new stream waits for servers for all of its copies, before it has one.
const PEERS_WAIT: Duration = Duration::from_secs(10);
/// The most channels whose missing messages are remembered while a core is behind. Past it all are loaded anew.
const MISSED_MAX: usize = 4096;

impl Stream {
    /// Takes a message of the subscription to answers.
    pub(super) fn reply(
        &mut self,
        subject: &[u8],
        (headers, payload): (&[u8], &[u8]),
        commands: &mut Commands,
        to_cores: &mut ToCores,
        now: Instant,
    ) {
        let Some(request) = self.names.request_of(subject) else { return };
        let reply = Reply::parse(headers, payload);
        if request % 2 == 1 {
            self.put_replied(request / 2, reply, now);
        } else if matches!(self.phase, Phase::Asked { request: asked, .. } if asked == request) {
            self.stream_replied(reply, commands, to_cores, now);
        } else if self.state_request.is_some_and(|(asked, _)| asked == request) {
            self.state_replied(reply, now);
        } else if let Some((active, from, is_last)) = self.loads.answered(request, now) {
            self.load_replied(active, (from, is_last), reply, commands, to_cores, now);
        }
    }

    fn put_replied(&mut self, number: u64, reply: Reply, now: Instant) {
        match reply {
            Reply::Value(value) if stored(&value["seq"]).is_some() => self.answered(number, stored(&value["seq"])),
            Reply::NoResponders | Reply::Error(UNAVAILABLE, _) => {
                // The stream has no leader at present, or it is gone. All that is under way goes once more.
                if self.puts_pause.is_none() {
                    self.puts.send_again();
                    self.puts_pause = Some(now + NOBODY_PAUSE);
                    self.phase = Phase::Pausing { until: now };
                }
            }
            Reply::Error(_, text) => self.refuse(number, &text),
            Reply::Value(_) | Reply::Odd => {} // it is sent again
        }
    }

    /// The answer to a question about the stream itself.
    fn stream_replied(&mut self, reply: Reply, commands: &mut Commands, to_cores: &mut ToCores, now: Instant) {
        let Some(wanted) = self.wanted else { return };
        let pause = |stream: &mut Self, why: &str| {
            stream.phase = Phase::Pausing { until: now + RETRY };
            missing(why);
        };
        match reply {
            Reply::Value(value) => match StreamInfo::parse(value) {
                Some(info) => self.found(info, wanted, commands, to_cores, now),
                None => pause(self, "its answer cannot be understood"),
            },
            Reply::Error(NOT_FOUND, _) => {
                let config = self.names.config(wanted, self.replicas);
                let request = self.ask(commands, "CREATE", &config);
                self.phase = Phase::Asked { request, at: now };
            }
            // Another node has made it in this moment.
            Reply::Error(NAME_IN_USE, _) => self.phase = Phase::Pausing { until: now },
            // Servers that start together find each other after a moment.
            Reply::Error(NO_PEERS, text)
                if self.replicas > 1 && now < *self.peers_missing_since.get_or_insert(now) + PEERS_WAIT =>
            {
                pause(self, &text);
            }
            Reply::Error(NO_PEERS | NOT_CLUSTERED, _) if self.replicas > 1 => {
                self.replicas = 1;
                let config = self.names.config(wanted, self.replicas);
                let request = self.ask(commands, "CREATE", &config);
                self.phase = Phase::Asked { request, at: now };
            }
            Reply::Error(NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT, text) => {
                self.is_hopeless = !self.was_there;
                pause(self, &text);
            }
            Reply::Error(_, text) => pause(self, &text),
            Reply::NoResponders => {
                let since = *self.missing_since.get_or_insert(now);
                self.is_hopeless = !self.was_there && now.duration_since(since) >= HOPELESS_AFTER;
                pause(self, "the server has no JetStream");
            }
            Reply::Odd => pause(self, "its answer cannot be understood"),
        }
    }

    fn found(
        &mut self,
        info: StreamInfo,
        wanted: Retention,
        commands: &mut Commands,
        to_cores: &mut ToCores,
        now: Instant,
    ) {
        let had = self.known.last();
        let truth = self.known.judge(&info, now);
        match truth {
            Truth::Current => {}
            // It is asked for again when no other server has answered in time.
            Truth::Leaderless => return missing("its servers choose a leader"),
            Truth::Behind => return missing(&format!("its last message is {}, and {had} is known", info.last)),
            Truth::Lost => {
                log::error!("NATS: JetStream has lost messages: its last one is {}, and was {had} before", info.last);
            }
        }
        match self.names.widened(&info.config, wanted) {
            Ok(None) => {}
            Ok(Some(config)) => {
                let request = self.ask(commands, "UPDATE", &config);
                self.phase = Phase::Asked { request, at: now };
                return;
            }
            Err(why) => {
                self.is_hopeless = !self.was_there;
                self.phase = Phase::Pausing { until: now + RETRY };
                return missing(&why);
            }
        }
        let is_new = self.info.as_ref().is_none_or(|known| known.epoch != info.epoch);
        if is_new {
            let (stream, copies) = (&self.names.stream, info.config["num_replicas"].as_u64().unwrap_or(1));
            log::info!("NATS: the history of channels is in the stream {stream}, which has {copies} copies");
            self.highest = 0;
        }
        self.phase = Phase::Ready;
        (self.was_there, self.missing_since, self.peers_missing_since) = (true, None, None);
        let item = ClusterItem::There { epoch: info.epoch, is_anew: truth == Truth::Lost };
        (0..self.ends.len()).for_each(|core| to_cores.tell_home(core, &item));
        self.info = Some(info);
    }

    /// The state of the stream, for loads that have everything, as it seems.
    fn state_replied(&mut self, reply: Reply, now: Instant) {
        let info = if let Reply::Value(value) = reply { StreamInfo::parse(value) } else { None };
        let epoch = self.info.as_ref().map(|info| info.epoch);
        let info = info.filter(|info| Some(info.epoch) == epoch);
        let truth = info.as_ref().map(|info| self.known.judge(info, now));
        if truth == Some(Truth::Leaderless) {
            return; // the leader may answer, too
        }
        self.state_request = None;
        let ending = self.loads.take_ending();
        match (info, truth) {
            (Some(info), Some(Truth::Current)) => {
                ending.into_iter().for_each(|job| self.loads.checks(job, info.last));
                self.info = Some(info);
            }
            // The stream is gone, or another one, or the server that has answered is behind.
            _ => {
                self.phase = Phase::Pausing { until: if truth.is_some() { now + RETRY } else { now } };
                ending.into_iter().for_each(|job| self.loads.put_back(job));
            }
        }
    }

    /// A message of a channel that is loaded, or the news that there is no other from a number on.
    fn load_replied(
        &mut self,
        mut active: Active,
        (from, is_last): (u64, bool),
        reply: Reply,
        commands: &mut Commands,
        to_cores: &mut ToCores,
        now: Instant,
    ) {
        let kept = match &reply {
            Reply::Error(NO_MESSAGE, _) => return self.load_has_all(active.job, to_cores),
            Reply::Value(value) => Kept::parse(value, &self.names, SystemTime::now()),
            _ => None,
        };
        let Some(kept) = kept else {
            // The stream is gone, or has no leader. The load's time is limited.
            self.loads.put_back(active.job);
            if matches!(self.phase, Phase::Ready) {
                self.phase = Phase::Pausing { until: now + RETRY };
            }
            return;
        };
        // Answers may come in another order than their questions. One that skips numbers is asked for again.
        let job = &mut active.job;
        if from <= job.next && kept.number >= job.next {
            self.known.saw(kept.number);
            if is_message(&kept.message) {
                let message = StreamMessage {
                    name: job.name.as_bytes(),
                    number: kept.number,
                    way: Way::Loaded { load: job.load.id, age: kept.age },
                    is_text: simdutf8::basic::from_utf8(&kept.message).is_ok(),
                    except: kept.publish.and_then(|publish| self.puts.except(publish)),
                    message: &kept.message,
                };
                if !to_cores.deliver_to_home(job.core, message) {
                    return self.loads.put_back(active.job);
                }
            }
            job.brought(kept.number, kept.message.len(), now);
            match job.checked {
                // It was stored in the meantime.
                Some(last) if kept.number > last => return self.load_has_ended(&active.job, to_cores),
                _ => job.checked = None,
            }
        }
        match is_last {
            true => self.ask_for_load(commands, active.into_job(), now),
            false => self.loads.waits_for_more(active),
        }
    }

    /// A channel has no more messages, as the stream says.
    fn load_has_all(&mut self, job: Job, to_cores: &mut ToCores) {
        match job.checked {
            Some(_) => self.load_has_ended(&job, to_cores),
            None => self.loads.ends(job),
        }
    }

    /// Takes a live message of the stream.
    pub(super) fn live(&mut self, subject: &[u8], (headers, payload): (&[u8], &[u8]), to_cores: &mut ToCores) {
        let (Some(channel), Some(place)) =
            (self.names.channel_of_live(subject), LivePlace::parse(headers, &self.names))
        else {
            return;
        };
        if self.info.is_none() || !is_message(payload) {
            return;
        }
        self.known.saw(place.number);
        self.is_suspicious |= place.number < self.highest;
        self.highest = self.highest.max(place.number);
        let core = self.homes.of(channel) as usize;
        let message = StreamMessage {
            name: channel,
            number: place.number,
            way: Way::Live { before: place.before },
            is_text: simdutf8::basic::from_utf8(payload).is_ok(),
            except: place.publish.and_then(|publish| self.puts.except(publish)),
            message: payload,
        };
        if !to_cores.deliver_to_home(core, message) {
            self.has_missed_more |= self.missed.len() >= MISSED_MAX;
            if !self.has_missed_more {
                self.missed.insert((core, channel.into()));
            }
        }
    }
}

/// Whether a message can get the lines that the server writes. Other programs may publish to the stream, too.
fn is_message(payload: &[u8]) -> bool {
    is_lhttp(payload) && memchr::memmem::find(payload, b"\r\n").is_some()
}

fn missing(why: &str) {
    static LIMIT: LogLimit = LogLimit::new();
    LIMIT.say(|more| log::warn!("NATS: the history of channels needs JetStream: {why}{more}"));
}
