//! Keeps what is measured, and writes it down in the text format of Prometheus (version 0.0.4).
//!
//! A histogram is a row of counters, so that measuring takes a few additions and no memory, however
//! much happens between two looks at it. Names that [`METRICS`] does not list are not kept, nor more than
//! [`SERIES_MAX`] series of one.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use super::table::{Kind, METRICS, Metric};

/// The most series of one metric; more servers in the settings than that are not measured one by one.
pub const SERIES_MAX: usize = 4_096;

/// What is measured in this process. Made the recorder of the process by
/// `metrics::set_global_recorder`.
#[derive(Debug, Clone)]
pub struct Registry {
    families: Arc<[Family]>,
}

/// All series of one metric, by the values of their labels.
#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    series: RwLock<BTreeMap<Box<[String]>, Series>>,
}

#[derive(Debug, Clone)]
enum Series {
    Number(Arc<AtomicU64>),
    Buckets(Arc<Buckets>),
}

/// How many were at most so large as each bound, counted where they belong and added up when shown.
#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// In billionths, so that it is one addition too.
    sum: AtomicU64,
}

impl Default for Registry {
    fn default() -> Self {
        let family = |metric| Family { metric, series: RwLock::default() };
        Self { families: METRICS.iter().map(family).collect() }
    }
}

impl Registry {
    /// All of it, as `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        for family in &*self.families {
            // Writing into a `String` does not fail.
            let _ = family.render(&mut text);
        }
        text
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.families.iter().map(|family| read(&family.series).len()).sum()
    }

    fn series_of(&self, key: &Key) -> Option<Series> {
        let family = self.families.iter().find(|family| family.metric.name == key.name())?;
        family.series_of(key)
    }
}

impl Family {
    fn series_of(&self, key: &Key) -> Option<Series> {
        let values: Box<[String]> = key.labels().map(|label| label.value().to_owned()).collect();
        if let Some(series) = read(&self.series).get(&values) {
            return Some(series.clone());
        }
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SERIES_MAX {
            return None;
        }
        let made = || match self.metric.kind {
            Kind::Counter | Kind::SampledCounter | Kind::Gauge => Series::Number(Arc::default()),
            Kind::Histogram(bounds) => Series::Buckets(Arc::new(Buckets::new(bounds))),
        };
        Some(all.entry(values).or_insert_with(made).clone())
    }

    fn render(&self, text: &mut String) -> fmt::Result {
        let series = read(&self.series);
        if series.is_empty() {
            return Ok(());
        }
        let Metric { name, kind, labels, help } = self.metric;
        let kind_name = match kind {
            Kind::Counter | Kind::SampledCounter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind_name}")?;
        for (values, series) in &*series {
            let labels = labelled(labels, values);
            match (series, kind) {
                (Series::Number(number), Kind::Counter) => {
                    let number = number.load(Ordering::Relaxed);
                    writeln!(text, "{name}{} {number}", braced(&labels))?;
                }
                (Series::Number(number), _) => {
                    let number = f64::from_bits(number.load(Ordering::Relaxed));
                    writeln!(text, "{name}{} {number}", braced(&labels))?;
                }
                (Series::Buckets(buckets), _) => buckets.render(text, name, &labels)?,
            }
        }
        Ok(())
    }
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        // One more, for what is larger than all.
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn render(&self, text: &mut String, name: &str, labels: &str) -> fmt::Result {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut all = 0;
        let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.counts) {
            all += count.load(Ordering::Relaxed);
            writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {all}")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds for people")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / BILLION;
        writeln!(text, "{name}_sum{} {sum}", braced(labels))?;
        writeln!(text, "{name}_count{} {all}", braced(labels))
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds, not negative; what does not fit is cut by `as`"
        )]
        self.sum.fetch_add((value * BILLION) as u64, Ordering::Relaxed);
    }
}

/// Nothing is described: [`METRICS`] does.
impl Recorder for Registry {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.series_of(key) {
            Some(Series::Number(number)) => Counter::from_arc(number),
            Some(Series::Buckets(_)) | None => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.series_of(key) {
            Some(Series::Number(number)) => Gauge::from_arc(number),
            Some(Series::Buckets(_)) | None => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.series_of(key) {
            Some(Series::Buckets(buckets)) => Histogram::from_arc(buckets),
            Some(Series::Number(_)) | None => Histogram::noop(),
        }
    }
}

fn labelled(names: &[&str], values: &[String]) -> String {
    let pairs = names.iter().zip(values);
    pairs
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect::<Vec<_>>()
        .join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

const BILLION: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{REFUSALS, STORE_SECONDS, Value};

    #[test]
    fn what_was_measured_is_shown_as_prometheus_reads_it() {
        let registry = Registry::default();
        metrics::with_local_recorder(&registry, || {
            REFUSALS.counter(["code".into()]).increment(2);
            REFUSALS.counter([Value::configured("a \"b\"\\\n")]).increment(1);
            let took = STORE_SECONDS.histogram(["sweep".into(), "done".into()]);
            for seconds in [0.0001, 0.004, 0.004, 9.0] {
                took.record(seconds);
            }
        });
        let expected = "# HELP sekisho_refusals_total Somebody turned away, by reason
# TYPE sekisho_refusals_total counter
sekisho_refusals_total{reason=\"a \\\"b\\\"\\\\\\n\"} 1
sekisho_refusals_total{reason=\"code\"} 2
# HELP sekisho_store_seconds What a verb of the store took; tokens that are in memory cost none
# TYPE sekisho_store_seconds histogram
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"0.0001\"} 1
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"0.0005\"} 1
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"0.002\"} 1
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"0.01\"} 3
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"0.05\"} 3
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"0.25\"} 3
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"1\"} 3
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"5\"} 3
sekisho_store_seconds_bucket{verb=\"sweep\",outcome=\"done\",le=\"+Inf\"} 4
sekisho_store_seconds_sum{verb=\"sweep\",outcome=\"done\"} 9.0081
sekisho_store_seconds_count{verb=\"sweep\",outcome=\"done\"} 4
";
        assert_eq!(registry.render(), expected);
    }

    #[test]
    fn no_metric_has_more_series_than_its_limit_and_none_has_a_foreign_name() {
        let registry = Registry::default();
        metrics::with_local_recorder(&registry, || {
            for number in 0..SERIES_MAX + 100 {
                REFUSALS.counter([Value::configured(&number.to_string())]).increment(1);
            }
            metrics::counter!("somebody_elses_total").increment(1);
        });
        assert_eq!(registry.series(), SERIES_MAX);
    }

    #[test]
    fn the_table_in_the_documents_is_this_one() {
        let document = include_str!("../../../../docs/metrics.md");
        let told: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let kind = |metric: &Metric| match metric.kind {
            Kind::Counter | Kind::SampledCounter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let ours: Vec<_> = METRICS
            .iter()
            .map(|metric| {
                let labels = metric.labels.iter().map(|label| format!("`{label}` "));
                let labels: String = labels.collect();
                format!("| `{}` | {} | {labels}| {} |", metric.name, kind(metric), metric.help)
            })
            .collect();
        assert_eq!(told, ours);
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_that_says_what_it_counts() {
        for (at, metric) in METRICS.iter().enumerate() {
            let others = METRICS.iter().skip(at + 1);
            assert!(others.into_iter().all(|other| other.name != metric.name), "{}", metric.name);
            let is_counted = matches!(metric.kind, Kind::Counter | Kind::SampledCounter);
            assert_eq!(metric.name.ends_with("_total"), is_counted, "{}", metric.name);
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
                assert!(bounds.is_sorted(), "{}", metric.name);
            }
        }
    }
}
