//! A figure with its goal, and the little arithmetic that makes one.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The side of a limit on which a value has to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

impl Goal {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::AtMost(limit) => write!(f, "<= {limit}"),
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    goal: Goal,
    met: bool,
    /// How it was measured, where the name does not say it.
    note: &'static str,
    /// What the value was made of.
    details: Value,
}

impl Figure {
    pub(super) fn new(name: &'static str, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self {
            name,
            // Three digits after the point: what lies below is noise.
            value: (value * 1000.0).round() / 1000.0,
            unit,
            goal,
            met: goal.is_met_by(value),
            note: "",
            details: Value::Null,
        }
    }

    #[must_use]
    pub(super) fn noted(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    #[must_use]
    pub(super) fn detailed(self, details: Value) -> Self {
        Self { details, ..self }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "MISSED" };
        let goal = self.goal.to_string();
        write!(
            f,
            "{:<34} {:>10.3} {:<6} goal {goal:<8} {met}",
            self.name, self.value, self.unit
        )?;
        if !self.note.is_empty() {
            write!(f, "\n    {}", self.note)?;
        }
        if !self.details.is_null() {
            write!(f, "\n    {}", self.details)?;
        }
        Ok(())
    }
}

/// The middle value; the mean of the two middle ones of an even number. 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => 0.0,
        (0, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
        (_, Some(value)) => *value,
    }
}

/// The smallest value that at least this share (0 to 100) of all values does not exceed. 0 of none.
pub(super) fn percentile(values: &[f64], share: usize) -> f64 {
    let sorted = sorted(values);
    let rank = (sorted.len() * share).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(&[9.0, 1.0, 4.0]) - 4.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 99) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&hundred, 50) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 99) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_goal_that_is_missed_is_said_to_be() {
        let figure = Figure::new("ratio", 0.59, "x", Goal::AtLeast(0.6));
        assert!(figure.to_string().ends_with("MISSED"));
        assert_eq!(serde_json::json!(figure)["met"], false);
        assert_eq!(serde_json::json!(figure)["goal"], ">= 0.6");
    }
}
