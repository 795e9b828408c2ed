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
        self.0[self.0.len() / 2]
    }

    /// The median with the lowest and the highest value, with `digits` decimals.
    pub fn show(&self, digits: usize) -> String {
        let [low, high] = [self.0[0], self.0[self.0.len() - 1]];
        format!("{:.digits$} ({low:.digits$} to {high:.digits$})", self.median())
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(2))
    }
}
