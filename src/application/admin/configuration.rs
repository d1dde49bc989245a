//! `GET /api/configuration`: the options in use.

use serde_json::{Value, json};

use crate::config::{Config, Declaration, Plan, Preset, Reload};

/// The document. Of secrets it says only that they are set.
pub(super) fn of((config, plan): &(Config, Plan)) -> Value {
    let preset = Config::default();
    let options: Vec<Value> = Config::OPTIONS.iter().map(|option| an_option(option, config, &preset)).collect();
    let rules: Vec<String> = config.channels.iter().map(ToString::to_string).collect();
    json!({
        "options": options,
        "channels": rules,
        "cores": plan.cpus.len(),
        "connections_max": plan.connections_max,
        "memory_bytes": plan.memory_bytes,
        "memory_budget_bytes": plan.memory_budget_bytes,
        "worst_case": plan.worst_case.to_string(),
    })
}

fn an_option(option: &Declaration, config: &Config, preset: &Config) -> Value {
    let default = match option.default {
        Preset::Value(text) | Preset::Words(text) => Some(text),
        Preset::Unset => None,
    };
    json!({
        "name": option.name,
        "section": option.section,
        "value": option.show(config),
        "default": default,
        "is_set": option.differs(config, preset),
        "needs_restart": option.reload == Reload::Restart,
    })
}
