//! Metrics of the process, under the names that Prometheus' client libraries give them, and what was built.

use crate::prometheus::labels::BuildLabels;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// Registers a gauge that is 1, whose labels say what was built.
pub(crate) fn register_build_info(registry: &mut Registry) {
    let info = Family::<BuildLabels, Gauge>::default();
    info.get_or_create(&BuildLabels {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("SGL_ROUTER_REVISION"),
        rustc: env!("SGL_ROUTER_RUSTC"),
    })
    .set(1);
    registry.register("build_info", "What was built: always 1, the labels say it", info);
}

/// The metrics of the process, which have no prefix of the router's. They are read when they are rendered.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector));
    registry
}

/// What the operating system says about the process. What it does not say is absent.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct ProcessFigures {
    /// CPU time in user and system mode, in seconds.
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    threads: Option<f64>,
    /// Unix seconds.
    start_time: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = ProcessFigures::read();
        if let Some(seconds) = figures.cpu_seconds {
            let help = "CPU time of the process in user and system mode";
            let descriptor =
                encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(descriptor)?;
        }
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory of the process", figures.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory of the process", figures.virtual_bytes),
            ("process_threads", "Threads of the process", figures.threads),
            ("process_start_time_seconds", "When the process started, in Unix seconds", figures.start_time),
            ("process_open_fds", "Open file descriptors", figures.open_fds),
            ("process_max_fds", "Most file descriptors that may be open", figures.max_fds),
        ] {
            if let Some(value) = value {
                let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(descriptor)?;
            }
        }
        Ok(())
    }
}

impl ProcessFigures {
    /// The figures of this process, from `/proc`.
    #[cfg(target_os = "linux")]
    fn read() -> Self {
        use procfs::process::{LimitValue, Process};
        let Ok(process) = Process::myself() else { return Self::default() };
        let open_fds = process.fd_count().ok().map(|count| count as f64);
        let max_fds = process.limits().ok().map(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(limit) => limit as f64,
            LimitValue::Unlimited => f64::INFINITY,
        });
        let Ok(stat) = process.stat() else { return Self { open_fds, max_fds, ..Self::default() } };
        let ticks = procfs::ticks_per_second() as f64;
        let boot = procfs::boot_time_secs().ok();
        Self {
            cpu_seconds: Some((stat.utime + stat.stime) as f64 / ticks),
            resident_bytes: Some((stat.rss * procfs::page_size()) as f64),
            virtual_bytes: Some(stat.vsize as f64),
            threads: Some(stat.num_threads as f64),
            start_time: boot.map(|boot| boot as f64 + stat.starttime as f64 / ticks),
            open_fds,
            max_fds,
        }
    }

    /// Other systems have no `/proc`.
    #[cfg(not(target_os = "linux"))]
    fn read() -> Self {
        Self::default()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn figures_are_those_of_this_process() {
        let figures = ProcessFigures::read();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let started = figures.start_time.unwrap();
        assert!(started <= now + 1.0 && now - started < 24.0 * 3600.0, "started {started}, now {now}");
        assert!(figures.resident_bytes.unwrap() > 1e6 && figures.resident_bytes < figures.virtual_bytes);
        assert!(figures.threads.unwrap() >= 1.0 && figures.cpu_seconds.unwrap() >= 0.0);
        let before = figures.open_fds.unwrap();
        let held: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let after = ProcessFigures::read().open_fds.unwrap();
        assert!(after >= before + 100.0 && after <= figures.max_fds.unwrap(), "{before}, {after}");
        drop(held);
    }
}
