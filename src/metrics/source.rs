//! The values of the metrics, gathered each time that somebody asks.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use crate::{
    application::Process,
    config::Config,
    engine::stats::{Histogram, Measures, NUMBERS, Stats, bounds},
    service::{Numbers, process::Reader},
};

use super::families::{Family, OfCore, OfProcess, Times, Type, Values, families};

/// The metrics of one server.
#[derive(Debug)]
pub(super) struct Source {
    numbers: Arc<Numbers>,
    families: Vec<Family>,
    process: Reader,
}

/// The numbers of a moment.
struct Snapshot {
    values: [u64; NUMBERS],
    times: Measures,
    cores: Vec<(Stats, Measures)>,
    process: Process,
}

/// One label and its value.
struct Label<'a>(&'a str, &'a str);

/// A number with or without a fraction.
#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

impl Source {
    /// The metrics of a server with these options: those of what it does not have are left out, because a number would
    /// say that it has none of them.
    pub(super) fn new(numbers: Arc<Numbers>, config: &Config) -> Self {
        let mut left_out = Vec::new();
        left_out.extend((!numbers.has_tls()).then_some("lhttp_tls_certificate_"));
        left_out.extend(config.nats.is_none().then_some("lhttp_nats_"));
        left_out.extend(config.upstream_allow.is_empty().then_some("lhttp_upstream_"));
        let mut families = families();
        families.retain(|family| !left_out.iter().any(|prefix| family.name.starts_with(prefix)));
        Self { numbers, families, process: Reader::new() }
    }

    fn snapshot(&self) -> Snapshot {
        let stats = self.numbers.stats();
        Snapshot {
            values: stats.values(),
            times: self.numbers.measures(),
            cores: self.numbers.cores().collect(),
            process: self.process.read(stats.connections),
        }
    }

    /// Writes the series of a metric.
    fn write(&self, family: &Family, snapshot: &Snapshot, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let kind = family.kind;
        match &family.values {
            Values::Declared(series) => {
                for &(at, label) in series {
                    let value = Value::Whole(snapshot.values[at]);
                    match label {
                        Some((name, of)) => put(&mut encoder.encode_family(&Label(name, of))?, kind, value)?,
                        None => put(&mut encoder, kind, value)?,
                    }
                }
                Ok(())
            }
            Values::Times(Times::Turns) => put_histogram(&mut encoder, &snapshot.times.turns),
            Values::Times(Times::Deliveries) => put_histogram(&mut encoder, &snapshot.times.deliveries),
            Values::Times(Times::Handshakes) => put_histogram(&mut encoder, &snapshot.times.handshakes),
            Values::OfCore(of) => {
                for (number, core) in snapshot.cores.iter().enumerate() {
                    let number = number.to_string();
                    put(&mut encoder.encode_family(&Label("core", &number))?, kind, of_core(*of, core))?;
                }
                Ok(())
            }
            Values::OfProcess(of) => match of_process(*of, &snapshot.process) {
                Some(value) => put(&mut encoder, kind, value),
                None => Ok(()),
            },
            Values::Version => encoder.encode_info(&Label("version", env!("CARGO_PKG_VERSION"))),
        }
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        for family in &self.families {
            let (unit, name) = family.unit();
            let unit = unit.map(|unit| if unit == "bytes" { Unit::Bytes } else { Unit::Seconds });
            let kind = match family.kind {
                Type::Counter => MetricType::Counter,
                Type::Gauge => MetricType::Gauge,
                Type::Histogram => MetricType::Histogram,
                Type::Info => MetricType::Info,
            };
            let encoder = encoder.encode_descriptor(name, family.help, unit.as_ref(), kind)?;
            self.write(family, &snapshot, encoder)?;
        }
        Ok(())
    }
}

fn of_core(of: OfCore, (stats, times): &(Stats, Measures)) -> Value {
    match of {
        OfCore::Connections => Value::Whole(stats.connections),
        OfCore::Messages => Value::Whole(stats.received),
        OfCore::Turns => Value::Whole(times.turns.count()),
        OfCore::BusySeconds => Value::Real(times.turns.seconds()),
        OfCore::KeptBytes => Value::Whole(stats.kept_bytes),
    }
}

fn of_process(of: OfProcess, process: &Process) -> Option<Value> {
    match of {
        OfProcess::CpuSeconds => process.cpu_seconds.map(Value::Real),
        OfProcess::ResidentBytes => process.resident_bytes.map(Value::Whole),
        OfProcess::VirtualBytes => process.virtual_bytes.map(Value::Whole),
        OfProcess::OpenDescriptors => process.open_files.map(Value::Whole),
        OfProcess::DescriptorsMax => process.open_files_max.map(Value::Whole),
        OfProcess::StartSeconds => process.start_seconds.map(Value::Real),
    }
}

fn put(encoder: &mut MetricEncoder<'_>, kind: Type, value: Value) -> fmt::Result {
    match (kind, value) {
        (Type::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (Type::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (_, Value::Whole(value)) => encoder.encode_gauge(&value),
        (_, Value::Real(value)) => encoder.encode_gauge(&value),
    }
}

fn put_histogram(encoder: &mut MetricEncoder<'_>, times: &Histogram) -> fmt::Result {
    let buckets: Vec<(f64, u64)> = bounds().zip(times.buckets()).collect();
    encoder.encode_histogram::<NoLabelSet>(times.seconds(), times.count(), &buckets, None)
}

impl EncodeLabelSet for Label<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        (self.0, self.1).encode(encoder.encode_label())
    }
}
