//! What is looked up when the metrics are asked for: the generations and what their plugins use.

use std::{fmt, fs, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::swap::status::Status;

/// The generations of a host.
pub struct Generations(pub Arc<Status>);

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generations")
    }
}

impl Collector for Generations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (made, failed) = self.0.counts();
        let mut swaps =
            family(&mut encoder, "plugin_swaps", "Attempts to swap.", MetricType::Counter)?;
        for (result, count) in [("ok", made), ("failed", failed)] {
            ConstCounter::new(count).encode(swaps.encode_family(&[("result", result)])?)?;
        }
        let active = self.0.active();
        let mut generation = family(
            &mut encoder,
            "generation",
            "Number of the generation that serves, by its plugin.",
            MetricType::Gauge,
        )?;
        let labels = [("plugin", active.plugin.name())];
        gauge(active.number, generation.encode_family(&labels)?)?;

        let mut loaded = active.setup.registry().ready();
        // One that was chosen by its path is not in the registry.
        // And where the registry has a newer build, this is the one that serves.
        for generation in [self.0.previous(), Some(active)].into_iter().flatten() {
            loaded.retain(|plugin| plugin.name() != generation.plugin.name());
            loaded.push(generation.plugin.clone());
        }
        let mut instances =
            family(&mut encoder, "plugin_instances", "Instances that exist.", MetricType::Gauge)?;
        for plugin in &loaded {
            let labels = [("plugin", plugin.name())];
            gauge(plugin.usage().instances() as u64, instances.encode_family(&labels)?)?;
        }
        let help = "The most linear memory that one instance has had.";
        let unit = Some(&Unit::Bytes);
        let mut memory =
            encoder.encode_descriptor("plugin_memory", help, unit, MetricType::Gauge)?;
        for plugin in &loaded {
            let labels = [("plugin", plugin.name())];
            gauge(plugin.usage().memory_bytes_max() as u64, memory.encode_family(&labels)?)?;
        }
        let resident = encoder.encode_descriptor(
            "process_resident_memory",
            "Memory of the process that is in RAM.",
            unit,
            MetricType::Gauge,
        )?;
        gauge(resident_bytes(), resident)
    }
}

fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &'a str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

fn gauge(value: u64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
}

/// Resident memory by `/proc/self/statm`, whose second number counts pages (proc_pid_statm(5)).
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
