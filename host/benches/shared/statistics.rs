//! The middle and the ends of several measurements.

use std::fmt;

/// Several measurements of one thing.
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value that `part` of the others do not exceed: 0 is the lowest, 1 the highest.
    pub fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[((self.0.len() as f64 * part) as usize).min(last)]
    }

    /// The median with the lowest and the highest value, with `digits` decimals.
    pub fn show(&self, digits: usize) -> String {
        let [low, high] = [0.0, 1.0].map(|part| self.quantile(part));
        format!("{:.digits$} ({low:.digits$} to {high:.digits$})", self.median())
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(2))
    }
}
