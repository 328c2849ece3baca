//! Progress bars on standard error: on a terminal only, and never with `--quiet`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::{Output, printable};
use crate::engine::progress::{Progress, Step};

/// A bar, gone when dropped.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// Of bytes.
    #[must_use]
    pub fn bytes(output: &Output) -> Self {
        Self::with(*output, "{spinner} {wide_msg} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    /// Of things.
    #[must_use]
    pub fn items(output: &Output) -> Self {
        Self::with(*output, "{spinner} {wide_msg} {pos}/{len}")
    }

    fn with(output: Output, template: &str) -> Self {
        let bar = if output.terminal && !output.quiet {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        // The templates above are known; a bad one would only look plainer.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub fn message(&self, text: &str) {
        self.bar.set_message(printable(text));
    }

    pub fn set(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }

    /// For the engine's bytes.
    #[must_use]
    pub fn follow(&self) -> Progress {
        let bar = self.bar.clone();
        Progress::new(move |step: &Step| {
            if let Some(total) = step.total {
                bar.set_length(total);
            }
            bar.set_position(step.done);
            let count = step.items_total.map_or_else(String::new, |of| format!(" ({}/{of})", step.items));
            bar.set_message(format!("{}{count}", printable(&step.what)));
        })
    }

    /// For the engine's things.
    #[must_use]
    pub fn follow_items(&self) -> Progress {
        let bar = self.bar.clone();
        Progress::new(move |step: &Step| {
            if let Some(total) = step.items_total {
                bar.set_length(total);
            }
            bar.set_position(step.items);
            bar.set_message(printable(&step.what));
        })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
