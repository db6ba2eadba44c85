//! Progress for people: a spinner in a terminal, plain lines in a log.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One named piece of work that is under way. It counts as failed unless [`Step::done`] is called.
pub(crate) struct Step {
    name: &'static str,
    started: Instant,
    spinner: ProgressBar,
    is_done: bool,
}

impl Step {
    pub(crate) fn begin(name: &'static str) -> Self {
        let spinner = ProgressBar::new_spinner().with_message(name);
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {wide_msg} {elapsed:.dim}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(100));
        if spinner.is_hidden() {
            eprintln!("  … {name}");
        }
        Self {
            name,
            started: Instant::now(),
            spinner,
            is_done: false,
        }
    }

    /// What the step is at right now; shown in a terminal only.
    pub(crate) fn detail(&self, detail: &str) {
        self.spinner.set_message(format!("{}: {detail}", self.name));
    }

    /// Ends the step well, with a word on its result.
    pub(crate) fn done(mut self, result: &str) {
        self.is_done = true;
        self.spinner.finish_and_clear();
        let separator = if result.is_empty() { "" } else { ": " };
        eprintln!(
            "  ✓ {}{separator}{result} ({})",
            self.name,
            seconds(self.started.elapsed())
        );
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.is_done {
            self.spinner.finish_and_clear();
            eprintln!("  ✗ {} ({})", self.name, seconds(self.started.elapsed()));
        }
    }
}

/// `2m 05s`, or `3.2s` below a minute.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m {:02}s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        assert_eq!(seconds(Duration::from_millis(3240)), "3.2s");
        assert_eq!(seconds(Duration::from_secs(125)), "2m 05s");
    }
}
