//! What the server holds, looked at all the time: memory, open files, threads, processes behind it, its
//! store; and whether the memory is flat.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Result, procfs};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks are a sample.
const LOOKS: u32 = 10;
/// More than this, in percent of the mean, is growth and not flat. The allocator takes long to find its
/// size; what is lost with each call shows all the same: twenty bytes would be more.
const FLAT_PERCENT_PER_HOUR: f64 = 15.0;

/// All that is counted in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Duration,
    /// The least of those ten seconds: hashing a password takes 19 MiB for a moment.
    rss_kib: u64,
    /// The same without what is shared.
    pss_kib: u64,
    files: u64,
    threads: u64,
    children: u64,
    store_kib: u64,
    wal_kib: u64,
    streams: u64,
}

/// Looks for ten seconds.
pub(super) async fn sample(
    pid: u32,
    folder: &Path,
    began_at: Instant,
    streams: u64,
) -> Result<Sample> {
    let (mut rss_kib, mut pss_kib) = (u64::MAX, u64::MAX);
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK_EVERY).await;
        rss_kib = rss_kib.min(procfs::resident_kib(pid)?.0);
        pss_kib = pss_kib.min(procfs::proportional_kib(pid)?);
    }
    let kib = |name: &str| {
        std::fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len() / 1024)
    };
    Ok(Sample {
        at: began_at.elapsed(),
        rss_kib,
        pss_kib,
        files: procfs::entries(pid, "fd")?,
        threads: procfs::entries(pid, "task")?,
        children: u64::try_from(procfs::children(pid)?.len())?,
        store_kib: kib("sekisho.db"),
        wal_kib: kib("sekisho.db-wal"),
        streams,
    })
}

impl Sample {
    pub(super) const HEAD: &str =
        "seconds,rss_kib,pss_kib,files,threads,children,store_kib,wal_kib,streams\n";

    /// A line below [`Self::HEAD`].
    pub(super) fn line(&self) -> String {
        let Self { rss_kib, pss_kib, files, threads, children, .. } = self;
        let Self { store_kib, wal_kib, streams, .. } = self;
        let seconds = self.at.as_secs();
        format!(
            "{seconds},{rss_kib},{pss_kib},{files},{threads},{children},{store_kib},{wal_kib},{streams}\n"
        )
    }
}

/// What is said of all samples after the warm-up.
pub(super) struct Seen {
    pub text: String,
    pub is_flat: bool,
}

pub(super) fn seen(samples: &[Sample], warm_up: Duration) -> Result<Seen> {
    let counted: Vec<_> = samples.iter().filter(|sample| sample.at >= warm_up).collect();
    let (Some(first), Some(last)) = (counted.first(), counted.last()) else {
        return Err("there is no sample after the warm-up".into());
    };
    let columns: [(&str, fn(&Sample) -> u64); 8] = [
        ("RSS, KiB", |sample| sample.rss_kib),
        ("PSS, KiB", |sample| sample.pss_kib),
        ("open descriptors", |sample| sample.files),
        ("threads", |sample| sample.threads),
        ("processes behind it", |sample| sample.children),
        ("store, KiB", |sample| sample.store_kib),
        ("its WAL, KiB", |sample| sample.wal_kib),
        ("streams held", |sample| sample.streams),
    ];
    let mut text = String::from(
        "| after the warm-up | first | last | least | most | mean | slope an hour | of the mean |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (name, of) in columns {
        let line = Line::through(counted.iter().map(|sample| {
            let value = u32::try_from(of(sample)).unwrap_or(u32::MAX);
            (sample.at.as_secs_f64() / 3_600.0, f64::from(value))
        }));
        let values = counted.iter().map(|sample| of(sample));
        let (lowest, highest) = (values.clone().min().unwrap_or(0), values.max().unwrap_or(0));
        let (first, last) = (of(first), of(last));
        let Line { mean, slope, error } = line;
        writeln!(
            text,
            "| {name} | {first} | {last} | {lowest} | {highest} | {mean:.0} | {slope:+.0} ± {error:.0} | {:+.2} % |",
            line.percent()
        )?;
    }
    let line = Line::through(counted.iter().map(|sample| {
        let value = u32::try_from(sample.rss_kib).unwrap_or(u32::MAX);
        (sample.at.as_secs_f64() / 3_600.0, f64::from(value))
    }));
    let is_flat = line.percent() <= FLAT_PERCENT_PER_HOUR;
    let word = if is_flat { "flat" } else { "**not flat**" };
    writeln!(
        text,
        "\nMemory is {word}: {:+.0} KiB an hour, {:+.2} % of the mean; flat is at most {FLAT_PERCENT_PER_HOUR} %. \
         {} samples of ten seconds, after {} s of warm-up.\n",
        line.slope,
        line.percent(),
        counted.len(),
        warm_up.as_secs(),
    )?;
    Ok(Seen { text, is_flat })
}

/// A straight line by least squares.
#[derive(Debug, Clone, Copy)]
struct Line {
    mean: f64,
    slope: f64,
    /// The slope's standard error.
    error: f64,
}

impl Line {
    fn through(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let count = points.clone().fold(0.0, |count, _| count + 1.0);
        let mean_x = points.clone().map(|(x, _)| x).sum::<f64>() / count;
        let mean = points.clone().map(|(_, y)| y).sum::<f64>() / count;
        let spread = points.clone().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
        let together = points.clone().map(|(x, y)| (x - mean_x) * (y - mean)).sum::<f64>();
        let slope = if spread > 0.0 { together / spread } else { 0.0 };
        let rest = points.map(|(x, y)| (y - mean - slope * (x - mean_x)).powi(2)).sum::<f64>();
        let is_enough = count > 2.0 && spread > 0.0;
        let error = if is_enough { (rest / (count - 2.0) / spread).sqrt() } else { 0.0 };
        Self { mean, slope, error }
    }

    fn percent(&self) -> f64 {
        if self.mean > 0.0 { self.slope / self.mean * 100.0 } else { 0.0 }
    }
}
