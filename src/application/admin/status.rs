//! `GET /api/status`: the figures of the server, in one document.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::{
    config::memory,
    engine::stats::{Histogram, Measures, Stats, bounds, declared},
};

use super::{Figures, Process};

/// The document.
pub(super) fn of(figures: &dyn Figures) -> Value {
    let (stats, cores, running, process) = (figures.stats(), figures.cores(), figures.running(), figures.process());
    let (config, plan) = &*running;
    let (started, uptime) = figures.started();
    let mut measures = Measures::default();
    cores.iter().for_each(|(_, of_core)| measures.add(of_core));
    let of_core = |(number, core): (usize, &(Stats, Measures))| a_core(number, plan.cpus.get(number), core);
    let cores: Vec<Value> = cores.iter().enumerate().map(of_core).collect();
    let Process { cpu_seconds, resident_bytes, open_files, open_files_max, .. } = process;
    let has_tls = config.listen.iter().any(|listen| listen.is_tls());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time": unix(SystemTime::now()),
        "started": unix(started),
        "uptime": uptime.as_secs_f64(),
        "connections_max": plan.connections_max,
        "memory": {
            "resident_bytes": resident_bytes,
            "budget_bytes": plan.memory_budget_bytes,
            "kept_bytes": stats.kept_bytes,
            "history_budget_bytes": memory::history_bytes(config, plan.memory_budget_bytes),
        },
        "process": { "cpu_seconds": cpu_seconds, "open_files": open_files, "open_files_max": open_files_max },
        "nats": config.nats.as_ref().map(|_| json!({ "connected": stats.nats_connected > 0 })),
        "upstream": (!config.upstream_allow.is_empty()).then(|| json!({ "workers": config.upstream_workers })),
        "tls": has_tls.then(|| json!({ "days_left": stats.tls_days_left })),
        "latency": {
            "bounds": bounds().map(|bound| if bound.is_finite() { json!(bound) } else { Value::Null }).collect::<Vec<_>>(),
            "turns": a_histogram(&measures.turns),
            "deliveries": a_histogram(&measures.deliveries),
            "handshakes": a_histogram(&measures.handshakes),
        },
        "cores": cores,
        "reasons": reasons(&stats),
        "stats": by_name(&stats),
    })
}

fn unix(time: SystemTime) -> f64 {
    let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    millis as f64 / 1e3
}

fn a_core(number: usize, cpu: Option<&Option<usize>>, (stats, measures): &(Stats, Measures)) -> Value {
    json!({
        "core": number,
        "cpu": cpu.copied().flatten(),
        "connections": stats.connections,
        "subscriptions": stats.subscriptions,
        "received": stats.received,
        "delivered": stats.delivered,
        "read_bytes": stats.read_bytes,
        "written_bytes": stats.written_bytes,
        "kept_bytes": stats.kept_bytes,
        "kept_limit_bytes": stats.kept_bytes_max,
        "backlogs": stats.backlogs,
        "stalls": stats.stalls,
        "busy_seconds": measures.turns.seconds(),
    })
}

fn a_histogram(histogram: &Histogram) -> Value {
    json!({ "counts": histogram.buckets().collect::<Vec<_>>(), "seconds": histogram.seconds() })
}

/// The numbers that count by reason: the name of what happened, the reason, the number.
fn reasons(stats: &Stats) -> Map<String, Value> {
    let mut all = Map::new();
    for (declared, number) in declared().zip(stats.values()) {
        if let Some(("reason", reason)) = declared.label {
            let of_metric = all.entry(declared.metric).or_insert_with(|| Value::Object(Map::new()));
            of_metric[reason] = json!(number);
        }
    }
    all
}

fn by_name(stats: &Stats) -> Map<String, Value> {
    declared().zip(stats.values()).map(|(declared, number)| (declared.field.to_owned(), json!(number))).collect()
}
