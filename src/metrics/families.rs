//! Every metric: its name, type and meaning. Those of [`Stats`](crate::Stats) are declared there.

use crate::engine::stats::{Kind, declared};

/// What kind of value a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// A metric: all of its series have its name, and differ in a label.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// The name without `_total` and `_info`.
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) help: &'static str,
    /// Where its values stand.
    pub(super) values: Values,
}

/// The name and the value of a label, if there is one.
pub(super) type Label = Option<(&'static str, &'static str)>;

/// Where the values of a metric stand.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// In [`Stats`](crate::Stats): the places of its series among the declared numbers, and their labels.
    Declared(Vec<(usize, Label)>),
    /// In the times of all cores.
    Times(Times),
    /// In the numbers of each core: a series each.
    OfCore(OfCore),
    /// What the system says of the process.
    OfProcess(OfProcess),
    /// The version of this build.
    Version,
}

/// The times that cores measure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    Turns,
    Deliveries,
    Handshakes,
}

/// The numbers that are shown for each core.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfCore {
    Connections,
    Messages,
    Turns,
    BusySeconds,
    KeptBytes,
}

/// The numbers of the process.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfProcess {
    CpuSeconds,
    ResidentBytes,
    VirtualBytes,
    OpenDescriptors,
    DescriptorsMax,
    StartSeconds,
}

impl Family {
    fn new(name: &str, kind: Type, help: &'static str, values: Values) -> Self {
        Self { name: name.to_owned(), kind, help, values }
    }

    /// The unit in which its name ends, and the name before that.
    pub(super) fn unit(&self) -> (Option<&'static str>, &str) {
        let unit = ["bytes", "seconds"].into_iter().find(|unit| self.name.ends_with(unit));
        (unit, unit.map_or(&self.name, |unit| &self.name[..self.name.len() - unit.len() - 1]))
    }

    /// The name as it stands in a query; a histogram's has `_bucket`, `_sum` and `_count` there.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let suffix = match self.kind {
            Type::Counter => "_total",
            Type::Info => "_info",
            Type::Gauge | Type::Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }
}

/// The meanings of the metrics whose series differ in a label.
const LABELLED: [(&str, &str); 9] = [
    ("connections", "Connections open now, by what carries their bytes."),
    ("connections_ended", "Connections that ended, by the first reason for it."),
    ("connections_refused", "Connections refused before they had a place, by reason."),
    ("http_requests_refused", "WebSocket handshakes and requests for `/publish` refused with 403, by the header."),
    ("messages_refused", "Messages refused with an error, by its reason."),
    ("nats_messages_dropped", "Messages for other nodes (out) and from them (in) that were dropped."),
    ("tokens_refused", "Tokens refused with 401, by reason."),
    ("upstream_requests_done", "Requests to upstream servers that have ended, by result."),
    ("upstream_requests_refused", "Requests to upstream servers refused with 503, by the limit."),
];

/// All metrics, in the order of the text.
pub(super) fn families() -> Vec<Family> {
    let mut families = vec![Family::new("lhttp_build", Type::Info, "The version of this server.", Values::Version)];
    for (at, declared) in declared().enumerate().filter(|(_, declared)| declared.kind != Kind::Derived) {
        let name = format!("lhttp_{}", declared.metric);
        if let Some(Family { values: Values::Declared(series), .. }) =
            families.iter_mut().find(|family| family.name == name)
        {
            series.push((at, declared.label));
            continue;
        }
        let kind = if declared.kind == Kind::Counter { Type::Counter } else { Type::Gauge };
        let labelled = LABELLED.iter().find(|(metric, _)| declared.label.is_some() && *metric == declared.metric);
        let help = labelled.map_or_else(|| declared.help, |(_, help)| help);
        families.push(Family { name, kind, help, values: Values::Declared(vec![(at, declared.label)]) });
    }
    families.extend(measured());
    families
}

