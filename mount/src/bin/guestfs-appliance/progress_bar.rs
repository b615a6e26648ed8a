//! A progress bar for the steps of building the appliance, on a terminal only.

use guestfs::appliance::{Progress, Step};

/// Draws on stderr while steps are reported, and clears the line at the end.
pub struct ProgressBar {
    bar: indicatif::ProgressBar,
}

impl ProgressBar {
    /// Makes a bar that shows nothing yet; on anything but a terminal it stays so.
    pub fn new() -> ProgressBar {
        let style = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")
            .expect("the template is well-formed");
        let bar = indicatif::ProgressBar::no_length();
        bar.set_style(style);
        ProgressBar { bar }
    }
}

impl Progress for ProgressBar {
    fn report(&mut self, step: Step, done: u64, total: u64) {
        self.bar.set_message(step.to_string());
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
