//! From two answers of a server to the figures in between.

use serde_json::{Map, Value, json};

/// What a server does.
pub(super) struct Figures {
    /// The later answer.
    next: Value,
    /// The busiest channels and the slowest readers.
    pub(super) top: Value,
    pub(super) received: f64,
    pub(super) delivered: f64,
    pub(super) read_bytes: f64,
    pub(super) written_bytes: f64,
    /// The part of one CPU, if the system tells it.
    pub(super) cpu: Option<f64>,
    /// Seconds from the read of a publish to its delivery: of the half, of 99 % and of 99.9 %; none without deliveries.
    pub(super) latency: [Option<f64>; 3],
    pub(super) cores: Vec<Core>,
    /// What ended or was refused, why, how often in between and since the start. Only what has happened.
    pub(super) reasons: Vec<(String, String, u64, u64)>,
}

/// The most cores that are shown.
const CORES_MAX: usize = 1024;

/// What one core does.
pub(super) struct Core {
    /// The part of the time.
    pub(super) busy: f64,
    pub(super) received: f64,
    pub(super) delivered: f64,
    /// Its answer.
    pub(super) next: Value,
}

/// A number at a path of names.
pub(super) fn number(value: &Value, path: &[&str]) -> f64 {
    path.iter().fold(value, |value, name| &value[*name]).as_f64().unwrap_or(0.0)
}

impl Figures {
    /// # Errors
    /// A sentence: the answers are not those of one run of lhttpd.
    pub(super) fn between(last: &Value, next: &Value, top: &Value) -> Result<Self, String> {
        let seconds = number(next, &["uptime"]) - number(last, &["uptime"]);
        let counts = |value: &Value| -> Vec<f64> {
            let counts = value["latency"]["deliveries"]["counts"].as_array();
            counts.into_iter().flatten().filter_map(Value::as_f64).collect()
        };
        let (before, after) = (counts(last), counts(next));
        if !next["stats"].is_object() || before.len() != after.len() {
            return Err("the answer is not one of lhttpd".to_owned());
        }
        if number(next, &["uptime"]) <= 0.0 {
            return Err("the answer is not one of lhttpd".to_owned());
        }
        if seconds <= 0.0 || last["started"] != next["started"] {
            // The next look has something to compare with.
            return Self::between(&without_counts(next), next, top);
        }
        let rate = |path: &[&str]| (number(next, path) - number(last, path)).max(0.0) / seconds;
        let bounds: Vec<Option<f64>> =
            next["latency"]["bounds"].as_array().into_iter().flatten().map(Value::as_f64).collect();
        let news: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let cores = next["cores"].as_array().into_iter().flatten().take(CORES_MAX).enumerate().map(|(index, core)| {
            let before = &last["cores"][index];
            let rate = |name| (number(core, &[name]) - number(before, &[name])).max(0.0) / seconds;
            let (busy, received, delivered) = (rate("busy_seconds"), rate("received"), rate("delivered"));
            Core { busy, received, delivered, next: core.clone() }
        });
        Ok(Self {
            received: rate(&["stats", "received"]),
            delivered: rate(&["stats", "delivered"]),
            read_bytes: rate(&["stats", "read_bytes"]),
            written_bytes: rate(&["stats", "written_bytes"]),
            cpu: next["process"]["cpu_seconds"].as_f64().map(|_| rate(&["process", "cpu_seconds"])),
            latency: [0.5, 0.99, 0.999].map(|share| percentile(&bounds, &news, share)),
            cores: cores.collect(),
            reasons: reasons(&last["reasons"], &next["reasons"]),
            next: next.clone(),
            top: top.clone(),
        })
    }

    /// A number of the server's answer.
    pub(super) fn number(&self, path: &[&str]) -> f64 {
        number(&self.next, path)
    }

    /// A part of the server's answer.
    pub(super) fn part(&self, name: &str) -> &Value {
        &self.next[name]
    }

    /// The figures for a script.
    pub(super) fn json(&self) -> Value {
        let cores = self.cores.iter().map(|core| {
            json!({
                "core": core.next["core"],
                "busy": core.busy,
                "connections": core.next["connections"],
                "subscriptions": core.next["subscriptions"],
                "messages_in_per_second": core.received,
                "deliveries_per_second": core.delivered,
                "backlogs": core.next["backlogs"],
                "kept_bytes": core.next["kept_bytes"],
            })
        });
        let mut reasons = Map::new();
        for (what, reason, _, number) in &self.reasons {
            let of_what = reasons.entry(what.clone()).or_insert_with(|| json!({}));
            of_what[reason] = json!(number);
        }
        let [p50, p99, p999] = self.latency;
        json!({
            "version": self.next["version"],
            "time": self.next["time"],
            "uptime": self.next["uptime"],
            "connections": self.next["stats"]["connections"],
            "connections_max": self.next["connections_max"],
            "messages_in_per_second": self.received,
            "deliveries_per_second": self.delivered,
            "read_bytes_per_second": self.read_bytes,
            "written_bytes_per_second": self.written_bytes,
            "delivery_seconds": { "p50": p50, "p99": p99, "p99.9": p999 },
            "cpu": self.cpu,
            "memory": self.next["memory"],
            "open_files": self.next["process"]["open_files"],
            "nats": self.next["nats"],
            "cores": cores.collect::<Vec<_>>(),
            "busiest": self.top["busiest"],
            "slowest": self.top["slowest"],
            "reasons": reasons,
        })
    }
}