/// The metrics that are no counters of `Stats`.
fn measured() -> [Family; 14] {
    use Type::{Counter, Gauge, Histogram};
    let times = |name, help, times| Family::new(name, Histogram, help, Values::Times(times));
    let of_core = |name, kind, help, of| Family::new(name, kind, help, Values::OfCore(of));
    let of_process = |name, kind, help, of| Family::new(name, kind, help, Values::OfProcess(of));
    [
        times(
            "lhttp_turn_duration_seconds",
            "The length of a core's turns in which something happened, from the end of the poll to the end of the writes.",
            Times::Turns,
        ),
        times(
            "lhttp_delivery_latency_seconds",
            "For each delivery, the time from the begin of the turn that read the publish, or took it from another core, \
             to the end of the writes that sent it. What a socket does not take at once counts as sent.",
            Times::Deliveries,
        ),
        times(
            "lhttp_handshake_duration_seconds",
            "For each WebSocket handshake, the time from the accept of its connection to the write of its answer.",
            Times::Handshakes,
        ),
        of_core("lhttp_core_connections", Gauge, "Connections of the core now.", OfCore::Connections),
        of_core("lhttp_core_messages_received", Counter, "Messages that the core has received.", OfCore::Messages),
        of_core("lhttp_core_turns", Counter, "Turns of the core in which something happened.", OfCore::Turns),
        of_core(
            "lhttp_core_busy_seconds",
            Counter,
            "Time that the core has spent in these turns. At one second in each second it is saturated.",
            OfCore::BusySeconds,
        ),
        of_core(
            "lhttp_core_kept_bytes",
            Gauge,
            "Bytes that the core keeps for connections now. Each core has the same share of lhttp_kept_limit_bytes.",
            OfCore::KeptBytes,
        ),
        of_process("process_cpu_seconds", Counter, "CPU time of the process, user and system.", OfProcess::CpuSeconds),
        of_process("process_resident_memory_bytes", Gauge, "Resident memory of the process.", OfProcess::ResidentBytes),
        of_process("process_virtual_memory_bytes", Gauge, "Virtual memory of the process.", OfProcess::VirtualBytes),
        of_process(
            "process_open_fds",
            Gauge,
            "Open file descriptors of the process. On Linux before 6.2 it is an estimate while there are many.",
            OfProcess::OpenDescriptors,
        ),
        of_process(
            "process_max_fds",
            Gauge,
            "The most file descriptors that the process may have.",
            OfProcess::DescriptorsMax,
        ),
        of_process(
            "process_start_time_seconds",
            Gauge,
            "When the process started, in seconds since 1970.",
            OfProcess::StartSeconds,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_one_name_one_type_and_a_meaning_and_each_series_one_label() {
        let (all, numbers): (_, Vec<_>) = (families(), declared().collect());
        for family in &all {
            let same = all.iter().filter(|other| other.name == family.name).count();
            assert_eq!(same, 1, "{}", family.name);
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(family.name.chars().all(is_plain), "{}", family.name);
            let ends = ["_total", "_count", "_sum", "_bucket", "_info"];
            assert!(!ends.iter().any(|end| family.name.ends_with(end)), "{}", family.name);
            // These would have to be escaped.
            assert!(family.help.ends_with('.') && !family.help.contains(['"', '\\', '\n']), "{}", family.help);
            let Values::Declared(series) = &family.values else { continue };
            let series: Vec<_> = series.iter().map(|&(at, _)| numbers[at]).collect();
            let first = series[0];
            assert!(series.iter().all(|one| one.kind == first.kind), "{}", family.name);
            let name_of = |label: Option<(&'static str, _)>| label.map(|(name, _)| name);
            assert!(series.iter().all(|one| name_of(one.label) == name_of(first.label)), "{}", family.name);
            assert!(series.len() == 1 || first.label.is_some(), "{}", family.name);
            for one in &series {
                assert_eq!(series.iter().filter(|other| other.label == one.label).count(), 1, "{}", one.field);
            }
        }
        for declared in numbers.iter().filter(|declared| declared.kind == Kind::Derived) {
            let name = format!("lhttp_{}", declared.metric);
            assert!(all.iter().any(|family| family.name == name), "{}: there is no {name}", declared.field);
        }
    }

    #[test]
    fn each_metric_with_a_label_has_a_meaning_of_its_own() {
        let labelled = |metric: &str| declared().any(|one| one.metric == metric && one.label.is_some());
        assert!(LABELLED.iter().all(|(metric, _)| labelled(metric)));
        let has_help = |metric: &str| LABELLED.iter().any(|(one, _)| *one == metric);
        assert!(declared().all(|one| one.label.is_none() || has_help(one.metric)));
    }
}
