//! Numbers in order: medians and spreads.

use std::fmt;

/// Measured values of one thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples {
    sorted: Vec<f64>,
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Samples {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Samples { sorted }
    }
}

impl Samples {
    pub(crate) fn iter(&self) -> impl Iterator<Item = f64> {
        self.sorted.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The value below which this share of the values lies; not a number if there are none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else {
            return f64::NAN;
        };
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        self.sorted[rank.saturating_sub(1).min(last)]
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

/// The median, and in brackets the spread.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        write!(
            f,
            "{:.digits$} ({:.digits$} … {:.digits$})",
            self.median(),
            self.quantile(0.0),
            self.max()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let samples: Samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!(samples.quantile(0.0), 1.0);
        assert_eq!(samples.median(), 100.0);
        assert_eq!(samples.quantile(0.99), 198.0);
        assert_eq!(samples.max(), 200.0);
        assert_eq!(format!("{samples:.0}"), "100 (1 … 200)");
        assert!(Samples::default().median().is_nan());
    }
}