/// An answer as of the start of the server.
fn without_counts(next: &Value) -> Value {
    let zeros: Vec<u64> = next["latency"]["deliveries"]["counts"].as_array().into_iter().flatten().map(|_| 0).collect();
    json!({ "uptime": 0, "started": next["started"], "latency": { "deliveries": { "counts": zeros } } })
}

fn reasons(last: &Value, next: &Value) -> Vec<(String, String, u64, u64)> {
    let mut all = Vec::new();
    for (what, reasons) in next.as_object().into_iter().flatten() {
        for (reason, number) in reasons.as_object().into_iter().flatten() {
            let (number, before) = (number.as_u64().unwrap_or(0), last[what][reason].as_u64().unwrap_or(0));
            if number > 0 {
                all.push((what.clone(), reason.clone(), number.saturating_sub(before), number));
            }
        }
    }
    all.sort_by_key(|(.., news, number)| std::cmp::Reverse((*news, *number)));
    all
}

/// The part `share` of the times is not above this, by the numbers of times in a histogram's buckets; none without times.
/// Inside of a bucket the times count as spread evenly over the powers.
fn percentile(bounds: &[Option<f64>], counts: &[f64], share: f64) -> Option<f64> {
    let total: f64 = counts.iter().sum();
    let mut rank = share * total;
    let (at, count) = counts.iter().enumerate().find(|(_, count)| {
        rank -= **count;
        rank <= 0.0 && **count > 0.0
    })?;
    let bound = |at: Option<usize>| at.and_then(|at| bounds.get(at).copied().flatten());
    let low = bound(at.checked_sub(1));
    let high = bound(Some(at)).or(low)?;
    let low = low.unwrap_or(high / 2.0);
    Some(low * (high / low).powf(1.0 + rank / count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_in_the_bucket_that_has_it() {
        let bounds = [Some(1.0), Some(2.0), Some(5.0), None];
        let of = |counts: [f64; 4], share| percentile(&bounds, &counts, share);
        assert_eq!(of([0.0; 4], 0.5), None);
        assert_eq!(of([0.0, 10.0, 0.0, 0.0], 1.0), Some(2.0));
        let half = of([0.0, 10.0, 0.0, 0.0], 0.5).unwrap();
        assert!((half - 2f64.sqrt()).abs() < 1e-9, "{half}");
        assert!(of([90.0, 0.0, 9.0, 1.0], 0.9).is_some_and(|value| value <= 1.0));
        assert!(of([90.0, 0.0, 9.0, 1.0], 0.95).is_some_and(|value| (2.0..=5.0).contains(&value)));
        assert_eq!(of([90.0, 0.0, 9.0, 1.0], 0.999), Some(5.0), "longer times have no bound");
    }

    #[test]
    fn an_answer_of_another_server_is_refused_and_a_new_start_is_compared_with_nothing() {
        let top = json!({ "busiest": [], "slowest": [] });
        assert!(Figures::between(&json!({}), &json!({}), &top).is_err());
        for uptime in [json!(0), json!(-1), json!("x"), json!(null)] {
            let strange = json!({ "uptime": uptime, "stats": {}, "cores": { "a": 1 }, "latency": [], "reasons": [1] });
            assert!(Figures::between(&strange, &strange, &top).is_err(), "{strange}");
        }
        let answer = |started: u64, uptime: u64, received: u64| {
            json!({
                "started": started, "uptime": uptime, "stats": { "received": received },
                "latency": { "bounds": [1.0, null], "deliveries": { "counts": [0, 0] } },
                "reasons": { "messages_refused": { "forbidden": received } }, "cores": [],
            })
        };
        let figures = Figures::between(&answer(1, 10, 100), &answer(1, 12, 300), &top).unwrap();
        assert_eq!(figures.received, 100.0);
        assert_eq!(figures.reasons, [("messages_refused".to_owned(), "forbidden".to_owned(), 200, 300)]);
        let anew = Figures::between(&answer(1, 10, 100), &answer(9, 2, 30), &top).unwrap();
        assert_eq!(anew.received, 15.0);
    }
}
