//! How far a run has come at which time, and the rates that follow from it.

/// One run over a topic: how many events were applied, seconds after the process was started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// Events of the whole run.
    pub(crate) total: u64,
    /// Seconds and events, both rising; the last point has all events.
    pub(crate) points: Vec<(f64, u64)>,
}

impl Timeline {
    /// Seconds from the process's start to the last commit.
    pub(crate) fn seconds(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |point| point.0)
    }

    /// Events a second from the process's start to the last commit.
    pub(crate) fn whole(&self) -> f64 {
        self.total as f64 / self.seconds()
    }

    /// Events a second from the first point with at least `events` events to the last commit.
    fn rate_from(&self, events: u64) -> f64 {
        let Some(&(since, done)) = self.points.iter().find(|point| point.1 >= events) else { return f64::NAN };
        (self.total - done) as f64 / (self.seconds() - since)
    }

    /// Events a second from the first commit to the last: without what a process does once, when it starts.
    pub(crate) fn steady(&self) -> f64 {
        self.rate_from(1)
    }

    /// Events a second of the second half.
    pub(crate) fn second_half(&self) -> f64 {
        self.rate_from(self.total / 2)
    }
}

/// The middle of the numbers, NaN where there are none.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    quantile(numbers, 0.5)
}

/// The number below which the given part of the numbers lies; NaN where there are none.
pub(crate) fn quantile(numbers: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len().saturating_sub(1) as f64 * part).round() as usize;
    numbers.get(at).copied().unwrap_or(f64::NAN)
}
