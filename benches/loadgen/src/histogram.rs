//! Latencies, counted in buckets that are at most 1.6 % wide.

/// Buckets of each power of two.
const STEPS: usize = 64;

/// A log-linear histogram of nanoseconds.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; STEPS * 60], count: 0, max: 0 }
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// The value that a share of all does not exceed, in microseconds; 0 of none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            passed += count;
            if passed >= wanted {
                return floor_of(at) as f64 / 1e3;
            }
        }
        0.0
    }

    /// The greatest value, in microseconds.
    pub(crate) fn max(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let power = value.ilog2() as usize;
    (power - 5) * STEPS + (value >> (power - 6)) as usize % STEPS
}

/// The least value of a bucket.
fn floor_of(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    ((STEPS + bucket % STEPS) as u64) << (bucket / STEPS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_within_a_sixtieth() {
        for value in (0..100_000).chain((20..60).map(|power| (1 << power) + 12_345)) {
            let floor = floor_of(bucket(value));
            assert!(
                floor <= value && (value - floor) as f64 <= value as f64 / 60.0,
                "{value} {floor}"
            );
        }
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0.0);
        (1..=60_000).for_each(|us| histogram.add(us * 1000));
        let near = |at: f64, what: f64| (at - what).abs() < what / 60.0;
        assert!(
            near(histogram.quantile(0.5), 30_000.0) && near(histogram.quantile(0.99), 59_400.0)
        );
        assert_eq!(histogram.max(), 60_000.0);
    }
}
